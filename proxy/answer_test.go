package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
)

// raw answers a request of HTTP/1.1 with text as it stands, and ends the connection.
func raw(w http.ResponseWriter, text string) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(c, text)
	_ = c.Close()
}

// SM-16: what an upstream says to the connection, or to a proxy, ends at us in
// each of its answers; what it says to the runner passes.
func TestHopsEndHere(t *testing.T) {
	const (
		hops = "Connection: Upgrade, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: trailers\r\n" +
			"Proxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\nProxy-Authorization: x\r\n"
		ends = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nWWW-Authenticate: Basic\r\nX-End: 1\r\n"
	)
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/final":
			raw(w, "HTTP/1.1 200 OK\r\n"+hops+"Upgrade: h2c\r\n"+ends+"Content-Length: 2\r\n\r\nok")
		case "/early":
			raw(w, "HTTP/1.1 103 Early Hints\r\n"+hops+ends+"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		case "/switched":
			raw(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: mine\r\n"+hops+ends+"\r\n")
		}
	})
	for path, status := range map[string]int{"/final": 200, "/early": 103, "/switched": 101} {
		w := r.tunnel(r.upstream.authority, "example.com")
		w.send("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: mine\r\n\r\n", path, r.upstream.authority)
		got, err := http.ReadResponse(w.r, nil)
		if err != nil || got.StatusCode != status {
			t.Fatalf("SM-16 %s: %v, %v", path, got, err)
		}
		for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Connection", "Te", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization"} {
			if v, ok := got.Header[name]; ok {
				t.Errorf("SM-16 %s: the runner saw %s: %q", path, name, v)
			}
		}
		if up := got.Header.Get("Upgrade"); (up == "mine") != (status == 101) || (got.Header.Get("Connection") == "Upgrade") != (status == 101) {
			t.Errorf("SM-16 %s: Upgrade is %q, Connection %q", path, up, got.Header["Connection"])
		}
		if len(got.Header["Set-Cookie"]) != 2 || got.Header.Get("Www-Authenticate") != "Basic" || got.Header.Get("X-End") != "1" {
			t.Errorf("SM-16 %s: the runner's own fields are lost: %v", path, got.Header)
		}
	}
}

// SM-17: fields of ours mean nothing in an upstream's answer. They pass, as all
// of it does; ours comes behind them, and nothing that we tell is taken from them.
func TestUpstreamSpeaksForItselfOnly(t *testing.T) {
	const forged = `sallyport; error=http_request_denied; details="no_credential"`
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proxy-Status", forged)
		w.Header().Set("Sallyport-Credential", "second")
		w.Header().Set("Content-Type", fault.ContentType)
		if r.URL.Path == "/401" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprint(w, `{"code":"no_credential"}`)
	}, func(r *rig) { r.store.Add("api/second", "api_key", "api_key", "second") })
	c := r.client(false)
	for path, want := range map[string]struct {
		outcome string
		status  []string
	}{
		"/200": {"status=200 outcome=ok", []string{forged}},
		"/401": {"status=401 outcome=upstream_4xx", []string{forged, fault.ReceivedStatus(401, fault.CredentialsRejected)}},
	} {
		got := r.get(c, r.url(path), "Sallyport-Credential", "main", "sallyport_credential", "second")
		if s := got.Header["Proxy-Status"]; strings.Join(s, ", ") != strings.Join(want.status, ", ") {
			t.Errorf("SM-17 %s: Proxy-Status is %q, want %q", path, s, want.status)
		}
		if got.Header.Get("Sallyport-Credential") != "second" || got.body != `{"code":"no_credential"}` {
			t.Errorf("SM-17 %s: the answer does not pass: %v %s", path, got.Header, got.body)
		}
		waitFor(t, func() bool { return strings.Contains(r.log.String(), "path="+path+" "+want.outcome) })
	}
	for _, up := range r.upstream.seen() {
		if up.Header.Get("Authorization") != "Bearer "+canary {
			t.Errorf("SM-17: the upstream chose the credential: %q", up.Header["Authorization"])
		}
		for name := range up.Header {
			if strings.HasPrefix(strings.ToLower(name), "sallyport") {
				t.Errorf("SM-17: the upstream saw %s", name)
			}
		}
	}
	if strings.Contains(r.log.String(), "no_credential") {
		t.Errorf("SM-17: the upstream's code is told as ours: %s", r.log)
	}
}
