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

// send sends the request with its credential, and once more where the upstream
// would not have its body offered.
func (s *Server) send(req *http.Request, x *exchange) (*http.Response, error) {
	resp, err := s.sendOnce(req, x)
	if !x.offer.declined(resp, err) || !x.body.again() || req.Context().Err() != nil {
		return resp, err
	}
	x.offer.late()
	if resp != nil {
		discard(resp)
	}
	return s.sendOnce(req, x)
}

// sendOnce puts the credential on a copy of the request and sends it.
func (s *Server) sendOnce(req *http.Request, x *exchange) (*http.Response, error) {
	out := new(http.Request)
	*out = *req
	out.Header = maps.Clone(req.Header)
	x.give(out)
	if err := x.inject(out); err != nil {
		return nil, err
	}
	out.Close = bindsConnection(out.Header)
	if x.body != nil {
		out = s.offer(out, x)
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

// bindsConnection reports whether a request authenticates the connection that it
// comes over, not itself alone (RFC 4559 section 6): whatever else went over that
// would be taken for the same user's, so nothing else does.
func bindsConnection(h http.Header) bool {
	for _, v := range h["Authorization"] {
		scheme, _, _ := strings.Cut(v, " ")
		if strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate") {
			return true
		}
	}
	return false
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
	if need := inj.BodyNeed(out); need != auth.BodyAsItIs {
		if err := x.holdBody(out, need); err != nil {
			return err
		}
	}
	if x.provider.PeeksAtGood() {
		readable(out.Header)
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
	x.st.dir.changed(x.entry.ref)
	return nil, fault.New(fault.StoreConflict, "the credential's url has just changed; try again", nil)
}

// fits reports whether own is the url that the entry was chosen by.
func (e *entry) fits(own *url.URL) bool {
	if own == nil {
		return !e.typed
	}
	return e.url != nil && *own == *e.url
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
