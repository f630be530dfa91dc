package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Inside a tunnel CONNECT, SNI and Host name one authority, or no call is made.
func TestTunnelIsBoundToItsAuthority(t *testing.T) {
	evil := newRecording(t, echo)
	r := newRig(t, echo, func(r *rig) {
		roots := rootsOf(evil)
		roots.AddCert(r.upstream.Certificate())
		r.config.Upstream = NewUpstream(UpstreamOptions{AllowNetworks: r.config.Upstream.options.AllowNetworks, Resolver: everywhere{}, Roots: roots})
	})
	a := r.upstream.authority
	good := "GET / HTTP/1.1\r\nHost: " + a + "\r\n\r\n"
	for _, c := range []struct {
		id, sni, request string
		code             fault.Code
	}{
		{"HM-02 GP-04 Host B", "example.com", "GET / HTTP/1.1\r\nHost: " + evil.authority + "\r\n\r\n", fault.Misdirected},
		{"HM-02 SNI B", "evil.test", good, fault.Misdirected},
		{"HM-02 SNI B Host B", "evil.test", "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", fault.Misdirected},
		{"HM-02 GP-05 absolute-form B", "example.com", "GET https://" + evil.authority + "/ HTTP/1.1\r\nHost: " + a + "\r\n\r\n", fault.Misdirected},
		{"GP-05 other scheme", "example.com", "GET http://" + a + "/ HTTP/1.1\r\nHost: " + a + "\r\n\r\n", fault.Misdirected},
		{"GP-06 userinfo", "example.com", "GET / HTTP/1.1\r\nHost: " + a + "@" + evil.authority + "\r\n\r\n", ""},
		{"GP-06 path", "example.com", "GET / HTTP/1.1\r\nHost: " + a + "/admin?x=\r\n\r\n", ""},
		{"GP-06 fragment", "example.com", "GET / HTTP/1.1\r\nHost: " + a + "#\r\n\r\n", ""},
		{"GP-07 inner CONNECT", "example.com", "CONNECT " + evil.authority + " HTTP/1.1\r\nHost: " + evil.authority + "\r\n\r\n", fault.MethodNotAllowed},
		{"GP-08 port left out", "example.com", "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", fault.Misdirected},
		{"GP-22 OPTIONS *", "example.com", "OPTIONS * HTTP/1.1\r\nHost: " + a + "\r\n\r\n", fault.InvalidRequest},
		{"PA-08 TRACE", "example.com", "TRACE / HTTP/1.1\r\nHost: " + a + "\r\n\r\n", fault.MethodNotAllowed},
		{"PA-08 trace", "example.com", "trace / HTTP/1.1\r\nHost: " + a + "\r\n\r\n", fault.MethodNotAllowed},
		{"PA-08 TRACK", "example.com", "TRACK / HTTP/1.1\r\nHost: " + a + "\r\n\r\n", fault.MethodNotAllowed},
		{"PA-08 PRI", "example.com", "PRI / HTTP/1.1\r\nHost: " + a + "\r\n\r\n", fault.MethodNotAllowed},
		{"PA-04 fragment", "example.com", "GET /a#b HTTP/1.1\r\nHost: " + a + "\r\n\r\n", fault.InvalidRequest},
	} {
		w := r.tunnel(a, c.sni)
		w.send("%s", c.request)
		got := w.answer("GET")
		if c.code == "" { // net/http's own answer
			if got.StatusCode != 400 {
				t.Errorf("%s: got %d", c.id, got.StatusCode)
			}
			continue
		}
		wantFault(t, c.id, got, c.code)
		if c.code == fault.Misdirected && !w.closed() {
			t.Errorf("%s: the connection stays open", c.id)
		}
	}
	if n := len(r.upstream.seen()) + len(evil.seen()); n != 0 {
		t.Errorf("HM-02: %d requests left", n)
	}

	w := r.tunnel(a, "") // HM-03: without SNI the Host alone must agree
	w.send("%s", good)
	if got := w.answer("GET"); got.StatusCode != 200 {
		t.Errorf("HM-03: %d %s", got.StatusCode, got.body)
	}
	w.send("GET / HTTP/1.1\r\nHost: %s\r\n\r\n", evil.authority)
	wantFault(t, "HM-04", w.answer("GET"), fault.Misdirected)
	if !w.closed() {
		t.Error("HM-04: the connection stays open")
	}
	w = r.tunnel(a, "example.com")
	w.send("GET /old HTTP/1.0\r\n\r\n")
	if got := w.answer("GET"); got.StatusCode != 200 || r.upstream.seen()[1].Host != a {
		t.Errorf("HM-20: HTTP/1.0 without Host: %d %s", got.StatusCode, got.body)
	}
	w = r.tunnel(a, "example.com")
	w.send("GET / HTTP/1.1\r\n\r\n")
	if got := w.answer("GET"); got.StatusCode != 400 {
		t.Errorf("HM-20: HTTP/1.1 without Host: %d", got.StatusCode)
	}
	if len(evil.seen()) != 0 {
		t.Error("HM-02: the other host was called")
	}
}

// GP-18: the same binding holds for every stream of an h2 connection.
func TestTunnelIsBoundOverHTTP2(t *testing.T) {
	r := newRig(t, echo)
	c := r.client(true)
	req, _ := http.NewRequest(http.MethodGet, r.url("/"), nil)
	req.Host = "evil.test"
	got := r.do(c, req)
	wantFault(t, "GP-18", got, fault.Misdirected)
	if got.ProtoMajor != 2 || len(r.upstream.seen()) != 0 {
		t.Errorf("GP-18: %s, %d requests left", got.Proto, len(r.upstream.seen()))
	}
}

func TestUserinfoIsRefused(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	for _, u := range []string{"http://A@" + a + "/", "http://evil.test\\@" + a + "/", "http://" + a + "@evil.test/", "http://a:b@" + a + "/", "ftp://" + a + "/", "http:///x"} {
		w := r.dial()
		w.send("GET %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", u, auth64)
		if got := w.answer("GET"); got.StatusCode != 400 {
			t.Errorf("HM-13: %s: %d %s", u, got.StatusCode, got.body)
		}
	}
	if len(r.upstream.seen()) != 0 {
		t.Error("HM-13: a request left")
	}
	if strings.Contains(r.log.String(), "a:b@") {
		t.Error("HM-13: userinfo is logged")
	}
}

// GP-03: a panic is one failed request, wherever it happens.
func TestPanicIsOneFailedRequest(t *testing.T) {
	r := newRig(t, echo)
	r.srv.reverse.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/boom" {
			panic("a bug with " + canary)
		}
		return r.srv.dispatch(req)
	})
	c := r.client(false)
	wantFault(t, "GP-03 inside a tunnel", r.get(c, r.url("/boom")), fault.Internal)
	wantFault(t, "GP-03 plain", r.get(c, "http://"+r.upstream.authority+"/boom"), fault.Internal)
	if got := r.get(c, r.url("/")); got.StatusCode != 200 {
		t.Errorf("GP-03: after the panics: %d", got.StatusCode)
	}
	families, _ := r.registry.Gather()
	if s := fmt.Sprint(families); !strings.Contains(s, `sallyport_panics_total`) || !strings.Contains(s, "counter:{value:2") {
		t.Errorf("GP-03: panics are not counted: %s", s)
	}
	r.noCanary("LK-09")
}

// GP-16 and GP-02: goproxy does nothing but hand connections over.
func TestGateAloneRefuses(t *testing.T) {
	g := newGate()
	if g.Tr != nil || g.ConnectDial != nil || g.ConnectDialWithReq != nil || g.Verbose { // GP-14, GP-15
		t.Error("GP-15: goproxy could dial by itself")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: g}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", ln.Addr())
	if b, _ := io.ReadAll(c); strings.Contains(string(b), "200") {
		t.Errorf("GP-16: a CONNECT that nobody let through was answered %q", b)
	}
}

// GP-09, RE-01, RE-02: a runner that says nothing, stops in the middle or says a
// byte now and then is not waited for: at the listener, in its tunnel and behind
// the handshake there.
func TestSilentRunnersEnd(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	connected := func() *wire {
		w := r.dial()
		w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", a, auth64)
		w.answer("CONNECT")
		return w
	}
	secured := func() *wire { return r.tunnel(a, "example.com") }
	h2 := func() *wire { return r.tunnelOf(a, "example.com", "h2") }
	const hello, header = "\x16\x03\x01\x02\x00\x01", "GET / HTTP/1.1\r\nHost"
	const limit = 13 * time.Second // ten, and what a slow machine takes
	var wg sync.WaitGroup
	for id, c := range map[string]struct {
		open       func() *wire
		part, slow string // said at once, and again and again after a while
	}{
		"RE-01 nothing":                      {r.dial, "", ""},
		"RE-01 half a header":                {r.dial, header, ""},
		"RE-01 slow header":                  {r.dial, header + ": x\r\n", "X: y\r\n"},
		"GP-09 RE-02 nothing":                {connected, "", ""},
		"GP-09 RE-02 half a ClientHello":     {connected, hello, ""},
		"RE-02 slow ClientHello":             {connected, hello, "\x00"},
		"GP-09 RE-02 half a header":          {connected, header, ""},
		"RE-02 slow header":                  {connected, header, "x"},
		"RE-02 nothing behind a handshake":   {secured, "", ""},
		"RE-02 half a header behind it":      {secured, header, ""},
		"RE-02 slow header behind it":        {secured, header, "x"},
		"RE-02 nothing behind it over HTTP2": {h2, "", ""},
		"RE-02 half a preface over HTTP2":    {h2, "PRI * HTTP/2.0\r\n", ""},
		"RE-02 no settings over HTTP2":       {h2, http2.ClientPreface, ""},
		"RE-02 slow second header":           {r.second, header, "x"},
		"RE-02 half a second header":         {r.second, header, ""},
	} {
		wg.Go(func() {
			w := c.open()
			_ = w.SetDeadline(time.Now().Add(limit + 2*time.Second))
			w.send("%s", c.part)
			start := time.Now()
			done := make(chan struct{})
			if c.slow != "" {
				wg.Go(func() { w.repeat(c.slow, done) })
			}
			_, err := io.Copy(io.Discard, w.r)
			close(done)
			if took := time.Since(start); took > limit || isTimeout(err) {
				t.Errorf("%s: still open after %v (%v)", id, took, err)
			}
		})
	}
	wg.Wait()
}

// second opens a connection over which a request has been answered.
func (r *rig) second() *wire {
	w := r.tunnel(r.upstream.authority, "example.com")
	w.send("GET / HTTP/1.1\r\nHost: %s\r\n\r\n", r.upstream.authority)
	w.answer("GET")
	return w
}

// repeat says words twice a second until done or nobody hears them.
func (w *wire) repeat(words string, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(500 * time.Millisecond):
		}
		if _, err := io.WriteString(w.Conn, words); err != nil {
			return
		}
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error) //nolint:errorlint // the connection's own error
	return ok && n.Timeout()
}

// GP-10: a header inside a tunnel is bounded.
func TestHeaderBounds(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	for _, c := range []struct{ id, header string }{
		{"GP-10 bytes", "X: " + strings.Repeat("x", maxHeaderBytes+1) + "\r\n"},
		{"GP-10 fields", strings.Repeat("X: y\r\n", maxHeaderFields+1)},
	} {
		w := r.tunnel(a, "example.com")
		w.send("GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n", a, c.header)
		wantFault(t, "RE-04 "+c.id, w.answer("GET"), fault.HeaderTooLarge)
		if !w.closed() {
			t.Errorf("RE-04 %s: the connection stays open", c.id)
		}
	}
	w := r.tunnel(a, "example.com")
	w.send("GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n", strings.Repeat("x", maxURI), a)
	wantFault(t, "RE-04", w.answer("GET"), fault.URITooLong)
	if !w.closed() {
		t.Error("RE-04: the connection stays open behind a long URL")
	}
	w = r.tunnel(a, "example.com")
	go func() {
		_, _ = io.Copy(w.Conn, io.MultiReader(strings.NewReader("GET / HTTP/1.1\r\nX: "), io.LimitReader(letters{}, 8<<20)))
	}()
	if b, _ := io.ReadAll(io.LimitReader(w.r, 1<<10)); !strings.HasPrefix(string(b), "HTTP/1.1 431") {
		t.Errorf("GP-10: an endless header was answered %.40q", b)
	}
	if len(r.upstream.seen()) != 0 {
		t.Error("GP-10: a request left")
	}
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// GP-11, GP-12, SM-08, SM-09, SM-10, SM-18: what the runner may not pass on.
func TestFieldsThatDoNotPass(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	w := r.tunnel(a, "example.com")
	w.send("POST / HTTP/1.1\r\nHost: %s\r\nConnection: Authorization, X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"+
		"AUTHORIZATION: Bearer mine\r\nauthorization_: x\r\nAuthoriZation: two\r\nProxy: http://evil\r\nProxy-Authorization: Basic x\r\nproxy_authorization: y\r\n"+
		"Sallyport_Credential: main\r\nsallyport-x: 1\r\nX-Forwarded-For: 1.2.3.4\r\nX-Mine: stays\r\n"+
		"Transfer-Encoding: chunked\r\nTrailer: Authorization, Host, X-Sum\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: Bearer evil\r\nX-Sum: 7\r\n\r\n", a)
	if got := w.answer("POST"); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	up := r.upstream.seen()[0]
	for _, name := range []string{"X-Hop", "Keep-Alive", "Upgrade", "Http2-Settings", "Proxy", "Proxy-Authorization", "Proxy_authorization", "Sallyport_credential", "Sallyport-X", "Connection"} {
		if v, ok := up.Header[name]; ok {
			t.Errorf("GP-11 SM-09 SM-18: the upstream saw %s: %q", name, v)
		}
	}
	if v := up.Header["Authorization"]; len(v) != 1 || v[0] != "Bearer "+canary {
		t.Errorf("SM-08: Authorization is %q", v)
	}
	if up.Header.Get("X-Mine") != "stays" || up.Header.Get("X-Forwarded-For") != "1.2.3.4" {
		t.Errorf("the runner's own fields are lost: %v", up.Header)
	}
	for _, name := range []string{"Authorization", "Host"} {
		if v, ok := up.Trailer[name]; ok {
			t.Errorf("GP-12 SM-10: the upstream saw the trailer %s: %q", name, v)
		}
	}
	if _, ok := up.Trailer["X-Sum"]; !ok {
		t.Errorf("the trailer X-Sum is lost: %v", up.Trailer)
	}
}

// GP-13: there is an answer to everything.
func TestMalformedRequestsAreAnswered(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	for _, request := range []string{"GET\r\n\r\n", "GET / HTTP/1.1\r\nHost: " + a + "\r\nBad Field: x\r\n\r\n", "SSH-2.0-x\r\n\r\n"} {
		w := r.tunnel(a, "example.com")
		w.send("%s", request)
		if got := w.answer("GET"); got.StatusCode != 400 {
			t.Errorf("GP-13: %q: %d", request, got.StatusCode)
		}
	}
	r.upstream.Close()
	got := r.get(r.client(false), r.url("/"))
	wantFault(t, "GP-13", got, fault.ConnectionRefused)
}

// GP-14 and LK-04: a secret in the query stays out of the log, also when the
// upstream repeats the URL.
func TestQuerySecrets(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/next?api_key="+canary+"&page=2")
		w.WriteHeader(http.StatusFound)
	}, func(r *rig) {
		r.config.Providers.Get("api").Places = []provider.Place{{In: provider.InQuery, Name: "api_key", Value: "{api_key}"}}
	})
	got := r.get(r.client(false), r.url("/x?api_key=mine&a=1&%61pi_key=2"))
	up := r.upstream.seen()[0]
	if q := up.URL.Query(); len(q["api_key"]) != 1 || q.Get("api_key") != canary || q.Get("a") != "1" {
		t.Errorf("GP-14: the upstream saw %s", up.URL.RawQuery)
	}
	if loc := got.Header.Get("Location"); strings.Contains(loc, canary) || !strings.Contains(loc, "page=2") {
		t.Errorf("GP-14: Location is %q", loc)
	}
	r.noCanary("GP-14 LK-04")
	if strings.Contains(r.log.String(), "a=1") {
		t.Error("LK-04: the query is logged")
	}
}

// GP-17: two credentials alternate over one tunnel and are never mixed.
func TestCredentialsAreNotMixedInATunnel(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Authorization")) }, func(r *rig) {
		r.store.Add("api/a", "api_key", "api_key", "key-a")
		r.store.Add("api/b", "api_key", "api_key", "key-b")
	})
	c := r.client(true)
	r.get(c, r.url("/"), "Sallyport-Credential", "a") // the tunnel is there for all of the others
	var wg sync.WaitGroup
	for i := range 100 {
		name := string(rune('a' + i%2))
		wg.Go(func() {
			if got := r.get(c, r.url("/"), "Sallyport-Credential", name); got.body != "Bearer key-"+name {
				t.Errorf("GP-17: asked for %s, sent %s", name, got.body)
			}
		})
	}
	wg.Wait()
}

// GP-21: a drain ends idle tunnels at once, lets requests finish and counts
// nothing as open afterwards.
func TestDrain(t *testing.T) {
	began, finish := make(chan struct{}, 1), make(chan struct{})
	other := newRecording(t, echo)
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			return
		}
		began <- struct{}{}
		select {
		case <-finish:
			fmt.Fprint(w, "done")
		case <-r.Context().Done():
		}
	}, func(r *rig) { r.config.TunnelPorts = nil })
	idle := r.tunnel(r.upstream.authority, "example.com")
	idle.send("GET /ready HTTP/1.1\r\nHost: %s\r\n\r\n", r.upstream.authority)
	idle.answer("GET")
	raw := r.dial()
	raw.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", other.authority, auth64)
	raw.answer("CONNECT")
	answered := make(chan result, 1)
	c := r.client(false)
	go func() { answered <- r.get(c, r.url("/slow")) }()
	within(t, began, "the request arrives")
	drained := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		drained <- r.srv.Drain(ctx)
	}()
	start := time.Now()
	if !raw.closed() || !idle.closed() || time.Since(start) > 20*time.Second {
		t.Errorf("GP-21: idle tunnels were open for %v", time.Since(start))
	}
	if _, err := net.Dial("tcp", r.proxy); err == nil {
		t.Error("GP-21: a connection was accepted while draining")
	}
	close(finish)
	if got := within(t, answered, "the answer"); got.Response != nil && got.body != "done" {
		t.Errorf("GP-21: the request in flight got %d %q", got.StatusCode, got.body)
	}
	if err := within(t, drained, "the drain"); err != nil {
		t.Errorf("GP-21: Drain: %v", err)
	}
	waitFor(t, func() bool { return r.srv.tunnels.open.Load() == 0 && r.srv.doors.open.Load() == 0 })
}

// Bytes that a runner sends right behind its CONNECT are not lost.
func TestEarlyBytes(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	c, err := net.Dial("tcp", r.proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	early := &earlyConn{Conn: c, head: "CONNECT " + a + " HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic " + auth64 + "\r\n\r\n"}
	tc := tls.Client(early, &tls.Config{ServerName: "example.com", RootCAs: r.roots})
	_ = tc.SetDeadline(time.Now().Add(30 * time.Second))
	if err := tc.Handshake(); err != nil {
		t.Fatalf("a ClientHello sent with the CONNECT is lost: %v", err)
	}
}

// earlyConn sends the first write together with head, and drops the answer's head.
type earlyConn struct {
	net.Conn
	head    string
	started bool
}

func (c *earlyConn) Write(p []byte) (int, error) {
	n := len(p)
	p = append([]byte(c.head), p...)
	c.head = ""
	_, err := c.Conn.Write(p)
	return n, err
}

func (c *earlyConn) Read(p []byte) (int, error) {
	if !c.started {
		c.started = true
		if _, err := io.ReadFull(c.Conn, make([]byte, len(established))); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

// Plain HTTP inside CONNECT is served like absolute-form.
func TestPlainInsideConnect(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	w := r.dial()
	w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", a, auth64)
	w.answer("CONNECT")
	w.send("GET /p HTTP/1.1\r\nHost: %s\r\n\r\n", a)
	if got := w.answer("GET"); got.StatusCode != 200 || r.upstream.seen()[0].TLS == nil {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	w.send("GET /p HTTP/1.1\r\nHost: evil.test\r\n\r\n")
	wantFault(t, "HM-02", w.answer("GET"), fault.Misdirected)
}
