package e2e

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// FM-15: SIGTERM: not ready at once, idle tunnels closed, what is in flight ends well, exit code 0.
func TestDrain(t *testing.T) {
	w := newWorld(t, open)
	idle := w.inside(t)
	idle.send(t, get("/x", w.api.Addr, "")).status(t, "before", http.StatusOK)
	w.api.Take()
	untouched := w.connect(t, w.other.Addr)
	const inFlight = 20
	answers := make(chan *answer, inFlight)
	var busy []*peer
	for range inFlight {
		busy = append(busy, w.inside(t))
	}
	for _, p := range busy {
		go func() { answers <- p.send(t, get("/events", w.api.Addr, "")) }()
	}
	w.waitFor(t, "sallyport_inflight_requests", strconv.Itoa(inFlight+1)) // and the raw tunnel

	w.Signal(t, syscall.SIGTERM)
	w.notReady(t)
	idle.closed(t, "GP-21: an idle tunnel", 15*time.Second)
	untouched.closed(t, "GP-21: an idle raw tunnel", 15*time.Second)
	close(w.api.next)
	for range inFlight {
		(<-answers).status(t, "FM-15: in flight", http.StatusOK)
	}
	if code := w.Wait(t, time.Minute); code != 0 {
		t.Errorf("FM-15: exit code %d after SIGTERM, want 0:\n%s", code, w.Log())
	}
}

func (w *world) waitFor(t *testing.T, metric, value string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if w.metric(t, metric) == value {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s is %s, not %s", metric, w.metric(t, metric), value)
}

// waitForLog waits until the log, which is written behind the requests, holds text.
func (w *world) waitForLog(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if strings.Contains(w.Log(), text) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the log does not tell %q:\n%s", text, w.Log())
}

// notReady checks that /readyz says 503 and the proxy listener takes nothing more, soon.
func (w *world) notReady(t *testing.T) {
	t.Helper()
	var status int
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if status, _ = w.Call(t, http.MethodGet, "/readyz", nil); status == http.StatusServiceUnavailable {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("/readyz answers %d while draining, want 503", status)
}

// FM-16: a second signal ends the daemon at once, and nothing that it kept is lost.
func TestSecondSignal(t *testing.T) {
	w := newWorld(t, open+"drain = \"10m\"\n")
	busy := w.inside(t)
	_, _ = io.WriteString(busy, get("/slow?for=10m", w.api.Addr, ""))
	w.api.Await(t)
	w.Signal(t, syscall.SIGTERM)
	w.notReady(t)
	w.Signal(t, syscall.SIGINT)
	w.Wait(t, 30*time.Second)
	w.Serve(t)
	w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "FM-16: the next start", http.StatusOK)
}

// SIGHUP: a good file counts at once, a faulty one leaves the old configuration and says why.
func TestReload(t *testing.T) {
	w := newWorld(t, open)
	kept := w.inside(t)
	kept.send(t, get("/x", w.api.Addr, "")).status(t, "before", http.StatusOK)

	w.Write(t, w.frame(open+"unmatched = \"refuse\"\nnonsense = 1\n"))
	w.Signal(t, syscall.SIGHUP)
	w.waitFor(t, "sallyport_config_last_reload_successful", "0")
	w.waitForLog(t, "nonsense")
	w.waitForLog(t, "unmatched")
	kept.send(t, get("/x", w.api.Addr, "")).status(t, "on the old configuration", http.StatusOK)
	w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "a new tunnel on the old configuration", http.StatusOK)
	status, body := w.Call(t, http.MethodPost, "/api/v1/reload", map[string]any{})
	if status != http.StatusBadRequest || !strings.Contains(body, `"key"`) || !strings.Contains(body, "nonsense") {
		t.Errorf("POST reload with a faulty file: status %d %s", status, body)
	}

	w.Write(t, w.frame(open+"unmatched = \"deny\"\n"))
	w.Signal(t, syscall.SIGHUP)
	w.waitFor(t, "sallyport_config_last_reload_successful", "1")
	w.connectTo(t, "default", w.other.Addr).status(t, "the new configuration denies", http.StatusForbidden)
	kept.send(t, get("/x", w.api.Addr, "")).status(t, "a tunnel from before", http.StatusOK)
	w.api.Take()
}

// A port that is taken, a state folder in use, a faulty file: the daemon does not start, and says why.
func TestRefusesToStart(t *testing.T) {
	w := newWorld(t, open)
	start := func(t *testing.T, d *testserver.Daemon) string {
		t.Helper()
		p := testserver.Start(t, d.Command("serve"))
		if code := p.Wait(t, time.Minute); code == 0 {
			t.Error("exit code 0, want another")
		}
		return p.Log()
	}
	t.Run("a port that is taken", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		taken := ln.Addr().String()
		for _, listener := range []string{"SALLYPORT_PROXY_LISTEN", "SALLYPORT_ADMIN_LISTEN"} {
			if log := start(t, testserver.Prepare(t, "", listener+"="+taken)); !strings.Contains(log, taken) {
				t.Errorf("LT-14: %s: the reason does not name %s:\n%s", listener, taken, log)
			}
		}
	})
	t.Run("a state folder in use", func(t *testing.T) {
		second := testserver.Prepare(t, "")
		second.State = w.State
		if log := start(t, second); !strings.Contains(log, w.State) {
			t.Errorf("the reason does not name %s:\n%s", w.State, log)
		}
	})
	t.Run("a faulty file", func(t *testing.T) {
		log := start(t, testserver.Prepare(t, "[proxy]\ndrain = 5\nnonsense = 1\n[[provider]]\nname = \"x\"\ntype = \"unknown\"\n"))
		for _, want := range []string{"drain", "nonsense", "unknown", ":2:", ":3:"} {
			if !strings.Contains(log, want) {
				t.Errorf("the faults do not tell %q:\n%s", want, log)
			}
		}
	})
	t.Run("a listener that the network reaches, without tokens", func(t *testing.T) {
		log := start(t, testserver.Prepare(t, "[proxy]\nauth = \"none\"\n", "SALLYPORT_PROXY_LISTEN=0.0.0.0:0"))
		if !strings.Contains(log, "auth") {
			t.Errorf("LT-04: the reason does not name auth:\n%s", log)
		}
	})
	if w.metric(t, "sallyport_config_last_reload_successful") != "1" {
		t.Error("the running daemon was disturbed")
	}
}

// The daemon's own environment may point at itself: it does not call itself.
func TestProxyVariablesOfItsOwn(t *testing.T) {
	w := prepareWorld(t)
	addr := testserver.FreeAddr(t)
	w.Daemon = testserver.Sallyport(t, w.frame(open), "SALLYPORT_PROXY_LISTEN="+addr,
		"HTTP_PROXY=http://"+addr, "HTTPS_PROXY=http://"+addr, "http_proxy=http://"+addr, "https_proxy=http://"+addr)
	w.Put(t, "default/production/api/default", "bearer", map[string]string{"token": apiToken})
	w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "GP-15, SS-06", http.StatusOK)
	w.connect(t, w.other.Addr) // a raw tunnel goes there directly too
}

// What was stored is there after a kill, and the runner's requests work again.
func TestKill(t *testing.T) {
	w := newWorld(t, open)
	w.Signal(t, syscall.SIGKILL)
	w.Wait(t, time.Minute)
	w.Serve(t)
	w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "after kill -9", http.StatusOK)
	if got := w.api.One(t).Header.Get("Authorization"); got != "Bearer "+apiToken {
		t.Error("the credential was lost")
	}
}
