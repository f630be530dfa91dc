package proxy

import (
	"bufio"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elazarl/goproxy"
)

// What gate.go relies on in goproxy, and what it keeps away from. An upgrade that
// changes one of these says so here.

// factGate serves a bare goproxy and sends it one CONNECT.
func factGate(t *testing.T, handle func(host string, ctx *goproxy.ProxyCtx) (*goproxy.ConnectAction, string)) (net.Conn, *bufio.Reader) {
	t.Helper()
	g := goproxy.NewProxyHttpServer()
	g.Logger = silent{}
	g.OnRequest().HandleConnectFunc(handle)
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "CONNECT api.test:443 HTTP/1.1\r\nHost: other.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// The handler runs before anything is answered or taken over, with the request's
// own context and the target of CONNECT, not Host.
func TestFactHandlerRunsFirst(t *testing.T) {
	asked := make(chan string, 1)
	_, r := factGate(t, func(host string, ctx *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
		if ctx.Req.Context().Err() == nil && ctx.Req.Context().Value(http.ServerContextKey) != nil {
			asked <- host
		}
		return &goproxy.ConnectAction{Action: goproxy.ConnectReject}, host
	})
	if host := within(t, asked, "the handler is asked"); host != "api.test:443" {
		t.Errorf("GP-16: the handler was asked about %q", host)
	}
	if b, _ := io.ReadAll(r); len(b) > 0 {
		t.Errorf("GP-16: a rejected CONNECT was answered %q", b)
	}
}

// ConnectHijack hands over the bare connection: the answer is ours to write, and
// the connection stays open when the handler returns.
func TestFactHijackIsBare(t *testing.T) {
	taken := make(chan net.Conn, 1)
	c, r := factGate(t, func(host string, _ *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
		return &goproxy.ConnectAction{Action: goproxy.ConnectHijack, Hijack: func(_ *http.Request, client net.Conn, _ *goproxy.ProxyCtx) {
			taken <- client
		}}, host
	})
	mine := within(t, taken, "the connection is handed over")
	if mine == nil {
		return
	}
	defer mine.Close()
	if _, ok := mine.(*net.TCPConn); !ok {
		t.Errorf("the connection is a %T", mine)
	}
	go func() { _, _ = io.WriteString(mine, "first\n") }()
	if line, err := r.ReadString('\n'); line != "first\n" || err != nil {
		t.Errorf("goproxy answered by itself: %q, %v", line, err)
	}
	_, _ = io.WriteString(c, "raw\n")
	if line, err := bufio.NewReader(mine).ReadString('\n'); line != "raw\n" || err != nil {
		t.Errorf("the connection is read by another: %q, %v", line, err)
	}
}

// GP-16: where no handler matches, goproxy tunnels: the gate's one handler
// answers every CONNECT.
func TestFactDefaultIsOpen(t *testing.T) {
	g := goproxy.NewProxyHttpServer()
	if g.ConnectDial != nil || g.Tr == nil {
		t.Error("GP-15: goproxy's defaults have changed")
	}
	if goproxy.OkConnect.Action != goproxy.ConnectAccept { //nolint:forbidigo // the very default that is kept away from
		t.Error("GP-16: goproxy's default is no open tunnel any more")
	}
}

// GP-02: goproxy has a CA whose key everybody has. Ours is another, and nothing
// that we sign is signed by it.
func TestFactBuiltinCA(t *testing.T) {
	builtin, err := x509.ParseCertificate(goproxy.GoproxyCa.Certificate[0])                                            //nolint:forbidigo // to hold that it is not ours
	if err != nil || goproxy.GoproxyCa.PrivateKey == nil || !strings.Contains(builtin.Subject.CommonName, "goproxy") { //nolint:forbidigo // likewise
		t.Fatalf("GP-02: goproxy's own CA has changed: %v, %v", builtin.Subject, err)
	}
	ca := ownCA(t, t.TempDir()+"/ca")
	leaf := mustLeaf(t, ca, "api.test")
	for _, c := range []*x509.Certificate{ca.cert, leaf} {
		if c.CheckSignatureFrom(builtin) == nil || slices.Equal(c.RawIssuer, builtin.RawSubject) {
			t.Errorf("GP-02: %v is issued by goproxy's CA", c.Subject)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(builtin)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "api.test"}); err == nil {
		t.Error("GP-02: our leaf verifies with goproxy's CA")
	}
}
