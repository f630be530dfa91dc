package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

var refusals = []int{http.StatusBadRequest, http.StatusMisdirectedRequest}

// What a tunnel lets through: one authority, in CONNECT, SNI and Host.
func TestAuthority(t *testing.T) {
	w := newWorld(t, open)
	a, b := w.api.Addr, w.other.Addr
	auth := w.auth(t)
	cases := []struct {
		row, what, request string
		code               fault.Code // empty: one of refusals, whoever says it
	}{
		{"GP-04", "another Host inside the tunnel", get("/x", b, ""), fault.Misdirected},
		{"GP-05", "absolute-form of another host inside the tunnel", get("https://"+b+"/x", b, ""), fault.Misdirected},
		{"GP-05", "absolute-form of another host with the tunnel's Host", get("https://"+b+"/x", a, ""), fault.Misdirected},
		{"GP-05", "absolute-form of another scheme", get("ftp://"+b+"/x", b, ""), ""},
		{"GP-06", "userinfo in Host", get("/x", a+"@"+b, ""), ""},
		{"GP-06", "a path in Host", get("/x", a+"/admin?x=", ""), ""},
		{"GP-06", "a fragment in Host", get("/x", a+"#", ""), ""},
		{"GP-06", "a percent sign in Host", get("/x", "local%68ost:"+w.api.Port, ""), ""},
		{"GP-06", "a backslash in Host", get("/x", a+`\`, ""), ""},
		{"GP-06", "a comma in Host", get("/x", a+","+b, ""), fault.InvalidRequest},
		{"GP-07", "CONNECT inside the tunnel", "CONNECT " + b + " HTTP/1.1\r\nHost: " + b + "\r\n\r\n", fault.MethodNotAllowed},
		{"GP-07", "CONNECT to the same host inside the tunnel", "CONNECT " + a + " HTTP/1.1\r\nHost: " + a + "\r\n\r\n", fault.MethodNotAllowed},
		{"GP-08", "Host without the tunnel's port", get("/x", "localhost", ""), fault.Misdirected},
		{"GP-13", "no request at all", "hello\r\n\r\n", ""},
		{"HM-13", "userinfo in the target", get("https://user:"+canary+"@"+a+"/x", a, ""), ""},
		{"HM-20", "no Host", "GET /x HTTP/1.1\r\n\r\n", ""},
	}
	for _, c := range cases {
		t.Run(c.row+" "+c.what, func(t *testing.T) {
			p := w.inside(t)
			got := p.send(t, c.request)
			if c.code != "" {
				got.is(t, c.row, c.code)
			} else {
				got.status(t, c.row, refusals...)
			}
			w.other.Nothing(t, c.row)
			for _, g := range w.api.Take() {
				if g.Host != a {
					t.Errorf("%s: reached the upstream with Host %q", c.row, g.Host)
				}
			}
		})
	}
	t.Run("HM-20 an empty Host is the tunnel's", func(t *testing.T) {
		w.inside(t).send(t, get("/x", "", "")).status(t, "HM-20", http.StatusOK)
		if g := w.api.One(t); g.Host != a {
			t.Errorf("HM-20: the upstream got Host %q, want %q", g.Host, a)
		}
	})
	t.Run("GP-22 OPTIONS *", func(t *testing.T) {
		got := w.inside(t).send(t, "OPTIONS * HTTP/1.1\r\nHost: "+a+"\r\n\r\n")
		got.status(t, "GP-22", http.StatusOK, http.StatusBadRequest, http.StatusNotImplemented)
		w.api.Take()
	})
	t.Run("HM-04 the second request names another host", func(t *testing.T) {
		p := w.inside(t)
		p.send(t, get("/x", a, "")).status(t, "first", http.StatusOK)
		p.send(t, get("/x", b, "")).is(t, "HM-04", fault.Misdirected)
		p.closed(t, "HM-04", patience)
		w.other.Nothing(t, "HM-04")
	})
	t.Run("HM-02 another SNI", func(t *testing.T) {
		p, err := w.secure(t, w.connect(t, a), "evil.test")
		if err == nil {
			p.send(t, get("/x", a, "")).is(t, "HM-02", fault.Misdirected)
		}
		w.other.Nothing(t, "HM-02")
	})
	t.Run("HM-03 no SNI", func(t *testing.T) {
		p, err := w.secure(t, w.connect(t, a), "")
		if err != nil {
			t.Fatalf("HM-03: an absent SNI agrees: %v", err)
		}
		p.send(t, get("/x", a, "")).status(t, "HM-03", http.StatusOK)
		p.send(t, get("/x", b, "")).is(t, "HM-03", fault.Misdirected)
		w.other.Nothing(t, "HM-03")
	})
	t.Run("HM-05 absolute-form with another Host", func(t *testing.T) {
		w.api.Take()
		w.plain.Take()
		w.raw(t).send(t, get("http://"+w.plain.Addr+"/x", b, auth)).status(t, "HM-05", http.StatusOK)
		if g := w.plain.One(t); g.Host != w.plain.Addr {
			t.Errorf("HM-05: the upstream got Host %q, want %q", g.Host, w.plain.Addr)
		}
		w.other.Nothing(t, "HM-05")
	})
	t.Run("HM-13 userinfo on the plain path", func(t *testing.T) {
		for _, target := range []string{"http://" + b + "@" + w.plain.Addr + "/", `http://` + b + `\@` + w.plain.Addr + `/`, "http://" + w.plain.Addr + ":80@" + b + "/"} {
			w.raw(t).send(t, get(target, w.plain.Addr, auth)).status(t, "HM-13 "+target, http.StatusBadRequest)
		}
		w.plain.Nothing(t, "HM-13")
		w.other.Nothing(t, "HM-13")
	})
	t.Run("GP-18 another :authority in HTTP/2", func(t *testing.T) { authorityH2(t, w) })
	if got := w.metric(t, "sallyport_panics_total"); got != "0" {
		t.Errorf("GP-03: %s panics", got)
	}
	for _, secret := range []string{apiToken, plainKey} {
		if strings.Contains(w.Log(), secret) {
			t.Error("LK-01: the log contains a secret")
		}
	}
}

// Each stream of HTTP/2 is held to the tunnel's authority.
func authorityH2(t *testing.T, w *world) {
	p, err := w.secure(t, w.connect(t, w.api.Addr), "localhost", "h2")
	if err != nil {
		t.Fatal(err)
	}
	conn := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return p.Conn, nil }}
	for i, host := range []string{w.api.Addr, w.other.Addr} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.api.Addr+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := conn.RoundTrip(req)
		if err != nil {
			t.Fatalf("GP-18: stream %d: %v", i, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		want := http.StatusOK
		if host == w.other.Addr {
			want = http.StatusMisdirectedRequest
		}
		if resp.StatusCode != want || resp.Proto != "HTTP/2.0" {
			t.Errorf("GP-18: stream %d with :authority %s: %s %d, want HTTP/2.0 %d", i, host, resp.Proto, resp.StatusCode, want)
		}
	}
	w.other.Nothing(t, "GP-18")
}

// A tunnel that says nothing is closed, before and inside the handshake and the request.
func TestSilence(t *testing.T) {
	w := newWorld(t, open)
	const limit = 20 * time.Second // first byte, handshake and header have 10 seconds each
	for what, open := range map[string]func(t *testing.T) *peer{
		"no first byte": func(t *testing.T) *peer { return w.connect(t, w.api.Addr) },
		"half a handshake": func(t *testing.T) *peer {
			p := w.connect(t, w.api.Addr)
			_, _ = io.WriteString(p, "\x16\x03\x01\x02\x00\x01")
			return p
		},
		"half a header": func(t *testing.T) *peer {
			p := w.inside(t)
			_, _ = io.WriteString(p, "GET /x HTTP/1.1\r\nHost: "+w.api.Addr+"\r\n")
			return p
		},
		"half a header on the listener": func(t *testing.T) *peer {
			p := w.raw(t)
			_, _ = io.WriteString(p, "GET http://"+w.plain.Addr+"/x HTTP/1.1\r\n")
			return p
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := open(t)
			_ = p.SetDeadline(time.Now().Add(limit))
			if _, err := io.Copy(io.Discard, p.r); isTimeout(err) {
				t.Errorf("GP-09: %s: still open after %v", what, limit)
			}
		})
	}
}

// The header section is bounded in bytes and in fields.
func TestHeaderLimits(t *testing.T) {
	w := newWorld(t, open)
	big := "X-Big: " + strings.Repeat("x", 80<<10) + "\r\n"
	var many strings.Builder
	for i := range 150 {
		fmt.Fprintf(&many, "X-%d: y\r\n", i)
	}
	for what, lines := range map[string]string{"80 KiB": big, "150 fields": many.String()} {
		w.inside(t).send(t, get("/x", w.api.Addr, lines)).status(t, "GP-10: "+what+" in a tunnel", http.StatusRequestHeaderFieldsTooLarge)
		w.raw(t).send(t, get("http://"+w.plain.Addr+"/x", w.plain.Addr, w.auth(t)+lines)).
			status(t, "GP-10: "+what+" on the plain path", http.StatusRequestHeaderFieldsTooLarge)
	}
	w.api.Nothing(t, "GP-10")
	w.plain.Nothing(t, "GP-10")
	w.inside(t).send(t, get("/"+strings.Repeat("a", 7<<10), w.api.Addr, "")).status(t, "a long target", http.StatusOK)
}
