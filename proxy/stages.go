package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// roundTripper makes a function an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// dispatch is the RoundTripper of the road's ReverseProxy: retry around
// authenticate around limit around send, for the exchange in the context.
func (s *Server) dispatch(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req.Context())
	if x.body = newReplay(req, x.st.ReplayLimit, &s.used.replay); x.body != nil {
		x.body.trailer = x.trailer
	}
	resp, err := s.retry(req, x)
	if err != nil {
		return nil, err
	}
	x.tell(resp)
	return resp, nil
}

// authenticated sends the request with its credential. An answer that means
// "expired" has the credential refreshed and the request sent once more, if its
// body can be repeated and there is a new credential to repeat it with.
func (s *Server) authenticated(req *http.Request, x *exchange) (*http.Response, error) {
	resp, err := s.limited(req, x)
	if err != nil || x.provider == nil {
		return resp, err
	}
	means := x.meaning(resp)
	if means != provider.Expired || x.injector == nil {
		return resp, nil
	}
	refused := x.injector
	x.entry.source.Reject(refused)
	if !x.body.again() || resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, nil
	}
	next, err := x.entry.source.Injector(req.Context())
	if err != nil {
		discard(resp)
		return nil, err
	}
	if next == refused {
		return resp, nil
	}
	discard(resp)
	if resp, err = s.limited(req, x); err != nil {
		return nil, err
	}
	x.meaning(resp)
	return resp, nil
}

// limited waits for the credential's and the caller's turn, then sends.
func (s *Server) limited(req *http.Request, x *exchange) (*http.Response, error) {
	one, err := s.turn(req.Context(), x, x.limitKey, x.limits())
	if err != nil {
		return nil, err
	}
	all, err := s.turn(req.Context(), x, x.callerKey, x.caller.Limits)
	if err != nil {
		one.free()
		return nil, err
	}
	resp, err := s.send(req, x)
	if err != nil {
		one.free()
		all.free()
		return nil, err
	}
	return holding(resp, one, all), nil
}

// slot is a place within a limit's concurrency; nil: none is counted.
type slot func()

func (f slot) free() {
	if f != nil {
		f()
	}
}

func (s *Server) turn(ctx context.Context, x *exchange, key func() string, l provider.Limits) (slot, error) {
	if len(l.Rates) == 0 && l.Concurrency == 0 {
		return nil, nil
	}
	free, waited, err := s.limits.get(key(), l).acquire(ctx)
	x.waited += waited
	if err != nil {
		return nil, err
	}
	return free, nil
}

// holding keeps the slots until the answer's body is closed. A 101's body must
// stay what it is, so its slots are given back at once.
func holding(resp *http.Response, slots ...slot) *http.Response {
	var held []slot
	for _, f := range slots {
		if f != nil {
			held = append(held, f)
		}
	}
	switch {
	case len(held) == 0:
	case resp.StatusCode == http.StatusSwitchingProtocols:
		for _, f := range held {
			f()
		}
	default:
		resp.Body = &heldBody{resp.Body, held}
	}
	return resp
}

type heldBody struct {
	io.ReadCloser
	slots []slot
}

// Close implements io.Closer.
func (b *heldBody) Close() error {
	for _, f := range b.slots {
		f()
	}
	b.slots = nil
	return b.ReadCloser.Close()
}

func (x *exchange) callerKey() string { return "caller " + x.callerName() }

func (x *exchange) limitKey() string {
	if x.entry != nil {
		return x.entry.label
	}
	return "provider " + x.providerName()
}

// limits of the credential; those of a host that no provider owns are none.
func (x *exchange) limits() provider.Limits { return x.st.limits[x.provider] }

// send puts the credential on a copy of the request and sends it.
func (s *Server) send(req *http.Request, x *exchange) (*http.Response, error) {
	out := new(http.Request)
	*out = *req
	out.Header = maps.Clone(req.Header)
	x.give(out)
	if err := x.inject(out); err != nil {
		return nil, err
	}
	x.tries++
	began := time.Now()
	resp, err := x.st.Upstream.Transport(x.via(), x.certificate()).RoundTrip(out)
	x.upstream += time.Since(began)
	if err == nil {
		err = unfit(out, resp)
	}
	if err != nil {
		err = x.blame(req.Context(), err)
		s.metrics.try(x.providerName(), string(fault.From(err).Code))
		return nil, err
	}
	s.metrics.try(x.providerName(), statusOutcome(resp.StatusCode))
	s.moved(resp, x)
	return resp, nil
}

// via is the provider whose connections are used; nil: those of hosts that no
// provider owns.
func (x *exchange) via() *provider.Provider {
	if x.provider == nil {
		return x.road
	}
	return x.provider
}

// unfit refuses answers that no origin server may give.
func unfit(req *http.Request, resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusProxyAuthRequired:
		discard(resp)
		return fault.New(fault.UpstreamInvalid, "the origin server answered 407, which only a proxy may", nil)
	case resp.StatusCode == http.StatusSwitchingProtocols && !strings.EqualFold(req.Header.Get("Upgrade"), resp.Header.Get("Upgrade")):
		_ = resp.Body.Close()
		return fault.New(fault.UpstreamInvalid, "the upstream switched to a protocol that was not asked for", nil)
	}
	return nil
}

// blame tells whose fault it is that a try failed: a runner that stopped sending
// or sent a broken body is not the upstream's.
func (x *exchange) blame(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errIdle) {
		return errIdle
	}
	if f := x.body.fault(); f != nil {
		return f
	}
	return err
}

// moved has the answer's body watched.
func (s *Server) moved(resp *http.Response, x *exchange) {
	if body, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = s.tunnels.adopt(body, x)
		return
	}
	resp.Body = &movedBody{resp.Body, x.idle}
}

// give puts the body of one try, and the trailers that may go with it.
func (x *exchange) give(out *http.Request) {
	if x.body == nil {
		return
	}
	out.Trailer = maps.Clone(out.Trailer)
	next := func() io.ReadCloser {
		t := x.body.try()
		t.onEnd = func(from http.Header) {
			for k := range out.Trailer {
				out.Trailer[k] = from[k]
			}
		}
		return t
	}
	out.Body = next()
	out.GetBody = func() (io.ReadCloser, error) {
		if !x.body.again() {
			return nil, errLost
		}
		return next(), nil
	}
}

// inject says where the copy goes and puts the credential on it, last.
func (x *exchange) inject(out *http.Request) error {
	if x.provider == nil || x.entry == nil {
		x.injector = nil
		return x.direct(out)
	}
	inj, err := x.ready(out.Context())
	if err != nil {
		return err
	}
	x.injector = inj
	if err := x.direct(out); err != nil {
		return err
	}
	if inj.BodyPlace() {
		if err := x.wholeBody(out); err != nil {
			return err
		}
	}
	dropTrailers(out, inj)
	return inj.Inject(out)
}

// ready gives the credential as it is now. Its url must still be the one that it
// was chosen by. If it is not, one of the two readings of the record is older
// than the other: both are made anew.
func (x *exchange) ready(ctx context.Context) (*auth.Injector, error) {
	inj, err := x.entry.source.Injector(ctx)
	if err != nil || x.entry.fits(inj.Upstream) {
		return inj, err
	}
	x.entry.source.Changed()
	if inj, err = x.entry.source.Injector(ctx); err != nil || x.entry.fits(inj.Upstream) {
		return inj, err
	}
	x.st.dir.changed(x.caller.scope())
	return nil, fault.New(fault.StoreConflict, "the credential's url has just changed; try again", nil)
}

// fits reports whether own is the url that the entry was chosen by.
func (e *entry) fits(own *url.URL) bool {
	if own == nil {
		return !e.typed
	}
	return e.url != nil && *own == *e.url
}

// direct sets the copy's URL.
func (x *exchange) direct(out *http.Request) error {
	u := *out.URL
	out.URL, out.Host = &u, ""
	if x.rebase != nil {
		u.Scheme, u.Host = x.rebase.Scheme, x.rebase.Host
		return x.onward(&u, strings.TrimSuffix(x.rebase.EscapedPath(), "/")+x.rest)
	}
	u.Scheme, u.Host = x.scheme(), x.authority.Host
	port := x.authority.Port
	if u.Scheme == "https" && !x.secure && port == 80 {
		port = 443
	}
	if port != portOf(u.Scheme) {
		u.Host = provider.Authority{Host: x.authority.Host, Port: port}.String()
	} else if strings.Contains(u.Host, ":") {
		u.Host = "[" + u.Host + "]"
	}
	return x.cleartext(&u)
}

func (x *exchange) onward(u *url.URL, escaped string) error {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return fault.New(fault.InvalidRequest, "the path is not validly percent-encoded", nil)
	}
	u.Path, u.RawPath = path, escaped
	return x.cleartext(u)
}

// scheme that the request goes out with: http only where the runner said http
// and the provider's own URL of that host is http too.
func (x *exchange) scheme() string {
	if x.secure {
		return "https"
	}
	if x.provider == nil {
		return "http"
	}
	base := x.provider.BaseURL
	if x.entry != nil && x.entry.url != nil {
		base = x.entry.url.String()
	}
	if strings.HasPrefix(base, "http://") || (base == "" && x.provider.AllowCleartext) {
		return "http"
	}
	return "https"
}

func (x *exchange) cleartext(u *url.URL) error {
	if u.Scheme == "http" && x.entry != nil && !x.provider.AllowCleartext {
		return fault.New(fault.CleartextRefused, "the provider's URL is http and it does not set allow_cleartext", nil)
	}
	return nil
}

// discard ends an answer that nobody will read, and keeps its connection where
// little is left of it.
func discard(resp *http.Response) {
	if resp.ProtoMajor == 1 && resp.ContentLength >= 0 && resp.ContentLength <= 64<<10 {
		_, _ = io.CopyN(io.Discard, resp.Body, resp.ContentLength)
	}
	_ = resp.Body.Close()
}

// dropTrailers removes trailers that would stand for an injected field, or for
// framing and routing (RFC 9110 section 6.5.1).
func dropTrailers(out *http.Request, inj *auth.Injector) {
	for k := range out.Trailer {
		if inj.Owns(k) {
			delete(out.Trailer, k)
		}
	}
}
