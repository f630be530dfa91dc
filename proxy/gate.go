package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"

	"github.com/elazarl/goproxy"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// established answers a CONNECT whose tunnel stands (RFC 9110 section 9.3.6).
const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// passage is a CONNECT that may pass: whose it is, where to, and how it goes on
// once the gate has answered it and handed the connection over.
type passage struct {
	caller    *Caller
	token     bool // the caller proved itself with its token
	authority provider.Authority
	hops      []string // daemons that the CONNECT has come through
	proceed   func(net.Conn)
	tls       *tls.ConnectionState // with the runner; nil: plain HTTP inside
}

// newGate makes the goproxy that takes CONNECT. It gets only requests that may
// pass; all that is left to it is to take over the connection. Nothing of its
// own interception, dialling, environment or logging is reached.
func newGate() *goproxy.ProxyHttpServer {
	g := goproxy.NewProxyHttpServer()
	g.Tr, g.ConnectDial, g.ConnectDialWithReq = nil, nil, nil
	g.Logger = silent{}
	g.OnRequest().HandleConnectFunc(func(host string, ctx *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
		p := passageOf(ctx.Req.Context())
		if p == nil {
			return &goproxy.ConnectAction{Action: goproxy.ConnectReject}, host
		}
		return &goproxy.ConnectAction{
			Action: goproxy.ConnectHijack,
			Hijack: func(_ *http.Request, client net.Conn, _ *goproxy.ProxyCtx) { p.proceed(client) },
		}, host
	})
	return g
}

// silent drops goproxy's log lines: they hold whole URLs.
type silent struct{}

// Printf implements goproxy.Logger.
func (silent) Printf(string, ...any) {}

// connect answers CONNECT: refused, tunnelled or intercepted.
func (s *Server) connect(w http.ResponseWriter, r *http.Request, x *exchange) error {
	x.host = ""
	a, err := provider.ParseAuthority(r.RequestURI, 0)
	if err != nil {
		return fault.New(fault.InvalidRequest, "the target of CONNECT must be host:port", err)
	}
	x.authority, x.host = a, a.String()
	rt, err := x.st.route(r.Context(), x.caller, a, true, x.start)
	if err != nil {
		return err
	}
	x.provider = rt.only
	p := &passage{caller: x.caller, authority: a, hops: hopsOf(r.Context()), token: boundCaller(r.Context()) == "" && x.st.Anonymous == ""}
	if rt.intercept {
		return s.intercept(w, r, p, x)
	}
	return s.tunnel(w, r, p, x)
}

func (s *Server) intercept(w http.ResponseWriter, r *http.Request, p *passage, x *exchange) error {
	if !s.o.CA.Covers(p.authority.Host) {
		return fault.New(fault.NoRoute, "the host lies outside the name constraints of the local CA", nil)
	}
	p.proceed = func(c net.Conn) {
		x.entered = true
		x.left = !s.enter(c, p)
	}
	s.pass(w, r, p)
	return nil
}

func (s *Server) tunnel(w http.ResponseWriter, r *http.Request, p *passage, x *exchange) error {
	up, err := x.st.Upstream.Dial(r.Context(), nil, p.authority)
	if err != nil {
		return err
	}
	p.proceed = func(c net.Conn) {
		if _, err := io.WriteString(c, established); err != nil {
			_, _ = c.Close(), up.Close()
			return
		}
		x.sent = s.tunnels.relay(c, up)
	}
	defer func() { _ = up.Close() }() // also where the connection could not be taken over
	s.pass(w, r, p)
	return nil
}

func (s *Server) pass(w http.ResponseWriter, r *http.Request, p *passage) {
	ctx := context.WithValue(r.Context(), passageKey, p)
	s.gate.ServeHTTP(&handover{ResponseWriter: w}, r.WithContext(ctx))
}
