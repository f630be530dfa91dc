package auth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Bounds of one exchange with a token endpoint.
const (
	maxExchange = 10 * time.Second // that nothing can be lost by
	maxSpending = 2 * time.Minute  // of a refresh token: an answer that comes late is better than none
	maxAnswer   = 1 << 20
)

// tokenRequest is one to a token endpoint: a form, and who the client is. x/oauth2
// sends it; it is told how the client authenticates, since its own probing would
// send a request twice.
type tokenRequest struct {
	url        string
	params     url.Values // grant_type and what belongs to it
	id, secret string     // of the client; both empty: it says so in params, or not at all
	style      oauth2.AuthStyle
	json       bool // the form goes as a JSON object
}

// newRequest gives the parts that every grant has: the client, the provider's
// further parameters, the audience.
func (k Kind) newRequest(m Material, endpoint, grant string) (tokenRequest, error) {
	r := tokenRequest{url: endpoint, params: url.Values{"grant_type": {grant}}}
	for _, f := range []string{"client_id", "client_secret", "scope", "audience"} {
		if wrong := fitText(m.Credential.Field(f).Reveal()); wrong != "" {
			return r, unfit("field %s %s", f, wrong)
		}
	}
	for name, t := range m.Provider.OAuth2.Params {
		if isClaim(name) {
			continue
		}
		v, err := fill(t, m.Credential.Field, fitText)
		if err != nil {
			return r, err
		}
		r.params.Set(name, v)
	}
	if a := m.Credential.Field("audience"); !a.Empty() && k.has("audience") && grant != grantJWTBearer { // there it is the assertion's
		r.params.Set("audience", a.Reveal())
	}
	return r, r.authenticate(m)
}

// authenticate says who the client is, in the provider's way.
func (r *tokenRequest) authenticate(m Material) error {
	r.json = m.Provider.OAuth2.Encoding == "json"
	r.id, r.secret = m.Credential.Field("client_id").Reveal(), m.Credential.Field("client_secret").Reveal()
	switch m.Provider.OAuth2.ClientAuth {
	case "", "basic":
		r.style = oauth2.AuthStyleInHeader
	case "body":
		r.style = oauth2.AuthStyleInParams
	case "private_key_jwt":
		r.style, r.secret = oauth2.AuthStyleInParams, ""
		return r.assert(m)
	case "none":
		r.style, r.secret = oauth2.AuthStyleInParams, ""
	default:
		return unfit("provider %s: client_auth %q is not known; use basic, body, private_key_jwt or none", m.Provider.Name, m.Provider.OAuth2.ClientAuth)
	}
	if r.secret == "" { // a public client names itself and proves nothing
		r.style = oauth2.AuthStyleInParams
	}
	return nil
}

// ask sets the scope: the record's as it stands, else the provider's scopes.
func (r *tokenRequest) ask(m Material) {
	if s := scopeOf(m); s != "" {
		r.params.Set("scope", s)
	}
}

func scopeOf(m Material) string {
	if s := m.Credential.Field("scope"); !s.Empty() {
		return s.Reveal()
	}
	sep := m.Provider.OAuth2.ScopeSeparator
	if sep == "" {
		sep = " "
	}
	return strings.Join(m.Provider.OAuth2.Scopes, sep)
}

// tokenURL is where tokens are asked for; refreshURL where they are refreshed:
// the record's own, else the provider's with the record's fields in it.
func (k Kind) tokenURL(m Material) (string, error) {
	return k.endpointURL(m, "token_url", m.Provider.OAuth2.TokenURL)
}

func (k Kind) refreshURL(m Material) (string, error) {
	if raw := m.Provider.OAuth2.RefreshURL; raw != "" && m.Credential.Field("token_url").Empty() || !m.Credential.Field("refresh_url").Empty() {
		return k.endpointURL(m, "refresh_url", raw)
	}
	return k.tokenURL(m)
}

// endpointURL: in the clear it must be on this machine, unless the provider
// allows more.
func (k Kind) endpointURL(m Material, field, template string) (string, error) {
	raw, what := m.Credential.Field(field).Reveal(), "field "+field
	if raw == "" {
		what = field + " of provider " + m.Provider.Name
		expanded, err := provider.Expand(template, k.publicField(m.Credential))
		if err != nil {
			return "", unfit("%s: %v", what, err)
		}
		raw = expanded
	}
	if raw == "" {
		return "", unfit("field %s is missing, and provider %s has none", field, m.Provider.Name)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil, fitText(raw) != "", strings.ContainsAny(raw, " #"):
		return "", unfit("%s is not a URL without a fragment", what)
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil:
		return "", unfit("%s must be an absolute https URL without user name and password", what)
	case inClear(m, u):
		return "", fault.New(fault.CleartextRefused, what+" is not https", nil)
	}
	return raw, nil
}

// publicField gives fields that may stand in a URL: never one that holds a secret.
func (k Kind) publicField(c *credential.Credential) func(string) string {
	return func(f string) string {
		if !credential.Public(f) && (k.has(f) || slices.Contains(wireFields, f) || slices.Contains(credential.TokenFields, f)) {
			return ""
		}
		return c.Field(f).Reveal()
	}
}

// exchange sends r once. stage, if not nil, is told of a 2xx answer before
// anybody reads it. The error is a *fault.Fault; what else the outcome tells
// counts beside it.
func exchange(ctx context.Context, m Material, r tokenRequest, stage func(reply)) (outcomeOf, error) {
	if m.Client == nil || m.Client.Transport == nil {
		return outcomeOf{}, fault.New(fault.Internal, "", errors.New("no client for token endpoints"))
	}
	e := &endpoint{next: m.Client.Transport, json: r.json, stage: stage}
	client := &http.Client{Transport: e, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	conf := clientcredentials.Config{ClientID: r.id, ClientSecret: r.secret, TokenURL: r.url, EndpointParams: r.params, AuthStyle: r.style}
	if _, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, client)); err != nil {
		return e.out, exchangeFault(err)
	}
	return e.out, nil
}

// exchangeFault is the endpoint's own fault. Whatever else x/oauth2 says is
// dropped: its errors quote the answer's body.
func exchangeFault(err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return f
	}
	return fault.New(fault.TokenEndpointUnreachable, "the token endpoint's answer is no token response", nil)
}
