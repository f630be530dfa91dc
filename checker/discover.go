package checker

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Bounds of what is remembered of authorization servers.
const (
	maxOffers = 256
	offerLife = time.Hour
)

// offers remembers where authorization servers are asked about tokens, by the
// provider and the issuer; also that they offer nothing.
type offers = lru.Cache[string, offer]

// offer is what an authorization server's metadata tells.
type offer struct {
	auth.Endpoint // no URL: it offers none
	until         time.Time
}

func newOffers() *offers {
	c, _ := lru.New[string, offer](maxOffers) // it fails on a size below one
	return c
}

// endpoint gives where the authorization server is asked about the token: what
// the provider's entry says, else what is discovered where that would answer what
// nobody else does. declared: the entry says it. A token goes to hosts only that
// the provider owns, or where it came from.
func (a *asker) endpoint(ctx context.Context) (e auth.Endpoint, declared, ok bool) {
	if !a.isClient() {
		return e, false, false
	}
	if a.p.OAuth2.IntrospectionURL != "" {
		at, err := provider.Expand(a.p.OAuth2.IntrospectionURL, a.text)
		own := a.cred.Field("token_url").Empty() && a.cred.Field("refresh_url").Empty() // else the token may be another server's
		return auth.Endpoint{URL: at, ClientAuth: a.probe.clientAuth}, true, err == nil && (own || a.homely(at))
	}
	if !a.wonders() {
		return e, false, false
	}
	e = a.discovered(ctx)
	return e, false, e.URL != "" && a.homely(e.URL)
}

// isClient reports whether the record has what an OAuth client proves itself by.
func (a *asker) isClient() bool {
	kind, _ := auth.Lookup(auth.TypeOf(a.p, a.cred))
	if kind.Grant == "" || a.cred.Field("client_id").Empty() {
		return false
	}
	switch a.p.OAuth2.ClientAuth {
	case "none":
		return false
	case "private_key_jwt":
		return !a.cred.Field("private_key").Empty()
	}
	return !a.cred.Field("client_secret").Empty()
}

// wonders reports whether metadata is worth asking for: nothing else proves the
// token, or tells scopes that are needed. A shipped entry that nobody changed says
// what its provider has.
func (a *asker) wonders() bool {
	if a.p.Builtin && !a.p.Configured {
		return false
	}
	unproved := a.p.Verify.Path == "" && len(a.rec.taken()) == 0
	return unproved || len(a.needs.Scopes) > 0 && len(a.inj.Scope) == 0
}

// homely reports whether the host of a URL is one that the provider owns, or its
// token endpoint's.
func (a *asker) homely(at string) bool {
	to, ok := authorityOf(at)
	if !ok {
		return false
	}
	if token, err := a.material().TokenURL(); err == nil {
		if from, ok := authorityOf(token); ok && from == to {
			return true
		}
	}
	return slices.ContainsFunc(a.p.Hosts, func(h string) bool {
		h, err := provider.Expand(h, a.text)
		if err != nil {
			return false
		}
		p, err := provider.ParsePattern(h)
		return err == nil && p.Match(to)
	})
}

// authorityOf gives the host and port of an http or https URL.
func authorityOf(s string) (provider.Authority, bool) {
	u, err := url.Parse(s)
	if err != nil {
		return provider.Authority{}, false
	}
	port := 443
	if u.Scheme == "http" {
		port = 80
	}
	at, err := provider.ParseAuthority(u.Host, port)
	return at, err == nil
}

// discovered gives what the issuer of the token endpoint offers, as it was within
// the last hour.
func (a *asker) discovered(ctx context.Context) auth.Endpoint {
	token, err := a.material().TokenURL()
	if err != nil {
		return auth.Endpoint{}
	}
	issuer := issuerOf(token)
	key := a.p.Name + " " + issuer
	if o, ok := a.offers.Get(key); ok && a.now().Before(o.until) {
		return o.Endpoint
	}
	e, sure := a.discover(ctx, issuer)
	if sure {
		a.offers.Add(key, offer{e, a.now().Add(offerLife)})
	}
	return e
}

// discover reads an issuer's metadata (RFC 8414 section 3, then OpenID Connect
// Discovery section 4). sure: it is away, or has answered; else it was not its turn.
func (a *asker) discover(ctx context.Context, issuer string) (e auth.Endpoint, sure bool) {
	for _, at := range wellKnown(issuer) {
		r := a.fetch(ctx, at)
		var m metadata
		switch {
		case r.fault != nil:
			return e, ctx.Err() == nil && r.fault.Code != fault.RateLimited
		case !r.decode(&m) || strings.TrimSuffix(m.Issuer, "/") != issuer || m.Introspection == "":
			continue
		}
		if how, ok := m.clientAuth(a.p.OAuth2.ClientAuth); ok {
			return auth.Endpoint{URL: m.Introspection, ClientAuth: how}, true
		}
	}
	return e, true
}

// fetch gets a document without the credential.
func (a *asker) fetch(ctx context.Context, at string) reply {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return reply{fault: fault.New(fault.InvalidRequest, "the token endpoint's URL is malformed", nil)}
	}
	req.Header = http.Header{"Accept": {"application/json"}, "User-Agent": {userAgent}}
	a.rec.begin(stepDiscover, nil)
	return a.read(a.client.Do(req)) //nolint:bodyclose // read closes it
}

// metadata is what is read of RFC 8414 section 2.
type metadata struct {
	Issuer        string   `json:"issuer"`
	Introspection string   `json:"introspection_endpoint"`
	Methods       []string `json:"introspection_endpoint_auth_methods_supported"`
}

// authMethods are the names of the ways in which a client proves itself (RFC 7591
// section 2), the preferred first.
var authMethods = []struct{ ours, theirs string }{
	{"basic", "client_secret_basic"}, {"body", "client_secret_post"}, {"private_key_jwt", "private_key_jwt"},
}

// clientAuth chooses how the client proves itself: as at the token endpoint,
// which is empty, else in another way that the endpoint takes.
func (m metadata) clientAuth(own string) (how string, ok bool) {
	if own == "" {
		own = "basic"
	}
	for _, w := range authMethods {
		if slices.Contains(m.Methods, w.theirs) {
			if w.ours == own {
				return "", true
			}
			if how == "" && (own == "private_key_jwt") == (w.ours == "private_key_jwt") { // with what the record has
				how = w.ours
			}
		}
	}
	return how, how != "" || len(m.Methods) == 0
}

// tokenPaths are the paths that authorization servers with several issuers, or
// below a path, put behind the issuer; of others the issuer is the host.
var tokenPaths = []string{
	"/protocol/openid-connect/token", "/oauth2/v1/token", "/v1/token", "/connect/token", "/login/oauth/access_token", "/oauth2/token", "/oauth/token",
}

// issuerOf gives the likely issuer of a token endpoint, without a trailing slash.
func issuerOf(token string) string {
	u, err := url.Parse(token)
	if err != nil {
		return ""
	}
	issuer := u.Scheme + "://" + u.Host
	for _, p := range tokenPaths {
		if below, ok := strings.CutSuffix(u.EscapedPath(), p); ok {
			return issuer + below
		}
	}
	return issuer
}

// wellKnown gives where the metadata of an issuer lies.
func wellKnown(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	return []string{
		u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + u.EscapedPath(),
		issuer + "/.well-known/openid-configuration",
	}
}
