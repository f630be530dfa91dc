package proxy

import (
	"context"
	"net/url"
	"slices"
	"strings"

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
// passed through or refused, a CONNECT by its port too.
func (st *state) route(ctx context.Context, c *Caller, a provider.Authority, connect bool) (route, error) {
	o := st.owners(ctx, c, a)
	switch {
	case len(o.providers) == 1:
		return route{intercept: true, only: o.providers[0]}, nil
	case len(o.providers) > 0:
		return route{intercept: true}, nil
	case o.away != nil:
		return route{}, o.away
	}
	return route{}, st.unmatched(ctx, c, a, connect)
}

// owners are the providers that own any path of an authority for a caller, and
// the view they come from.
type owners struct {
	providers []*provider.Provider
	view      *view
	away      error // nothing is known of the store yet; view is nil then
}

// owners of an authority. While nothing is known of the store, a built-in
// provider's host counts as owned, and one that nobody owns is refused.
func (st *state) owners(ctx context.Context, c *Caller, a provider.Authority) owners {
	static := st.Providers.Owners(a)
	v, err := st.dir.view(ctx, c.scope())
	if err != nil {
		return owners{providers: static, away: err}
	}
	idle := func(p *provider.Provider) bool { return !v.active(p) }
	if slices.ContainsFunc(static, idle) {
		static = slices.DeleteFunc(slices.Clone(static), idle)
	}
	if p := v.owner(a); p != nil && !slices.Contains(static, p) {
		static = append(slices.Clone(static), p)
	}
	return owners{providers: static, view: v}
}

// owner gives the provider whose credential owns an authority by its own url. A
// plain http request is for the https one.
func (v *view) owner(a provider.Authority) *provider.Provider {
	if p := v.owned[a]; p != nil || a.Port != 80 {
		return p
	}
	return v.owned[provider.Authority{Host: a.Host, Port: 443}]
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
	path      string // escaped
	name      string // of Sallyport-Credential; empty: not said
}

// target finds the provider that owns the request and the credential to use.
func (st *state) target(ctx context.Context, q ask) (target, error) {
	t := target{authority: q.authority, secure: q.secure, provider: q.gateway}
	var v *view
	var err error
	if q.gateway != nil {
		v, err = st.entrance(ctx, &q)
	} else {
		v, err = st.own(ctx, q, &t)
	}
	if err != nil || t.provider == nil {
		return t, err
	}
	if q.method == "TRACE" || q.method == "TRACK" {
		return t, fault.New(fault.MethodNotAllowed, "TRACE would send the credential back", nil)
	}
	return t, st.credential(ctx, q, v, &t)
}

// own finds the provider of the request's authority and path. What nobody owns
// takes the road of the host's provider, which may be in a private network.
func (st *state) own(ctx context.Context, q ask, t *target) (*view, error) {
	o := st.owners(ctx, q.caller, q.authority)
	if len(o.providers) == 0 && o.away != nil {
		return nil, o.away
	}
	if dotSegments(q.path) && slices.ContainsFunc(o.providers, func(p *provider.Provider) bool { return len(p.Paths) > 0 }) {
		return nil, fault.New(fault.InvalidRequest, "the path contains a dot segment, and paths of this host belong to different providers", nil)
	}
	if t.provider = provider.PathOwner(o.providers, q.path); t.provider != nil {
		return o.view, o.away // its credentials are not known yet where the store is away
	}
	if len(o.providers) > 0 {
		t.road = o.providers[0]
	}
	return o.view, st.unmatched(ctx, q.caller, q.authority, false)
}

// entrance reads a gateway path as what it is at the provider: behind the base
// URL's own path, which it does not leave, and within the provider's paths.
func (st *state) entrance(ctx context.Context, q *ask) (*view, error) {
	if dotSegments(q.path) {
		return nil, fault.New(fault.InvalidRequest, "the path contains a dot segment", nil)
	}
	v, err := st.dir.view(ctx, q.caller.scope())
	if err != nil {
		return nil, err
	}
	owners := []*provider.Provider{q.gateway}
	if u, err := url.Parse(unfilled.Replace(q.gateway.BaseURL)); err == nil {
		q.path = strings.TrimSuffix(u.EscapedPath(), "/") + q.path
		owners = append(owners, st.besides(q.gateway, u, v)...)
	}
	if provider.PathOwner(owners, q.path) != q.gateway {
		return nil, fault.New(fault.NoRoute, "the path is not among those that the provider owns", nil)
	}
	return v, nil
}

// besides gives the other providers that own paths of p's base URL's host.
func (st *state) besides(p *provider.Provider, base *url.URL, v *view) []*provider.Provider {
	a, err := provider.ParseAuthority(base.Host, portOf(base.Scheme))
	if err != nil || !slices.Contains(st.Providers.Owners(a), p) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(st.Providers.Owners(a)), func(o *provider.Provider) bool { return o == p || !v.active(o) })
}

// unfilled makes a base URL with a {field} readable.
var unfilled = strings.NewReplacer("{", "", "}", "")

// credential chooses among the caller's credentials of the target's provider.
func (st *state) credential(ctx context.Context, q ask, v *view, t *target) error {
	if q.caller.pathRules() {
		if err := plainPath(q.path); err != nil {
			return err
		}
	}
	e, err := v.choose(q, t)
	if err != nil {
		v = st.dir.relook(ctx, q.caller.scope(), v)
		e, err = v.choose(q, t)
	}
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

// choose picks the credential: by name, the only one, or the one named default.
// A nil entry without an error is the anonymous request of a provider that
// allows it.
func (v *view) choose(q ask, t *target) (*entry, error) {
	fit := v.candidates(q, t)
	switch {
	case q.name != "":
		for _, e := range fit {
			if e.ref.Name == q.name {
				return e, nil
			}
		}
		return nil, fault.New(fault.CredentialNotFound, "no credential of that name is among those the caller may use", nil)
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) == 0 && t.provider.Anonymous:
		return nil, nil
	case len(fit) == 0:
		return nil, fault.New(fault.NoCredential, "the caller has no credential of provider "+t.provider.Name, nil)
	}
	names := make([]string, 0, len(fit))
	for _, e := range fit {
		if e.ref.Name == credential.DefaultName {
			return e, nil
		}
		names = append(names, e.ref.Name)
	}
	return nil, fault.New(fault.AmbiguousCredential, "choose one with Sallyport-Credential: "+strings.Join(names, ", "), nil)
}

// candidates are the credentials of the provider that the caller may use and
// that may go where the request goes: one with a url of its own only there, or
// to the base URL's host, which the url then stands for.
func (v *view) candidates(q ask, t *target) []*entry {
	all := v.entries[t.provider.Name]
	ownedHere := t.provider == v.owner(q.authority) && q.gateway == nil
	atBase := func() bool { return q.gateway != nil || isBase(t.provider, q.authority) }
	fits := func(e *entry) bool {
		switch {
		case e.ignored || !q.caller.mayUse(e.ref):
			return false
		case e.url == nil && len(e.hosts) == 0:
			return !ownedHere || atBase()
		case e.owns(q.authority):
			return true
		}
		return atBase()
	}
	if !slices.ContainsFunc(all, func(e *entry) bool { return !fits(e) }) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(e *entry) bool { return !fits(e) })
}

// owns reports whether the entry's own url or filled hosts give the authority.
func (e *entry) owns(a provider.Authority) bool {
	return slices.Contains(e.hosts, a) || (a.Port == 80 && slices.Contains(e.hosts, provider.Authority{Host: a.Host, Port: 443}))
}
