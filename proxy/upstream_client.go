package proxy

import "net/http"

// clientRoad is the way of a Client. A request that says Close goes over a
// connection that nobody used before: on one that the server is about to close it
// would be lost, and a grant could be with it. How long it takes is bounded by its
// context only: an answer that comes late is better than none.
type clientRoad struct {
	domain *trustDomain
	once   *http.Transport
}

func newClientRoad(d *trustDomain) *clientRoad {
	t := newTransport(d.settings)
	t.DisableKeepAlives = true // so that there is nothing to close
	t.ResponseHeaderTimeout = 0
	return &clientRoad{d, t}
}

// RoundTrip implements http.RoundTripper. Its errors are *fault.Fault.
func (r *clientRoad) RoundTrip(req *http.Request) (*http.Response, error) {
	if !req.Close {
		return r.domain.RoundTrip(req)
	}
	if f := r.domain.refuse(req); f != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, f
	}
	if r.domain.settings.proxy != nil && req.URL.Scheme == "http" {
		req = r.domain.settings.marked(req)
	}
	resp, err := r.once.RoundTrip(req)
	if err != nil {
		return nil, classifyFor(req.URL.Hostname(), err)
	}
	return resp, nil
}
