package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// openUpstream may dial loopback and trusts the servers given.
func openUpstream(t testing.TB, o UpstreamOptions, servers ...*httptest.Server) *Upstream {
	t.Helper()
	o.AllowNetworks = append(o.AllowNetworks, loopback...)
	if len(servers) > 0 {
		o.Roots = x509.NewCertPool()
		for _, s := range servers {
			o.Roots.AddCert(s.Certificate())
		}
	}
	u := NewUpstream(o)
	t.Cleanup(u.CloseIdle)
	return u
}

func tlsServer(t testing.TB, h2 bool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = h2
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func send(t testing.TB, rt http.RoundTripper, method, url string, body io.Reader) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return rt.RoundTrip(req)
}

func mustSend(t testing.TB, rt http.RoundTripper, method, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := send(t, rt, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestTransportSpeaksBoth(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		s := tlsServer(t, h2, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			if r.Header.Get("Accept-Encoding") != "" {
				t.Errorf("Accept-Encoding was added: %q", r.Header.Get("Accept-Encoding"))
			}
			_, _ = io.WriteString(w, r.Proto)
			w.Header().Set("X-Sum", "7")
		})
		resp, body := mustSend(t, openUpstream(t, UpstreamOptions{}, s).Transport(nil, nil), "GET", s.URL, nil)
		if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2]; body != want || resp.Trailer.Get("X-Sum") != "7" {
			t.Errorf("spoke %s with trailers %v, want %s", body, resp.Trailer, want)
		}
	}
}

func TestTransportFollowsNothing(t *testing.T) {
	s := tlsServer(t, false, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) })
	u := openUpstream(t, UpstreamOptions{}, s)
	if resp, _ := mustSend(t, u.Transport(nil, nil), "GET", s.URL, nil); resp.StatusCode != http.StatusFound {
		t.Errorf("Transport: status %d", resp.StatusCode)
	}
	resp, err := u.Client(nil).Get(s.URL)
	if err != nil || resp.StatusCode != http.StatusFound {
		t.Fatalf("Client: %v", err)
	}
	_ = resp.Body.Close()
}

func TestEnvironmentProxyIgnored(t *testing.T) {
	var asked atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer trap.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, trap.URL)
	}
	s := tlsServer(t, true, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "direct") })
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "direct") }))
	defer plain.Close()
	u := openUpstream(t, UpstreamOptions{Resolver: resolves("api.example", "127.0.0.1")}, s)
	// net/http excuses loopback from the environment's proxies, but not a name.
	named := strings.Replace(plain.URL, "127.0.0.1", "api.example", 1)
	for _, url := range []string{s.URL, plain.URL, named} {
		if _, body := mustSend(t, u.Transport(nil, nil), "GET", url, nil); body != "direct" {
			t.Errorf("SS-06: %s answered %q", url, body)
		}
		resp, err := u.Client(nil).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	d := u.domain(nil, nil)
	if d.main.Proxy != nil || d.upgrade.Proxy != nil || asked.Load() != 0 {
		t.Errorf("GP-15: a proxy of the environment was asked %d times", asked.Load())
	}
	a, err := provider.ParseAuthority(strings.TrimPrefix(named, "http://"), 80)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := u.Dial(t.Context(), nil, a)
	if err != nil || conn.RemoteAddr().String() != plain.Listener.Addr().String() {
		t.Errorf("GP-15: the tunnel does not lead to the host: %v", err)
	}
	_ = conn.Close()
}

func TestTransportGuarded(t *testing.T) {
	var reached atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer s.Close()
	port := s.Listener.Addr().(*net.TCPAddr).AddrPort()
	a := provider.Authority{Host: "127.0.0.1", Port: int(port.Port())}
	closed := NewUpstream(UpstreamOptions{})
	open := &provider.Provider{AllowNetworks: loopback}
	for name, tt := range map[string]struct {
		u    *Upstream
		p    *provider.Provider
		want fault.Code
	}{
		"closed":                    {closed, nil, fault.PrivateAddress},
		"closed for this provider":  {closed, &provider.Provider{}, fault.PrivateAddress},
		"open by the provider":      {closed, open, ""},
		"open by the configuration": {NewUpstream(UpstreamOptions{AllowNetworks: loopback}), nil, ""},
		"SS-04 own listener": {NewUpstream(UpstreamOptions{AllowNetworks: loopback, Own: func() []netip.AddrPort {
			return []netip.AddrPort{port}
		}}), open, fault.LoopDetected},
		"Vault": {NewUpstream(UpstreamOptions{AllowNetworks: loopback, VaultAuthority: a.String()}), open, fault.PrivateAddress},
	} {
		before := reached.Load()
		resp, err := send(t, tt.u.Transport(tt.p, nil), "GET", s.URL, nil)
		if err == nil {
			_ = resp.Body.Close()
		}
		if codeOf(Classify(err)) != tt.want {
			t.Errorf("%s: request: %v, want %q", name, err, tt.want)
		}
		_, err = tt.u.Client(tt.p).Get(s.URL)
		if codeOf(Classify(err)) != tt.want {
			t.Errorf("%s: client: %v, want %q", name, err, tt.want)
		}
		conn, err := tt.u.Dial(t.Context(), tt.p, a)
		if err == nil {
			_ = conn.Close()
		}
		if codeOf(Classify(err)) != tt.want {
			t.Errorf("%s: tunnel: %v, want %q", name, err, tt.want)
		}
		if n := reached.Load() - before; (tt.want == "") != (n > 0) {
			t.Errorf("%s: reached %d times", name, n)
		}
		tt.u.CloseIdle()
	}
}

func TestHeaderTimeout(t *testing.T) {
	const limit = 1500 * time.Millisecond
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			s := tlsServer(t, h2, func(w http.ResponseWriter, r *http.Request) { timeoutHandler(w, r, limit, release) })
			t.Cleanup(func() { close(release) })
			rt := openUpstream(t, UpstreamOptions{Timeout: limit}, s).Transport(nil, nil)
			start := time.Now()
			if _, err := send(t, rt, "GET", s.URL+"/silent", nil); codeOf(Classify(err)) != fault.Timeout {
				t.Errorf("no header: %v, want timeout", err)
			}
			if took := time.Since(start); took > 20*limit {
				t.Errorf("the time-out took %v", took)
			}
			if _, body := mustSend(t, rt, "GET", s.URL+"/slow-body", nil); body != "tick tick tick " {
				t.Errorf("the time-out cut a body: %q", body)
			}
			slow := &trickle{parts: 3, pause: limit / 2}
			if _, body := mustSend(t, rt, "POST", s.URL+"/upload", slow); body != "3" {
				t.Errorf("the time-out cut an upload: %q", body)
			}
			slow = &trickle{parts: 2, pause: limit * 3 / 2} // the runner's own slowness does not count
			if _, body := mustSend(t, rt, "POST", s.URL+"/early", slow); body != "early 2" {
				t.Errorf("the time-out cut a two-way stream: %q", body)
			}
		})
	}
}

func timeoutHandler(w http.ResponseWriter, r *http.Request, limit time.Duration, release <-chan struct{}) {
	flush := func() { _ = http.NewResponseController(w).Flush() }
	switch r.URL.Path {
	case "/silent":
		<-release
	case "/slow-body":
		for range 3 {
			_, _ = io.WriteString(w, "tick ")
			flush()
			time.Sleep(limit / 2)
		}
	case "/early":
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.WriteString(w, "early ")
		flush()
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	case "/upload":
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	}
}

// trickle is a body of so many bytes with a pause before each.
type trickle struct {
	parts int
	pause time.Duration
}

func (s *trickle) Read(b []byte) (int, error) {
	if s.parts == 0 {
		return 0, io.EOF
	}
	s.parts--
	time.Sleep(s.pause)
	b[0] = 'x'
	return 1, nil
}

func TestStalledUpload(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		release := make(chan struct{})
		s := tlsServer(t, h2, func(http.ResponseWriter, *http.Request) { <-release })
		t.Cleanup(func() { close(release) })
		rt := openUpstream(t, UpstreamOptions{Timeout: 300 * time.Millisecond}, s).Transport(nil, nil)
		endless := io.LimitReader(zeros{}, 1<<30)
		if _, err := send(t, rt, "POST", s.URL, endless); codeOf(Classify(err)) != fault.Timeout {
			t.Errorf("h2 %v: a server that reads nothing: %v, want timeout", h2, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestUpgrade(t *testing.T) {
	s := tlsServer(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || r.Header.Get("Upgrade") != "echo" {
			http.Error(w, r.Proto, http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(conn, line)
	})
	const limit = 1500 * time.Millisecond
	rt := openUpstream(t, UpstreamOptions{Timeout: limit}, s).Transport(nil, nil)
	mustSend(t, rt, "GET", s.URL, nil) // an h2 connection is in the pool
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := rt.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade: %v, %v", resp, err)
	}
	rw, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("the body of a 101 is %T, not to be written", resp.Body)
	}
	defer rw.Close()
	time.Sleep(limit * 3 / 2) // quiet for longer than the header may take
	if _, err := io.WriteString(rw, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(rw).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("echo %q, %v", line, err)
	}
}

func TestEndlessHeader(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
		line := []byte("X-Fill: " + strings.Repeat("a", 1000) + "\r\n")
		for err == nil {
			_, err = conn.Write(line)
		}
	}()
	_, err = send(t, openUpstream(t, UpstreamOptions{}).Transport(nil, nil), "GET", "http://"+ln.Addr().String(), nil)
	if codeOf(Classify(err)) != fault.UpstreamInvalid {
		t.Errorf("RE-06: %v, want upstream_invalid", err)
	}
}

func TestPoolsByTrust(t *testing.T) {
	u := NewUpstream(UpstreamOptions{})
	pool := func() *x509.CertPool { return poolOf(ownCA(t, t.TempDir()+"/ca").cert) }
	one := pool()
	same := one.Clone()
	proxy, err := url.Parse("http://proxy.example:3128")
	if err != nil {
		t.Fatal(err)
	}
	a := u.domain(&provider.Provider{Name: "a"}, nil)
	if b := u.domain(&provider.Provider{Name: "b"}, nil); a != b || a != u.domain(nil, nil) {
		t.Error("providers with the same trust do not share connections")
	}
	rooted := u.domain(&provider.Provider{Roots: one}, nil)
	if rooted != u.domain(&provider.Provider{Roots: same}, nil) {
		t.Error("a reload with the same roots loses the connections")
	}
	distinct := map[*trustDomain]string{}
	for name, d := range map[string]*trustDomain{
		"system roots": a, "own roots": rooted, "other roots": u.domain(&provider.Provider{Roots: pool()}, nil),
		"networks":            u.domain(&provider.Provider{AllowNetworks: loopback}, nil),
		"HM-18 a certificate": u.domain(nil, &tls.Certificate{Certificate: [][]byte{{1}}}),
		"HM-18 another's":     u.domain(nil, &tls.Certificate{Certificate: [][]byte{{2}}}),
		"proxy":               u.domain(&provider.Provider{UpstreamProxy: proxy}, nil),
	} {
		if other, ok := distinct[d]; ok {
			t.Errorf("%s and %s share connections", name, other)
		}
		distinct[d] = name
	}
	for range 10_000 {
		u.domain(&provider.Provider{}, nil)
	}
	if u.quick.Len() > 4*maxTrustDomains || u.domains.Len() > maxTrustDomains {
		t.Errorf("%d and %d entries are kept", u.quick.Len(), u.domains.Len())
	}
}

func TestClassify(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	script := func(answer string) string { // a server that answers so and closes
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 1024))
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			}
		}()
		return ln.Addr().String()
	}
	gone := &answers{names: map[string][][]string{}}
	for name, tt := range map[string]struct {
		url  string
		want fault.Code
	}{
		"nobody listens":        {"http://" + dead.Addr().String(), fault.ConnectionRefused},
		"no such name":          {"http://nowhere.example", fault.DNSFailure},
		"closed without answer": {"http://" + script(""), fault.ConnectionReset},
		"no HTTP":               {"http://" + script("SSH-2.0-x\r\n\r\n"), fault.UpstreamInvalid},
		"malformed header":      {"http://" + script("HTTP/1.1 200 OK\r\nbad header\r\n\r\n"), fault.UpstreamInvalid},
		"cut header":            {"http://" + script("HTTP/1.1 200 OK\r\nX-A: b"), fault.ConnectionReset},
		"no TLS there":          {"https://" + script("HTTP/1.1 400 Bad Request\r\n\r\n"), fault.UpstreamInvalid},
		"hangs up in handshake": {"https://" + script(""), fault.ConnectionReset},
	} {
		_, err := send(t, openUpstream(t, UpstreamOptions{Resolver: gone}).Transport(nil, nil), "GET", tt.url, nil)
		f := Classify(err)
		if codeOf(f) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if f != nil && (strings.Contains(f.Detail, "127.0.0.1") || strings.Contains(f.Detail, "dial") || strings.Contains(f.Detail, "nowhere")) {
			t.Errorf("LK-02: %s: the detail tells too much: %q", name, f.Detail)
		}
	}
	for name, tt := range map[string]struct {
		err  error
		want fault.Code
	}{
		"nil":             {nil, ""},
		"a fault inside":  {&url.Error{Op: "Get", Err: fmt.Errorf("x: %w", fault.New(fault.LoopDetected, "", nil))}, fault.LoopDetected},
		"deadline":        {fmt.Errorf("x: %w", context.DeadlineExceeded), fault.Timeout},
		"anything":        {errors.New("anything"), fault.UpstreamInvalid},
		"unexpected end":  {fmt.Errorf("x: %w", io.ErrUnexpectedEOF), fault.ConnectionReset},
		"no route":        {syscall.EHOSTUNREACH, fault.ConnectionRefused},
		"no descriptors":  {syscall.EMFILE, fault.Overloaded},
		"kernel time-out": {syscall.ETIMEDOUT, fault.Timeout},
		"broken pipe":     {syscall.EPIPE, fault.ConnectionReset},
		"resolver fails":  {&net.DNSError{Err: "server misbehaving", IsTemporary: true}, fault.DNSFailure},
		"weak signature":  {x509.InsecureAlgorithmError(x509.SHA1WithRSA), fault.TLSCertificate},
		"may not sign":    {x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, fault.TLSCertificate},
		"malformed":       {x509.CertificateInvalidError{Reason: 99}, fault.TLSCertificate},
		"remote alert":    {&net.OpError{Op: "remote error", Err: errors.New("tls: unrecognized name")}, fault.TLSCertificate},
		"local handshake": {errors.New("tls: no supported versions satisfy MinVersion and MaxVersion"), fault.TLSCertificate},
		"peer's h2 reset": {errors.New("stream error: stream ID 1; INTERNAL_ERROR; received from peer"), fault.ConnectionReset},
		"bad h2 frame":    {errors.New("stream error: stream ID 1; PROTOCOL_ERROR"), fault.UpstreamInvalid},
	} {
		if got := codeOf(Classify(tt.err)); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// LK-01: an answer that is none is not quoted: it may repeat what it was sent.
func TestClassifyQuotesNothing(t *testing.T) {
	f := Classify(fmt.Errorf("broken: %w", errors.New(`malformed HTTP status code "`+canary+`"`)))
	if f.Code != fault.UpstreamInvalid || strings.Contains(f.Error(), canary) || !strings.Contains(f.Error(), "malformed HTTP status code") {
		t.Errorf("%v", f)
	}
}

func TestClassifyGivenUp(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s := tlsServer(t, true, func(http.ResponseWriter, *http.Request) { <-release })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openUpstream(t, UpstreamOptions{}, s).Transport(nil, nil).RoundTrip(req)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the runner gave up: %v", err)
	}
}

func TestWatchedUploadRewinds(t *testing.T) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a.example", strings.NewReader("again"))
	if err != nil {
		t.Fatal(err)
	}
	watched, w := watchUpload(req, time.Hour)
	body, err := watched.GetBody()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(body)
	if _, ok := body.(*watchedBody); !ok || string(b) != "again" || watched.ContentLength != 5 {
		t.Errorf("the second body is %T with %q", body, b)
	}
	if w.end() {
		t.Error("cancelled")
	}
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	watched, _ = watchUpload(req, time.Hour)
	if _, err := watched.GetBody(); err == nil {
		t.Error("an error of GetBody is lost")
	}
	req.Body = http.NoBody
	if same, w := watchUpload(req, time.Hour); same != req || w.end() {
		t.Error("a request without a body is watched")
	}
}

// An unspecified listener is reached by every address of the machine.
func TestOwnUnspecifiedListener(t *testing.T) {
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	own := ln.Addr().(*net.TCPAddr).AddrPort()
	u := NewUpstream(UpstreamOptions{AllowNetworks: everyAddress, Own: func() []netip.AddrPort { return []netip.AddrPort{own} }})
	hosts := []string{"localhost", "127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::"}
	for _, a := range machineAddresses() {
		hosts = append(hosts, a.String())
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	for _, host := range hosts {
		conn, err := u.Dial(t.Context(), nil, provider.Authority{Host: host, Port: int(own.Port())})
		if err == nil {
			_ = conn.Close()
		}
		if c := codeOf(Classify(err)); c != fault.LoopDetected && c != fault.DNSFailure {
			t.Errorf("SS-04: %s reaches our own listener: %v", host, err)
		}
	}
	if err := ln.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := ln.Accept(); err == nil {
		t.Error("SS-04: a connection came in")
	}
}

func BenchmarkTransport(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), 1024)) }))
	defer s.Close()
	u := openUpstream(b, UpstreamOptions{})
	b.ReportAllocs()
	for b.Loop() {
		mustSend(b, u.Transport(nil, nil), "GET", s.URL, nil)
	}
}
