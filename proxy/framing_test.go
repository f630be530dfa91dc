package proxy

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// framed is a request in which {to} stands for the target that leads to the
// rig's upstream, and {host} for the fields that go with it.
type framed string

// entrances open a connection to the proxy in each way that a request may come,
// and say what {to} and {host} are there.
func (r *rig) entrances() map[string]func(framed) (*wire, string) {
	a := r.upstream.authority
	host := "Host: " + a + "\r\n"
	fill := func(to, host string, f framed) string {
		return strings.NewReplacer("{to}", to, "{host}", host).Replace(string(f))
	}
	return map[string]func(framed) (*wire, string){
		"outside": func(f framed) (*wire, string) {
			return r.dial(), fill("http://"+a, host+"Proxy-Authorization: Basic "+auth64+"\r\n", f)
		},
		"inside": func(f framed) (*wire, string) { return r.tunnel(a, "example.com"), fill("", host, f) },
		"plain inside": func(f framed) (*wire, string) {
			w := r.dial()
			w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", a, auth64)
			w.answer("CONNECT")
			return w, fill("", host, f)
		},
	}
}

// A request whose end or fields two servers may read differently is refused, and
// ends its connection: what follows it is no request.
func TestFramingIsRefused(t *testing.T) {
	r := newRig(t, echo)
	const smuggled = "GET {to}/smuggled HTTP/1.1\r\n{host}\r\n"
	post := func(fields, body string) framed {
		return framed("POST {to}/ HTTP/1.1\r\n{host}" + fields + "\r\n" + body + smuggled)
	}
	get := func(line, fields string) framed { return framed(line + "\r\n{host}" + fields + "\r\n" + smuggled) }
	for id, f := range map[string]framed{
		"SM-02 xchunked":           post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
		"SM-02 identity, chunked":  post("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
		"SM-02 chunked, identity":  post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
		"SM-02 chunked twice":      post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
		"SM-02 two fields":         post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
		"SM-02 vertical tab":       post("Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n"),
		"SM-02 space before colon": post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
		"SM-02 tab before colon":   post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"),
		"SM-02 empty":              post("Transfer-Encoding:\r\n", "0\r\n\r\n"),
		"SM-02 quoted":             post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
		"SM-03 plus":               post("Content-Length: +3\r\n", "abc"),
		"SM-03 minus":              post("Content-Length: -3\r\n", "abc"),
		"SM-03 list":               post("Content-Length: 3,3\r\n", "abc"),
		"SM-03 hexadecimal":        post("Content-Length: 0x3\r\n", "abc"),
		"SM-03 empty":              post("Content-Length:\r\n", "abc"),
		"SM-03 two that differ":    post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"),
		"SM-03 overflow":           post("Content-Length: 18446744073709551619\r\n", "abc"),
		"SM-03 space inside":       post("Content-Length: 3 4\r\n", "abc"),
		"SM-04 bare CR":            get("GET {to}/ HTTP/1.1", "X: a\rY: b\r\n"),
		"SM-04 bare CR in a name":  get("GET {to}/ HTTP/1.1", "X\rY: b\r\n"),
		"SM-04 NUL":                get("GET {to}/ HTTP/1.1", "X: a\x00b\r\n"),
		"SM-04 NUL in a name":      get("GET {to}/ HTTP/1.1", "X\x00: b\r\n"),
		"SM-04 no colon":           get("GET {to}/ HTTP/1.1", "X\r\n"),
		"SM-04 empty name":         get("GET {to}/ HTTP/1.1", ": x\r\n"),
		"SM-04 leading space":      "GET {to}/ HTTP/1.1\r\n X: y\r\n{host}\r\n" + smuggled,
		"SM-06 HTTP/1.2":           get("GET {to}/ HTTP/1.2", ""),
		"SM-06 HTTP/2.0":           get("GET {to}/ HTTP/2.0", ""),
		"SM-06 HTTP/3.0":           get("GET {to}/ HTTP/3.0", ""),
		"SM-06 HTTP/0.9":           "GET {to}/\r\n",
		"SM-06 lower case":         get("GET {to}/ http/1.1", ""),
		"SM-06 no digits":          get("GET {to}/ HTTP/1", ""),
		"SM-06 leading zero":       get("GET {to}/ HTTP/01.1", ""),
		"SM-06 HTTP/1.0 chunked":   "POST {to}/ HTTP/1.0\r\n{host}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + smuggled,
		"HM-19 two Hosts":          get("GET {to}/ HTTP/1.1", "Host: evil.test\r\n"),
	} {
		for name, open := range r.entrances() {
			w, request := open(f)
			w.send("%s", request)
			id := id + " " + name
			got := w.answer("POST")
			wantFault(t, id, got, fault.InvalidRequest)
			if !got.Close || !w.closed() {
				t.Errorf("%s: the connection stays open", id)
			}
		}
	}
	for _, up := range r.upstream.seen() {
		t.Errorf("SM-02: %s %s reached the upstream", up.Method, up.URL)
	}
}

// What is read although others might read it otherwise goes out in one plain
// form, and what follows it is a request of its own.
func TestFramingIsMadePlain(t *testing.T) {
	var tape safeBuffer
	up := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	up.Listener = &taped{up.Listener, &tape}
	up.Start()
	defer up.Close()
	r := newRig(t, echo, func(r *rig) {
		r.upstream.authority = up.Listener.Addr().String()
		r.store.Add("old/main", "api_key", "api_key", canary)
		r.providers(&provider.Provider{
			Name: "old", Hosts: []string{r.upstream.authority}, BaseURL: up.URL, Type: "api_key", Configured: true, AllowCleartext: true, Fingerprint: "1",
		})
	})
	const (
		chunked = "5\r\nhello\r\n0\r\n\r\n"
		coded   = "Transfer-Encoding: chunked\r\nAuthorization: Bearer " + canary + "\r\n\r\n" + chunked
		length  = "Content-Length: 5\r\nAuthorization: Bearer " + canary + "\r\n"
	)
	host := "Host: " + r.upstream.authority + "\r\n"
	for id, c := range map[string]struct{ sent, out string }{ // fields and body
		"SM-01 CL.TE":           {"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, coded},
		"SM-01 TE.CL":           {"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunked, coded},
		"SM-01 CL over all":     {"Content-Length: 300\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, coded},
		"SM-02 tab after colon": {"Transfer-Encoding:\tchunked\r\n\r\n" + chunked, coded},
		"SM-02 folded":          {"Transfer-Encoding:\r\n chunked\r\n\r\n" + chunked, coded},
		"SM-03 the same twice":  {"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", length + "\r\nhello"},
		"SM-04 bare LF":         {"X-A: a\nContent-Length: 5\n\nhello", length + "X-A: a\r\n\r\nhello"},
		"SM-04 folded":          {"X-A: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", length + "X-A: a b\r\n\r\nhello"},
	} {
		for name, open := range r.entrances() {
			if name == "inside" {
				continue // there it goes out over TLS
			}
			id := id + " " + name
			tape.reset()
			w, request := open(framed("POST {to}/first HTTP/1.1\r\n{host}" + c.sent + "GET {to}/next HTTP/1.1\r\n{host}\r\n"))
			w.send("%s", request)
			for _, want := range []string{"POST /first 5", "GET /next 0"} {
				if got := w.answer("POST"); got.StatusCode != 200 || got.body != want {
					t.Errorf("%s: %d %s, want %s", id, got.StatusCode, got.body, want)
				}
			}
			want := "POST /first HTTP/1.1\r\n" + host + c.out + "GET /next HTTP/1.1\r\n" + host + "Authorization: Bearer " + canary + "\r\n\r\n"
			if got := tape.String(); got != want {
				t.Errorf("%s: sent\n%q, want\n%q", id, got, want)
			}
		}
	}
}

// SM-07: what follows an upgrade before its answer is a request of its own, or
// goes nowhere: never behind the upgrade as it stands.
func TestRequestBehindAnUpgrade(t *testing.T) {
	behind := make(chan string, 4)
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			echo(w, r)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		answers := []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}
		if r.URL.Path == "/switch" {
			answers = []string{"", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + r.Header.Get("Upgrade") + "\r\n\r\n"}
		}
		for _, answer := range answers {
			_, _ = io.WriteString(c, answer)
			_ = c.SetReadDeadline(time.Now().Add(40 * time.Millisecond))
			b, _ := io.ReadAll(rw)
			behind <- string(b)
		}
	}, func(r *rig) {
		r.config.Callers[0].Allow = []Allow{{Methods: []string{"GET"}, Paths: []string{"/switch", "/stay", "/next"}}}
	})
	const next = "GET {to}/next HTTP/1.1\r\n{host}\r\nDELETE {to}/next HTTP/1.1\r\n{host}\r\n"
	for _, protocol := range []string{"foo", "websocket"} {
		for name, open := range r.entrances() {
			id := "SM-07 " + protocol + " " + name
			upgrade := " HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\n"
			w, requests := open(framed("GET {to}/stay" + upgrade + next))
			w.send("%s", requests)
			if got := w.answer("GET"); got.body != "ok" {
				t.Errorf("%s: %d %s", id, got.StatusCode, got.body)
			}
			if got := w.answer("GET"); got.body != "GET /next 0" {
				t.Errorf("%s: the next request: %d %s", id, got.StatusCode, got.body)
			}
			wantFault(t, id, w.answer("DELETE"), fault.NotAllowed)
			if b := within(t, behind, id); b != "" {
				t.Errorf("%s: the upstream got %q behind the upgrade", id, b)
			}
			w, requests = open(framed("GET {to}/switch" + upgrade + next))
			w.send("%s", requests)
			if got, err := http.ReadResponse(w.r, nil); err != nil || got.StatusCode != http.StatusSwitchingProtocols {
				t.Errorf("%s: %v, %v", id, got, err)
			}
			for _, when := range []string{"before", "behind"} {
				if b := within(t, behind, id); b != "" {
					t.Errorf("%s: the upstream got %q %s its 101", id, b, when)
				}
			}
		}
	}
	for _, up := range r.upstream.seen() {
		if up.Method != http.MethodGet || up.Header.Get("Authorization") != "Bearer "+canary {
			t.Errorf("SM-07: the upstream saw %s %s with %v", up.Method, up.URL, up.Header)
		}
	}
}

// taped keeps what comes in over its connections.
type taped struct {
	net.Listener
	tape *safeBuffer
}

// Accept implements net.Listener.
func (l *taped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tapedConn{c, io.TeeReader(c, l.tape)}, nil
}

type tapedConn struct {
	net.Conn
	r io.Reader
}

// Read implements net.Conn.
func (c *tapedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
