package auth

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Assertions are short-lived, and begin in the past: clocks differ.
const (
	assertionSkew = 30 * time.Second
	assertionLife = 5 * time.Minute
)

// Grant types, and the way to prove a client, that have a name of RFC 7523 or 8693.
const (
	grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantExchange  = "urn:ietf:params:oauth:grant-type:token-exchange"
	assertedClient = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// Params of a provider that begin so are claims of an assertion and no part of
// the form: "assertion.box_sub_type" = "enterprise". An empty one takes the claim away.
const (
	grantClaim  = "assertion."
	clientClaim = "client_assertion."
)

func isClaim(param string) bool {
	return strings.HasPrefix(param, grantClaim) || strings.HasPrefix(param, clientClaim)
}

// askJWTBearer is the request of RFC 7523 section 2.1. The scope is asked for in
// the form, as RFC 7521 says, and in the assertion, as Google and DocuSign want it.
func askJWTBearer(k Kind, m Material) (tokenCall, error) {
	endpoint, err := k.tokenURL(m)
	if err != nil {
		return nil, err
	}
	r, err := k.newRequest(m, endpoint, grantJWTBearer)
	if err != nil {
		return nil, err
	}
	r.ask(m)
	claims := map[string]any{"aud": endpoint}
	if s := r.params.Get("scope"); s != "" {
		claims["scope"] = s
	}
	if err := addClaims(claims, m, grantClaim); err != nil {
		return nil, err
	}
	for claim, f := range map[string]string{"iss": "issuer", "sub": "subject", "aud": "audience"} {
		v := m.Credential.Field(f).Reveal()
		if wrong := fitText(v); wrong != "" {
			return nil, unfit("field %s %s", f, wrong)
		}
		if v != "" {
			claims[claim] = v
		}
	}
	assertion, err := signed(m, claims)
	if err != nil {
		return nil, err
	}
	r.params.Set("assertion", assertion)
	return r, nil
}

// assert proves the client by its key (RFC 7523 section 2.2). A grant that
// speaks for itself needs no client.
func (r *tokenRequest) assert(m Material) error {
	if grant := r.params.Get("grant_type"); r.id == "" && (grant == grantJWTBearer || grant == grantExchange) {
		return nil
	}
	if r.id == "" {
		return unfit("field client_id is missing")
	}
	claims := map[string]any{"iss": r.id, "sub": r.id, "aud": r.url}
	if err := addClaims(claims, m, clientClaim); err != nil {
		return err
	}
	assertion, err := signed(m, claims)
	if err != nil {
		return err
	}
	r.params.Set("client_assertion", assertion)
	r.params.Set("client_assertion_type", assertedClient)
	return nil
}

// addClaims adds the claims that the provider asks for.
func addClaims(claims map[string]any, m Material, prefix string) error {
	for name, t := range m.Provider.OAuth2.Params {
		claim, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if t == "" {
			delete(claims, claim)
			continue
		}
		v, err := fill(t, m.Credential.Field, fitText)
		if err != nil {
			return err
		}
		claims[claim] = v
	}
	return nil
}

// signed gives the claims as an assertion, signed with the record's private_key.
func signed(m Material, claims map[string]any) (string, error) {
	key, err := keyOf(m)
	if err != nil {
		return "", err
	}
	return key.token(claims, m.now().Add(-assertionSkew), assertionLife)
}

// keyOf reads the record's private_key. Its key_id wins over what came with the key.
func keyOf(m Material) (signingKey, error) {
	v := m.Credential.Field("private_key")
	if v.Empty() {
		return signingKey{}, unfit("field private_key is missing")
	}
	key, wrong := readKey(v)
	if wrong != "" {
		return key, unfit("field private_key %s", wrong)
	}
	if id := m.Credential.Field("key_id"); !id.Empty() {
		if wrong := fitText(id.Reveal()); wrong != "" {
			return key, unfit("field key_id %s", wrong)
		}
		key.id = id.Reveal()
	}
	return key, nil
}

// token makes a JSON Web Token (RFC 7519) of the claims and of when it is valid.
func (k signingKey) token(claims map[string]any, issued time.Time, life time.Duration) (string, error) {
	claims["iat"], claims["exp"], claims["jti"] = issued.Unix(), issued.Add(life).Unix(), rand.Text()
	token, err := k.sign(claims)
	if err != nil { // its text is the library's
		return "", unfit("field private_key cannot sign")
	}
	return token, nil
}

// sign gives the compact form (RFC 7515 section 3.1).
func (k signingKey) sign(claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: jose.JSONWebKey{Key: k.key, KeyID: k.id}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	s, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return s.CompactSerialize()
}
