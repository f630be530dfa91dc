package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// Whose client it is: the request's, the record's own, the workspace's app, the
// shared one; and what says how to get one.
func TestConnectClient(t *testing.T) {
	own, shared := [2]string{"own", "o"}, [2]string{"shared", "s"}
	for _, tc := range []struct {
		name            string
		record          []string
		own, shared     bool
		ownOnly         bool
		request         string
		want, wantErr   string
		keptOwnEndpoint bool
	}{
		{name: "nobody's", wantErr: "sallyport app add crm --workspace acme, or a shared one with sallyport app add crm"},
		{name: "nobody's own", shared: true, ownOnly: true, wantErr: "own_app_only"},
		{name: "shared", shared: true, want: "shared s"},
		{name: "own before shared", own: true, shared: true, want: "own o"},
		{name: "own only", own: true, ownOnly: true, want: "own o"},
		{name: "the record's before any app", own: true, shared: true, record: []string{"client_id", "mine", "client_secret", "m"}, want: "mine m"},
		{name: "the request's before all", own: true, record: []string{"client_id", "mine", "client_secret", "m"}, request: "asked", want: "asked a"},
		{name: "the app of today in the place of the one before", own: true, record: []string{"client_id", "old", "client_secret", "m", "sallyport_state", `{"connect":{"client":"own app"}}`}, want: "own o"},
		{name: "the one before, if there is no app any more", record: []string{"client_id", "old", "client_secret", "m", "sallyport_state", `{"connect":{"client":"shared app"}}`}, want: "old m"},
		{name: "an app's secret goes to no endpoint of the record", shared: true, record: []string{"token_url", "https://evil.example/token"}, want: "shared s"},
		{name: "a secret of one's own goes where one likes", record: []string{"client_id", "mine", "client_secret", "m", "token_url", "https://auth.crm.example/mine"}, want: "mine m", keptOwnEndpoint: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFlows(t, nil)
			f.p.OAuth2.OwnAppOnly = tc.ownOnly
			f.p.OAuth2.ClientAuth = "body"
			if tc.own {
				f.apps.Add("acme", "crm", own[0], own[1])
			}
			if tc.shared {
				f.apps.Add("", "crm", shared[0], shared[1])
			}
			if tc.record != nil {
				f.store.Add("acme/production/crm/main", grantType, tc.record...)
			}
			r := ConnectRequest{Provider: f.p, Ref: crmRef(t)}
			if tc.request != "" {
				r.ClientID, r.ClientSecret = "asked", secret.New("a")
			}
			began, err := f.Begin(t.Context(), r)
			if tc.wantErr != "" {
				if !errors.Is(err, fault.InvalidRequest) || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("got %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := f.done(t, back(t, began, code)); got.State != ConnectDone {
				t.Fatalf("%v", got.Fault)
			}
			form := f.server.posts()[0]
			if got := form.Get("client_id") + " " + form.Get("client_secret"); got != tc.want {
				t.Errorf("sent as %s, want %s", got, tc.want)
			}
			c, err := f.store.Get(t.Context(), crmRef(t))
			if err != nil || c.Text("client_id")+" "+c.Field("client_secret").Reveal() != tc.want || c.Field("token_url").Empty() == tc.keptOwnEndpoint {
				t.Errorf("the record remembers %s with fields %q, %v", c.Text("client_id"), c.Names(), err)
			}
		})
	}
}

// A grant is refreshed with the client that it was made with, and with that
// client's newest secret, unless the record names its own endpoint.
func TestAppSecrets(t *testing.T) {
	apps, p := &credtest.Apps{}, &provider.Provider{Name: "crm"}
	apps.Add("acme", "crm", "own", "own-secret")
	apps.Add("", "crm", "shared", "shared-secret")
	get := func(name string) *provider.Provider {
		if name != "crm" {
			return nil
		}
		return p
	}
	k := &Keeper{o: KeeperOptions{Secret: AppSecrets(apps, get)}}
	secretOf := func(ref string, fields ...string) string {
		c := (&credtest.Store{}).Add(ref, grantType, append([]string{"client_secret", "old"}, fields...)...)
		return k.current(t.Context(), c).Field("client_secret").Reveal()
	}
	for _, tc := range []struct {
		name, want string
		got        string
	}{
		{"its own app", "own-secret", secretOf("acme/production/crm/main", "client_id", "own")},
		{"the shared app", "shared-secret", secretOf("acme/production/crm/main", "client_id", "shared")},
		{"another workspace's app", "old", secretOf("other/production/crm/main", "client_id", "own")},
		{"a client of no app", "old", secretOf("acme/production/crm/main", "client_id", "mine")},
		{"a provider that is gone", "old", secretOf("acme/production/gone/main", "client_id", "shared")},
		{"an endpoint of its own", "old", secretOf("acme/production/crm/main", "client_id", "shared", "refresh_url", "https://evil.example")},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, tc.got, tc.want)
		}
	}
	p.OAuth2.OwnAppOnly = true
	if got := secretOf("acme/production/crm/main", "client_id", "shared"); got != "old" {
		t.Errorf("a shared app where only own ones count: %s", got)
	}
	apps.Fail(fault.New(fault.VaultDenied, "", nil))
	if got := secretOf("acme/production/crm/main", "client_id", "own"); got != "old" {
		t.Errorf("apps that cannot be read: %s", got)
	}
}
