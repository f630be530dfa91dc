package auth

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/testserver"
)

// The real server tells of tokens that are active, revoked, expired and nobody's,
// and refuses a client whose secret is wrong.
func TestRealIntrospection(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Minute, AccessTTL: 4 * time.Second, ClientKeys: publicKeys()})
	p := oidcProvider(server, "")
	m2m := record("oauth2_client_credentials", "client_id", "m2m", "client_secret", "s3cr3t-m2m", "scope", "api:read api:write")
	mint := func(c *credential.Credential) *Injector {
		i, err := Mint(t.Context(), Material{Credential: c, Provider: p, Client: plainClient(t)})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	revoked := mint(m2m)
	form(t, server, "/token/revocation", "m2m", "s3cr3t-m2m", url.Values{"token": {revoked.Carries().Reveal()}})
	live, alice := mint(m2m), accessOf(t, server) // hers does not live long
	for _, tc := range []struct {
		name, auth string
		c          *credential.Credential
		i          *Injector
		active     bool
		scopes     string
		account    string
		want       fault.Code
	}{
		{name: "a person's", c: web(), i: held(t, web(), alice), active: true, scopes: "openid offline_access", account: "alice"},
		{name: "active", c: m2m, i: live, active: true, scopes: "api:read api:write"},
		{name: "the client in the body", auth: "body", c: record("oauth2_client_credentials", "client_id", "m2m-post", "client_secret", "s3cr3t:/+%"), i: live, active: true, scopes: "api:read api:write"},
		{name: "a client with a key", auth: "private_key_jwt", c: record("oauth2_client_credentials", "client_id", "signed", "key_id", "P-256", "private_key", sec1("P-256")), i: live, active: true, scopes: "api:read api:write"},
		{name: "revoked", c: m2m, i: revoked},
		{name: "nobody's", c: web(), i: held(t, web(), "nobodys")},
		{name: "wrong client secret", c: record("oauth2_client_credentials", "client_id", "m2m", "client_secret", "wrong"), i: live, want: fault.InvalidClient},
		{name: "no client", c: record("bearer", "token", "t"), i: live, want: fault.FieldMissing},
		{name: "no token", c: m2m, i: &Injector{}, want: fault.FieldMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := Endpoint{URL: server.Issuer + "/token/introspection", ClientAuth: tc.auth}
			got, err := Introspect(t.Context(), Material{Credential: tc.c, Provider: p, Client: plainClient(t)}, tc.i, e)
			if tc.want != "" {
				if !errors.Is(err, tc.want) || strings.Contains(err.Error(), "s3cr3t") {
					t.Fatalf("got %v, want %s", err, tc.want)
				}
				return
			}
			if err != nil || got.Active != tc.active || strings.Join(got.Scopes, " ") != tc.scopes || got.Account != tc.account || got.Ends.IsZero() == tc.active {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		got, err := Introspect(t.Context(), Material{Credential: web(), Provider: p, Client: plainClient(t)}, held(t, web(), alice), Endpoint{URL: server.Issuer + "/token/introspection"})
		if err == nil && !got.Active {
			return
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("expired: %+v, %v", got, err)
		}
	}
}

func web() *credential.Credential {
	return record("oauth2_authorization_code", "client_id", "web", "client_secret", "s3cr3t-web", "refresh_token", "r")
}

// held is an injector of a token that a record holds.
func held(t *testing.T, c *credential.Credential, access string) *Injector {
	t.Helper()
	k, _ := Lookup(c.Type)
	i, err := token{access: access}.injector(k, Material{Credential: c, Provider: &provider.Provider{Name: "crm"}})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// accessOf gives an access token that alice has just given to the client web.
func accessOf(t *testing.T, s *testserver.OIDC) string {
	t.Helper()
	access, _ := form(t, s, "/token", "web", "s3cr3t-web", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {consented(t, s)}})["access_token"].(string)
	if access == "" {
		t.Fatal("no access token")
	}
	return access
}

// sameAnswer is a round tripper that gives one answer to everything and keeps what it was asked.
type sameAnswer struct {
	status    int
	typ, body string
	req       *http.Request
	asked     string
}

func (a *sameAnswer) RoundTrip(req *http.Request) (*http.Response, error) {
	b, _ := io.ReadAll(req.Body)
	a.req, a.asked = req, string(b)
	rec := httptest.NewRecorder()
	rec.Header().Set("Content-Type", a.typ)
	rec.WriteHeader(a.status)
	_, _ = rec.WriteString(a.body)
	return rec.Result(), nil
}

// Answers are read in the words of several houses, and what is none is told apart.
func TestIntrospectionAnswers(t *testing.T) {
	const j = "application/json"
	now := time.Unix(1_700_000_000, 0)
	for _, tc := range []struct {
		name      string
		status    int
		typ, body string
		want      Introspection
		code      fault.Code
	}{
		{name: "RFC 7662", status: 200, typ: j, body: `{"active":true,"scope":"read write","username":"jdoe","sub":"Z5O3","exp":1700003600}`, want: Introspection{Active: true, Scopes: []string{"read", "write"}, Account: "jdoe", Ends: time.Unix(1_700_003_600, 0)}},
		{name: "active false alone", status: 200, typ: j, body: `{"active":false}`},
		{name: "no scope is told", status: 200, typ: j, body: `{"active":true,"sub":"x"}`, want: Introspection{Active: true, Account: "x"}},
		{name: "no scope was granted", status: 200, typ: j, body: `{"active":true,"scope":""}`, want: Introspection{Active: true, Scopes: []string{}}},
		{name: "commas between, as Zoho has them", status: 200, typ: j, body: `{"active":true,"scope":"ZohoCRM.users.ALL,ZohoCRM.modules.READ"}`, want: Introspection{Active: true, Scopes: []string{"ZohoCRM.users.ALL", "ZohoCRM.modules.READ"}}},
		{name: "HubSpot's", status: 200, typ: j, body: `{"token_use":"access_token","active":true,"token":"T0ken","hub_id":1,"scopes":["oauth","crm.objects.contacts.read"],"signed_access_token":{"signature":"x"},"expires_in":1800,"user":"ann@example.com"}`, want: Introspection{Active: true, Scopes: []string{"oauth", "crm.objects.contacts.read"}, Account: "ann@example.com", Ends: now.Add(30 * time.Minute)}},
		{name: "a life that is no number", status: 200, typ: j, body: `{"active":true,"exp":"never","expires_in":"x"}`, want: Introspection{Active: true}},
		{name: "true as text", status: 200, typ: j, body: `{"active":"true"}`, want: Introspection{Active: true}},
		{name: "false as text", status: 200, typ: j, body: `{"active":"false","scope":"read"}`, want: Introspection{Scopes: []string{"read"}}},
		{name: "an end that no calendar has", status: 200, typ: j, body: `{"active":true,"exp":1099511627775}`, want: Introspection{Active: true}},
		{name: "scopes, but not whether it is active", status: 200, typ: j, body: `{"scope":"read write"}`, code: fault.UpstreamInvalid},
		{name: "active is a number", status: 200, typ: j, body: `{"active":1,"scope":"read"}`, code: fault.UpstreamInvalid},
		{name: "active is another text", status: 200, typ: j, body: `{"active":"yes","scope":"read"}`, code: fault.UpstreamInvalid},
		{name: "active is null", status: 200, typ: j, body: `{"active":null,"scope":"read"}`, code: fault.UpstreamInvalid},
		{name: "something else", status: 200, typ: j, body: `{"hello":"world"}`, code: fault.UpstreamInvalid},
		{name: "a list", status: 200, typ: j, body: `[]`, code: fault.UpstreamInvalid},
		{name: "HTML", status: 200, typ: "text/html", body: `<form>`, code: fault.UpstreamInvalid},
		{name: "not found", status: 404, typ: j, body: `{}`, code: fault.UpstreamInvalid},
		{name: "a redirect", status: 302, typ: j, code: fault.UpstreamInvalid},
		{name: "400 of HubSpot", status: 400, typ: j, body: `{"category":"VALIDATION_ERROR","context":{"token":["Token is invalid"]}}`, code: fault.UpstreamInvalid},
		{name: "401", status: 401, typ: j, body: `{}`, code: fault.InvalidClient},
		{name: "400 invalid_client", status: 400, typ: j, body: `{"error":"invalid_client"}`, code: fault.InvalidClient},
		{name: "200 invalid_client", status: 200, typ: j, body: `{"error":"invalid_client"}`, code: fault.InvalidClient},
		{name: "400 invalid_request", status: 400, typ: j, body: `{"error":"invalid_request"}`, code: fault.UpstreamInvalid},
		{name: "429", status: 429, typ: j, body: `{}`, code: fault.TokenEndpointUnreachable},
		{name: "503", status: 503, typ: "text/html", body: `<h1>away</h1>`, code: fault.TokenEndpointUnreachable},
	} {
		rt := &sameAnswer{status: tc.status, typ: tc.typ, body: tc.body}
		m := Material{Credential: web(), Provider: &provider.Provider{Name: "crm"}, Client: &http.Client{Transport: rt}, Now: func() time.Time { return now }}
		got, err := Introspect(t.Context(), m, held(t, web(), "T0ken"), Endpoint{URL: "https://as.example.com/introspect"})
		if tc.code != "" && !errors.Is(err, tc.code) || tc.code == "" && err != nil {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.code)
		}
		if err != nil && (strings.Contains(err.Error(), "T0ken") || !strings.Contains(err.Error(), "introspection endpoint")) {
			t.Errorf("%s: the error is %q", tc.name, err)
		}
		if err == nil && (got.Active != tc.want.Active || !slices.Equal(got.Scopes, tc.want.Scopes) || (got.Scopes == nil) != (tc.want.Scopes == nil) || got.Account != tc.want.Account || !got.Ends.Equal(tc.want.Ends)) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// What is sent: RFC 7662 section 2.1, or an object where the provider takes nothing else.
func TestIntrospectionRequests(t *testing.T) {
	rt := &sameAnswer{status: 200, typ: "application/json", body: `{"active":true}`}
	p := &provider.Provider{Name: "crm", Headers: []provider.Header{{Name: "Notion-Version", Value: "2022-06-28"}}}
	m := Material{Credential: web(), Provider: p, Client: &http.Client{Transport: rt}}
	ask := func(u string) error {
		_, err := Introspect(t.Context(), m, held(t, web(), "T0ken"), Endpoint{URL: u})
		return err
	}
	if err := ask("https://as.example.com/introspect"); err != nil || rt.asked != "token=T0ken&token_type_hint=access_token" || rt.req.Method != http.MethodPost {
		t.Errorf("sent %q, %v", rt.asked, err)
	}
	if id, pw, _ := rt.req.BasicAuth(); id != "web" || pw != "s3cr3t-web" || rt.req.URL.RawQuery != "" {
		t.Errorf("the client is %q %q, the query %q", id, pw, rt.req.URL.RawQuery)
	}
	p.OAuth2.Encoding = "json"
	if err := ask("https://as.example.com/introspect"); err != nil || rt.asked != `{"token":"T0ken"}` || rt.req.Header.Get("Notion-Version") != "2022-06-28" {
		t.Errorf("sent %q %v, %v", rt.asked, rt.req.Header, err)
	}
	for _, u := range []string{"http://as.example.com/introspect", "ftp://as.example.com/", "/introspect", "https://a:b@as.example.com/", "https://as.example.com/#x", ""} {
		rt.req = nil
		if err := ask(u); err == nil || rt.req != nil || strings.Contains(err.Error(), "T0ken") {
			t.Errorf("%q: %v, sent %v", u, err, rt.req != nil)
		}
	}
}

// A provider's own endpoint gets the token as the credential and in the body, nowhere else.
func TestAskAbout(t *testing.T) {
	rt := &sameAnswer{status: 200, typ: "application/json", body: `{"userId":1,"hubId":2,"appId":3,"scopes":["oauth"]}`}
	c := record("api_key", "api_key", "pat-na1-T0ken")
	m := Material{Credential: c, Provider: &provider.Provider{Name: "hubspot"}, Client: &http.Client{Transport: rt}}
	i, err := Mint(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := AskAbout(t.Context(), m, i, "https://api.example.com/info", "tokenKey")
	if err != nil || !got.Active || !slices.Equal(got.Scopes, []string{"oauth"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if rt.asked != `{"tokenKey":"pat-na1-T0ken"}` || rt.req.Header.Get("Authorization") != "Bearer pat-na1-T0ken" || rt.req.URL.RawQuery != "" {
		t.Errorf("sent %q %v", rt.asked, rt.req.Header)
	}
	rt.status = 401
	if got, err := AskAbout(t.Context(), m, i, "https://api.example.com/info", "tokenKey"); !errors.Is(err, fault.UpstreamInvalid) || got.Active {
		t.Errorf("401: %+v, %v", got, err)
	}
	if _, err := AskAbout(t.Context(), m, i, "http://api.example.com/info", "tokenKey"); !errors.Is(err, fault.CleartextRefused) {
		t.Errorf("in the clear: %v", err)
	}
}

func TestClaims(t *testing.T) {
	for name, tc := range map[string]struct {
		token, audience, scopes, roles string
		ok                             bool
	}{
		"delegated":      {token: jwtOf(`{"aud":"https://graph.microsoft.com","scp":"User.Read Mail.Read","exp":1700000000}`), audience: "https://graph.microsoft.com", scopes: "User.Read Mail.Read", ok: true},
		"an app's":       {token: jwtOf(`{"aud":["a","b"],"roles":["User.Read.All"]}`), audience: "a b", roles: "User.Read.All", ok: true},
		"RFC 9068":       {token: jwtOf(`{"scope":"read"}`), scopes: "read", ok: true},
		"opaque":         {token: "EwB4A8l6BAAURSN"},
		"dots, no JSON":  {token: "a.b.c"},
		"JSON, no token": {token: jwtOf(`[]`)},
		"JSON null":      {token: jwtOf(`null`)},
	} {
		c, ok := held(t, web(), tc.token).Claims()
		if ok != tc.ok || strings.Join(c.Audience, " ") != tc.audience || strings.Join(c.Scopes, " ") != tc.scopes || strings.Join(c.Roles, " ") != tc.roles {
			t.Errorf("%s: %+v %v", name, c, ok)
		}
	}
}

func jwtOf(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}
