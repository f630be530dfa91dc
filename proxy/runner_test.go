package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// GP-13: net/http's own refusals are problems with a Proxy-Status too, outside
// of tunnels, inside and inside plain ones.
func TestUnreadableRequests(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	plain := func() *wire {
		w := r.dial()
		w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", a, auth64)
		w.answer("CONNECT")
		return w
	}
	for name, open := range map[string]func() *wire{
		"outside": r.dial, "inside": func() *wire { return r.tunnel(a, "example.com") }, "plain inside": plain,
	} {
		for request, code := range map[string]fault.Code{
			"GET\r\n\r\n": fault.InvalidRequest,
			"GET / HTTP/1.1\r\nHost: " + a + "\r\nBad Field: x\r\n\r\n":            fault.InvalidRequest,
			"GET / HTTP/1.1\r\nHost: " + a + "\r\nContent-Length: +3\r\n\r\n":      fault.InvalidRequest,
			"POST / HTTP/1.1\r\nHost: " + a + "\r\nTransfer-Encoding: zip\r\n\r\n": fault.InvalidRequest,
			"GET / HTTP/1.1\r\n\r\n":                                                 fault.InvalidRequest,
			"GET / HTTP/9.9\r\nHost: x\r\n\r\n":                                      fault.InvalidRequest,
			"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 4*maxHeaderBytes) + "\r\n": fault.HeaderTooLarge,
		} {
			w := open()
			w.send("%s", request)
			got := w.answer("GET")
			wantFault(t, fmt.Sprintf("GP-13 %s %.40q", name, request), got, code)
			if got.problem.RequestID == "" || !got.Close {
				t.Errorf("GP-13 %s %.40q: %v", name, request, got.Header)
			}
		}
	}
	if len(r.upstream.seen()) != 0 {
		t.Error("GP-13: a request left")
	}
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "outcome=header_too_large") })
}

// An upstream's own answer is never taken for net/http's.
func TestOwnWords(t *testing.T) {
	for text, want := range map[string]bool{
		"HTTP/1.1 400 Bad Request" + plainHeader + "400 Bad Request":                                               true,
		"HTTP/1.1 400 Bad Request: malformed Host header" + plainHeader + "400 Bad Request: malformed Host header": true,
		"HTTP/1.1 501 Not Implemented" + plainHeader + "Unsupported transfer encoding":                             true,
		"HTTP/1.1 400 Bad Request" + plainHeader:                                                                   false,
		"HTTP/1.1 400 Bad Request" + plainHeader + "other":                                                         false,
		"HTTP/1.1 400 Bad Request\r\nX: y" + plainHeader + "400 Bad Request":                                       false,
		"HTTP/1.1 200 OK" + plainHeader + "200 OK":                                                                 false,
		"HTTP/1.1 4": false,
		"":           false,
	} {
		if got := ownWords([]byte(text)) != nil; got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// RE-11: connections beyond the limit are told so; the others go on, and a slot
// that is free again is given out again.
func TestMaxConnections(t *testing.T) {
	r := newRig(t, echo, func(r *rig) { r.maxConnections = 3 })
	a := r.upstream.authority
	w := r.tunnel(a, "example.com")
	for range 2 {
		r.dial()
	}
	waitFor(t, func() bool { return r.srv.over() == 0 })
	for _, request := range []string{"GET http://" + a + "/", "CONNECT " + a, "GET /gateway/api/x"} {
		beyond := r.dial()
		beyond.send("%s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", request, auth64)
		got := beyond.answer("GET")
		wantFault(t, "RE-11", got, fault.Overloaded)
		if !got.Close || !beyond.closed() {
			t.Error("RE-11: the connection beyond the limit stays open")
		}
		_ = beyond.Close()
	}
	for range 2 {
		w.send("GET /in HTTP/1.1\r\nHost: %s\r\n\r\n", a)
		if got := w.answer("GET"); got.StatusCode != 200 {
			t.Errorf("RE-11: a request of an earlier tunnel: %d %s", got.StatusCode, got.body)
		}
	}
	_ = w.Close()
	waitFor(t, func() bool { return r.srv.over() < 0 })
	if got := r.get(r.client(false), r.url("/")); got.StatusCode != 200 {
		t.Errorf("RE-11: afterwards: %d", got.StatusCode)
	}
}

// A runner that does not trust the CA is told of in the log.
func TestUntrustedCAIsLogged(t *testing.T) {
	r := newRig(t, echo)
	w := r.dial()
	w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", r.upstream.authority, auth64)
	w.answer("CONNECT")
	if err := tls.Client(w.Conn, &tls.Config{ServerName: "example.com"}).Handshake(); err == nil {
		t.Fatal("the CA is trusted")
	}
	waitFor(t, func() bool {
		return strings.Contains(r.log.String(), "does it trust the CA") && strings.Contains(r.log.String(), "level=WARN")
	})
}

// A runner that closes its side of the connection after its request is not told
// that all went well.
func TestHalfClosedRunner(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(30 * time.Second):
		}
	})
	w := r.dial()
	w.send("GET http://%s/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", r.upstream.authority, auth64)
	if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(w.r)
	if strings.HasPrefix(string(b), "HTTP/1.1 200") {
		t.Errorf("answered %q", b)
	}
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "outcome=canceled") })
}
