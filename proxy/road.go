package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// serveOuter takes what comes to the proxy's own listeners.
func (s *Server) serveOuter(w http.ResponseWriter, r *http.Request) {
	s.observed(w, r, func(w http.ResponseWriter, x *exchange) error {
		if c := runnerOf(r.Context()); c != nil && c.beyond {
			w.Header().Set("Connection", "close")
			return fault.New(fault.Overloaded, "too many connections", nil)
		}
		if err := bounds(r); err != nil {
			w.Header().Set("Connection", "close")
			return err
		}
		if strings.HasPrefix(r.URL.Path, gatewayPrefix) && !r.URL.IsAbs() && r.Method != http.MethodConnect {
			return s.gateway(w, r, x)
		}
		var err error
		if x.caller, err = x.st.authenticate(r); err != nil {
			return err
		}
		if r, err = x.st.arrive(r); err != nil {
			return err
		}
		switch {
		case r.Method == http.MethodConnect:
			return s.connect(w, r, x)
		case r.URL.IsAbs():
			return s.absolute(w, r, x)
		}
		return fault.New(fault.InvalidRequest, "this is a forward proxy: send an absolute URL, CONNECT, or "+gatewayPrefix+"PROVIDER/path", nil)
	})
}

// serveInner takes what comes through an intercepted tunnel.
func (s *Server) serveInner(w http.ResponseWriter, r *http.Request) {
	s.observed(w, r, func(w http.ResponseWriter, x *exchange) error {
		p := passageOf(r.Context())
		x.caller, x.authority, x.host, x.secure = p.caller, p.authority, p.authority.String(), p.tls != nil
		if err := bounds(r); err != nil {
			w.Header().Set("Connection", "close")
			return err
		}
		if r.Method == http.MethodConnect {
			return fault.New(fault.MethodNotAllowed, "CONNECT inside a tunnel", nil)
		}
		if err := p.agrees(r); err != nil {
			w.Header().Set("Connection", "close")
			return err
		}
		var err error
		if x.caller, err = x.st.still(p); err != nil {
			w.Header().Set("Connection", "close")
			return err
		}
		return s.forward(w, r, x)
	})
}

// agrees holds the request to its tunnel: CONNECT, SNI and Host name the same
// authority. An absent SNI agrees, and so does the empty Host of HTTP/1.0.
func (p *passage) agrees(r *http.Request) error {
	port := 80
	if p.tls != nil {
		port = 443
		if name := p.tls.ServerName; name != "" {
			sni, err := provider.ParseAuthority(name, port)
			if err != nil || sni.Host != p.authority.Host {
				return fault.New(fault.Misdirected, "the TLS server name is not the host of CONNECT", err)
			}
		}
	}
	if h := r.Header["Host"]; len(h) > 0 && (len(h) > 1 || h[0] != r.Host) {
		return fault.New(fault.InvalidRequest, "two Host fields that differ", nil)
	}
	if r.URL.IsAbs() && ((r.URL.Scheme == "https") != (p.tls != nil) || r.URL.User != nil) {
		return fault.New(fault.Misdirected, "an absolute URL of another scheme, or with a user", nil)
	}
	if r.Host == "" {
		return nil
	}
	host, err := provider.ParseAuthority(r.Host, port)
	if err != nil {
		return fault.New(fault.InvalidRequest, "Host is not a host with an optional port", err)
	}
	if host != p.authority {
		return fault.New(fault.Misdirected, "Host is not the authority of CONNECT", nil)
	}
	return nil
}

// absolute serves a request whose target is a whole URL (RFC 9112 section
// 3.2.2): the URL alone says where it goes.
func (s *Server) absolute(w http.ResponseWriter, r *http.Request, x *exchange) error {
	if r.URL.User != nil {
		return fault.New(fault.InvalidRequest, "the URL holds a user name or password", nil)
	}
	if ftpScheme(r.URL.Scheme) {
		return fault.New(fault.InvalidRequest, notHTTP, nil)
	}
	if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return fault.New(fault.InvalidRequest, "the URL's scheme must be http or https", nil)
	}
	a, err := provider.ParseAuthority(r.URL.Host, portOf(r.URL.Scheme))
	if err != nil {
		return fault.New(fault.InvalidRequest, "the URL's host is not a host with an optional port", err)
	}
	x.authority, x.host, x.secure = a, a.String(), r.URL.Scheme == "https"
	return s.forward(w, r, x)
}

// forward finds the target and hands the request to the ReverseProxy.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, x *exchange) error {
	t, err := x.st.target(r.Context(), ask{
		caller: x.caller, authority: x.authority, secure: x.secure, method: r.Method,
		path: r.URL.EscapedPath(), name: r.Header.Get("Sallyport-Credential"), since: x.start,
	})
	x.target = t
	if err != nil {
		return err
	}
	s.hand(w, r, x)
	return nil
}

func (s *Server) hand(w http.ResponseWriter, r *http.Request, x *exchange) {
	if x.entry != nil {
		x.entry.used.touch(x.caller.Name, x.start)
	}
	ctx, stop := s.watch(context.WithValue(r.Context(), exchangeKey, x), w, x)
	defer stop()
	defer x.release()
	x.trailer = r.Trailer
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &runnerBody{Reader: &movedBody{r.Body, x.idle}}
	}
	s.reverse.ServeHTTP(w, r)
}

func (x *exchange) release() {
	x.offer.close()
	x.body.release()
}

// newReverse makes the one ReverseProxy of all requests. What it does of itself
// - hop-by-hop fields, upgrades, 1xx, trailers, aborting a cut answer - is not
// done again anywhere.
func (s *Server) newReverse() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:    rewrite,
		Transport:  roundTripper(s.dispatch),
		BufferPool: &buffers{},
		ErrorLog:   s.outerLog(),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			s.refuse(w, r, exchangeOf(r.Context()), err)
		},
	}
}

// kept are fields that ReverseProxy removes but that are the runner's to send.
var kept = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// rewrite prepares the copy that goes out: nothing of ours goes with it, and the
// query stays as the runner wrote it.
func rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In.Header, pr.Out.Header
	for _, name := range kept {
		if v, ok := in[name]; ok {
			out[name] = v
		}
	}
	for name := range out {
		if ours(name) {
			delete(out, name)
		}
	}
	exchangeOf(pr.In.Context()).unjudged(out)
	if speaksHTTP(out["Upgrade"]) {
		delete(out, "Upgrade")
		delete(out, "Connection")
	}
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery
	if pr.In.Trailer != nil {
		pr.Out.Trailer = trailers(pr.In.Trailer)
	}
}

// speaksHTTP reports whether an upgrade would be to HTTP itself: requests of the
// runner's behind it would not be seen.
func speaksHTTP(upgrade []string) bool {
	for _, v := range upgrade {
		for p := range strings.SplitSeq(strings.ToLower(v), ",") {
			if p = strings.TrimSpace(p); p == "h2c" || p == "h2" || strings.HasPrefix(p, "http/") || strings.HasPrefix(p, "tls/") {
				return true
			}
		}
	}
	return false
}

// ours reports whether a request field is meant for us, in any spelling, or one
// that no request should hand on.
func ours(name string) bool {
	if len(name) < len("proxy") || !strings.ContainsRune("sSpPhH", rune(name[0])) {
		return false // most names, without a copy
	}
	n := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return strings.HasPrefix(n, "sallyport-") || strings.HasPrefix(n, "proxy-") || n == "proxy" || n == "http2-settings"
}

// unfitTrailers frame, route or authenticate a message and may not follow it
// (RFC 9110 section 6.5.1).
var unfitTrailers = map[string]bool{
	"Authorization": true, "Cookie": true, "Host": true, "Content-Length": true, "Transfer-Encoding": true, "Trailer": true,
	"Connection": true, "Keep-Alive": true, "Te": true, "Upgrade": true, "Content-Type": true, "Content-Encoding": true, "Content-Range": true,
	"Expect": true, "Max-Forwards": true, "Range": true, "Cache-Control": true, "Forwarded": true, "X-Forwarded-For": true,
}

func trailers(in http.Header) http.Header {
	out := make(http.Header, len(in))
	for name := range in {
		if c := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-")); !unfitTrailers[c] && !ours(c) {
			out[name] = nil
		}
	}
	return out
}

// buffers lends ReverseProxy its copy buffers.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }

// refuse answers with a fault. A runner that has left may have closed its side
// only and still read: it gets the answer too, never an empty 200.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, x *exchange, err error) {
	f := fault.From(err)
	if f.Credential == "" && f.Provider == "" {
		f = f.On(x.credentialName(), x.providerName())
	}
	x.fault = f
	if errors.Is(r.Context().Err(), context.Canceled) && !errors.Is(context.Cause(r.Context()), errIdle) {
		x.left = true
	}
	h := w.Header()
	delete(h, "Date")
	if f.Code == fault.ProxyAuthRequired {
		h.Set("Proxy-Authenticate", challenge)
	}
	if f.Code == fault.Unauthorized {
		h.Set("WWW-Authenticate", challenge)
	}
	body := f.Body(x.id)
	f.Header(h)
	h.Set("Content-Length", strconv.Itoa(len(body))) // whole before what is left of the request is read
	w.WriteHeader(f.Status())
	_, _ = w.Write(body)
}
