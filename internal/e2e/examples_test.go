package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

const examples = "../../examples"

// absolute are the paths of a configuration that begin at the root.
var absolute = regexp.MustCompile(`(?m)^(\w+) = "(/[^"]*)"`)

// example gives an example's configuration with the paths that it names below a folder of the test, where its files are.
func example(t *testing.T, file string) (config, root string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	root = t.TempDir()
	for _, m := range absolute.FindAllStringSubmatch(string(b), -1) {
		if strings.HasSuffix(m[1], "_file") {
			place(t, filepath.Join(root, m[2]), "a-secret-of-the-example")
		}
	}
	return absolute.ReplaceAllString(string(b), `$1 = "`+root+`$2"`), root
}

func place(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func glob(t *testing.T, patterns ...string) []string {
	t.Helper()
	var all []string
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(examples, p))
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", p, err)
		}
		all = append(all, found...)
	}
	return all
}

// Every configuration of the examples is one that the daemon takes, without a warning.
func TestExamplesAreValid(t *testing.T) {
	for _, file := range glob(t, "*/*.toml") {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			config, _ := example(t, file)
			d := testserver.Prepare(t, config)
			if stdout, stderr, exit := d.Run(t, "config", "check"); exit != 0 || stderr != "" {
				t.Errorf("config check: exit %d\n%s%s", exit, stdout, stderr)
			}
		})
	}
}

// The policies of the examples are what vault policy prints for their configurations, which need not be asked about.
func TestExamplesPolicies(t *testing.T) {
	for _, file := range glob(t, "*/policy.hcl") {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			config, _ := example(t, filepath.Join(dir, "sallyport.toml"))
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			stdout, stderr, exit := testserver.Prepare(t, config).Run(t, "vault", "policy")
			if exit != 0 || stderr != "" || stdout != string(want) {
				t.Errorf("exit %d %s; %s is not what vault policy prints:\n%s", exit, stderr, file, stdout)
			}
		})
	}
}

// The AppRole example works on a real Vault with its own policy and no other.
func TestExampleVault(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	config, root := example(t, examples+"/vault/sallyport.toml")
	v.Policy(t, "sallyport", readExample(t, "vault/policy.hcl"))
	role, id := v.AppRole(t, "sallyport", map[string]any{
		"token_policies": "sallyport", "token_no_default_policy": true, "token_ttl": "20m", "token_max_ttl": "24h", "secret_id_ttl": "2160h",
	})
	place(t, root+"/run/credentials/sallyport.service/role-id", role)
	place(t, root+"/run/credentials/sallyport.service/secret-id", id)
	exampleWorks(t, v, strings.Replace(config, "https://vault.internal:8200", v.Address, 1))
}

// The Kubernetes example works on a real Vault, which asks a TokenReview server of the test, with its own policy and no other.
func TestExampleKubernetes(t *testing.T) {
	t.Parallel()
	v, k := testserver.StartVault(t, testserver.VaultOptions{}), testserver.StartKubernetes(t)
	config, root := example(t, examples+"/kubernetes/sallyport.toml")
	v.Policy(t, "flows", readExample(t, "kubernetes/policy.hcl"))
	v.Enable(t, "kubernetes")
	v.Do(t, http.MethodPost, "auth/kubernetes/config", map[string]any{
		"kubernetes_host": k.URL, "kubernetes_ca_cert": k.CA, "token_reviewer_jwt": k.ServiceAccount(t), "disable_local_ca_jwt": true,
	})
	v.Do(t, http.MethodPost, "auth/kubernetes/role/flows", map[string]any{
		"bound_service_account_names": "flows", "bound_service_account_namespaces": "flows", "audience": "vault",
		"token_policies": "flows", "token_no_default_policy": true, "token_ttl": "20m", "token_max_ttl": "24h",
	})
	place(t, root+"/var/run/secrets/vault/token", k.Account(t, "flows", "vault"))
	place(t, root+"/etc/sallyport/caller/token", "0123456789abcdef")
	d := exampleWorks(t, v, strings.Replace(config, "https://vault.vault.svc:8200", v.Address, 1))
	if _, err := os.Stat(root + "/export/bundle.pem"); err != nil {
		t.Errorf("the CA for the worker: %v", err)
	}
	for token, want := range map[string]string{"0123456789abcdef": "502", "another": "407"} { // there is no such host
		env := []string{"http_proxy=http://orders:" + token + "@" + d.Proxy}
		if out, _, _ := testserver.Curl(t, env, "-o", "/dev/null", "-w", "%{http_code}", "http://flow.invalid/"); out != want {
			t.Errorf("the worker with token %s gets %s, want %s", token, out, want)
		}
	}
}

// exampleWorks runs the daemon, checks its policy, reads a record that another has written and ends it.
func exampleWorks(t *testing.T, v *testserver.Vault, config string) *testserver.Daemon {
	t.Helper()
	v.Do(t, http.MethodPost, "secret/data/sallyport/credentials/acme/production/github/default",
		map[string]any{"data": map[string]string{"type": "api_key", "api_key": "of-github"}})
	config = regexp.MustCompile(`(?m)^(ca_file|metrics_listen) = .*$`).ReplaceAllString(config, "") // this Vault speaks no TLS
	d := testserver.Sallyport(t, config)
	if stdout, stderr, exit := d.Run(t, "vault", "check"); exit != 0 || strings.Contains(stdout+stderr, "try:") {
		t.Errorf("vault check: exit %d\n%s%s", exit, stdout, stderr)
	}
	if stdout, stderr, exit := d.Run(t, "credential", "list"); exit != 0 || !strings.Contains(stdout, "acme/production/github/default") {
		t.Errorf("credential list: exit %d\n%s%s", exit, stdout, stderr)
	}
	t.Cleanup(func() {
		d.Signal(t, syscall.SIGTERM)
		if code := d.Wait(t, time.Minute); code != 0 || strings.Contains(d.Log(), "level=WARN") {
			t.Errorf("exit code %d:\n%s", code, d.Log())
		}
	})
	return d
}

func readExample(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(examples, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// yamlToJSON gives the documents of a YAML file.
func yamlToJSON(t *testing.T, file string) []any {
	t.Helper()
	const program = `import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)`
	var said string
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		out, err := exec.Command(python, "-c", program, file).CombinedOutput()
		var docs []any
		if err == nil {
			if err := json.Unmarshal(out, &docs); err != nil {
				t.Fatal(err)
			}
			return docs
		}
		said = string(out)
		if !strings.Contains(said, "No module named") {
			break
		}
	}
	t.Fatalf("%s is not YAML, or there is no python3-yaml, which .ci/install installs: %s", file, said)
	return nil
}
