package auth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// The real server knows a grant that is not OAuth's, as Zoom does.
func TestRealAccountCredentials(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Minute})
	p := oidcProvider(server, "")
	p.OAuth2.ClientCredentialsParams = map[string]string{"grant_type": "account_credentials", "account_id": "{account_id}"}
	c := record("oauth2_client_credentials", "client_id", "zoom", "client_secret", "s3cr3t-zoom")
	if err := Validate(p, c); err == nil || !strings.Contains(err.Error(), "account_id") {
		t.Errorf("without account_id: %v", err)
	}
	c.Set("account_id", secret.New("AbC-123"))
	i, err := Mint(t.Context(), Material{Credential: c, Provider: p, Client: plainClient(t)})
	if err != nil {
		t.Fatalf("%v; the server: %s", err, server.Log())
	}
	if got := introspect(t, server, i); !strings.Contains(got, `"active":true`) {
		t.Errorf("the server does not know the token: %s", got)
	}
	c.Set("account_id", secret.New("another"))
	if _, err := Mint(t.Context(), Material{Credential: c, Provider: p, Client: plainClient(t)}); !errors.Is(err, fault.InvalidGrant) {
		t.Errorf("of an account that is not there: %v", err)
	}
	if stats := server.Grants(t, plainClient(t)); stats["account_credentials:ok"] != 1 || stats["client_credentials:ok"] != 0 {
		t.Errorf("grants %v", stats)
	}
}

// The parameters are those of one grant: a refresh stays what it is.
func TestClientCredentialsParamsAreOfTheirGrant(t *testing.T) {
	p := oauthProvider()
	p.OAuth2.ClientCredentialsParams = map[string]string{"grant_type": "account_credentials", "account_id": "{account_id}"}
	e := &tokenEndpoint{}
	c := record("oauth2_refresh_token", "refresh_token", "rt", "client_id", "id", "client_secret", "s3cr3t")
	kind, _ := Lookup(c.Type)
	r, err := kind.refresh(Material{Credential: c, Provider: p})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.send(t.Context(), Material{Client: &http.Client{Transport: e}}); err != nil {
		t.Fatal(err)
	}
	if got := e.forms[0].Encode(); got != "grant_type=refresh_token&refresh_token=rt" {
		t.Errorf("sent %s", got)
	}
}

// A server that takes JSON only gives a token, refreshes and revokes.
func TestRealJSONEndpoints(t *testing.T) {
	s := testserver.StartOIDC(t, testserver.OIDCOptions{AccessTTL: time.Hour, ClientTTL: time.Hour})
	p := oidcProvider(s, "")
	p.OAuth2.TokenURL, p.OAuth2.RevocationURL, p.Refresh.Rotates = s.Issuer+"/json/token", s.Issuer+"/json/token/revocation", true
	m2m := record("oauth2_client_credentials", "client_id", "m2m", "client_secret", "s3cr3t-m2m")
	if _, err := Mint(t.Context(), Material{Credential: m2m, Provider: p, Client: plainClient(t)}); err == nil {
		t.Error("it takes a form")
	}
	p.OAuth2.Encoding = "json"
	for _, tc := range []struct{ auth, id, secret string }{{"basic", "m2m", "s3cr3t-m2m"}, {"body", "m2m-post", "s3cr3t:/+%"}, {"basic", "odd:id", "p@ss/w+rd %"}} {
		q := *p
		q.OAuth2.ClientAuth = tc.auth
		c := record("oauth2_client_credentials", "client_id", tc.id, "client_secret", tc.secret)
		i, err := Mint(t.Context(), Material{Credential: c, Provider: &q, Client: plainClient(t)})
		if err != nil {
			t.Fatalf("%s: %v; the server: %s", tc.id, err, s.Log())
		}
		if got := introspect(t, s, i); !strings.Contains(got, `"active":true`) {
			t.Errorf("%s: the server does not know the token: %s", tc.id, got)
		}
	}
	store := &credtest.Store{}
	c := store.Add("acme/production/crm/main", "oauth2_authorization_code", "client_id", "web", "client_secret", "s3cr3t-web", "refresh_token", consented(t, s))
	k, d := NewKeeper(KeeperOptions{Store: store}), Demand{Provider: p, Client: plainClient(t), Record: c}
	got, err := k.Obtain(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	rt, at := got.Record.Field("refresh_token").Reveal(), got.Record.Field("access_token").Reveal()
	if d.Record = got.Record; !active(t, s, rt) || !active(t, s, at) {
		t.Fatal("the new tokens are not active")
	}
	if err := k.Revoke(t.Context(), d); err != nil || active(t, s, rt) || active(t, s, at) {
		t.Errorf("revoked: %v", err)
	}
}

// What the wire and the steps of a connect show of a JSON request.
func TestJSONRequest(t *testing.T) {
	p := &provider.Provider{Name: "notion", OAuth2: provider.OAuth2{TokenURL: tokenURL, Encoding: "json"}}
	kind, _ := Lookup("oauth2_authorization_code")
	c := record(kind.Name, "client_id", "id", "client_secret", "s3cr3t", "refresh_token", "rt")
	r, err := kind.newRequest(Material{Credential: c, Provider: p}, tokenURL, "authorization_code")
	if err != nil {
		t.Fatal(err)
	}
	r.params.Set("code", `c"o<d>e`)
	e := &jsonEndpoint{}
	log := &stepLog{}
	if _, err := r.send(t.Context(), Material{Client: &http.Client{Transport: log.through("token", e)}}); err != nil {
		t.Fatal(err)
	}
	if got := e.got; got["grant_type"] != "authorization_code" || got["code"] != `c"o<d>e` || len(got) != 2 {
		t.Errorf("sent %v", got)
	}
	if e.user != "id" || e.password != "s3cr3t" {
		t.Error("the client is not in Basic")
	}
	if got := log.taken()[0].RequestBody; got != `{"code":"[redacted]","grant_type":"authorization_code"}` {
		t.Errorf("shown %s", got)
	}
}

type jsonEndpoint struct {
	got            map[string]string
	user, password string
}

// RoundTrip implements http.RoundTripper.
func (e *jsonEndpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	e.user, e.password, _ = req.BasicAuth()
	if err := json.NewDecoder(req.Body).Decode(&e.got); err != nil {
		return nil, err
	}
	return (&tokenEndpoint{}).RoundTrip(&http.Request{Body: http.NoBody, Header: http.Header{}})
}

// A scope that the grant has by the provider is the record's to change.
func TestClientCredentialsScope(t *testing.T) {
	p := oauthProvider()
	p.OAuth2.Scopes = []string{"offline_access"}
	p.OAuth2.ClientCredentialsParams = map[string]string{"scope": "https://graph.example/.default"}
	for scope, want := range map[string]string{"": "https://graph.example/.default", "own": "own"} {
		e := &tokenEndpoint{}
		if _, err := mint(e, p, clientRecord("scope", scope)); err != nil {
			t.Fatal(err)
		}
		if got := e.forms[0].Get("scope"); got != want {
			t.Errorf("scope %q of the record: asked for %q; want %q", scope, got, want)
		}
	}
}

func TestClientCredentialsNeed(t *testing.T) {
	p := &provider.Provider{OAuth2: provider.OAuth2{ClientCredentialsParams: map[string]string{"account_id": "{account_id}", "b": "{tenant}-{account_id}", "c": "x"}}}
	for typ, want := range map[string]string{
		"oauth2_client_credentials": "client_id client_secret account_id tenant", "oauth2_refresh_token": "refresh_token",
	} {
		kind, _ := Lookup(typ)
		if got := strings.Join(kind.Needs(p), " "); got != want {
			t.Errorf("%s needs %s; want %s", typ, got, want)
		}
	}
}
