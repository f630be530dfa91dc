package e2e

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// A sidecar without a persistent disk: the CA is exported before it listens, probes need no Host, a worker gets by with
// what was exported, and nothing is lost when everything in its state folder is.
func TestDiskless(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	p.Launch(t)
	p.confined(t)
	p.exported(t)
	p.becomes(t, "diskless", http.StatusOK, `{"status":"ok"}`)
	p.probes(t)
	p.private(t)
	first := p.works(t)

	p.Signal(t, syscall.SIGKILL)
	p.Wait(t, time.Minute)
	p.empty(t)
	p.Launch(t)
	p.exported(t)
	p.becomes(t, "after kill -9 and the loss of all state", http.StatusOK, `{"status":"ok"}`)
	if second := p.works(t); second == first {
		t.Error("the CA is the same after its key was lost")
	}
	p.neverBare(t, "diskless")
	p.Signal(t, syscall.SIGTERM)
	if code := p.Wait(t, time.Minute); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.Log())
	}
}

// exported checks that the worker's files were there when the daemon said that it listens, for everybody to read.
func (p *pod) exported(t *testing.T) {
	t.Helper()
	p.waitForLog(t, "msg=listening")
	listening := p.logged(t, "msg=listening")
	for _, name := range []string{"ca.pem", "bundle.pem", "truststore.p12"} {
		info, err := os.Stat(filepath.Join(p.export, name))
		if err != nil {
			t.Errorf("export_dir: %v", err)
			continue
		}
		if info.ModTime().After(listening) {
			t.Errorf("%s was written at %v, after %v, when the daemon said that it listens", name, info.ModTime(), listening)
		}
		if info.Mode().Perm()&0o044 != 0o044 || info.Size() == 0 {
			t.Errorf("%s: mode %v, %d bytes: another user cannot read it", name, info.Mode(), info.Size())
		}
	}
}

// logged gives the time of the first line with that text.
func (p *pod) logged(t *testing.T, text string) time.Time {
	t.Helper()
	for line := range strings.Lines(p.Log()) {
		stamp, ok := strings.CutPrefix(strings.Fields(line + " x")[0], "time=")
		if !ok || !strings.Contains(line, text) {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			t.Fatal(err)
		}
		return at.Add(time.Millisecond) // the log has milliseconds
	}
	t.Fatalf("the log does not tell %q", text)
	return time.Time{}
}

// probes checks what metrics_listen serves, whatever Host a kubelet or Prometheus sends, and what it does not.
func (p *pod) probes(t *testing.T) {
	t.Helper()
	for path, want := range map[string]int{
		"/livez": http.StatusOK, "/readyz": http.StatusOK, "/metrics": http.StatusOK,
		"/api/v1/credentials": http.StatusNotFound, "/ca.pem": http.StatusNotFound, "/": http.StatusNotFound,
	} {
		for _, host := range []string{"", "10.1.2.3:9090", "sallyport.flows.svc", "evil.example"} {
			if status := p.probe(t, path, host); status != want {
				t.Errorf("GET %s on metrics_listen with Host %q: status %d, want %d", path, host, status, want)
			}
		}
	}
}

func (p *pod) probe(t *testing.T, path, host string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+p.metrics+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

// confined checks that the daemon is whom and where the test means it to be.
func (p *pod) confined(t *testing.T) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.Cmd.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 && !strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t%[1]d", podUID)) {
		t.Errorf("the daemon does not run as uid %d:\n%s", podUID, status)
	}
	mounts, err := os.ReadFile(proc + "mounts")
	if err != nil {
		t.Fatal(err)
	}
	root := regexp.MustCompile(`(?m)^\S+ / \S+ ro[, ]`).Match(mounts)
	if wanted := len(p.Wrap) > 0 && p.Wrap[0] == "unshare"; wanted != root {
		t.Errorf("the daemon's root is read-only: %v, want %v:\n%s", root, wanted, mounts)
	}
}

// private checks that what the daemon made for itself is nobody else's, and that it wrote nowhere else.
func (p *pod) private(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(p.State, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(p.State)); len(left) != 1 {
		t.Errorf("beside its state folder the daemon left %v", left)
	}
}

// works sends a request as the worker would, which has a token, the proxy's address and the exported bundle. It gives
// the exported CA.
func (p *pod) works(t *testing.T) (ca string) {
	t.Helper()
	proxy := "http://flow:" + p.token + "@" + p.Proxy
	env := []string{"https_proxy=" + proxy, "http_proxy=" + proxy, "CURL_CA_BUNDLE=" + filepath.Join(p.export, "bundle.pem")}
	if _, errs, exit := testserver.Curl(t, env, "-f", "https://"+p.api.Addr+"/x"); exit != 0 {
		t.Errorf("the worker's curl: exit %d %s", exit, errs)
	}
	if got := p.api.One(t).Header.Get("Authorization"); got != "Bearer "+apiToken {
		t.Error("the upstream did not get Vault's token")
	}
	data, err := os.ReadFile(filepath.Join(p.export, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// empty removes everything from the mounted folders, as a pod that is made anew finds them.
func (p *pod) empty(t *testing.T) {
	t.Helper()
	for _, dir := range []string{filepath.Dir(p.State), p.export} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}
