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
	"github.com/sallyport/sallyport/internal/secret"
)

// Bounds of one exchange with a token endpoint.
const (
	maxExchange = 10 * time.Second
	maxAnswer   = 1 << 20
)

// clientCredentials completes the kind of RFC 6749 section 4.4. The token stands
// in memory only; one that the record holds is used as long as it is valid.
func clientCredentials(k Kind) Kind {
	k.plan = func(m Material) error {
		if _, err := k.config(m); err != nil {
			return err
		}
		_, err := token{access: "x"}.injector(k, m)
		return err
	}
	k.Mint = func(ctx context.Context, m Material) (*Injector, error) {
		conf, err := k.config(m)
		if err != nil {
			return nil, err
		}
		if t, ok := storedToken(m); ok && !m.Renew {
			return t.injector(k, m)
		}
		t, err := exchange(ctx, m, conf)
		if err != nil {
			return nil, err
		}
		return t.injector(k, m)
	}
	return k
}

// token is an access token as it was answered or stored.
type token struct {
	access, scheme string    // scheme of the Authorization field; empty: Bearer
	expiry         time.Time // zero: unknown
	stored         bool
}

// injector puts the token where the places say.
func (t token) injector(k Kind, m Material) (*Injector, error) {
	i, err := newInjector(k, m, func(f string) secret.Value {
		switch f {
		case "access_token":
			return secret.New(t.access)
		case "token_type":
			return secret.New(schemeOf(t.scheme))
		}
		return m.Credential.Field(f)
	})
	if err != nil {
		return nil, err
	}
	i.Expiry, i.stored = t.expiry, t.stored
	return i, nil
}

// storedToken gives the record's own access token while it is valid.
func storedToken(m Material) (token, bool) {
	c := m.Credential
	expiry, err := time.Parse(time.RFC3339, c.Field("expires_at").Reveal())
	if err != nil || c.Field("access_token").Empty() || !expiry.After(m.now()) {
		return token{}, false
	}
	return token{c.Field("access_token").Reveal(), c.Field("token_type").Reveal(), expiry, true}, true
}

// config compiles the token request. AuthStyle is always explicit: x/oauth2's
// probing would send a request twice.
func (k Kind) config(m Material) (*clientcredentials.Config, error) {
	endpoint, err := k.tokenURL(m)
	if err != nil {
		return nil, err
	}
	conf := &clientcredentials.Config{
		ClientID: m.Credential.Field("client_id").Reveal(), ClientSecret: m.Credential.Field("client_secret").Reveal(),
		TokenURL: endpoint, EndpointParams: url.Values{},
	}
	for _, f := range []string{"client_id", "client_secret", "scope", "audience"} {
		if wrong := fitText(m.Credential.Field(f).Reveal()); wrong != "" {
			return nil, unfit("field %s %s", f, wrong)
		}
	}
	if scope := scopeOf(m); scope != "" {
		conf.Scopes = []string{scope}
	}
	if err := params(conf, m); err != nil {
		return nil, err
	}
	return conf, authStyle(conf, m.Provider)
}

func authStyle(conf *clientcredentials.Config, p *provider.Provider) error {
	switch p.OAuth2.ClientAuth {
	case "", "basic":
		conf.AuthStyle = oauth2.AuthStyleInHeader
	case "body":
		conf.AuthStyle = oauth2.AuthStyleInParams
	case "none":
		conf.AuthStyle, conf.ClientSecret = oauth2.AuthStyleInParams, ""
	default:
		return unfit("provider %s: client_auth %q is not built yet; use basic, body or none", p.Name, p.OAuth2.ClientAuth)
	}
	return nil
}

// scopeOf is the record's scope as it stands, else the provider's scopes.
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

// params puts the provider's further parameters and the record's audience into
// the request.
func params(conf *clientcredentials.Config, m Material) error {
	for name, t := range m.Provider.OAuth2.Params {
		v, err := fill(t, m.Credential.Field, fitText)
		if err != nil {
			return err
		}
		if name != "scope" || len(conf.Scopes) == 0 { // x/oauth2 fails on a second scope
			conf.EndpointParams.Set(name, v)
		}
	}
	if a := m.Credential.Field("audience"); !a.Empty() {
		conf.EndpointParams.Set("audience", a.Reveal())
	}
	return nil
}

// tokenURL is the record's, else the provider's with the record's fields in it.
// In the clear it must be on this machine, unless the provider allows more.
func (k Kind) tokenURL(m Material) (string, error) {
	raw, what := m.Credential.Field("token_url").Reveal(), "field token_url"
	if raw == "" {
		what = "token_url of provider " + m.Provider.Name
		expanded, err := provider.Expand(m.Provider.OAuth2.TokenURL, k.publicField(m.Credential))
		if err != nil {
			return "", unfit("%s: %v", what, err)
		}
		raw = expanded
	}
	if raw == "" {
		return "", unfit("field token_url is missing, and provider %s has none", m.Provider.Name)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil, fitText(raw) != "", strings.ContainsAny(raw, " #"):
		return "", unfit("%s is not a URL without a fragment", what)
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil:
		return "", unfit("%s must be an absolute https URL without user name and password", what)
	case u.Scheme == "http" && !m.Provider.AllowCleartext && !provider.Loopback(u.Hostname()):
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

// exchange asks the token endpoint once, for ten seconds at most.
func exchange(ctx context.Context, m Material, conf *clientcredentials.Config) (token, error) {
	if m.Client == nil || m.Client.Transport == nil {
		return token{}, fault.New(fault.Internal, "", errors.New("no client for token endpoints"))
	}
	ctx, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	e := &endpoint{next: m.Client.Transport}
	client := &http.Client{Transport: e, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		return token{}, exchangeFault(err)
	}
	return token{access: t.AccessToken, scheme: t.TokenType, expiry: m.now().Add(e.life)}, nil
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
