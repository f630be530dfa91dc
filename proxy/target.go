package proxy

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// route is what becomes of a CONNECT that is not refused.
type route struct {
	intercept bool
	only      *provider.Provider // of an intercepted host that one provider owns alone
}

// route decides on a host: one with any owned path is intercepted, any other is
// passed through or refused, a CONNECT by its port too. The request began at since.
func (st *state) route(ctx context.Context, c *Caller, a provider.Authority, connect bool, since time.Time) (route, error) {
	owners, away := st.owners(ctx, c, a, since)
	switch {
	case len(owners) == 1:
		return route{intercept: true, only: owners[0]}, nil
	case len(owners) > 0:
		return route{intercept: true}, nil
	case away != nil:
		return route{}, away
	}
	return route{}, st.unmatched(ctx, c, a, connect)
}

// owners are the providers that own any path of an authority for a caller. While
// nothing is known of the store, a built-in provider's host counts as owned, and
// one that nobody owns is refused: away says why.
func (st *state) owners(ctx context.Context, c *Caller, a provider.Authority, since time.Time) (owners []*provider.Provider, away error) {
	inv := st.dir.of(c.scope())
	if owners, away = inv.owners(ctx, since, st.Providers.Owners(a)); len(owners) > 0 {
		return owners, away
	}
	h, err := inv.hosts.get(ctx, since)
	if err != nil {
		return nil, err
	}
	if p := h.owner(a); p != nil {
		return []*provider.Provider{p}, nil
	}
	return nil, h.denied
}

// unmatched judges a host that no provider owns. One of our own listeners is a
// loop, whatever else would refuse it.
func (st *state) unmatched(ctx context.Context, c *Caller, a provider.Authority, connect bool) error {
	why := ""
	switch {
	case !c.mayReach(a):
		why = "the caller's policy does not list this host"
	case st.Deny:
		why = "no provider owns this host, and unmatched hosts are denied"
	case connect && len(st.TunnelPorts) > 0 && !slices.Contains(st.TunnelPorts, a.Port):
		why = "no provider owns this host, and its port is not among tunnel_ports"
	default:
		return nil
	}
	if f := st.Upstream.loops(ctx, a); f != nil {
		return f
	}
	return fault.New(fault.NoRoute, why, nil)
}

// ask is what a request says about where it wants to go.
type ask struct {
	caller    *Caller
	authority provider.Authority
	gateway   *provider.Provider // named by a gateway path; nil: the authority tells
	secure    bool
	method    string
	path      string    // escaped
	name      string    // of Sallyport-Credential; empty: not said
	since     time.Time // when it began
}

// target finds the provider that owns the request and the credential to use.
func (st *state) target(ctx context.Context, q ask) (target, error) {
	t := target{authority: q.authority, secure: q.secure, provider: q.gateway}
	var err error
	if q.gateway != nil {
		err = st.entrance(ctx, &q)
	} else {
		err = st.own(ctx, q, &t)
	}
	if err != nil || t.provider == nil {
		return t, err
	}
	if t.provider.Protocol != provider.HTTP {
		return t, fault.New(fault.NoRoute, "provider "+t.provider.Name+": "+notHTTP, nil)
	}
	switch strings.ToUpper(q.method) {
	case "TRACE", "TRACK":
		return t, fault.New(fault.MethodNotAllowed, "TRACE would send the credential back", nil)
	case "PRI":
		return t, fault.New(fault.MethodNotAllowed, "PRI begins a connection of HTTP/2 and is no request", nil)
	}
	return t, st.credential(ctx, q, &t)
}

// notHTTP is why some requests go nowhere.
const notHTTP = "FTP is not HTTP, so it cannot be proxied; its credentials are checked, and go on no request"

func ftpScheme(s string) bool { return s == "ftp" || s == "ftps" }

// own finds the provider of the request's authority and path. What nobody owns
// takes the road of the host's provider, which may be in a private network.
func (st *state) own(ctx context.Context, q ask, t *target) error {
	owners, away := st.owners(ctx, q.caller, q.authority, q.since)
	if len(owners) == 0 && away != nil {
		return away
	}
	if dotSegments(q.path) && slices.ContainsFunc(owners, func(p *provider.Provider) bool { return len(p.Paths) > 0 }) {
		return fault.New(fault.InvalidRequest, "the path contains a dot segment, and paths of this host belong to different providers", nil)
	}
	if t.provider = provider.PathOwner(owners, q.path); t.provider != nil {
		return away // its credentials are not known yet
	}
	if len(owners) > 0 {
		t.road = owners[0]
	}
	return st.unmatched(ctx, q.caller, q.authority, false)
}

// entrance reads a gateway path as what it is at the provider: behind the base
// URL's own path, which it does not leave, and within the provider's paths.
func (st *state) entrance(ctx context.Context, q *ask) error {
	if dotSegments(q.path) {
		return fault.New(fault.InvalidRequest, "the path contains a dot segment", nil)
	}
	owners := []*provider.Provider{q.gateway}
	if u, err := url.Parse(unfilled.Replace(q.gateway.BaseURL)); err == nil {
		q.path = strings.TrimSuffix(u.EscapedPath(), "/") + q.path
		others, err := st.besides(ctx, *q, u)
		if err != nil {
			return err
		}
		owners = append(owners, others...)
	}
	if provider.PathOwner(owners, q.path) != q.gateway {
		return fault.New(fault.NoRoute, "the path is not among those that the provider owns", nil)
	}
	return nil
}

// besides gives the other providers that own paths of the gateway's provider's
// base URL's host.
func (st *state) besides(ctx context.Context, q ask, base *url.URL) ([]*provider.Provider, error) {
	a, err := provider.ParseAuthority(base.Host, portOf(base.Scheme))
	listed := st.Providers.Owners(a)
	if err != nil || !slices.Contains(listed, q.gateway) {
		return nil, nil
	}
	others := slices.DeleteFunc(slices.Clone(listed), func(o *provider.Provider) bool { return o == q.gateway })
	return st.dir.of(q.caller.scope()).owners(ctx, q.since, others)
}

// unfilled makes a base URL with a {field} readable.
var unfilled = strings.NewReplacer("{", "", "}", "")

// credential chooses among the caller's credentials of the target's provider.
func (st *state) credential(ctx context.Context, q ask, t *target) error {
	if q.caller.pathRules() {
		if err := plainPath(q.path); err != nil {
			return err
		}
	}
	e, err := st.choose(ctx, q, t.provider)
	if err != nil {
		return err
	}
	ref := credential.Ref{Provider: t.provider.Name}
	if e != nil {
		ref, t.entry = e.ref, e
	}
	if !q.caller.mayCall(ref, q.method, unescaped(q.path)) {
		return fault.New(fault.NotAllowed, "the caller's policy does not allow "+q.method+" on this path", nil)
	}
	return t.aim(q)
}

// choose picks the credential of a provider, and looks again for one that it
// does not find. A nil entry without an error is the anonymous request of a
// provider that allows it.
func (st *state) choose(ctx context.Context, q ask, p *provider.Provider) (*entry, error) {
	inv := st.dir.of(q.caller.scope())
	var missed error
	for {
		s, err := inv.candidates(ctx, q, p)
		if err != nil {
			return nil, cmp.Or(missed, err)
		}
		l, err := st.dir.choose(ctx, q, p, s)
		switch {
		case l != nil:
			return st.dir.entry(p, l), nil
		case err == nil || missed != nil:
			return nil, err
		}
		missed = err
		inv.relook(ctx, q, p)
	}
}
