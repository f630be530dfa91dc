package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// corporate is an upstream proxy that leads every host to one address.
type corporate struct {
	to     string
	status int    // of the answer to CONNECT; 0: 200
	early  string // sent right behind it

	mu   sync.Mutex
	seen []string // METHOD TARGET AUTHORIZATION
}

func (c *corporate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.seen = append(c.seen, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+r.Header.Get("Proxy-Authorization")))
	c.mu.Unlock()
	if r.Method != http.MethodConnect {
		_, _ = io.WriteString(w, "through the proxy")
		return
	}
	if c.status != 0 {
		w.WriteHeader(c.status)
		return
	}
	up, err := net.Dial("tcp", c.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer up.Close()
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"+c.early)
	go func() { _, _ = io.Copy(up, rw); _ = up.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(conn, up)
}

func (c *corporate) asked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.seen, "; ")
}

func proxyURL(t testing.TB, s *httptest.Server, user *url.Userinfo) *url.URL {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = user
	return u
}

func TestUpstreamProxy(t *testing.T) {
	api := tlsServer(t, true, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "api over "+r.Proto) })
	for _, secure := range []bool{false, true} {
		corp := &corporate{to: api.Listener.Addr().String()}
		var s *httptest.Server
		if secure {
			s = httptest.NewTLSServer(corp)
		} else {
			s = httptest.NewServer(corp)
		}
		t.Cleanup(s.Close)
		roots := poolOf(api.Certificate())
		if secure {
			roots.AddCert(s.Certificate())
		}
		// The resolver knows nothing: names are resolved by the proxy. Loopback is
		// not open: the proxy's own address is exempt.
		u := NewUpstream(UpstreamOptions{
			Proxy: proxyURL(t, s, url.UserPassword("me", "pa:ss")), Roots: roots, Resolver: &answers{},
		})
		t.Cleanup(u.CloseIdle)
		rt := u.Transport(nil, nil)
		if _, body := mustSend(t, rt, "GET", "https://example.com/x", nil); body != "api over HTTP/2.0" {
			t.Errorf("https: %q", body)
		}
		if _, body := mustSend(t, rt, "GET", "http://plain.example/y", nil); body != "through the proxy" {
			t.Errorf("http: %q", body)
		}
		conn, err := u.Dial(t.Context(), nil, provider.Authority{Host: "tunnel.example", Port: 8443})
		if err != nil {
			t.Fatal(err)
		}
		client := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: poolOf(api.Certificate()), ServerName: "example.com"})
		if err := client.HandshakeContext(t.Context()); err != nil {
			t.Errorf("the tunnel does not carry TLS: %v", err)
		}
		_ = conn.Close()
		const auth = " Basic bWU6cGE6c3M="
		if want := "CONNECT example.com:443" + auth + "; GET http://plain.example/y" + auth + "; CONNECT tunnel.example:8443" + auth; corp.asked() != want {
			t.Errorf("the proxy was asked\n%s, want\n%s", corp.asked(), want)
		}
	}
}

func TestUpstreamProxyOfProvider(t *testing.T) {
	s := httptest.NewServer(&corporate{})
	defer s.Close()
	u := NewUpstream(UpstreamOptions{Resolver: &answers{}})
	defer u.CloseIdle()
	p := &provider.Provider{UpstreamProxy: proxyURL(t, s, nil)}
	if _, body := mustSend(t, u.Transport(p, nil), "GET", "http://plain.example/", nil); body != "through the proxy" {
		t.Errorf("the provider's proxy: %q", body)
	}
	if _, err := send(t, u.Transport(nil, nil), "GET", "http://plain.example/", nil); codeOf(Classify(err)) != fault.DNSFailure {
		t.Errorf("others go through it, too: %v", err)
	}
}

func TestUpstreamProxyGuard(t *testing.T) {
	corp := &corporate{}
	s := httptest.NewServer(corp)
	defer s.Close()
	own := s.Listener.Addr().(*net.TCPAddr).AddrPort()
	proxied := func(o UpstreamOptions) *Upstream {
		o.Proxy, o.Resolver = proxyURL(t, s, nil), &answers{}
		return NewUpstream(o)
	}
	for name, tt := range map[string]struct {
		u    *Upstream
		host string
		want fault.Code
	}{
		"a private literal":        {proxied(UpstreamOptions{}), "10.0.0.1", fault.PrivateAddress},
		"an old spelling":          {proxied(UpstreamOptions{}), "0x7f000001", fault.PrivateAddress},
		"metadata":                 {proxied(UpstreamOptions{}), "169.254.169.254", fault.PrivateAddress},
		"IPv6":                     {proxied(UpstreamOptions{}), "::ffff:127.0.0.1", fault.PrivateAddress},
		"an allowed literal":       {proxied(UpstreamOptions{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}), "10.0.0.1", ""},
		"a name":                   {proxied(UpstreamOptions{}), "inner.example", ""},
		"Vault by name":            {proxied(UpstreamOptions{VaultAuthority: "vault.example:80"}), "vault.example", fault.PrivateAddress},
		"the proxy is ourselves":   {proxied(UpstreamOptions{Own: func() []netip.AddrPort { return []netip.AddrPort{own} }}), "a.example", fault.LoopDetected},
		"an own listener, literal": {proxied(UpstreamOptions{AllowNetworks: everyAddress, Own: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:80")} }}), "127.0.0.1", fault.LoopDetected},
	} {
		before := corp.asked()
		a := provider.Authority{Host: tt.host, Port: 80}
		resp, err := send(t, tt.u.Transport(nil, nil), "GET", "http://"+a.String()+"/", nil)
		if err == nil {
			_ = resp.Body.Close()
		}
		if codeOf(Classify(err)) != tt.want || (tt.want != "" && corp.asked() != before) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		before = corp.asked()
		if _, err := tt.u.Dial(t.Context(), nil, a); tt.want != "" && (codeOf(Classify(err)) != tt.want || corp.asked() != before) {
			t.Errorf("%s: tunnel: %v, want %q", name, err, tt.want)
		}
		tt.u.CloseIdle()
	}
}

func TestUpstreamProxyRefuses(t *testing.T) {
	for status, want := range map[int]fault.Code{
		http.StatusProxyAuthRequired: fault.UpstreamInvalid, http.StatusForbidden: fault.ConnectionRefused,
		http.StatusBadGateway: fault.ConnectionRefused, http.StatusGatewayTimeout: fault.Timeout,
	} {
		s := httptest.NewServer(&corporate{status: status})
		u := NewUpstream(UpstreamOptions{Proxy: proxyURL(t, s, url.UserPassword("me", "hunter2")), Resolver: &answers{}})
		_, err := send(t, u.Transport(nil, nil), "GET", "https://a.example", nil)
		if codeOf(Classify(err)) != want {
			t.Errorf("status %d: request: %v, want %s", status, err, want)
		}
		_, err = u.Dial(t.Context(), nil, provider.Authority{Host: "a.example", Port: 443})
		if codeOf(Classify(err)) != want || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("status %d: tunnel: %v, want %s", status, err, want)
		}
		s.Close()
	}
}

func TestUpstreamProxySilent(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // its backlog takes connections that nobody answers
	u := NewUpstream(UpstreamOptions{Proxy: &url.URL{Scheme: "http", Host: ln.Addr().String()}, Timeout: 200 * time.Millisecond})
	if _, err := u.Dial(t.Context(), nil, provider.Authority{Host: "a.example", Port: 443}); codeOf(Classify(err)) != fault.Timeout {
		t.Errorf("a silent proxy: %v, want timeout", err)
	}
}

func TestUpstreamProxyEarlyBytes(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		conn, err := echo.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	s := httptest.NewServer(&corporate{to: echo.Addr().String(), early: "220 ready\r\n"})
	defer s.Close()
	u := NewUpstream(UpstreamOptions{Proxy: proxyURL(t, s, nil)})
	conn, err := u.Dial(t.Context(), nil, provider.Authority{Host: "mail.example", Port: 25})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "hello\n")
	r := bufio.NewReader(conn)
	for _, want := range []string{"220 ready\r\n", "hello\n"} {
		if line, err := r.ReadString('\n'); err != nil || line != want {
			t.Errorf("read %q, %v; want %q", line, err, want)
		}
	}
}

func TestUpstreamProxyScheme(t *testing.T) {
	u := NewUpstream(UpstreamOptions{Proxy: &url.URL{Scheme: "socks5", Host: "127.0.0.1:1080"}})
	if _, err := u.Dial(t.Context(), nil, provider.Authority{Host: "a.example", Port: 443}); codeOf(Classify(err)) != fault.UpstreamInvalid {
		t.Errorf("a socks proxy: %v", err)
	}
}
