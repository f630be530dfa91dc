package checker

import (
	"cmp"
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
	awayLife  = time.Minute // of what nobody knows for sure
)

// offers remembers where authorization servers are asked about tokens, by the
// provider's entry and the issuer; also that they offer nothing, or are away.
type offers = lru.Cache[string, offer]

// offer is what an authorization server's metadata tells.
type offer struct {
	auth.Endpoint              // no URL: it offers none
	fault         *fault.Fault // why that is not known; nil: it is
	until         time.Time
}

func newOffers() *offers {
	c, _ := lru.New[string, offer](maxOffers) // it fails on a size below one
	return c
}

// endpoint gives where the authorization server is asked about the token: what
// the provider's entry says, else what is discovered where that would answer what
// nobody else does. declared: the entry says it. No URL: nobody is asked, or, with a
// fault, it is not known who would be.
func (a *asker) endpoint(ctx context.Context) (e auth.Endpoint, declared bool, f *fault.Fault) {
	switch {
	case !a.isClient():
		return e, false, nil
	case a.p.OAuth2.IntrospectionURL != "":
		return a.declared(), true, nil
	case !a.wonders():
		return e, false, nil
	}
	o := a.discovered(ctx)
	if o.URL == "" || !a.homely(o.URL) {
		return e, false, o.fault
	}
	return o.Endpoint, false, nil
}

// declared gives the endpoint that the provider's entry names; no URL: it is not
// asked about this record's token.
func (a *asker) declared() auth.Endpoint {
	at, err := provider.Expand(a.p.OAuth2.IntrospectionURL, a.text)
	if err != nil || len(a.issuers()) > 0 && !a.homely(at) {
		return auth.Endpoint{}
	}
	return auth.Endpoint{URL: at, ClientAuth: a.probe.clientAuth}
}

// issued reports whether the token came from the token endpoint, as those of the
// types oauth2_* do.
func (a *asker) issued() bool { return strings.HasPrefix(auth.TypeOf(a.p, a.cred), "oauth2_") }

// isClient reports whether the record has what an OAuth client proves itself by.
func (a *asker) isClient() bool {
	if !a.issued() || a.cred.Field("client_id").Empty() {
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

// issuers are the token endpoints that the record itself names: the token, and the
// client's secret, are theirs.
func (a *asker) issuers() []string {
	return slices.DeleteFunc([]string{a.cred.Text("token_url"), a.cred.Text("refresh_url")}, func(s string) bool { return s == "" })
}

// homely reports whether a token goes to a URL: to where it came from, and to hosts
// that the provider owns unless the record names another server.
func (a *asker) homely(at string) bool {
	to, ok := authorityOf(at)
	if !ok {
		return false
	}
	if own := a.issuers(); len(own) > 0 {
		return !slices.ContainsFunc(own, func(s string) bool {
			from, ok := authorityOf(s)
			return !ok || from != to
		})
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
// the last hour; that it is away, within the last minute.
func (a *asker) discovered(ctx context.Context) offer {
	token, err := a.material().TokenURL()
	if err != nil {
		return offer{}
	}
	issuer := issuerOf(token)
	key := a.p.Name + " " + a.p.Fingerprint + " " + issuer
	if o, ok := a.offers.Get(key); ok && a.now().Before(o.until) {
		return o
	}
	o := a.discover(ctx, issuer)
	switch {
	case o.fault == nil:
		o.until = a.now().Add(offerLife)
	case ctx.Err() != nil || o.fault.Code == fault.RateLimited: // that is ours
		return o
	default:
		o.until = a.now().Add(awayLife)
	}
	a.offers.Add(key, o)
	return o
}

// discover reads an issuer's metadata (RFC 8414 section 3, then OpenID Connect
// Discovery section 4). That it offers nothing is sure when each document was
// answered for.
func (a *asker) discover(ctx context.Context, issuer string) (o offer) {
	for _, at := range wellKnown(issuer) {
		r := a.fetch(ctx, at)
		if f := unserved(issuer, r); f != nil {
			o.fault = f
		}
		if r.fault != nil {
			return o
		}
		var m metadata
		if !r.decode(&m) || strings.TrimSuffix(m.Issuer, "/") != issuer || m.Introspection == "" {
			continue
		}
		if how, ok := m.clientAuth(a.p.OAuth2.ClientAuth); ok {
			return offer{Endpoint: auth.Endpoint{URL: m.Introspection, ClientAuth: how}}
		}
	}
	return o
}

// unserved tells why an answer says nothing of whether there is metadata; nil: it
// does say.
func unserved(issuer string, r reply) *fault.Fault {
	f := r.fault
	switch {
	case f != nil:
	case r.status >= http.StatusInternalServerError, r.status == http.StatusTooManyRequests:
		f = fault.New(fault.TokenEndpointUnreachable, "it answered "+statusText(r.status), nil)
	default:
		return nil
	}
	told := *f
	told.Detail = "the metadata of the authorization server " + issuer + " cannot be read: " + cmp.Or(f.Detail, f.Diagnosis().Title)
	return &told
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
