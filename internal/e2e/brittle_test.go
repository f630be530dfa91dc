package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// brittle is an API over plain HTTP that breaks off as its paths say.
type brittle struct {
	Addr string // localhost:PORT
	mu   sync.Mutex
	seen map[string]int // METHOD PATH
}

func newBrittle(t *testing.T) *brittle {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	u := &brittle{Addr: "localhost:" + port, seen: map[string]int{}}
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			go u.serve(c)
		}
	}()
	return u
}

func (u *brittle) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	for r := bufio.NewReader(c); ; {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		u.mu.Lock()
		u.seen[req.Method+" "+req.URL.Path]++
		u.mu.Unlock()
		if !behaviours[req.URL.Path](c) {
			return
		}
	}
}

func (u *brittle) count(request string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen[request]
}

const head = "HTTP/1.1 200 OK\r\n"

// behaviours are what brittle does on each path; they report whether the connection goes on.
var behaviours = map[string]func(c net.Conn) bool{
	"/good": func(c net.Conn) bool {
		_, err := io.WriteString(c, head+"Content-Length: 2\r\n\r\nok")
		return err == nil
	},
	"/unavailable": func(c net.Conn) bool {
		_, err := io.WriteString(c, "HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")
		return err == nil
	},
	"/reset":      reset,
	"/cut-length": func(c net.Conn) bool { _, _ = io.WriteString(c, head+"Content-Length: 100\r\n\r\npart"); return cut(c) },
	"/cut-chunks": func(c net.Conn) bool {
		_, _ = io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
		return cut(c)
	},
	"/slow-header": func(c net.Conn) bool { drip(c, strings.Repeat("X: y\r\n", 100)); return false },
	"/slow-body": func(c net.Conn) bool {
		drip(c, head+"Content-Length: 30\r\n\r\n"+strings.Repeat("x", 30))
		return false
	},
	"/silent": func(c net.Conn) bool { _, _ = c.Read(make([]byte, 1)); return false },
}

// reset closes a connection by RST.
func reset(c net.Conn) bool {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	return false
}

// cut is reset once what was sent has arrived.
func cut(c net.Conn) bool {
	time.Sleep(100 * time.Millisecond)
	return reset(c)
}

// drip sends the status line at once and the rest a byte at a time.
func drip(c net.Conn, text string) {
	if !strings.HasPrefix(text, head) {
		text = head + text
	}
	_, err := io.WriteString(c, head)
	for i := len(head); i < len(text) && err == nil; i++ {
		time.Sleep(20 * time.Millisecond)
		_, err = io.WriteString(c, text[i:i+1])
	}
}

// blackHole is a loopback address where connections are neither taken nor refused:
// the listener's queue is full.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("%T", name)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", in.Port)
	for range 10 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue never fills")
	return ""
}

// newBrittleWorld runs a daemon whose provider brittle lies at those addresses, with a
// time-out of a second to an answer's header.
func newBrittleWorld(t *testing.T, wrap []string, env []string, hosts ...string) *world {
	t.Helper()
	w := prepareWorld(t)
	w.Daemon = testserver.Prepare(t, w.frame(open+`upstream_timeout = "1s"
[retry]
base = "10ms"
budget = 1
[[provider]]
name = "brittle"
hosts = ["`+strings.Join(hosts, `", "`)+`"]
base_url = "http://`+hosts[0]+`"
type = "bearer"
allow_cleartext = true
`), env...)
	w.Wrap = wrap
	w.Serve(t)
	w.Put(t, "default/production/brittle/default", "bearer", map[string]string{"token": canary})
	return w
}

// post is a request with a body.
func post(target, host, lines string) string {
	return "POST " + target + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 4\r\n" + lines + "\r\nbody"
}

// FM-09, FM-10: what an upstream does not do is told with its cause and in time;
// it is tried again only where that is harmless; an answer that was cut never
// looks whole; one that comes slowly passes.
func TestUpstreamTrouble(t *testing.T) {
	t.Parallel()
	u, hole, dead := newBrittle(t), blackHole(t), testserver.FreeAddr(t)
	fresh := newBrittle(t) // no connection to it is kept, over which it would be tried once more
	w := newBrittleWorld(t, nil, nil, u.Addr, fresh.Addr, hole, dead)
	auth := w.auth(t)
	for range 10 { // second tries are a share of the requests
		w.raw(t).send(t, post("http://"+u.Addr+"/good", u.Addr, auth)).status(t, "FM-09", http.StatusOK)
	}
	for _, c := range []struct {
		row, host, path string
		code            fault.Code
		gets, posts     int
		least, most     time.Duration
	}{
		{"FM-09", fresh.Addr, "/reset", fault.ConnectionReset, 3, 1, 0, patience},
		{"FM-09", dead, "/dead", fault.ConnectionRefused, 0, 0, 0, patience},
		{"FM-09", hole, "/hole", fault.Timeout, 0, 0, 4 * time.Second, 20 * time.Second},
		{"FM-09", u.Addr, "/silent", fault.Timeout, 1, 1, 900 * time.Millisecond, 20 * time.Second},
		{"FM-10", u.Addr, "/slow-header", fault.Timeout, 1, 1, 900 * time.Millisecond, 20 * time.Second},
	} {
		for method, request := range map[string]string{
			"GET":  get("http://"+c.host+c.path, c.host, auth),
			"POST": post("http://"+c.host+c.path, c.host, auth),
		} {
			t.Run(c.row+" "+method+" "+c.path, func(t *testing.T) {
				t.Parallel()
				start := time.Now()
				w.raw(t).send(t, request).is(t, c.row, c.code)
				if took := time.Since(start); took < c.least || took > c.most {
					t.Errorf("%s: it took %v, want %v to %v", c.row, took, c.least, c.most)
				}
				want := c.gets
				if method == "POST" {
					want = c.posts
				}
				if n := u.count(method+" "+c.path) + fresh.count(method+" "+c.path); n != want {
					t.Errorf("%s: it was sent %d times, want %d", c.row, n, want)
				}
			})
		}
	}
	for path, want := range map[string]string{"/cut-length": "part", "/cut-chunks": "part", "/slow-body": strings.Repeat("x", 30)} {
		t.Run("FM-09 FM-10 "+path, func(t *testing.T) {
			t.Parallel()
			p := w.raw(t)
			_, _ = io.WriteString(p, get("http://"+u.Addr+path, u.Addr, auth))
			resp, err := http.ReadResponse(p.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if whole := path == "/slow-body"; string(body) != want || whole != (err == nil) {
				t.Errorf("FM-09, FM-10: %s: %q, %v", path, body, err)
			}
			if n := u.count("GET " + path); n != 1 {
				t.Errorf("FM-09: %s was sent %d times", path, n)
			}
		})
	}
	t.Run("FM-09 503", func(t *testing.T) {
		t.Parallel()
		w.raw(t).send(t, get("http://"+u.Addr+"/unavailable", u.Addr, auth)).status(t, "FM-09", http.StatusServiceUnavailable)
		w.raw(t).send(t, post("http://"+u.Addr+"/unavailable", u.Addr, auth)).status(t, "FM-09", http.StatusServiceUnavailable)
		if g, p := u.count("GET /unavailable"), u.count("POST /unavailable"); g != 3 || p != 1 {
			t.Errorf("FM-09: GET was sent %d times and POST %d, want 3 and 1", g, p)
		}
	})
}

// open files and goroutines of the daemon.
func (w *world) held(t *testing.T) (files, goroutines int) {
	t.Helper()
	number := func(name string) int {
		v, err := strconv.ParseFloat(w.metric(t, name), 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return int(v)
	}
	return number("process_open_fds"), number("go_goroutines")
}

// FM-26, FM-27: whatever runners and upstreams do to each other, the daemon keeps
// nothing of it ten seconds later, and serves all the while.
func TestNothingIsKeptOfMisbehaviour(t *testing.T) {
	t.Parallel()
	u := newBrittle(t)
	w := newBrittleWorld(t, nil, nil, u.Addr)
	auth := w.auth(t)
	good := get("http://"+u.Addr+"/good", u.Addr, auth)
	linger := func(p *peer) {
		if tcp, ok := p.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = p.Close()
	}
	half := func(p *peer) {
		if tcp, ok := p.Conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}
	ask := func(request string) { p := w.raw(t); p.send(t, request); _ = p.Close() }
	misbehave := map[string]func(){
		"closes without reading": func() { p := w.raw(t); _, _ = io.WriteString(p, good); _ = p.Close() },
		"resets after a request": func() { p := w.raw(t); _, _ = io.WriteString(p, good); linger(p) },
		"resets in a request":    func() { p := w.raw(t); _, _ = io.WriteString(p, good[:30]); linger(p) },
		"resets in a body": func() {
			p := w.raw(t)
			_, _ = io.WriteString(p, post("http://"+u.Addr+"/good", u.Addr, auth)[:150])
			linger(p)
		},
		"resets a tunnel":       func() { linger(w.connect(t, w.api.Addr)) },
		"resets a raw tunnel":   func() { linger(w.connect(t, w.other.Addr)) },
		"half-closes a tunnel":  func() { half(w.connect(t, w.other.Addr)) },
		"half-closes and reads": func() { p := w.raw(t); _, _ = io.WriteString(p, good); half(p); _, _ = io.Copy(io.Discard, p.r) },
		"breaks off a handshake": func() {
			p := w.connect(t, w.api.Addr)
			_, _ = io.WriteString(p, "\x16\x03\x01\x02\x00\x01")
			_ = p.Close()
		},
		"an upstream that resets": func() { ask(get("http://"+u.Addr+"/reset", u.Addr, auth)) },
		"an upstream that cuts":   func() { ask(get("http://"+u.Addr+"/cut-chunks", u.Addr, auth)) },
		"nobody listens":          func() { ask(get("http://localhost:1/", "localhost:1", auth)) },
		"leaves a slow upstream": func() {
			p := w.raw(t)
			_, _ = io.WriteString(p, get("http://"+u.Addr+"/silent", u.Addr, auth))
			_ = p.Close()
		},
	}
	pipelined := func() {
		p := w.raw(t)
		_, _ = io.WriteString(p, strings.Repeat(good, 100))
		for i := range 100 {
			if a := p.send(t, ""); a == nil || a.Body != "ok" {
				t.Errorf("FM-27: pipelined request %d: %+v", i, a)
				return
			}
		}
		_ = p.Close()
	}
	round := func(n int) {
		for range n {
			for _, f := range misbehave {
				f()
			}
		}
		pipelined()
	}
	round(2)
	w.raw(t).send(t, good).status(t, "FM-27", http.StatusOK)
	settle := func(what string, files, goroutines int) (int, int) {
		t.Helper()
		var f, g int
		for range 100 {
			if f, g = w.held(t); f <= files && g <= goroutines {
				return f, g
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("FM-26, FM-27: %s: %d files and %d goroutines, want %d and %d", what, f, g, files, goroutines)
		return f, g
	}
	files, goroutines := settle("at first", 60, 60)
	round(20)
	w.raw(t).send(t, good).status(t, "FM-27", http.StatusOK)
	settle("after 260 of them", files+10, goroutines+10)
	if v := w.metric(t, "sallyport_panics_total"); v != "0" {
		t.Errorf("FM-27: %s panics", v)
	}
}

// FM-25: whoever scrapes slowly, or never reads, holds up no request and no other
// scrape.
func TestSlowScrapes(t *testing.T) {
	t.Parallel()
	metrics := testserver.FreeAddr(t)
	w := newWorld(t, open+"[admin]\nmetrics_listen = \""+metrics+"\"\n")
	token := w.auth(t)
	for _, addr := range []string{metrics, w.Admin} {
		for i := range 60 {
			c, err := net.DialTimeout("tcp", addr, patience)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(1)
			}
			request := strings.Repeat(get("/metrics", addr, ""), 20) // more answers than any buffer takes
			_, _ = io.WriteString(c, request[:len(request)-20*(i%2)])
		}
	}
	var slowest time.Duration
	for range 50 {
		start := time.Now()
		w.raw(t).send(t, get("http://"+w.plain.Addr+"/x", w.plain.Addr, token)).status(t, "FM-25", http.StatusOK)
		slowest = max(slowest, time.Since(start))
	}
	start := time.Now()
	if v := w.metric(t, "sallyport_panics_total"); v != "0" {
		t.Errorf("FM-25: a scrape beside them shows %q panics", v)
	}
	if took := time.Since(start); slowest > 15*time.Second || took > 15*time.Second {
		t.Errorf("FM-25: a request took %v and a scrape %v beside 120 slow ones", slowest, took)
	}
}
