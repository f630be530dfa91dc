package checker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/testserver"
)

// crm is a provider of a real authorization server, and of no API.
func crm(s *testserver.OIDC) *provider.Provider {
	return &provider.Provider{
		Name: "crm", BaseURL: "https://crm.example", AllowCleartext: true,
		OAuth2: provider.OAuth2{TokenURL: s.TokenURL, IntrospectionURL: s.Issuer + "/token/introspection"},
	}
}

// post sends a form to the real server as one of its clients.
func post(t *testing.T, s *testserver.OIDC, path, id, password string, form url.Values) map[string]any {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(id, password)
	resp, err := (&http.Client{Transport: transport(t)}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s %v", path, resp.StatusCode, b, err)
	}
	m := map[string]any{}
	if len(b) > 0 && json.Unmarshal(b, &m) != nil {
		t.Fatalf("%s: %s", path, b)
	}
	return m
}

// consent gives the tokens that alice has just given to the client web.
func consent(t *testing.T, s *testserver.OIDC) (access, refresh string) {
	t.Helper()
	const redirect = "http://127.0.0.1/cb"
	back, err := url.Parse(testserver.NewPerson(t, nil).Consent(s.Issuer + "/auth?" + url.Values{
		"client_id": {"web"}, "response_type": {"code"}, "redirect_uri": {redirect}, "scope": {"openid offline_access"}, "prompt": {"consent"},
	}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	m := post(t, s, "/token", "web", "s3cr3t-web", url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirect}})
	return m["access_token"].(string), m["refresh_token"].(string)
}

// web is a record of the client web that holds a token, whose end it does not know.
func web(access, refresh string, more ...string) *credential.Credential {
	return record("oauth2_authorization_code", append([]string{"client_id", "web", "client_secret", "s3cr3t-web", "access_token", access, "refresh_token", refresh}, more...)...)
}

// A real authorization server tells of a token whether it is active, which scopes
// it has and whose it is; no token, refresh token or secret is in the report.
func TestRealIntrospection(t *testing.T) {
	s := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Hour, AccessTTL: time.Hour})
	brief := testserver.StartOIDC(t, testserver.OIDCOptions{AccessTTL: time.Second})
	m2m := record("oauth2_client_credentials", "client_id", "m2m", "client_secret", "s3cr3t-m2m", "scope", "api:read")
	access, refresh := consent(t, s)
	revoked, dead := consent(t, s)
	post(t, s, "/token/revocation", "web", "s3cr3t-web", url.Values{"token": {revoked}})
	ended, late := consent(t, brief)
	time.Sleep(1500 * time.Millisecond)
	for _, tc := range []struct {
		name           string
		s              *testserver.OIDC
		cred           *credential.Credential
		needs          []string
		overall        checker.Status
		authorization  checker.Status
		scopes         checker.Status
		missing, login string
		code           fault.Code
	}{
		{name: "client_credentials", cred: m2m, overall: checker.OK, authorization: checker.OK, scopes: checker.OK},
		{name: "client_credentials with what is needed", cred: m2m, needs: []string{"api:read"}, overall: checker.OK, authorization: checker.OK, scopes: checker.OK},
		{name: "a scope is missing", cred: m2m, needs: []string{"api:read", "api:write"}, overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "api:write", code: fault.InsufficientScope},
		{name: "authorization_code", cred: web(access, refresh), overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "alice"},
		{name: "authorization_code, a scope is missing", cred: web(access, refresh), needs: []string{"api:read"}, overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "api:read", login: "alice", code: fault.InsufficientScope},
		{name: "revoked", cred: web(revoked, dead), overall: checker.Warning, authorization: checker.Unverifiable}, // the grant may live
		{name: "expired", s: brief, cred: web(ended, late), overall: checker.Warning, authorization: checker.Unverifiable},
		{name: "wrong client secret", cred: web(access, refresh, "client_secret", "wrong-s3cr3t"), overall: checker.Warning, authorization: checker.Unverifiable, code: fault.InvalidClient},
		{name: "no client secret", cred: web(access, refresh, "client_secret", ""), overall: checker.Error, authorization: checker.Error, code: fault.FieldMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := crm(s)
			if tc.s != nil {
				p = crm(tc.s)
			}
			p.Needs.Scopes = tc.needs
			r := newChecker(transport(t)).Check(t.Context(), p, tc.cred)
			l := line(r, checker.Scopes)
			if r.Status != tc.overall || line(r, checker.Authorization).Status != tc.authorization || l.Status != tc.scopes || strings.Join(l.Missing, " ") != tc.missing {
				t.Errorf("%s %+v, want %s", r.Status, r.Checks, tc.overall)
			}
			if (r.Fault == nil) != (tc.code == "") || r.Fault != nil && r.Fault.Code != tc.code {
				t.Errorf("fault %+v, want %q", r.Fault, tc.code)
			}
			if (r.Account == nil) != (tc.login == "") || r.Account != nil && r.Account.Login != tc.login {
				t.Errorf("account %+v, want %q", r.Account, tc.login)
			}
			wantNoSecret(t, r, access, refresh, revoked, dead, ended, late, "s3cr3t")
		})
	}
	if grants := s.Grants(t, client(transport(t))); grants["refresh_token:ok"] != 0 {
		t.Errorf("a refresh token was spent: %v", grants)
	}
}

// Without introspection_url the real server's metadata tells, once an hour.
func TestRealDiscovery(t *testing.T) {
	s := testserver.StartOIDC(t, testserver.OIDCOptions{AccessTTL: time.Hour})
	access, refresh := consent(t, s)
	p := crm(s)
	p.OAuth2.IntrospectionURL = ""
	c := newChecker(transport(t))
	for n, want := range []string{"discovery introspection", "introspection"} {
		r := c.Check(t.Context(), p, web(access, refresh))
		if got := steps(r); r.Status != checker.OK || got != want || line(r, checker.Scopes).Status != checker.OK {
			t.Errorf("check %d: %s %+v after %q, want ok after %q", n, r.Status, r.Checks, got, want)
		}
		wantNoSecret(t, r, access, refresh, "s3cr3t")
	}
}

// steps gives the names of a report's steps.
func steps(r *checker.Report) string {
	var names []string
	for _, s := range r.Steps {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// Gitea is a real server whose metadata names an introspection endpoint.
func TestGiteaIsIntrospected(t *testing.T) {
	ca := testserver.NewCA(t)
	g := testserver.StartGitea(t, testserver.GiteaOptions{CA: ca})
	const redirect = "http://127.0.0.1/cb"
	id, secret := g.NewApp(t, redirect)
	access, refresh := giteaGrant(t, g, id, secret, redirect)
	p := &provider.Provider{
		Name: "forge", Hosts: []string{g.Addr}, BaseURL: g.URL + "/api/v1", Verify: provider.Verify{Path: "/user"},
		OAuth2: provider.OAuth2{TokenURL: g.URL + "/login/oauth/access_token"}, Needs: provider.Needs{Scopes: []string{"read:user"}},
	}
	cred := record("oauth2_authorization_code", "client_id", id, "client_secret", secret, "access_token", access, "refresh_token", refresh)
	r := newChecker(g.Client.Transport).Check(t.Context(), p, cred)
	if r.Status != checker.OK || line(r, checker.Scopes).Status != checker.OK || r.Account == nil || r.Account.Login != g.User || !strings.HasSuffix(steps(r), "introspection") {
		t.Errorf("%s %+v, account %+v, steps %q %+v", r.Status, r.Checks, r.Account, steps(r), r.Steps)
	}
	p.Needs.Scopes = []string{"read:user", "write:repository"}
	r = newChecker(g.Client.Transport).Check(t.Context(), p, cred)
	if l := line(r, checker.Scopes); l.Status != checker.Warning || !slices.Equal(l.Missing, []string{"write:repository"}) {
		t.Errorf("needs more: %+v", l)
	}
	wantNoSecret(t, r, access, refresh, secret)
}

// giteaGrant walks through Gitea's pages of login and consent.
func giteaGrant(t *testing.T, g *testserver.Gitea, id, secret, redirect string) (access, refresh string) {
	t.Helper()
	back, err := url.Parse(g.Consent(t, g.URL+"/login/oauth/authorize?"+url.Values{
		"client_id": {id}, "response_type": {"code"}, "redirect_uri": {redirect}, "scope": {"read:user"}, "state": {"x"},
	}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := g.Client.PostForm(g.URL+"/login/oauth/access_token", url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirect}, "client_id": {id}, "client_secret": {secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var m struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || m.Access == "" {
		t.Fatalf("no token from %v: %d %v", back, resp.StatusCode, err)
	}
	return m.Access, m.Refresh
}

// asPlayed answers as a table says, by method and path, and keeps the requests.
type asPlayed struct {
	mu      sync.Mutex
	answers map[string]http.HandlerFunc // "GET /path"; none: 404
	seen    []*http.Request
	bodies  []string
}

func (p *asPlayed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	p.seen, p.bodies = append(p.seen, r), append(p.bodies, string(b))
	p.mu.Unlock()
	if h := p.answers[r.Method+" "+r.URL.Path]; h != nil {
		h(w, r)
		return
	}
	says(404, `{}`)(w, r)
}

// says answers with JSON and header pairs.
func says(status int, body string, pairs ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		for i := 0; i < len(pairs); i += 2 {
			w.Header().Set(pairs[i], pairs[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// acted starts a server that answers so.
func acted(t *testing.T, answers map[string]http.HandlerFunc) (string, *asPlayed) {
	t.Helper()
	p := &asPlayed{answers: answers}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s.URL, p
}

// What a verify request says of the authorization beats the introspection, which
// never condemns a token that works, and of which an endpoint that is away or
// refuses the client says nothing.
func TestIntrospectionBesideAVerifyRequest(t *testing.T) {
	for _, tc := range []struct {
		name          string
		introspect    http.HandlerFunc
		needs         []string
		scope         string // of the record
		overall       checker.Status
		authorization checker.Status
		scopes        checker.Status
		code          fault.Code
	}{
		{name: "active", introspect: says(200, `{"active":true,"scope":"read write","username":"ann"}`), needs: []string{"read"}, overall: checker.OK, authorization: checker.OK, scopes: checker.OK},
		{name: "it beats what the token endpoint said", introspect: says(200, `{"active":true,"scope":"read"}`), needs: []string{"write"}, scope: "read write", overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, code: fault.InsufficientScope},
		{name: "not active", introspect: says(200, `{"active":false}`), overall: checker.Warning, authorization: checker.Warning},
		{name: "the client is refused", introspect: says(401, `{"error":"invalid_client"}`), overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, code: fault.InvalidClient},
		{name: "the client is refused, and the token endpoint told", introspect: says(401, `{}`), needs: []string{"read"}, scope: "read", overall: checker.OK, authorization: checker.OK, scopes: checker.OK},
		{name: "throttled", introspect: says(429, `{}`), needs: []string{"read"}, overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, code: fault.TokenEndpointUnreachable},
		{name: "HTML", introspect: says(200, `<form>`, "Content-Type", "text/html"), needs: []string{"read"}, overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, code: fault.UpstreamInvalid},
		{name: "nobody asks for scopes", introspect: says(503, `{}`), overall: checker.OK, authorization: checker.OK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, _ := acted(t, map[string]http.HandlerFunc{"GET /user": says(200, `{}`), "POST /introspect": tc.introspect})
			p := api(base)
			p.OAuth2 = provider.OAuth2{TokenURL: base + "/token", IntrospectionURL: base + "/introspect"}
			p.Needs.Scopes = tc.needs
			r := newChecker(transport(t)).Check(t.Context(), p, web("4ccess", "r3fresh", "scope", tc.scope))
			if r.Status != tc.overall || line(r, checker.Authorization).Status != tc.authorization || line(r, checker.Scopes).Status != tc.scopes {
				t.Errorf("%s %+v, want %s", r.Status, r.Checks, tc.overall)
			}
			if (r.Fault == nil) != (tc.code == "") || r.Fault != nil && r.Fault.Code != tc.code {
				t.Errorf("fault %+v, want %q", r.Fault, tc.code)
			}
			wantNoSecret(t, r, "4ccess", "r3fresh", "s3cr3t")
		})
	}
}

// Without a verify request an introspection that nobody answers proves nothing.
func TestIntrospectionIsTheProof(t *testing.T) {
	for _, tc := range []struct {
		name       string
		introspect http.HandlerFunc
		overall    checker.Status
		code       fault.Code
	}{
		{"active", says(200, `{"active":true}`), checker.OK, ""},
		{"not active", says(200, `{"active":false}`), checker.Warning, ""},
		{"the client is refused", says(401, `{}`), checker.Warning, fault.InvalidClient},
		{"throttled", says(429, `{}`), checker.Unknown, fault.TokenEndpointUnreachable},
		{"HTML", says(200, `<form>`, "Content-Type", "text/html"), checker.Warning, fault.UpstreamInvalid},
		{"what it was sent", echoed, checker.Warning, fault.UpstreamInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, played := acted(t, map[string]http.HandlerFunc{"POST /introspect": tc.introspect})
			p := api(base)
			p.Verify = provider.Verify{}
			p.OAuth2 = provider.OAuth2{TokenURL: base + "/token", IntrospectionURL: base + "/introspect", ClientAuth: "body"}
			r := newChecker(transport(t)).Check(t.Context(), p, web("4ccess", "r3fresh"))
			if r.Status != tc.overall || (r.Fault == nil) != (tc.code == "") || r.Fault != nil && r.Fault.Code != tc.code {
				t.Errorf("%s %+v, fault %+v, want %s %q", r.Status, r.Checks, r.Fault, tc.overall, tc.code)
			}
			if steps(r) != "introspection" || played.bodies[0] != "client_id=web&client_secret=s3cr3t-web&token=4ccess&token_type_hint=access_token" {
				t.Errorf("steps %q, sent %q", steps(r), played.bodies)
			}
			if b := r.Steps[0].RequestBody; strings.Count(b, "[redacted]") == 0 && strings.Contains(b, "4ccess") {
				t.Errorf("LK-06: the step shows %q", b)
			}
			wantNoSecret(t, r, "4ccess", "r3fresh", "s3cr3t")
		})
	}
}

// echoed sends back, in an error, what came.
func echoed(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprint(w, r.Header, " token 4ccess secret s3cr3t-web")
}

// A token that nothing renews ends when the introspection says so.
func TestIntrospectionTellsTheEnd(t *testing.T) {
	end := time.Now().Add(5 * 24 * time.Hour)
	for name, tc := range map[string]struct {
		cred *credential.Credential
		want checker.Status
	}{
		"nothing renews it":       {record("oauth2_authorization_code", "client_id", "web", "client_secret", "s", "access_token", "a", "sallyport_state", `{"connect":{"flow":"code"}}`), checker.Warning},
		"a refresh token is held": {web("a", "r"), ""},
	} {
		base, _ := acted(t, map[string]http.HandlerFunc{"GET /user": says(200, `{}`), "POST /introspect": says(200, fmt.Sprintf(`{"active":true,"exp":%d}`, end.Unix()))})
		p := api(base)
		p.OAuth2 = provider.OAuth2{TokenURL: base + "/token", IntrospectionURL: base + "/introspect"}
		r := newChecker(transport(t)).Check(t.Context(), p, tc.cred)
		if l := line(r, checker.Expiry); l.Status != tc.want || r.ExpiresAt == nil || r.ExpiresAt.Unix() != end.Unix() {
			t.Errorf("%s: %+v, ends %v", name, r.Checks, r.ExpiresAt)
		}
	}
}
