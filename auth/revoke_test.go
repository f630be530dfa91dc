package auth

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// consented gives a refresh token that a person has just given to the client web.
func consented(t *testing.T, s *testserver.OIDC) string {
	t.Helper()
	const redirect = "http://127.0.0.1/cb"
	back, err := url.Parse(testserver.NewPerson(t, nil).Consent(s.Issuer + "/auth?" + url.Values{
		"client_id": {"web"}, "response_type": {"code"}, "redirect_uri": {redirect}, "scope": {"openid offline_access"}, "prompt": {"consent"},
	}.Encode()))
	if err != nil || back.Query().Get("code") == "" {
		t.Fatalf("consent: %v, %v", back, err)
	}
	m := form(t, s, "/token", "web", "s3cr3t-web", url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirect}})
	rt, _ := m["refresh_token"].(string)
	if rt == "" {
		t.Fatalf("no refresh token in %v", m)
	}
	return rt
}

// form posts one to the real server.
func form(t *testing.T, s *testserver.OIDC, path, id, password string, v url.Values) map[string]any {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.Issuer+path, strings.NewReader(v.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(id, password)
	resp, err := plainClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if len(b) > 0 && json.Unmarshal(b, &m) != nil {
		t.Fatalf("%s answered %d %s", path, resp.StatusCode, b)
	}
	return m
}

func active(t *testing.T, s *testserver.OIDC, token string) bool {
	t.Helper()
	on, _ := form(t, s, "/token/introspection", "rs", "s3cr3t-rs", url.Values{"token": {token}})["active"].(bool)
	return on
}

// realGrant is a keeper over a store with a grant of the real server in it.
func realGrant(t *testing.T, s *testserver.OIDC) (k *Keeper, d Demand, store *credtest.Store) {
	t.Helper()
	store = &credtest.Store{}
	c := store.Add("acme/production/crm/main", "oauth2_authorization_code", "client_id", "web", "client_secret", "s3cr3t-web", "refresh_token", consented(t, s))
	p := oidcProvider(s, "")
	p.Refresh.Rotates, p.OAuth2.RevocationURL = true, s.Issuer+"/token/revocation"
	return NewKeeper(KeeperOptions{Store: store}), Demand{Provider: p, Client: plainClient(t), Record: c}, store
}

func TestRealRevocation(t *testing.T) {
	s := testserver.StartOIDC(t, testserver.OIDCOptions{AccessTTL: time.Hour})
	k, d, store := realGrant(t, s)
	got, err := k.Obtain(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	rt, at := got.Record.Field("refresh_token").Reveal(), got.Record.Field("access_token").Reveal()
	if !active(t, s, rt) || !active(t, s, at) {
		t.Fatal("the new tokens are not active")
	}
	d.Record = got.Record
	before, err := store.Get(t.Context(), d.Record.Ref)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time there is nothing left to revoke, and that is no fault
		if err := k.Revoke(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if active(t, s, rt) || active(t, s, at) {
		t.Error("a token lives after its revocation")
	}
	if c, _ := store.Get(t.Context(), d.Record.Ref); c == nil || c.Version != before.Version {
		t.Error("Revoke wrote to the record")
	}
	d.Record.Set("client_secret", secret.New("wrong"))
	store.Add("acme/production/crm/main", d.Record.Type, "client_id", "web", "client_secret", "wrong", "refresh_token", rt)
	if err := k.Revoke(t.Context(), d); !errors.Is(err, fault.InvalidClient) || strings.Contains(err.Error(), rt) {
		t.Errorf("with a wrong secret: %v", err)
	}
}

// A token of the client's own account has no refresh token beside it.
func TestRealRevocationOfAnAccessToken(t *testing.T) {
	s := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Hour})
	for _, tc := range []struct{ auth, id, secret string }{{"", "m2m", "s3cr3t-m2m"}, {"body", "m2m-post", "s3cr3t:/+%"}, {"basic", "odd:id", "p@ss/w+rd %"}} {
		store := &credtest.Store{}
		c := store.Add("acme/production/crm/main", "oauth2_client_credentials", "client_id", tc.id, "client_secret", tc.secret)
		p := oidcProvider(s, tc.auth)
		p.OAuth2.RevocationURL = s.Issuer + "/token/revocation"
		k := NewKeeper(KeeperOptions{Store: store})
		d := Demand{Provider: p, Client: plainClient(t), Record: c}
		if err := k.Revoke(t.Context(), d); err != nil {
			t.Errorf("%s: a record without tokens: %v", tc.id, err)
		}
		got, err := k.Obtain(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		d.Record = got.Record
		if err := k.Revoke(t.Context(), d); err != nil || active(t, s, got.Record.Field("access_token").Reveal()) {
			t.Errorf("%s: %v, or the token lives", tc.id, err)
		}
	}
}

// Renew gets a new token though the held one is young, and a source serves it at once.
func TestRealRenewal(t *testing.T) {
	s := testserver.StartOIDC(t, testserver.OIDCOptions{AccessTTL: time.Hour})
	k, d, store := realGrant(t, s)
	src := NewSource(SourceOptions{Ref: d.Record.Ref, Provider: d.Provider, Store: k.Over(), Keeper: k, Client: d.Client})
	first, err := src.Injector(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.Record, err = store.Get(t.Context(), d.Record.Ref); err != nil {
		t.Fatal(err)
	}
	got, err := k.Renew(t.Context(), d)
	if err != nil || !got.Minted {
		t.Fatalf("Renew: minted %v, %v", got.Minted, err)
	}
	src.Changed()
	second, err := src.Injector(t.Context())
	if err != nil || second == first || !strings.Contains(introspect(t, s, second), `"active":true`) {
		t.Errorf("the source serves the old token, or none: %v", err)
	}
	if sent(t, second) != "Bearer "+got.Record.Field("access_token").Reveal() {
		t.Error("the source serves another token than the new one")
	}
	if st := src.Status(); st.LastError != nil || time.Since(st.LastRefresh) > time.Minute || st.NextRefresh.Before(time.Now()) {
		t.Errorf("status %+v", st)
	}
	if n := s.Grants(t, plainClient(t))["refresh_token:ok"]; n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
}

// oneAnswer is an authorization server of one answer.
type oneAnswer struct {
	status int
	header string // Location
	body   string
	err    error
	asked  int
	forms  []url.Values
}

func (a *oneAnswer) RoundTrip(req *http.Request) (*http.Response, error) {
	a.asked++
	if err := req.ParseForm(); err != nil {
		return nil, err
	}
	a.forms = append(a.forms, req.PostForm)
	if a.err != nil {
		return nil, a.err
	}
	resp := answered(req, a.status, a.body)
	if a.header != "" {
		resp.Header.Set("Location", a.header)
	}
	return resp, nil
}

func TestRevocationAnswers(t *testing.T) {
	for _, tc := range []struct {
		name  string
		as    oneAnswer
		want  fault.Code
		asked int
	}{
		{"200", oneAnswer{status: 200}, "", 2},
		{"204", oneAnswer{status: 204}, "", 2},
		{"a type that it does not revoke", oneAnswer{status: 400, body: `{"error":"unsupported_token_type"}`}, "", 2},
		{"a token that it does not know", oneAnswer{status: 400, body: `{"error":"invalid_token"}`}, "", 2},
		{"a client that it does not know", oneAnswer{status: 401, body: `{"error":"invalid_client"}`}, fault.InvalidClient, 1},
		{"a request that it does not like", oneAnswer{status: 400, body: `{"error":"invalid_request"}`}, fault.InvalidClient, 1},
		{"503", oneAnswer{status: 503}, fault.TokenEndpointUnreachable, 1},
		{"503 that says unsupported_token_type", oneAnswer{status: 503, body: `{"error":"unsupported_token_type"}`}, fault.TokenEndpointUnreachable, 1},
		{"404", oneAnswer{status: 404, body: "not here"}, fault.TokenEndpointUnreachable, 1},
		{"a redirect", oneAnswer{status: 307, header: "https://elsewhere.example/"}, fault.TokenEndpointUnreachable, 1},
		{"no answer", oneAnswer{err: errors.New("reset " + canary)}, fault.TokenEndpointUnreachable, 1},
		{"not let out", oneAnswer{err: fault.New(fault.PrivateAddress, "", nil)}, fault.PrivateAddress, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := &credtest.Store{}
			c := store.Add("acme/production/crm/main", "oauth2_authorization_code", "client_id", "id", "client_secret", "s3cr3t", "refresh_token", canary+"-rt", "access_token", canary+"-at")
			p := &provider.Provider{Name: "crm", OAuth2: provider.OAuth2{TokenURL: "https://as.example/token", RevocationURL: "https://as.example/revoke", ClientAuth: "body"}}
			k := NewKeeper(KeeperOptions{Store: store})
			err := k.Revoke(t.Context(), Demand{Provider: p, Client: &http.Client{Transport: &tc.as}, Record: c})
			if tc.want == "" && err != nil || tc.want != "" && !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("LK-01: %v", err)
			}
			if errors.Is(err, fault.TokenEndpointUnreachable) && !strings.HasPrefix(fault.From(err).Detail, "revocation endpoint as.example ") {
				t.Errorf("the detail is %q", fault.From(err).Detail)
			}
			if tc.as.asked != tc.asked {
				t.Errorf("%d requests, want %d", tc.as.asked, tc.asked)
			}
			f := tc.as.forms[0]
			if f.Get("token") != canary+"-rt" || f.Get("token_type_hint") != "refresh_token" || f.Get("client_id") != "id" || f.Get("client_secret") != "s3cr3t" || f.Has("grant_type") {
				t.Errorf("the first form is %v", f)
			}
		})
	}
}

func TestRevocationRefused(t *testing.T) {
	ref := credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "main"}
	for _, tc := range []struct{ typ, url, want string }{
		{"bearer", "https://as.example/revoke", "type: bearer has no token"},
		{"oauth2_client_credentials", "", "provider: crm has no revocation_url"},
	} {
		p := &provider.Provider{Name: "crm", OAuth2: provider.OAuth2{RevocationURL: tc.url}}
		err := NewKeeper(KeeperOptions{Store: &credtest.Store{}}).Revoke(t.Context(), Demand{Provider: p, Record: &credential.Credential{Ref: ref, Type: tc.typ}})
		if !errors.Is(err, fault.InvalidRequest) || !strings.HasPrefix(fault.From(err).Detail, tc.want) {
			t.Errorf("%s: %v", tc.typ, err)
		}
	}
}

// While it is revoked another daemon refreshes the grant: what came of that is revoked too.
func TestRevocationOfAMovingGrant(t *testing.T) {
	store := &credtest.Store{}
	fields := func(n string) []string {
		return []string{"client_id", "id", "client_secret", "s3cr3t", "refresh_token", "rt-" + n, "access_token", "at-" + n}
	}
	c := store.Add("acme/production/crm/main", "oauth2_authorization_code", fields("0")...)
	p := &provider.Provider{Name: "crm", OAuth2: provider.OAuth2{RevocationURL: "https://as.example/revoke"}}
	var revoked []string
	rt := roundTrip(func(req *http.Request) (*http.Response, error) {
		if err := req.ParseForm(); err != nil {
			return nil, err
		}
		if revoked = append(revoked, req.PostForm.Get("token")); len(revoked) == 1 {
			store.Add("acme/production/crm/main", "oauth2_authorization_code", fields("1")...)
		}
		return answered(req, 200, ""), nil
	})
	if err := NewKeeper(KeeperOptions{Store: store}).Revoke(t.Context(), Demand{Provider: p, Client: &http.Client{Transport: rt}, Record: c}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(revoked, " "); got != "rt-0 at-0 rt-1 at-1" {
		t.Errorf("revoked %s", got)
	}
}

// What a dead grant, and one that ends, look like to whoever holds the record.
func TestGrantOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := newRotating(), grantStore()
		server.body = func(n int) (int, string) {
			if n == 1 {
				return 200, `{"access_token":"at-1","refresh_token":"rt-1","expires_in":600,"refresh_token_expires_in":86400}`
			}
			return 400, `{"error":"invalid_grant"}`
		}
		k := keep(t, "", server, store, KeeperOptions{})
		if g := GrantOf(k.p, k.stored(t)); g.Dead != nil || !g.Ends.IsZero() || !g.Made.IsZero() {
			t.Errorf("of an untouched record: %+v", g)
		}
		k.want(t, "", "at-1")
		g := GrantOf(k.p, k.stored(t))
		if d := time.Until(g.Ends); g.Dead != nil || d < 23*time.Hour || d > 24*time.Hour || time.Since(g.Made) > time.Minute {
			t.Errorf("of a fresh grant: %+v", g)
		}
		src := NewSource(SourceOptions{Ref: k.ref, Provider: k.p, Store: k.Over(), Keeper: k.Keeper, Client: &http.Client{Transport: server}})
		if _, err := src.Injector(t.Context()); err != nil || !src.Status().GrantEnds.Equal(g.Ends) {
			t.Errorf("the source says that the grant ends %v, %v", src.Status().GrantEnds, err)
		}
		k.refuses(t, "at-1", fault.ReauthorizationRequired)
		if g := GrantOf(k.p, k.stored(t)); !errors.Is(g.Dead, fault.ReauthorizationRequired) || !g.Ends.IsZero() {
			t.Errorf("of a dead grant: %+v", g)
		}
		src.Changed()
		if _, err := src.Injector(t.Context()); err != nil { // its access token lives
			t.Error(err)
		}
		if st := src.Status(); !errors.Is(st.LastError, fault.ReauthorizationRequired) || st.FailedAt.IsZero() || !st.NextRefresh.IsZero() {
			t.Errorf("the source of a dead grant says %+v", st)
		}
		c := k.stored(t)
		c.Set("refresh_token", secret.New("by-hand"))
		if g := GrantOf(k.p, c); g.Dead != nil {
			t.Errorf("RT-14: another refresh token is dead too: %+v", g)
		}
		c.Type = "bearer"
		if g := GrantOf(k.p, c); g != (GrantStatus{}) {
			t.Errorf("of a bearer token: %+v", g)
		}
	})
}

func TestRenewWithoutAToken(t *testing.T) {
	k := keep(t, "", newRotating(), grantStore(), KeeperOptions{})
	c := k.stored(t)
	c.Type = "bearer"
	if _, err := k.Renew(t.Context(), Demand{Provider: k.p, Record: c}); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("Renew of a bearer token: %v", err)
	}
}

// A person's grant without a refresh token ends with its access token.
func TestGrantWithoutARefreshToken(t *testing.T) {
	p := &provider.Provider{Name: "crm", Type: "oauth2_authorization_code"}
	c := record("oauth2_authorization_code", "client_id", "id", "access_token", "at", "expires_at", time.Now().Add(time.Hour).Format(time.RFC3339))
	connected{Client: fromOwn}.write(c)
	if g := GrantOf(p, c); g.Dead != nil || time.Until(g.Ends) > time.Hour || time.Until(g.Ends) < 59*time.Minute {
		t.Errorf("of a grant that lives: %+v", g)
	}
	if _, err := Mint(t.Context(), Material{Provider: p, Credential: c, Renew: true}); err != nil {
		t.Errorf("to verify it its token is sent: %v", err)
	}
	c.Set("expires_at", secret.New(time.Now().Add(-time.Hour).Format(time.RFC3339)))
	if g := GrantOf(p, c); !errors.Is(g.Dead, fault.ReauthorizationRequired) {
		t.Errorf("of a grant that has ended: %+v", g)
	}
	c.Set("expires_at", secret.Value{})
	if g := GrantOf(p, c); g != (GrantStatus{}) {
		t.Errorf("of a grant that does not end: %+v", g)
	}
}
