package proxy

import (
	"context"
	"io"
	"net/http"

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
	x.offer.passes(resp)
	x.tell(resp)
	return resp, nil
}

// authenticated sends the request with its credential. An answer that rejects
// the credential has it read and refreshed anew, and the request sent once more,
// if its body can be repeated and there is a new credential to repeat it with:
// what was refused for its credential was not acted on, whatever its method (RFC
// 9110 section 15.5.2). The second answer passes, whatever it is. One to which
// there is no new credential is the provider's last word on it.
func (s *Server) authenticated(req *http.Request, x *exchange) (*http.Response, error) {
	resp, err := s.limited(req, x)
	if err != nil || x.provider == nil {
		return resp, err
	}
	m := x.meaning(resp)
	if !m.Rejects() || x.injector == nil {
		x.judged(resp, m)
		return resp, nil
	}
	refused := x.injector
	x.entry.source.Reject(refused)
	again := x.body.again() && resp.StatusCode != http.StatusSwitchingProtocols
	next, err := x.entry.source.Injector(req.Context())
	switch {
	case next == refused:
		x.judged(resp, m)
		return resp, nil
	case !again:
		return resp, nil
	case err != nil:
		discard(resp)
		return nil, err
	}
	discard(resp)
	if resp, err = s.limited(req, x); err != nil {
		return nil, err
	}
	x.judged(resp, x.meaning(resp))
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
