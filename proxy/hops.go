package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// hopsField tells an upstream proxy which daemons a request has come through, so
// that a chain that leads back to one of them ends there. It is for the next proxy
// alone: it stands in CONNECT, which no upstream sees, and is named by Connection
// in a request that goes to a proxy as a whole (RFC 9110 section 7.6.1). The ids
// are random, and new with each start and reload.
const hopsField = "Proxy-Hops"

// Bounds of what a runner may say in hopsField.
const (
	hopSize = 16 // hexadecimal digits
	maxHops = 16
)

func newHop() string {
	var b [hopSize / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// hopsIn gives the daemons that the request has come through; what is no id of one
// is left out.
func hopsIn(r *http.Request) (hops []string) {
	for _, line := range r.Header[hopsField] {
		for hop := range strings.SplitSeq(line, ",") {
			if hop = strings.TrimSpace(hop); len(hop) == hopSize && strings.Trim(hop, "0123456789abcdef") == "" {
				hops = append(hops, hop)
			}
		}
	}
	return hops
}

// arrive notes the daemons that a request has come through. One that was here
// before is a loop.
func (st *state) arrive(r *http.Request) (*http.Request, error) {
	hops := hopsIn(r)
	switch {
	case len(hops) == 0:
		return r, nil
	case len(hops) > maxHops, slices.Contains(hops, st.Upstream.hop):
		return r, fault.New(fault.LoopDetected, "the upstream proxy of this daemon leads back to it", nil)
	}
	return r.WithContext(withHops(r.Context(), hops)), nil
}

func withHops(ctx context.Context, hops []string) context.Context {
	if len(hops) == 0 {
		return ctx
	}
	return context.WithValue(ctx, hopsKey, hops)
}

// hopsOf gives the daemons that what is done in ctx has come through; none: it
// began here.
func hopsOf(ctx context.Context) []string {
	hops, _ := ctx.Value(hopsKey).([]string)
	return hops
}

// hops is hopsField for the upstream proxy.
func (s *domainSettings) hops(ctx context.Context) string {
	return strings.Join(append(slices.Clone(hopsOf(ctx)), s.hop), ", ")
}

// marked is a request that goes to the upstream proxy as a whole.
func (s *domainSettings) marked(req *http.Request) *http.Request {
	out := new(http.Request)
	*out = *req
	out.Header = maps.Clone(req.Header)
	if out.Header == nil {
		out.Header = http.Header{}
	}
	out.Header.Set(hopsField, s.hops(req.Context()))
	out.Header.Set("Connection", strings.Join(append(slices.Clone(req.Header["Connection"]), hopsField), ", "))
	return out
}

// lone is a transport for one request: a connection of others would not tell the
// upstream proxy where this one has come from.
func (s domainSettings) lone(upgrade bool) *http.Transport {
	t := newTransport(s)
	t.DisableKeepAlives = true
	if upgrade {
		onlyHTTP1(t)
	}
	return t
}
