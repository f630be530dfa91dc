package auth

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// opened verifies a token by a key of testKeys and gives its claims and its header.
func opened(t testing.TB, token, key string) (map[string]any, jose.Header) {
	t.Helper()
	s, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := s.Verify(testKeys()[key].Public())
	if err != nil {
		t.Fatalf("the signature of %s does not verify: %v", key, err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims, s.Signatures[0].Header
}

// wantLife holds the dates of an assertion to RT-20, and takes them away.
func wantLife(t testing.TB, claims map[string]any) {
	t.Helper()
	now := float64(time.Now().Unix())
	iat, _ := claims["iat"].(float64)
	exp, _ := claims["exp"].(float64)
	if jti, _ := claims["jti"].(string); iat > now-30 || iat < now-40 || exp <= now || exp > now+300 || exp-iat > 300 || len(jti) < 16 {
		t.Errorf("RT-20: iat %v, exp %v at %v, jti %v; want iat 30 s ago, five minutes and an id", iat, exp, now, claims["jti"])
	}
	for _, c := range []string{"iat", "exp", "jti"} {
		delete(claims, c)
	}
}

func jwtRecord(key string, more ...string) *credential.Credential {
	return record("oauth2_jwt_bearer", append([]string{"private_key", pkcs8(key), "issuer", "robot", "subject", "alice"}, more...)...)
}

func TestJWTBearerRequest(t *testing.T) {
	for _, tc := range []struct {
		name   string
		o      provider.OAuth2
		c      *credential.Credential
		key    string
		kid    string
		claims map[string]any
		form   url.Values // but the assertion
	}{
		{
			name: "RS256", c: jwtRecord("RSA"), key: "RSA", claims: map[string]any{"iss": "robot", "sub": "alice", "aud": tokenURL},
			form: url.Values{"grant_type": {grantJWTBearer}},
		},
		{
			name: "ES256 with a key_id", c: jwtRecord("P-256", "key_id", "k-7"), key: "P-256", kid: "k-7",
			claims: map[string]any{"iss": "robot", "sub": "alice", "aud": tokenURL}, form: url.Values{"grant_type": {grantJWTBearer}},
		},
		{
			name: "EdDSA", c: jwtRecord("Ed25519"), key: "Ed25519", claims: map[string]any{"iss": "robot", "sub": "alice", "aud": tokenURL},
			form: url.Values{"grant_type": {grantJWTBearer}},
		},
		{
			name: "Google: the scope is a claim; the key file brings the kid", o: provider.OAuth2{Scopes: []string{"https://www.googleapis.com/auth/drive"}},
			c:   record("oauth2_jwt_bearer", "private_key", asJSON(map[string]string{"private_key": pkcs8("RSA"), "private_key_id": "g-1"}), "issuer", "r@p.iam", "subject", "r@p.iam"),
			key: "RSA", kid: "g-1", claims: map[string]any{"iss": "r@p.iam", "sub": "r@p.iam", "aud": tokenURL, "scope": "https://www.googleapis.com/auth/drive"},
			form: url.Values{"grant_type": {grantJWTBearer}, "scope": {"https://www.googleapis.com/auth/drive"}},
		},
		{
			name: "Salesforce: the audience of the provider", o: provider.OAuth2{Params: map[string]string{"assertion.aud": "https://login.salesforce.com"}},
			c: jwtRecord("RSA"), key: "RSA", claims: map[string]any{"iss": "robot", "sub": "alice", "aud": "https://login.salesforce.com"},
			form: url.Values{"grant_type": {grantJWTBearer}},
		},
		{
			name: "the record's audience wins and is no form field", o: provider.OAuth2{Params: map[string]string{"assertion.aud": "https://login.salesforce.com"}},
			c: jwtRecord("RSA", "audience", "https://test.salesforce.com"), key: "RSA",
			claims: map[string]any{"iss": "robot", "sub": "alice", "aud": "https://test.salesforce.com"}, form: url.Values{"grant_type": {grantJWTBearer}},
		},
		{
			name: "further claims, and one that is taken away",
			o: provider.OAuth2{Scopes: []string{"a"}, Params: map[string]string{
				"assertion.scope": "", "assertion.box_sub_type": "{kind}", "assertion.iss": "mallory", "client_assertion.aud": "x", "z": "1",
			}},
			c: jwtRecord("RSA", "kind", "enterprise"), key: "RSA", claims: map[string]any{"iss": "robot", "sub": "alice", "aud": tokenURL, "box_sub_type": "enterprise"},
			form: url.Values{"grant_type": {grantJWTBearer}, "scope": {"a"}, "z": {"1"}},
		},
		{
			name: "a client too", o: provider.OAuth2{ClientAuth: "body"}, c: jwtRecord("RSA", "client_id", "id", "client_secret", "s3cr3t"), key: "RSA",
			claims: map[string]any{"iss": "robot", "sub": "alice", "aud": tokenURL},
			form:   url.Values{"grant_type": {grantJWTBearer}, "client_id": {"id"}, "client_secret": {"s3cr3t"}},
		},
		{
			name: "a grant that speaks for itself needs no client", o: provider.OAuth2{ClientAuth: "private_key_jwt"}, c: jwtRecord("RSA"), key: "RSA",
			claims: map[string]any{"iss": "robot", "sub": "alice", "aud": tokenURL}, form: url.Values{"grant_type": {grantJWTBearer}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &tokenEndpoint{}
			tc.o.TokenURL = tokenURL
			if _, err := mint(e, &provider.Provider{Name: "crm", OAuth2: tc.o}, tc.c); err != nil {
				t.Fatal(err)
			}
			claims, h := opened(t, e.forms[0].Get("assertion"), tc.key)
			wantLife(t, claims)
			if !maps.Equal(claims, tc.claims) || h.KeyID != tc.kid || h.ExtraHeaders["typ"] != "JWT" {
				t.Errorf("claims %v with kid %q, typ %v; want %v with %q", claims, h.KeyID, h.ExtraHeaders["typ"], tc.claims, tc.kid)
			}
			e.forms[0].Del("assertion")
			if e.forms[0].Encode() != tc.form.Encode() {
				t.Errorf("form %v, want %v", e.forms[0], tc.form)
			}
			if u, _, ok := e.asked[0].BasicAuth(); ok {
				t.Errorf("Basic as %q", u)
			}
		})
	}
}

// The client proves itself by its key, whatever it asks for, and sends no secret.
func TestPrivateKeyJWT(t *testing.T) {
	p := &provider.Provider{Name: "crm", OAuth2: provider.OAuth2{TokenURL: tokenURL, RefreshURL: tokenURL + "/again", ClientAuth: "private_key_jwt"}}
	client := []string{"client_id", "id", "private_key", sec1("P-256"), "key_id", "k-1"}
	for _, tc := range []struct {
		c     *credential.Credential
		grant string
		aud   string
	}{
		{record("oauth2_client_credentials", client...), "client_credentials", tokenURL},
		{record("oauth2_client_credentials", append(client, "client_secret", "s3cr3t")...), "client_credentials", tokenURL},
		{record("oauth2_password", append(client, "username", "u", "password", "p")...), "password", tokenURL},
		{record("oauth2_refresh_token", append(client, "refresh_token", "rt")...), "refresh_token", tokenURL + "/again"},
		{record("oauth2_authorization_code", append(client, "refresh_token", "rt")...), "refresh_token", tokenURL + "/again"},
		{record("oauth2_token_exchange", append(client, "subject_token", "st")...), grantExchange, tokenURL},
		{record("oauth2_jwt_bearer", append(client, "issuer", "i", "subject", "s")...), grantJWTBearer, tokenURL},
	} {
		t.Run(tc.c.Type, func(t *testing.T) {
			if err := Validate(p, tc.c); err != nil {
				t.Fatal(err)
			}
			k, _ := Lookup(tc.c.Type)
			m := Material{Provider: p, Credential: tc.c, Client: &http.Client{}}
			e := &tokenEndpoint{}
			m.Client.Transport = e
			var call tokenCall
			var err error
			if tc.grant == "refresh_token" {
				call, err = k.refresh(m)
			} else {
				call, err = k.ask(k, m)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := call.send(context.Background(), m); err != nil {
				t.Fatal(err)
			}
			form := e.forms[0]
			claims, h := opened(t, form.Get("client_assertion"), "P-256")
			wantLife(t, claims)
			if want := map[string]any{"iss": "id", "sub": "id", "aud": tc.aud}; !maps.Equal(claims, want) || h.KeyID != "k-1" {
				t.Errorf("claims %v, kid %q; want %v", claims, h.KeyID, want)
			}
			if form.Get("client_assertion_type") != assertedClient || form.Get("client_id") != "id" || form.Has("client_secret") || form.Get("grant_type") != tc.grant {
				t.Errorf("form %v", slices.Collect(maps.Keys(form)))
			}
			if _, _, ok := e.asked[0].BasicAuth(); ok {
				t.Error("it sends Basic too")
			}
		})
	}
}

// Each request has an assertion of its own; an authorization server may want the issuer as the audience.
func TestClientAssertionIsFresh(t *testing.T) {
	p := &provider.Provider{Name: "crm", OAuth2: provider.OAuth2{
		TokenURL: tokenURL, ClientAuth: "private_key_jwt", Params: map[string]string{"client_assertion.aud": "https://login.example"},
	}}
	e, c := &tokenEndpoint{}, record("oauth2_client_credentials", "client_id", "id", "private_key", pkcs8("Ed25519"))
	seen := map[any]bool{}
	for range 3 {
		if _, err := mint(e, p, c); err != nil {
			t.Fatal(err)
		}
		claims, _ := opened(t, e.forms[len(e.forms)-1].Get("client_assertion"), "Ed25519")
		seen[claims["jti"]] = true
		if claims["aud"] != "https://login.example" {
			t.Errorf("aud is %v", claims["aud"])
		}
	}
	if len(seen) != 3 || e.forms[0].Has("client_assertion.aud") {
		t.Errorf("%d ids of 3, form %v", len(seen), e.forms[0])
	}
}

func TestAssertionsThatCannotBe(t *testing.T) {
	signs := provider.OAuth2{TokenURL: tokenURL, ClientAuth: "private_key_jwt"}
	for _, tc := range []struct {
		name string
		o    provider.OAuth2
		c    *credential.Credential
		says string
	}{
		{"no key", provider.OAuth2{TokenURL: tokenURL}, record("oauth2_jwt_bearer", "issuer", "i", "subject", "s"), "field private_key is missing"},
		{"no subject", provider.OAuth2{TokenURL: tokenURL}, record("oauth2_jwt_bearer", "private_key", pkcs8("RSA"), "issuer", "i"), "field subject is missing"},
		{"a broken key", provider.OAuth2{TokenURL: tokenURL}, record("oauth2_jwt_bearer", "private_key", "s3cr3t", "issuer", "i", "subject", "s"), "field private_key holds no private key in PEM"},
		{"a control character", provider.OAuth2{TokenURL: tokenURL}, jwtRecord("RSA", "key_id", "a\nb"), "field key_id has a control character"},
		{"a control character in a claim", provider.OAuth2{TokenURL: tokenURL}, record("oauth2_jwt_bearer", "private_key", pkcs8("RSA"), "issuer", "a\nb", "subject", "s"), "field issuer has a control character"},
		{"no token_url", provider.OAuth2{}, jwtRecord("RSA"), "token_url"},
		{"a claim of a field that is missing", provider.OAuth2{TokenURL: tokenURL, Params: map[string]string{"assertion.x": "{kind}"}}, jwtRecord("RSA"), "field kind is missing"},
		{"private_key_jwt without a key", signs, clientRecord(), "field private_key is missing"},
		{"private_key_jwt with a broken key", signs, clientRecord("private_key", "s3cr3t"), "field private_key holds no"},
		{"private_key_jwt of nobody", signs, record("oauth2_password", "username", "u", "password", "s3cr3t", "private_key", pkcs8("RSA")), "field client_id is missing"},
		{"a key of another kind for GitHub", provider.OAuth2{}, record("github_app", "app_id", "1", "installation_id", "2", "private_key", pkcs8("P-256")), "not an RSA key"},
	} {
		p, e := &provider.Provider{Name: "crm", BaseURL: "https://api.example", OAuth2: tc.o}, &tokenEndpoint{}
		_, err := mint(e, p, tc.c)
		bad := Validate(p, tc.c)
		if !errors.Is(err, fault.FieldMissing) || !errors.Is(bad, fault.InvalidRequest) || e.posts() != 0 {
			t.Errorf("%s: %v and %v after %d requests; want field_missing and invalid_request", tc.name, err, bad, e.posts())
			continue
		}
		for _, e := range []error{err, bad} {
			if !strings.Contains(e.Error(), tc.says) || strings.Contains(e.Error(), "s3cr3t") || strings.Contains(e.Error(), "BEGIN") {
				t.Errorf("%s: %q must say %q and quote no value", tc.name, e, tc.says)
			}
		}
	}
}

// A public client, and one with a key, needs no secret.
func TestNeeds(t *testing.T) {
	k, _ := Lookup("oauth2_client_credentials")
	for auth, want := range map[string]string{
		"": "client_id client_secret", "basic": "client_id client_secret", "body": "client_id client_secret", "none": "client_id", "private_key_jwt": "client_id private_key",
	} {
		if got := strings.Join(k.Needs(&provider.Provider{OAuth2: provider.OAuth2{ClientAuth: auth}}), " "); got != want {
			t.Errorf("client_auth %q needs %q, want %q", auth, got, want)
		}
	}
	k, _ = Lookup("two_step")
	if got := strings.Join(k.Needs(&provider.Provider{Login: provider.Login{Path: "/{tenant}/login", Body: "u={username}"}}), " "); got != "tenant username" {
		t.Errorf("two_step needs %q", got)
	}
}

// RT-20: grants without a refresh token claim nothing and leave nothing in the
// journal; who asks at once shares one request, and its token is kept.
func TestKeeperOfGrantsWithoutRefreshToken(t *testing.T) {
	p := &provider.Provider{Name: "crm", BaseURL: "https://api.example", OAuth2: provider.OAuth2{TokenURL: tokenURL}, Login: provider.Login{Path: "/login", Body: "u={username}", Token: "access_token"}}
	for typ, fields := range map[string][]string{
		"oauth2_jwt_bearer":     {"private_key", pkcs8("RSA"), "issuer", "i", "subject", "s"},
		"oauth2_token_exchange": {"subject_token", "st"},
		"two_step":              {"username", "u"},
	} {
		t.Run(typ, func(t *testing.T) {
			store, e := &credtest.Store{}, &tokenEndpoint{took: 20 * time.Millisecond}
			e.answer = says(200, "application/json", `{"access_token":"at","expires_in":3600,"refresh_token":"rt"}`)
			c := store.Add(tokenRef, typ, fields...)
			k := NewKeeper(KeeperOptions{Store: store})
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if _, err := k.Obtain(t.Context(), Demand{Provider: p, Client: &http.Client{Transport: e}, Record: c.Clone()}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			got, err := store.Get(t.Context(), c.Ref)
			if err != nil {
				t.Fatal(err)
			}
			if e.posts() > 2 || got.Field("access_token").Reveal() != "at" {
				t.Errorf("RT-20: %d requests, kept %v", e.posts(), got.Names())
			}
			if !got.Field(credential.StateField).Empty() || !got.Field("refresh_token").Empty() {
				t.Errorf("RT-20: the record holds a claim or a refresh token: %v", got.Names())
			}
			again, err := k.Obtain(t.Context(), Demand{Provider: p, Client: &http.Client{Transport: e}, Record: got, Have: secret.New("at")})
			if err != nil || !again.Minted {
				t.Errorf("RT-20: a token that will not do is not replaced: %v", err)
			}
		})
	}
}
