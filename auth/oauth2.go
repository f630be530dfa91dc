package auth

import (
	"context"

	"github.com/sallyport/sallyport/internal/fault"
)

// tokens completes a kind whose access token a token endpoint gives. A token
// that the record holds is used as long as it is valid.
func tokens(k Kind) Kind {
	k.plan = func(m Material) error {
		if err := k.compiles(m); err != nil {
			return err
		}
		_, err := token{access: "x"}.injector(k, m)
		return err
	}
	k.Mint = func(ctx context.Context, m Material) (*Injector, error) {
		if i, err := k.held(m); (!m.Renew || k.ask == nil) && (i != nil || err != nil) {
			return i, err
		}
		if k.ask == nil {
			return nil, fault.New(fault.TokenExpired, "the record holds no valid access_token, and its refresh token is spent for requests only", nil)
		}
		g, err := k.obtain(ctx, m)
		if err != nil {
			return nil, err
		}
		now := m.now()
		i, err := token{access: g.access, scheme: g.scheme, made: now, expiry: now.Add(g.life)}.injector(k, m)
		if err == nil {
			i.Scope = g.scopes(m)
		}
		return i, err
	}
	return k
}

// scopes that were given: without a word of them those that were asked for (RFC
// 6749 section 5.1).
func (g granted) scopes(m Material) []string {
	if g.scope == "" {
		return scopeList(scopeOf(m))
	}
	return scopeList(g.scope)
}

// compiles tells what keeps the kind's requests from being made.
func (k Kind) compiles(m Material) error {
	if k.ask != nil {
		if _, err := k.ask(k, m); err != nil {
			return err
		}
	}
	if m.Credential.Field("refresh_token").Empty() || !k.refreshes {
		return nil
	}
	_, err := k.refresh(m)
	return err
}

// held makes an injector of the record's own token; nil: it holds none that is
// valid.
func (k Kind) held(m Material) (*Injector, error) {
	t, ok := tokenOf(m.Credential)
	if !ok || !t.live(m.now()) {
		return nil, nil
	}
	i, err := t.injector(k, m)
	if err == nil {
		i.stored = true
		if !k.asksScope {
			i.Scope = scopeList(m.Credential.Text("scope"))
		}
	}
	return i, err
}

// obtain asks for a token without a refresh token.
func (k Kind) obtain(ctx context.Context, m Material) (granted, error) {
	r, err := k.ask(k, m)
	if err != nil {
		return granted{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	return r.send(ctx, m)
}

// refresh is the request of RFC 6749 section 6.
func (k Kind) refresh(m Material) (tokenRequest, error) {
	endpoint, err := k.refreshURL(m)
	if err != nil {
		return tokenRequest{}, err
	}
	r, err := k.newRequest(m, endpoint, "refresh_token")
	if err != nil {
		return r, err
	}
	r.params.Del("scope") // the grant's own
	r.params.Set("refresh_token", m.Credential.Field("refresh_token").Reveal())
	return r, nil
}

// ClientCredentialsType is the type of a client's own account.
const ClientCredentialsType = "oauth2_client_credentials"

// askClientCredentials is the request of RFC 6749 section 4.4, or one like it that
// the provider describes.
func askClientCredentials(k Kind, m Material) (tokenCall, error) {
	endpoint, err := k.tokenURL(m)
	if err != nil {
		return nil, err
	}
	r, err := k.newRequest(m, endpoint, "client_credentials")
	if err != nil {
		return r, err
	}
	r.ask(m)
	for name, t := range m.Provider.OAuth2.ClientCredentialsParams {
		if name == "scope" && !m.Credential.Field("scope").Empty() {
			continue // the record's own wins
		}
		v, err := fill(t, m.Credential.Field, fitText)
		if err != nil {
			return r, err
		}
		r.params.Set(name, v)
	}
	return r, nil
}

// askPassword is the request of RFC 6749 section 4.3.
func askPassword(k Kind, m Material) (tokenCall, error) {
	endpoint, err := k.tokenURL(m)
	if err != nil {
		return nil, err
	}
	r, err := k.newRequest(m, endpoint, "password")
	if err != nil {
		return r, err
	}
	for _, f := range []string{"username", "password"} {
		if wrong := fitText(m.Credential.Field(f).Reveal()); wrong != "" {
			return r, unfit("field %s %s", f, wrong)
		}
		r.params.Set(f, m.Credential.Field(f).Reveal())
	}
	r.ask(m)
	return r, nil
}
