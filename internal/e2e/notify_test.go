package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

const hookKey = canary + "-hook-key"

// hook is the receiver of a webhook, which can go away and come back.
type hook struct {
	t      *testing.T
	addr   string
	key    string // file
	verify string // the command of the documentation
	server *http.Server

	mu  sync.Mutex
	got []hookEvent
}

// hookEvent is one event as it came.
type hookEvent struct {
	ID, Event, Credential, Status string
	Previous                      string `json:"previous_status"`
	Fault                         *struct{ Code, Cause, Actor string }
	body                          string
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{t: t, addr: testserver.FreeAddr(t), key: filepath.Join(t.TempDir(), "hook.key"), verify: checksExample(t, "sh", "openssl")}
	place(t, h.key, hookKey+"\n")
	h.open()
	t.Cleanup(h.close)
	return h
}

func (h *hook) open() {
	h.t.Helper()
	ln, err := net.Listen("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.server = &http.Server{Handler: h}
	go func() { _ = h.server.Serve(ln) }()
}

func (h *hook) close() { _ = h.server.Close() }

func (h *hook) config() string {
	return "[notify]\nurl = \"http://" + h.addr + "/hook/" + canary + "\"\nsecret_file = \"" + h.key + "\"\n"
}

// ServeHTTP verifies an event as the documentation says, and takes it.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e := hookEvent{body: string(body)}
	dir, err := os.MkdirTemp("", "hook")
	if err != nil {
		h.t.Error(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_ = os.WriteFile(filepath.Join(dir, "body.json"), body, 0o600)
	cmd := exec.Command("sh", "-c", h.verify)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "WEBHOOK_KEY_FILE=" + h.key, "signature=" + r.Header.Get("Sallyport-Signature")}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "genuine\n" {
		h.t.Errorf("openssl does not verify %q of %s: %v %s", r.Header.Get("Sallyport-Signature"), body, err, out)
	}
	if err := json.Unmarshal(body, &e); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" ||
		r.Header.Get("Sallyport-Event") != e.Event || r.Header.Get("Sallyport-Event-Id") != e.ID || e.ID == "" {
		h.t.Errorf("%s %v %s: %v", r.Method, r.Header, body, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, e)
}

func (h *hook) all() []hookEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]hookEvent(nil), h.got...)
}

// checksExample gives the one example of the page on checks in that language that holds text.
func checksExample(t *testing.T, language, text string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/checks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(page), "```"+language+"\n")[1:] {
		code, _, _ := strings.Cut(part, "```")
		if strings.Contains(code, text) {
			return code
		}
	}
	t.Fatalf("docs/checks.md has no example in %s with %q", language, text)
	return ""
}

// A key that is revoked at its provider is told of once, and once that it is good
// again: over restarts, and while the receiver is away.
func TestWebhook(t *testing.T) {
	t.Parallel()
	testserver.Took(t, "OpenSSL "+testserver.Version("openssl", "version"))
	api, h := newCounted(t), newHook(t)
	w := &world{Daemon: testserver.Sallyport(t, "[log]\nlevel = \"debug\"\n"+h.config()+api.api("[provider.verify]\npath = \"/me\"\n[checks]\ninterval = \"1s\"\n"))}
	const ref = "default/production/api/main"
	one, two := canary+"-one", canary+"-two"
	var s seen
	restart := func() {
		t.Helper()
		w.Signal(t, syscall.SIGTERM)
		if code := w.Wait(t, time.Minute); code != 0 {
			t.Fatalf("exit code %d:\n%s", code, w.Log())
		}
		s.add("the log", w.Log())
		w.Serve(t)
	}
	w.Put(t, ref, "bearer", map[string]string{"token": one})
	time.Sleep(3 * time.Second)
	if got := h.all(); len(got) != 0 {
		t.Errorf("told though nothing broke: %+v", got)
	}
	api.take(two)
	eventually(t, "told that it broke", patience, func() bool { return len(h.all()) > 0 })
	if e := h.all()[0]; e.Event != "credential.broken" || e.Credential != ref || e.Status != "error" || e.Previous != "ok" ||
		e.Fault == nil || e.Fault.Code != "credentials_rejected" || e.Fault.Cause == "" || e.Fault.Actor == "" {
		t.Errorf("event %+v", e)
	}
	restart()
	asked := len(api.asked(one))
	eventually(t, "checked after the restart", patience, func() bool { return len(api.asked(one)) > asked && status(t, w.Daemon, ref) == "error" })
	time.Sleep(3 * time.Second)
	if got := h.all(); len(got) != 1 {
		t.Errorf("a restart repeats it: %+v", got)
	}
	h.close()
	w.Put(t, ref, "bearer", map[string]string{"token": two})
	eventually(t, "a failure is counted", patience, func() bool { return w.metric(t, `sallyport_notifications_total{outcome="failed"}`) != "0" })
	restart()
	h.open()
	eventually(t, "told that it recovered", patience, func() bool { return len(h.all()) > 1 })
	if e := h.all()[1]; e.Event != "credential.recovered" || e.Credential != ref || e.Status != "ok" || e.Previous != "error" || e.Fault != nil {
		t.Errorf("event %+v", e)
	}
	restart()
	time.Sleep(4 * time.Second)
	if got := h.all(); len(got) != 2 {
		t.Errorf("told again after a restart: %+v", got)
	}
	for _, e := range h.all() {
		s.add("an event", e.body)
	}
	_, metrics := w.Call(t, http.MethodGet, "/metrics", nil)
	s.add("the metrics", metrics)
	s.add("the log", w.Log())
	w.stateFiles(t, &s)
	s.clean(t, one, two, hookKey, "/hook/"+canary)
	if n := strings.Count(s.places["the log"].String(), "does not take events"); n < 1 || n > 2 {
		t.Errorf("the failing webhook is logged %d times", n)
	}
}

// The receiver of the documentation takes what is genuine, and nothing else.
func TestWebhookExample(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	place(t, filepath.Join(dir, "hook.py"), checksExample(t, "python", "HTTPServer"))
	key := filepath.Join(dir, "hook.key")
	place(t, key, hookKey+"\n")
	addr := testserver.FreeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command(testserver.Python(t, "http.server"), filepath.Join(dir, "hook.py"), port)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "WEBHOOK_KEY_FILE=" + key}
	receiver := testserver.Start(t, cmd)
	eventually(t, "it listens", patience, func() bool {
		silent, err := net.Dial("tcp", addr) // stays open: one that says nothing must not keep the others waiting
		if err == nil {
			t.Cleanup(func() { _ = silent.Close() })
		}
		return err == nil
	})

	api := newCounted(t)
	d := testserver.Sallyport(t, "[notify]\nurl = \"http://"+addr+"/\"\nsecret_file = \""+key+"\"\n"+api.api("[provider.verify]\npath = \"/me\"\n[checks]\ninterval = \"1s\"\n"))
	d.Put(t, "default/production/api/main", "bearer", map[string]string{"token": canary + "-one"})
	api.take(canary + "-two")
	eventually(t, "told that it broke", patience, func() bool {
		return strings.Contains(receiver.Log(), "credential.broken default/production/api/main error\n")
	})
	d.Put(t, "default/production/api/main", "bearer", map[string]string{"token": canary + "-two"})
	eventually(t, "told that it recovered", patience, func() bool {
		return strings.Contains(receiver.Log(), "credential.recovered default/production/api/main ok\n")
	})
	resp, err := http.Post("http://"+addr, "application/json", bytes.NewReader([]byte(`{"event":"forged"}`)))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || strings.Contains(receiver.Log(), "forged") {
		t.Errorf("a forged event: status %d\n%s", resp.StatusCode, receiver.Log())
	}
}

// Where nothing is checked in the background, what a runner's requests show is told.
func TestWebhookByUse(t *testing.T) {
	t.Parallel()
	api, h := newCounted(t), newHook(t)
	d := testserver.Sallyport(t, h.config()+api.api(""))
	d.Put(t, "default/production/api/main", "bearer", map[string]string{"token": canary + "-one"})
	client := d.Client(t)
	ask := func(want int) {
		t.Helper()
		resp, err := client.Get(api.URL + "/x")
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("status %d, want %d", resp.StatusCode, want)
		}
	}
	ask(http.StatusOK)
	api.take()
	ask(http.StatusUnauthorized)
	eventually(t, "told that it broke", patience, func() bool { return len(h.all()) == 1 })
	ask(http.StatusUnauthorized)
	time.Sleep(3 * time.Second)
	api.take(canary + "-one")
	ask(http.StatusOK)
	eventually(t, "told that it recovered", patience, func() bool { return len(h.all()) == 2 })
	for i, want := range []string{"credential.broken", "credential.recovered"} {
		if e := h.all()[i]; e.Event != want || !strings.Contains(e.body, `"type":"bearer"`) {
			t.Errorf("event %d: %s", i, e.body)
		}
	}
}

// A redirect is not followed: what is signed is for the URL of the configuration.
func TestWebhookRedirect(t *testing.T) {
	t.Parallel()
	api, h := newCounted(t), newHook(t)
	from := httptest.NewServer(http.RedirectHandler("http://"+h.addr+"/", http.StatusTemporaryRedirect))
	t.Cleanup(from.Close)
	d := testserver.Sallyport(t, strings.Replace(h.config(), "http://"+h.addr, from.URL, 1)+api.api("[provider.verify]\npath = \"/me\"\n"))
	api.take()
	if code, body := d.Call(t, http.MethodPut, "/api/v1/credentials/default/production/api/main?force=true", map[string]any{
		"type": "bearer", "fields": map[string]string{"token": canary},
	}); code != http.StatusCreated {
		t.Fatalf("PUT: %d %s", code, body)
	}
	eventually(t, "it does not take the event", patience, func() bool { return strings.Contains(d.Log(), "it answered 307") })
	if got := h.all(); len(got) != 0 {
		t.Errorf("a redirect was followed: %+v", got)
	}
}

// A key that cannot be used is a fault, at the start and at a reload; a webhook on a
// listener of our own gets nothing.
func TestWebhookFaults(t *testing.T) {
	t.Parallel()
	api, h := newCounted(t), newHook(t)
	place(t, h.key, "\n")
	d := testserver.Prepare(t, h.config()+api.api(""))
	out, errs, exit := d.Run(t, "serve")
	if exit != 1 || !strings.Contains(out+errs, "notify.secret_file") || !strings.Contains(out+errs, "is empty") {
		t.Errorf("start with an empty key: exit %d: %s", exit, out+errs)
	}
	admin := testserver.FreeAddr(t)
	place(t, h.key, hookKey)
	own := strings.Replace(h.config(), h.addr, admin, 1)
	d = testserver.Sallyport(t, own+api.api("[provider.verify]\npath = \"/me\"\n[checks]\ninterval = \"1s\"\n"), "SALLYPORT_ADMIN_LISTEN="+admin)
	d.Put(t, "default/production/api/main", "bearer", map[string]string{"token": canary + "-one"})
	api.take()
	eventually(t, "refused", patience, func() bool {
		return strings.Contains(d.Log(), "does not take events") && strings.Contains(d.Log(), "loop_detected")
	})
	place(t, h.key, "")
	d.Write(t, h.config()+api.api(""))
	if code, body := d.Call(t, http.MethodPost, "/api/v1/reload", nil); code != http.StatusBadRequest || !strings.Contains(body, `"key":"notify.secret_file"`) {
		t.Errorf("reload with an empty key: %d %s", code, body)
	}
	place(t, h.key, hookKey)
	if code, body := d.Call(t, http.MethodPost, "/api/v1/reload", nil); code/100 != 2 {
		t.Fatalf("reload: %d %s", code, body)
	}
	eventually(t, "told at the other URL", patience, func() bool { return len(h.all()) == 1 })
}

// mine is what a caller sees of its credentials.
func mine(t *testing.T, d *testserver.Daemon) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+d.Admin+"/api/v1/mine", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("default", d.Token(t, "default"))
	resp, err := plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A check that finds a scope missing has the credential taken all the same: what a
// request has shown before is over, and all that tell of it agree.
func TestWebhookWarning(t *testing.T) {
	t.Parallel()
	var answer atomic.Value // status and body
	answer.Store([2]string{"200", "{}"})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a, _ := answer.Load().([2]string)
		status, _ := strconv.Atoi(a[0])
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, a[1])
	}))
	t.Cleanup(server.Close)
	api, h := &counted{Server: server}, newHook(t)
	d := testserver.Sallyport(t, h.config()+api.api("[provider.verify]\npath = \"/me\"\n"))
	const ref = "default/production/api/main"
	d.Put(t, ref, "bearer", map[string]string{"token": canary})
	shows := func(want, code string) {
		t.Helper()
		_, one := d.Call(t, http.MethodGet, "/api/v1/credentials/"+ref, nil)
		var v struct {
			Status    string
			LastError *struct{ Code string } `json:"last_error"`
		}
		if err := json.Unmarshal([]byte(one), &v); err != nil || v.Status != want || (v.LastError != nil) != (code != "") || code != "" && v.LastError.Code != code {
			t.Errorf("the credential, want %s %s: %s", want, code, one)
		}
		if mine := mine(t, d); !strings.Contains(mine, `"status":"`+want+`"`) {
			t.Errorf("/api/v1/mine, want %s: %s", want, mine)
		}
		if _, metrics := d.Call(t, http.MethodGet, "/metrics", nil); !strings.Contains(metrics, `sallyport_credential_status{credential="`+ref+`",status="`+want+`"} 1`) {
			t.Errorf("the metrics do not say %s", want)
		}
	}
	answer.Store([2]string{"401", `{"message":"Bad credentials"}`})
	resp, err := d.Client(t).Get(api.URL + "/x")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	eventually(t, "told that it broke", patience, func() bool { return len(h.all()) == 1 })
	shows("error", "credentials_rejected")
	answer.Store([2]string{"403", `{"error":"insufficient_scope"}`})
	d.Call(t, http.MethodPost, "/api/v1/credentials/"+ref+"/check", map[string]any{})
	shows("warning", "insufficient_scope")
	eventually(t, "told that it recovered", patience, func() bool { return len(h.all()) == 2 })
	if e := h.all()[1]; e.Event != "credential.recovered" || e.Status != "warning" || e.Previous != "error" {
		t.Errorf("event %+v", e)
	}
}
