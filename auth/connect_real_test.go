package auth

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"net/http"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

const redirectHere = "http://127.0.0.1:3129/oauth/callback"

// consents is Connects over memory, with the real server as the provider crm.
type consents struct {
	*Connects
	store   *credtest.Store
	apps    *credtest.Apps
	p       *provider.Provider
	person  *testserver.Person
	changed []credential.Ref
}

func newConsents(t *testing.T, s *testserver.OIDC) *consents {
	t.Helper()
	life, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	c := &consents{store: &credtest.Store{}, apps: &credtest.Apps{}, person: testserver.NewPerson(t, nil)}
	c.p = &provider.Provider{
		Name: "crm", Type: grantType, AllowCleartext: true,
		OAuth2: provider.OAuth2{
			AuthorizationURL: s.Issuer + "/auth", TokenURL: s.TokenURL, DeviceAuthorizationURL: s.Issuer + "/device/auth",
			Scopes: []string{"openid", "offline_access"}, Params: map[string]string{"prompt": "consent"},
		},
		Refresh: provider.Refresh{Rotates: true},
	}
	client := plainClient(t)
	c.Connects = NewConnects(ConnectOptions{
		Store: c.store, Apps: c.apps, Client: func(*provider.Provider) *http.Client { return client },
		Redirect: func() string { return redirectHere }, Life: life,
		Changed: func(ref credential.Ref) { c.changed = append(c.changed, ref) },
	})
	return c
}

func crmRef(t *testing.T) credential.Ref {
	t.Helper()
	ref, err := credential.ParseRef("acme/production/crm/main")
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (c *consents) begin(t *testing.T, r ConnectRequest) Connect {
	t.Helper()
	r.Provider, r.Ref = c.p, crmRef(t)
	got, err := c.Begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// consent does what the person and the browser do.
func (c *consents) consent(t *testing.T, address string) Connect {
	t.Helper()
	at, err := url.Parse(c.person.Consent(address))
	if err != nil || !strings.HasPrefix(at.String(), redirectHere+"?") {
		t.Fatalf("redirected to %s, %v", at, err)
	}
	got, err := c.Callback(t.Context(), at.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// ends waits for the outcome.
func (c *consents) ends(t *testing.T, id string) Connect {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got, err := c.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if got.State != ConnectPending {
			return got
		}
	}
	t.Fatal("the connect does not end")
	return Connect{}
}

func failsWith(t *testing.T, got Connect, code fault.Code, saying string) {
	t.Helper()
	if got.State != ConnectFailed || got.Fault == nil || got.Fault.Code != code || !strings.Contains(got.Fault.Detail, saying) {
		t.Errorf("the connect is %s: %v, want %s with %q", got.State, got.Fault, code, saying)
	}
}

// A grant of the workspace's own app by consent: stored with its client, used,
// and refreshed by the keeper with that client after the app is another.
func TestConnectByCode(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{AccessTTL: time.Minute})
	c := newConsents(t, server)
	c.apps.Add("", "crm", "nobody", "x")
	c.apps.Add("acme", "crm", "app", "s3cr3t-app")
	began := c.begin(t, ConnectRequest{})
	got := c.consent(t, began.AuthorizationURL)
	if got.State != ConnectDone || got.Fault != nil || len(got.Warnings) > 0 {
		t.Fatalf("the connect is %s: %v, warnings %q", got.State, got.Fault, got.Warnings)
	}
	record, err := c.store.Get(t.Context(), crmRef(t))
	if err != nil {
		t.Fatal(err)
	}
	if record.Type != grantType || record.Text("client_id") != "app" || record.Field("client_secret").Reveal() != "s3cr3t-app" || record.Field("refresh_token").Empty() {
		t.Errorf("the record is of type %s with fields %q and client %s", record.Type, record.Names(), record.Text("client_id"))
	}
	if len(c.changed) != 1 {
		t.Errorf("told of %v, want the credential once", c.changed)
	}
	i, err := Mint(t.Context(), Material{Credential: record, Provider: c.p, Client: plainClient(t)})
	if err != nil {
		t.Fatal(err)
	}
	if got := introspect(t, server, i); !strings.Contains(got, `"active":true`) {
		t.Errorf("the server does not know the token: %s", got)
	}
	c.apps.Add("acme", "crm", "nobody", "x")
	k := NewKeeper(KeeperOptions{Store: c.store})
	fresh, err := k.Obtain(t.Context(), Demand{Provider: c.p, Client: plainClient(t), Record: record, Have: record.Field("access_token")})
	if err != nil || !fresh.Minted {
		t.Errorf("the grant is not refreshed with its own client: %v", err)
	}
	if grants := server.Grants(t, plainClient(t)); grants["authorization_code:ok"] != 1 {
		t.Errorf("grants %v, want one code", grants)
	}
	names := []string{}
	for _, s := range got.Steps {
		names = append(names, s.Name)
	}
	if text := strings.Join(names, " "); !strings.Contains(text, "redirect token store") {
		t.Errorf("the steps are %s", text)
	}
}

// What each side says no to is told by its code.
func TestConnectRefused(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{})
	for _, tc := range []struct {
		name, id, key, hint, redirect string
		want                          fault.Code
		saying                        string
	}{
		{name: "the person says no", id: "app", key: "s3cr3t-app", hint: "deny", want: fault.AccessDenied, saying: "access_denied"},
		{name: "a wrong secret", id: "app", key: "wrong", want: fault.InvalidClient, saying: "401"},
		{name: "an unknown client", id: "nobody", want: fault.InvalidClient, saying: "does not know"},
		{name: "a redirect URI that is not registered", id: "app", key: "s3cr3t-app", redirect: "https://sallyport.example/oauth/callback", want: fault.RedirectURIMismatch, saying: "https://sallyport.example/oauth/callback"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newConsents(t, server)
			if tc.hint != "" {
				c.p.OAuth2.Params["login_hint"] = tc.hint
			}
			if tc.redirect != "" {
				c.o.Redirect = func() string { return tc.redirect }
			}
			began := c.begin(t, ConnectRequest{ClientID: tc.id, ClientSecret: secret.New(tc.key)})
			var got Connect
			if at := c.person.Consent(began.AuthorizationURL); strings.HasPrefix(at, redirectHere) {
				got = c.consent(t, began.AuthorizationURL)
			} else {
				got = c.ends(t, began.ID)
			}
			failsWith(t, got, tc.want, tc.saying)
			if _, err := c.store.Get(t.Context(), crmRef(t)); !errors.Is(err, fault.CredentialNotFound) {
				t.Errorf("something was stored: %v", err)
			}
		})
	}
}

// A public client has no secret, and its grant is refreshed without one.
func TestConnectPublicClient(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{})
	c := newConsents(t, server)
	got := c.consent(t, c.begin(t, ConnectRequest{ClientID: "native"}).AuthorizationURL)
	if got.State != ConnectDone {
		t.Fatalf("the connect is %s: %v", got.State, got.Fault)
	}
	record, err := c.store.Get(t.Context(), crmRef(t))
	if err != nil || !record.Field("client_secret").Empty() {
		t.Fatalf("a public client has a secret, or %v", err)
	}
	if err := Validate(c.p, record); err != nil {
		t.Errorf("the record is not valid: %v", err)
	}
	_, err = NewKeeper(KeeperOptions{Store: c.store}).Obtain(t.Context(), Demand{Provider: c.p, Client: plainClient(t), Record: record, Have: record.Field("access_token")})
	if err != nil {
		t.Errorf("the grant is not refreshed: %v", err)
	}
}

// A test of an app runs the whole flow and stores nothing.
func TestConnectTest(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{})
	c := newConsents(t, server)
	c.store.Add("acme/production/crm/main", "api_key", "api_key", "k")
	got := c.consent(t, c.begin(t, ConnectRequest{ClientID: "app", ClientSecret: secret.New("s3cr3t-app"), Test: true}).AuthorizationURL)
	if got.State != ConnectDone || !got.Test {
		t.Fatalf("the connect is %s: %v", got.State, got.Fault)
	}
	if record, err := c.store.Get(t.Context(), crmRef(t)); err != nil || record.Type != "api_key" || len(c.changed) > 0 {
		t.Errorf("the record is %s, %v; told of %v", record.Type, err, c.changed)
	}
}

// A device code (RFC 8628): asked about until the person has typed it in.
func TestConnectByDevice(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{})
	for name, abort := range map[string]bool{"yes": false, "no": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newConsents(t, server)
			c.apps.Add("", "crm", "app", "s3cr3t-app")
			began := c.begin(t, ConnectRequest{Flow: FlowDevice})
			if began.UserCode == "" || began.VerificationURI != server.Issuer+"/device" || began.AuthorizationURL != "" {
				t.Fatalf("a device code is %+v", began)
			}
			testserver.NewPerson(t, nil).Device(began.VerificationURI, began.UserCode, abort)
			got := c.ends(t, began.ID)
			if abort {
				failsWith(t, got, fault.AccessDenied, "")
				return
			}
			if got.State != ConnectDone {
				t.Fatalf("the connect is %s: %v", got.State, got.Fault)
			}
			record, err := c.store.Get(t.Context(), crmRef(t))
			if err != nil || record.Field("refresh_token").Empty() {
				t.Errorf("stored %q, %v", record.Names(), err)
			}
		})
	}
}
