package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// script is a server that answers the n-th request of each connection by hand.
type script struct {
	net.Listener
	conns atomic.Int64
}

// newScript serves each connection with serve, which gets the connection's
// number and is called for each request; false closes the connection.
func newScript(t *testing.T, serve func(conn int64, n int, w net.Conn, r *http.Request) bool) *script {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{Listener: ln}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			id := s.conns.Add(1)
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				b := bufio.NewReader(c)
				for n := 1; ; n++ {
					r, err := http.ReadRequest(b)
					if err != nil || !serve(id, n, c, r) {
						return
					}
				}
			})
		}
	})
	return s
}

func testDirect(t *testing.T) *direct {
	d := newDirect(&domainSettings{timeout: 30 * time.Second})
	d.dial = (&net.Dialer{}).DialContext
	t.Cleanup(func() { d.close(time.Now().Add(time.Hour)) })
	return d
}

func directGet(ctx context.Context, d *direct, method, url string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, "", err
	}
	if !d.suits(req) {
		return nil, "", errors.New("does not suit")
	}
	resp, err := d.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestDirectAnswers(t *testing.T) {
	for _, c := range []struct {
		name, method, answer, body string
		status                     int
		reused                     bool
	}{
		{"length", "GET", okAnswer, "ok", 200, true},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", 200, true},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", 200, true},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "", 204, true},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "", 304, true},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "", 200, true},
		{"until the end", "GET", "HTTP/1.0 200 OK\r\n\r\nok", "ok", 200, false},
		{"close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "ok", 200, false},
		{"more than announced", "GET", okAnswer + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "ok", 200, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := testDirect(t)
			s := newScript(t, func(_ int64, _ int, w net.Conn, _ *http.Request) bool {
				_, _ = io.WriteString(w, c.answer)
				return c.reused
			})
			for range 3 {
				resp, body, err := directGet(t.Context(), d, c.method, "http://"+s.Addr().String()+"/x?y=1")
				if err != nil || resp.StatusCode != c.status || body != c.body {
					t.Fatalf("%v, %q, %v", resp, body, err)
				}
			}
			if want := map[bool]int64{true: 1, false: 3}[c.reused]; s.conns.Load() != want {
				t.Errorf("%d connections, want %d", s.conns.Load(), want)
			}
		})
	}
}

func TestDirectFaults(t *testing.T) {
	for _, c := range []struct{ name, answer, want string }{
		{"malformed", "SSH-2.0-x\r\n\r\n", "malformed"},
		{"RE-06 endless header", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxResponseHeader+1), "longer than"},
		{"SM-15 unasked 101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "switches protocols"},
		{"RE-06 endless 1xx", strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("x", 1000)+"\r\n\r\n", 300), "longer than"},
		{"cut header", "HTTP/1.1 200 OK\r\nContent-Le", "malformed"},
		{"cut body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "EOF"},
		{"cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", "EOF"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "Content-Length"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := testDirect(t)
			s := newScript(t, func(_ int64, _ int, w net.Conn, _ *http.Request) bool {
				_, _ = io.WriteString(w, c.answer)
				return false
			})
			_, _, err := directGet(t.Context(), d, "GET", "http://"+s.Addr().String()+"/")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if s.conns.Load() != 1 || len(d.idle[s.Addr().String()]) != 0 {
				t.Errorf("%d connections, %d pooled", s.conns.Load(), len(d.idle[s.Addr().String()]))
			}
		})
	}
}

// A pooled connection that has died, or on which something came unasked, is not
// used for the next request.
func TestDirectLeavesBadConnections(t *testing.T) {
	for name, after := range map[string]string{"closed": "", "SM-15 unasked answer": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"} {
		t.Run(name, func(t *testing.T) {
			d, came := testDirect(t), make(chan bool, 3)
			s := newScript(t, func(_ int64, _ int, w net.Conn, _ *http.Request) bool {
				_, _ = io.WriteString(w, okAnswer)
				time.Sleep(30 * time.Millisecond) // so that it comes apart from the answer
				if after == "" {
					_ = w.Close()
				}
				_, _ = io.WriteString(w, after)
				came <- true
				return after != ""
			})
			for range 3 {
				if _, body, err := directGet(t.Context(), d, "GET", "http://"+s.Addr().String()+"/"); err != nil || body != "ok" {
					t.Fatalf("%q, %v", body, err)
				}
				within(t, came, "what comes after the answer")
				time.Sleep(20 * time.Millisecond)
			}
			if s.conns.Load() != 3 {
				t.Errorf("%d connections, want 3", s.conns.Load())
			}
		})
	}
}

// A pooled connection that dies under the request is replaced, a new one is not.
func TestDirectTriesADeadConnectionAnew(t *testing.T) {
	d := testDirect(t)
	s := newScript(t, func(conn int64, n int, w net.Conn, _ *http.Request) bool {
		if n == 2 && conn == 1 {
			return false
		}
		_, _ = io.WriteString(w, okAnswer)
		return true
	})
	for range 2 {
		if _, body, err := directGet(t.Context(), d, "GET", "http://"+s.Addr().String()+"/"); err != nil || body != "ok" {
			t.Fatalf("%q, %v", body, err)
		}
	}
	if s.conns.Load() != 2 {
		t.Errorf("%d connections, want 2", s.conns.Load())
	}
}

func TestDirectEnds(t *testing.T) {
	d := testDirect(t)
	d.timeout = 4 * time.Second
	s := newScript(t, func(_ int64, _ int, w net.Conn, r *http.Request) bool {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
		}
		_, _ = io.Copy(io.Discard, w) // until the other end closes
		return false
	})
	url := "http://" + s.Addr().String()
	for _, path := range []string{"/header", "/body"} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("the runner left"))
		start := time.Now()
		_, _, err := directGet(ctx, d, "GET", url+path)
		cancel()
		if err == nil || time.Since(start) > 3*time.Second {
			t.Errorf("%s: %v after %v", path, err, time.Since(start))
		}
	}
	if _, _, err := directGet(t.Context(), d, "GET", url+"/header"); !timedOut(err) {
		t.Errorf("no header: %v, want a time-out", err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/body", nil)
	resp, err := d.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := len(d.idle[s.Addr().String()]); n != 0 {
		t.Errorf("%d connections are pooled with an answer half read", n)
	}
}

func TestDirectPassesEarlyHints(t *testing.T) {
	d := testDirect(t)
	s := newScript(t, func(_ int64, _ int, w net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(w, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+okAnswer)
		return true
	})
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, h.Get("Link")))
		return nil
	}})
	if _, body, err := directGet(ctx, d, "GET", "http://"+s.Addr().String()+"/"); err != nil || body != "ok" || len(hints) != 1 || hints[0] != "103</a>" {
		t.Errorf("%q, %v, %v", body, err, hints)
	}
}

func TestDirectSuits(t *testing.T) {
	for _, c := range []struct {
		method, url, field string
		body               io.Reader
		want               bool
	}{
		{"GET", "http://x/", "", nil, true}, {"HEAD", "http://x/", "", nil, true},
		{"GET", "https://x/", "", nil, false}, {"POST", "http://x/", "", nil, false}, {"DELETE", "http://x/", "", nil, false},
		{"GET", "http://x/", "", strings.NewReader("b"), false}, {"GET", "http://x/", "Upgrade", nil, false}, {"GET", "http://x/", "Expect", nil, false},
	} {
		req, _ := http.NewRequest(c.method, c.url, c.body)
		if c.field != "" {
			req.Header.Set(c.field, "x")
		}
		if got := (&direct{}).suits(req); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestDirectPoolIsBounded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond)
		_, _ = io.WriteString(w, "ok")
	}))
	defer srv.Close()
	d := testDirect(t)
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			if _, body, err := directGet(t.Context(), d, "GET", srv.URL); err != nil || body != "ok" {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
	wg.Wait()
	d.mu.Lock()
	n := len(d.idle[srv.Listener.Addr().String()])
	d.mu.Unlock()
	if n == 0 || n > maxIdlePerHost {
		t.Errorf("%d connections are pooled", n)
	}
	d.close(time.Now().Add(time.Hour))
	if len(d.idle) != 0 {
		t.Errorf("%d addresses are left after all were closed", len(d.idle))
	}
}

// A request of several writes has a time limit, which does not outlast it.
func TestDirectLongRequests(t *testing.T) {
	s := newScript(t, func(_ int64, _ int, w net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(w, okAnswer)
		return true
	})
	d := testDirect(t)
	d.timeout = time.Second
	for i := range 3 {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String()+"/", nil)
		if i != 1 {
			req.Header.Set("X-Long", strings.Repeat("x", 40<<10))
		}
		resp, err := d.RoundTrip(req)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		time.Sleep(1200 * time.Millisecond)
	}
	if s.conns.Load() != 1 {
		t.Errorf("%d connections, want 1", s.conns.Load())
	}
}
