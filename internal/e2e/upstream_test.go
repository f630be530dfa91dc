package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// got is one request as it reached an upstream.
type got struct {
	Method, Target, Host, Proto string
	Header, Trailer             http.Header
	Body                        int64
	Admitted                    bool
}

// upstream is an API that writes down what reaches it.
type upstream struct {
	Addr  string // localhost:PORT
	Port  string
	next  chan struct{}            // lets /events go on
	admit func(*http.Request) bool // who is answered 401 else; nil: everybody is admitted

	mu  sync.Mutex
	got []got
}

// newUpstream serves on a free port of 127.0.0.1, with TLS unless ca is nil. Its
// certificate is for localhost and 127.0.0.1.
func newUpstream(t *testing.T, ca *testserver.CA) *upstream {
	t.Helper()
	u := &upstream{next: make(chan struct{})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: u, ErrorLog: log.New(io.Discard, "", 0)}
	t.Cleanup(func() { _ = s.Close() })
	if ca == nil {
		go func() { _ = s.Serve(ln) }()
	} else {
		leaf, _ := ca.Leaf(t, "localhost", "127.0.0.1")
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{leaf}}
		go func() { _ = s.ServeTLS(ln, "", "") }()
	}
	_, u.Port, _ = net.SplitHostPort(ln.Addr().String())
	u.Addr = "localhost:" + u.Port
	return u
}

// ServeHTTP answers by path, and else tells the request as JSON.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	g := got{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Proto: r.Proto,
		Header: r.Header.Clone(), Trailer: r.Trailer.Clone(), Body: n, Admitted: u.admit == nil || u.admit(r),
	}
	u.mu.Lock()
	u.got = append(u.got, g)
	u.mu.Unlock()
	if !g.Admitted {
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.URL.Path {
	case "/events":
		u.events(w, r)
	case "/status":
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		w.WriteHeader(code)
	case "/slow":
		d, _ := time.ParseDuration(r.URL.Query().Get("for"))
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
		fmt.Fprintln(w, "slept")
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(g)
	}
}

// events sends a first event at once and a second one when the test has seen the first.
func (u *upstream) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "data: one\n\n")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-u.next:
		fmt.Fprint(w, "data: two\n\n")
	case <-r.Context().Done():
	}
}

// Take gives what has reached the upstream, and forgets it.
func (u *upstream) Take() []got {
	u.mu.Lock()
	defer u.mu.Unlock()
	g := u.got
	u.got = nil
	return g
}

// One gives the one request that has reached the upstream.
func (u *upstream) One(t *testing.T) got {
	t.Helper()
	g := u.Take()
	if len(g) != 1 {
		t.Fatalf("%d requests reached the upstream, want 1: %+v", len(g), g)
	}
	return g[0]
}

// Await waits until a request has reached the upstream.
func (u *upstream) Await(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if len(u.Take()) > 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("no request reached the upstream")
}

// Nothing checks that nothing has reached the upstream.
func (u *upstream) Nothing(t *testing.T, why string) {
	t.Helper()
	if g := u.Take(); len(g) != 0 {
		t.Errorf("%s: reached the upstream all the same: %+v", why, g)
	}
}
