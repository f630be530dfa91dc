package e2e

import (
	"encoding/json"
	"path"
	"strings"
	"testing"
)

func TestExamplesAreYAML(t *testing.T) {
	for _, file := range glob(t, "*/*.yaml", "*/*.yml") {
		for _, doc := range yamlToJSON(t, file) {
			if _, ok := doc.(map[string]any); !ok {
				t.Errorf("%s holds something that is no mapping", file)
			}
		}
	}
}

// manifest is what the test looks at of a Deployment.
type manifest struct {
	Spec struct {
		Template struct {
			Spec struct {
				AutomountServiceAccountToken  *bool
				InitContainers, Containers    []container
				Volumes                       []struct{ Name string }
				TerminationGracePeriodSeconds int
			}
		}
	}
}

type container struct {
	Name, RestartPolicy                         string
	Env                                         []struct{ Name, Value string }
	Ports                                       []struct{ ContainerPort int }
	StartupProbe, LivenessProbe, ReadinessProbe *struct{ HTTPGet struct{ Path string } }
	SecurityContext                             struct {
		RunAsUser                                        int
		ReadOnlyRootFilesystem, AllowPrivilegeEscalation *bool
	}
	VolumeMounts []struct {
		Name, MountPath string
		ReadOnly        bool
	}
}

// under gives the mount that a path lies in.
func (c *container) under(t *testing.T, p string) (mount string, readOnly bool) {
	t.Helper()
	for _, m := range c.VolumeMounts {
		if p == m.MountPath || strings.HasPrefix(p, m.MountPath+"/") {
			return m.MountPath, m.ReadOnly
		}
	}
	t.Errorf("%s: %s is on no volume", c.Name, p)
	return "", false
}

func (c *container) env(name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// The pod of the Kubernetes example is the one that its configuration is for.
func TestExampleDeployment(t *testing.T) {
	var m manifest
	doc, err := json.Marshal(yamlToJSON(t, examples+"/kubernetes/deployment.yaml")[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &m); err != nil {
		t.Fatal(err)
	}
	pod := m.Spec.Template.Spec
	if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 || *pod.AutomountServiceAccountToken || pod.TerminationGracePeriodSeconds <= 30 {
		t.Fatalf("want a sidecar and a worker, no token for the API server, and time to drain: %+v", pod)
	}
	sidecar, worker := &pod.InitContainers[0], &pod.Containers[0]
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range []*container{sidecar, worker} {
		if s := c.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation {
			t.Errorf("%s: %+v", c.Name, s)
		}
		for _, v := range c.VolumeMounts {
			if !volumes[v.Name] {
				t.Errorf("%s mounts %s, which is no volume", c.Name, v.Name)
			}
		}
	}
	if sidecar.RestartPolicy != "Always" || sidecar.StartupProbe.HTTPGet.Path != "/livez" || sidecar.LivenessProbe.HTTPGet.Path != "/livez" || sidecar.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Errorf("the sidecar is none, or its probes are others: %+v", sidecar)
	}
	if sidecar.SecurityContext.RunAsUser == worker.SecurityContext.RunAsUser {
		t.Error("the worker runs as the sidecar's user")
	}
	configured(t, sidecar)
	exported(t, sidecar, worker)
}

// configured holds that the paths and ports of the configuration are those of the sidecar.
func configured(t *testing.T, sidecar *container) {
	t.Helper()
	config := readExample(t, "kubernetes/sallyport.toml")
	for _, m := range absolute.FindAllStringSubmatch(config, -1) {
		if _, readOnly := sidecar.under(t, m[2]); readOnly != strings.HasSuffix(m[1], "_file") {
			t.Errorf("%s = %s is on a volume that is read-only: %v", m[1], m[2], readOnly)
		}
	}
	if mount, readOnly := sidecar.under(t, sidecar.env("SALLYPORT_STATE_DIR")); readOnly || mount == sidecar.env("SALLYPORT_STATE_DIR") {
		t.Errorf("the state folder is to lie below a volume, not on it: %s", mount)
	}
	sidecar.under(t, sidecar.env("SALLYPORT_CONFIG"))
	if len(sidecar.Ports) != 1 || sidecar.Ports[0].ContainerPort != 9464 || !strings.Contains(config, `metrics_listen = ":9464"`) {
		t.Errorf("the probes' port %v is not metrics_listen", sidecar.Ports)
	}
}

// exported holds that the worker reads what the sidecar exports.
func exported(t *testing.T, sidecar, worker *container) {
	t.Helper()
	volume := func(c *container, mount string) string {
		for _, m := range c.VolumeMounts {
			if m.MountPath == mount {
				return m.Name
			}
		}
		return "none of " + c.Name
	}
	seen := 0
	for _, e := range worker.Env {
		if path.Base(e.Value) != "bundle.pem" {
			continue
		}
		seen++
		if mount, readOnly := worker.under(t, e.Value); !readOnly || volume(worker, mount) != volume(sidecar, "/export") {
			t.Errorf("%s=%s is not what the sidecar exports", e.Name, e.Value)
		}
	}
	if seen < 5 || worker.env("https_proxy") != worker.env("HTTPS_PROXY") || !strings.HasPrefix(worker.env("HTTP_PROXY"), "http://orders:$(CALLER_TOKEN)@127.0.0.1:3128") {
		t.Errorf("the worker's variables: %v", worker.Env)
	}
}
