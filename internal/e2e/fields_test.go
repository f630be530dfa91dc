package e2e

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
)

// Which fields of a request reach the upstream.
func TestRequestFields(t *testing.T) {
	w := newWorld(t, open)
	cases := []struct {
		row, lines string
		gone       []string
		kept       map[string]string
	}{
		{row: "GP-11", lines: "Connection: X-Private, keep-alive\r\nX-Private: 1\r\nX-Public: 2\r\n", gone: []string{"X-Private", "Connection"}, kept: map[string]string{"X-Public": "2"}},
		{row: "GP-11", lines: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", gone: []string{"Upgrade", "Http2-Settings"}},
		{row: "GP-11", lines: "Keep-Alive: timeout=5\r\nTE: gzip\r\nProxy-Connection: keep-alive\r\n", gone: []string{"Keep-Alive", "Te", "Proxy-Connection"}},
		{row: "SM-08", lines: "Authorization: Bearer mine\r\nAuthorization: Bearer more\r\n"},
		{row: "SM-08", lines: "aUTHORIZATION: Bearer mine\r\n"},
		{row: "SM-08", lines: "Connection: Authorization\r\nAuthorization: Bearer mine\r\n"},
		{row: "SM-08", lines: "Proxy-Authorization: Basic eDp5\r\n", gone: []string{"Proxy-Authorization"}},
		{row: "the contract", lines: "Sallyport-Credential: default\r\nSallyport-Other: x\r\n", gone: []string{"Sallyport-Credential", "Sallyport-Other"}},
		{row: "GP-23", lines: "Accept-Encoding: br\r\n", kept: map[string]string{"Accept-Encoding": "br"}},
		{row: "GP-23", gone: []string{"Accept-Encoding", "User-Agent"}},
	}
	for _, c := range cases {
		t.Run(c.row+" "+strings.ReplaceAll(c.lines, "\r\n", "; "), func(t *testing.T) {
			w.inside(t).send(t, get("/x", w.api.Addr, c.lines)).status(t, c.row, http.StatusOK)
			h := w.api.One(t).Header
			if v := h.Values("Authorization"); len(v) != 1 || v[0] != "Bearer "+apiToken {
				t.Errorf("%s: the upstream got Authorization %q, want ours alone", c.row, v)
			}
			for _, name := range c.gone {
				if v := h.Values(name); len(v) > 0 {
					t.Errorf("%s: %s: %q reached the upstream", c.row, name, v)
				}
			}
			for name, want := range c.kept {
				if got := h.Get(name); got != want {
					t.Errorf("%s: the upstream got %s %q, want %q", c.row, name, got, want)
				}
			}
		})
	}
	t.Run("SM-08 every spelling of a header of its own", func(t *testing.T) {
		lines := w.auth(t) + "X_Api_Key: mine\r\nx-api_key: mine\r\nX-API-KEY: mine\r\n"
		w.raw(t).send(t, get("http://"+w.plain.Addr+"/x", w.plain.Addr, lines)).status(t, "SM-08", http.StatusOK)
		for name, v := range w.plain.One(t).Header {
			if strings.EqualFold(strings.ReplaceAll(name, "_", "-"), "X-Api-Key") && (len(v) != 1 || v[0] != plainKey) {
				t.Errorf("SM-08: the upstream got %s %q", name, v)
			}
		}
	})
}

// Trailers that name a credential, the routing or the framing do not pass.
func TestTrailers(t *testing.T) {
	w := newWorld(t, open)
	request := "POST /x HTTP/1.1\r\nHost: " + w.api.Addr + "\r\nTransfer-Encoding: chunked\r\n" +
		"Trailer: Authorization, X-Checksum\r\n\r\n3\r\nabc\r\n0\r\n" +
		"Authorization: Bearer mine\r\nHost: " + w.other.Addr + "\r\nX-Checksum: 1\r\nContent-Length: 7\r\n\r\n"
	w.inside(t).send(t, request).status(t, "GP-12", http.StatusOK, http.StatusBadRequest)
	for _, g := range w.api.Take() {
		for _, name := range []string{"Authorization", "Host", "Content-Length"} {
			if v := g.Trailer.Values(name); len(v) > 0 {
				t.Errorf("GP-12, SM-10: the trailer %s: %q reached the upstream", name, v)
			}
		}
		if v := g.Header.Values("Authorization"); len(v) != 1 || v[0] != "Bearer "+apiToken {
			t.Errorf("GP-12: Authorization %q", v)
		}
	}
	allowed := strings.NewReplacer("Authorization, ", "", "Authorization: Bearer mine\r\n", "", "Host: "+w.other.Addr+"\r\nX-", "X-", "Content-Length: 7\r\n", "").Replace(request)
	w.inside(t).send(t, allowed).status(t, "a trailer of the runner's own", http.StatusOK)
	if g := w.api.One(t); g.Trailer.Get("X-Checksum") != "1" || g.Body != 3 {
		t.Errorf("the trailer X-Checksum is %q behind %d bytes, want 1 behind 3", g.Trailer.Get("X-Checksum"), g.Body)
	}
}

// GP-23: what the upstream compressed stays compressed.
func TestCodings(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, "hello")
	_ = z.Close()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		_, _ = rw.Write(packed.Bytes())
	}))
	t.Cleanup(s.Close)
	w := newWorld(t, open)
	host := strings.TrimPrefix(s.URL, "http://")
	a := w.raw(t).send(t, get(s.URL+"/", host, w.auth(t)+"Accept-Encoding: gzip\r\n"))
	if a == nil || a.Body != packed.String() || a.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("GP-23: the answer was changed on its way: %+v", a)
	}
}

// Two credentials alternate on one tunnel and are never mixed.
func TestAlternate(t *testing.T) {
	w := newWorld(t, open)
	want := map[string]string{"default": apiToken}
	for _, name := range []string{"one", "two"} {
		want[name] = canary + "-" + name
		w.Put(t, "default/production/api/"+name, "bearer", map[string]string{"token": want[name]})
	}
	p := w.inside(t)
	for _, name := range []string{"one", "two", "one", "", "two", "default"} {
		lines := ""
		if name != "" {
			lines = "Sallyport-Credential: " + name + "\r\n"
		} else {
			name = "default"
		}
		p.send(t, get("/x", w.api.Addr, lines)).status(t, "GP-17", http.StatusOK)
		if got := w.api.One(t).Header.Get("Authorization"); got != "Bearer "+want[name] {
			t.Errorf("GP-17: %s: the upstream got another credential", name)
		}
	}
	p.send(t, get("/x", w.api.Addr, "Sallyport-Credential: three\r\n")).is(t, "a name that is not there", fault.CredentialNotFound)
	w.api.Nothing(t, "a name that is not there")
}
