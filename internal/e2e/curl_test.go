package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

func TestCurl(t *testing.T) {
	w := newWorld(t, open)
	env := w.CurlEnv(t)
	t.Run("absolute-form", func(t *testing.T) {
		out, errs, exit := testserver.Curl(t, env, "-f", "http://"+w.plain.Addr+"/x?q=1")
		g := w.plain.One(t)
		if exit != 0 || g.Header.Get("X-Api-Key") != plainKey || g.Target != "/x?q=1" || !strings.Contains(out, `"Method":"GET"`) {
			t.Errorf("exit %d %s; the upstream got %s with %d values of X-Api-Key", exit, errs, g.Target, len(g.Header.Values("X-Api-Key")))
		}
	})
	for flag, version := range map[string]string{"--http1.1": "1.1", "--http2": "2"} {
		t.Run("intercepted"+flag, func(t *testing.T) {
			out, errs, exit := testserver.Curl(t, env, flag, "-f", "-o", os.DevNull, "-w", "%{http_version} %{http_code}",
				"-H", "Authorization: Bearer dummy", "https://"+w.api.Addr+"/x")
			if exit != 0 || out != version+" 200" {
				t.Errorf("exit %d %s; version and status %q, want %q", exit, errs, out, version+" 200")
			}
			if g := w.api.One(t); g.Header.Get("Authorization") != "Bearer "+apiToken {
				t.Error("the upstream did not get the credential")
			}
		})
	}
	t.Run("without a token", func(t *testing.T) {
		bare := []string{"https_proxy=http://" + w.Proxy}
		if _, errs, exit := testserver.Curl(t, bare, "https://"+w.api.Addr+"/x"); exit != 56 || !strings.Contains(errs, "407") {
			t.Errorf("exit %d %s; want 56 with 407 on CONNECT", exit, errs)
		}
	})
	t.Run("a CA it does not know", func(t *testing.T) {
		if _, _, exit := testserver.Curl(t, env[:2], "https://"+w.api.Addr+"/x"); exit != 60 {
			t.Errorf("exit %d, want 60: the certificate is not trusted", exit)
		}
		w.api.Nothing(t, "a CA it does not know")
	})
	t.Run("Expect: 100-continue", func(t *testing.T) {
		body := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(body, make([]byte, 3<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, flag := range []string{"--http1.1", "--http2"} {
			start := time.Now()
			_, errs, exit := testserver.Curl(t, env, flag, "-f", "-o", os.DevNull, "--expect100-timeout", "50",
				"-H", "Expect: 100-continue", "--data-binary", "@"+body, "https://"+w.api.Addr+"/x")
			if took := time.Since(start); exit != 0 || took > 30*time.Second {
				t.Errorf("%s: exit %d %s after %v; want 0 without waiting for the 50 s", flag, exit, errs, took)
			}
			if g := w.api.One(t); g.Body != 3<<20 {
				t.Errorf("%s: %d bytes reached the upstream, want %d", flag, g.Body, 3<<20)
			}
		}
	})
}

// A large upload passes in constant memory, also where it could be needed again.
func TestLargeUpload(t *testing.T) {
	const size = 256 << 20
	w := newWorld(t, open)
	file := filepath.Join(t.TempDir(), "large")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil { // takes no room on the disk
		t.Fatal(err)
	}
	_ = f.Close()
	env := w.CurlEnv(t)
	testserver.Curl(t, env, "-f", "https://"+w.api.Addr+"/warm")
	w.api.Take()
	before := peakMemory(t, w.Cmd.Process.Pid)
	for _, flag := range []string{"--http1.1", "--http2"} {
		_, errs, exit := testserver.Curl(t, env, flag, "-f", "-o", os.DevNull, "-T", file, "https://"+w.api.Addr+"/x")
		if exit != 0 {
			t.Fatalf("%s: exit %d %s\n%s", flag, exit, errs, w.Log())
		}
		if g := w.api.One(t); g.Body != size {
			t.Errorf("%s: %d bytes reached the upstream, want %d", flag, g.Body, size)
		}
	}
	if grown := peakMemory(t, w.Cmd.Process.Pid) - before; grown > 128<<20 { // most of it is the race detector's
		t.Errorf("the daemon's memory grew by %d MiB for two uploads of %d MiB", grown>>20, size>>20)
	}
}

// peakMemory is the most that a process ever had in memory, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// Server-sent events reach curl as they come: the second is sent after the first was seen.
func TestEvents(t *testing.T) {
	w := newWorld(t, open)
	for what, url := range map[string]string{"plain": "http://" + w.plain.Addr, "intercepted": "https://" + w.api.Addr} {
		t.Run(what, func(t *testing.T) {
			u := w.plain
			if what == "intercepted" {
				u = w.api
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, testserver.Find(t, "curl"), "-sSNf", url+"/events")
			cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, w.CurlEnv(t)...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			if !lines.Scan() || lines.Text() != "data: one" {
				t.Fatalf("first line %q, want the first event", lines.Text())
			}
			u.next <- struct{}{}
			for lines.Scan() && lines.Text() != "data: two" {
			}
			if err := cmd.Wait(); err != nil || lines.Text() == "" {
				t.Errorf("curl: %v; last line %q", err, lines.Text())
			}
		})
	}
}

// The upstream call ends when the runner leaves.
func TestRunnerLeaves(t *testing.T) {
	w := newWorld(t, open)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	client := w.Client(t)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+w.api.Addr+"/slow?for=60s", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(req); err == nil {
		t.Fatal("the request did not end with its context")
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if w.metric(t, "sallyport_inflight_requests") == "0" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("inflight_requests is %s long after the runner left", w.metric(t, "sallyport_inflight_requests"))
}

// Go's own client: plain, intercepted with HTTP/2, many at once.
func TestGoClient(t *testing.T) {
	w := newWorld(t, open)
	client := w.Client(t)
	errs := make(chan error)
	const many = 50
	for i := range many {
		go func() {
			url := "https://" + w.api.Addr + "/" + strconv.Itoa(i)
			if i%2 == 1 {
				url = "http://" + w.plain.Addr + "/" + strconv.Itoa(i)
			}
			errs <- check(client, url)
		}()
	}
	for range many {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, g := range w.api.Take() {
		if g.Header.Get("Authorization") != "Bearer "+apiToken {
			t.Errorf("%s reached the upstream without its credential", g.Target)
		}
	}
}

func check(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var g got
	if err := json.NewDecoder(resp.Body).Decode(&g); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d, %w", url, resp.StatusCode, err)
	}
	if strings.HasPrefix(url, "https:") && resp.Proto != "HTTP/2.0" {
		return fmt.Errorf("%s: %s inside the tunnel, want HTTP/2.0", url, resp.Proto)
	}
	return nil
}

// nginx as the API: it refuses whoever does not bring the right credential.
func TestNginxUpstream(t *testing.T) {
	ca := testserver.NewCA(t)
	_, pem := ca.Leaf(t, "localhost")
	n := testserver.StartNginx(t, `server {
  listen {tls} ssl http2; server_name localhost; ssl_certificate `+pem+`; ssl_certificate_key `+pem+`;
  location / {
    if ($http_authorization != "Basic `+basicPair("flow", canary+"-nginx")+`") { return 401 "no"; }
    default_type application/json; return 200 '{"seen":true}';
  }
  location /upload { client_max_body_size 0; dav_methods PUT; root {dir}; }
}`, "tls")
	_, port, _ := strings.Cut(n.Addr["tls"], ":")
	d := testserver.Sallyport(t, open+`
[[provider]]
name = "api"
hosts = ["localhost:`+port+`"]
base_url = "https://localhost:`+port+`"
type = "basic"
ca_file = "`+ca.File+`"
[provider.verify]
path = "/me"
`)
	status, body := d.Call(t, http.MethodPut, "/api/v1/credentials/default/production/api/default",
		map[string]any{"type": "basic", "fields": map[string]string{"username": "flow", "password": "wrong"}})
	if status != http.StatusUnprocessableEntity || !strings.Contains(body, `"check_failed"`) {
		t.Errorf("a wrong password: status %d, want 422 check_failed: %s", status, body)
	}
	d.Put(t, "default/production/api/default", "basic", map[string]string{"username": "flow", "password": canary + "-nginx"})
	for _, flag := range []string{"--http1.1", "--http2"} {
		out, errs, exit := testserver.Curl(t, d.CurlEnv(t), flag, "-f", "-u", "other:user", "https://localhost:"+port+"/x")
		if exit != 0 || out != `{"seen":true}` {
			t.Errorf("%s: exit %d %s, answer %q", flag, exit, errs, out)
		}
	}
	out, _, _ := testserver.Curl(t, []string{"CURL_CA_BUNDLE=" + ca.File}, "-o", os.DevNull, "-w", "%{http_code}", "https://localhost:"+port+"/x")
	if out != "401" {
		t.Errorf("without the daemon nginx answers %s, want 401", out)
	}
}
