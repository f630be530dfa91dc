package vault

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

func named(provider, path string, fields map[string]string) Reference {
	return Reference{Ref: credential.Ref{Workspace: "acme", Environment: "production", Provider: provider, Name: "legacy"}, Path: path, Fields: fields}
}

// What nobody could be asked about is granted in every form, and told.
func TestPolicyOfUnknownReferences(t *testing.T) {
	o := VaultOptions{Address: "http://127.0.0.1:1", Method: "token", Token: secret.New("t"), RevokeOnExit: true, Bare: true}
	var assumed []string
	got := offlineGrants(t, o, GrantOptions{Assume: func(path string, _ error) { assumed = append(assumed, path) }},
		named("crm", "kv/team-a/crm", map[string]string{"access_token": "token"}))
	want := map[string][]string{
		"kv/data/team-a/crm": {"read", "update"}, "kv/team-a/crm": {"read", "update"},
		"sys/leases/renew": {"update"}, "sys/leases/lookup": {"update"}, "sys/leases/revoke": {"update"},
		"auth/token/lookup-self": {"read"}, "auth/token/renew-self": {"update"}, "sys/capabilities-self": {"update"},
	}
	for _, g := range got {
		if !slices.Equal(want[g.Path], g.Capabilities) {
			t.Errorf("%s: %v, want %v", g.Path, g.Capabilities, want[g.Path])
		}
		delete(want, g.Path)
	}
	if len(want) > 0 || !slices.Equal(assumed, []string{"kv/team-a/crm"}) {
		t.Errorf("not granted: %v; told: %v", want, assumed)
	}
}

// An exact path takes the place of a pattern that it matches, so it must not grant less.
func TestPolicyOfAReferenceAmongOurRecords(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	v := loggedIn(t, rootOptions(server))
	v.Refer([]Reference{named("crm", "secret/sallyport/credentials/acme/production/crm/other", nil)})
	grants, err := v.Grants(t.Context(), GrantOptions{Folders: []credential.Ref{acme}})
	if err != nil || slices.ContainsFunc(grants, func(g Grant) bool { return g.Path == "secret/data/sallyport/credentials/acme/production/crm/other" }) {
		t.Errorf("%v, %v", grants, err)
	}
	v.Refer([]Reference{named("crm", "secret/sallyport/credentials/acme/production/crm/other", map[string]string{"access_token": "t"})})
	grants, err = v.Grants(t.Context(), GrantOptions{Folders: []credential.Ref{acme}, ReadOnly: true})
	if err != nil || slices.ContainsFunc(grants, func(g Grant) bool { return slices.Contains(g.Capabilities, "update") && g.depth > 0 }) {
		t.Errorf("read-only: %v, %v", grants, err)
	}
}

// The printed policy is the least for secrets of others, too: static ones of both KV versions, and leased ones.
func TestPolicyOfReferencesIsTheLeast(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	server.Do(t, http.MethodPost, "sys/mounts/one", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	server.Do(t, http.MethodPost, "secret/data/team/crm", map[string]any{"data": map[string]string{"key": "k"}})
	server.Do(t, http.MethodPost, "secret/data/team/oauth", map[string]any{"data": map[string]string{"t": "1", "owner": "a"}})
	server.Do(t, http.MethodPost, "one/team/oauth", map[string]any{"t": "1"})
	list := []Reference{
		named("crm", "secret/team/crm", map[string]string{"api_key": "key"}),
		named("hub", "secret/team/oauth", map[string]string{"access_token": "t"}),
		named("old", "one/team/oauth", map[string]string{"access_token": "t"}),
	}
	o := rootOptions(server)
	o.Bare = true
	root := loggedIn(t, o)
	root.Refer(list)
	grants, err := root.Grants(t.Context(), GrantOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o = withPolicy(t, server, Policy(grants))
	o.Bare = true
	v := loggedIn(t, o)
	v.Refer(list)
	overlay := NewOverlay(noRecords{}, v.Vault)
	try := func() error { return referenceStory(t.Context(), overlay, list) }
	if err := try(); err != nil {
		t.Fatalf("with the policy as printed: %v", err)
	}
	for i, g := range grants {
		for _, c := range g.Capabilities {
			if g.Path == capabilitiesPath || g.Path == "auth/token/renew-self" || g.Path == "auth/token/revoke-self" || g.Path == lookupSelf {
				continue
			}
			server.Policy(t, "printed", Policy(without(grants, i, c)))
			if try() == nil {
				t.Errorf("it works without %s on %s", c, g.Path)
			}
		}
	}
}

// referenceStory reads every reference and stores the tokens of those that map one.
func referenceStory(ctx context.Context, s credential.Store, list []Reference) error {
	var errs []error
	for _, r := range list {
		c, err := s.Get(ctx, r.Ref)
		errs = append(errs, err)
		if err == nil && r.writable() {
			c.Set("access_token", secret.New(c.Field("access_token").Reveal()+"+"))
			errs = append(errs, s.Put(ctx, c))
		}
	}
	return errors.Join(errs...)
}

// noRecords is a store without any.
type noRecords struct{ credential.Store }

// With the printed policy and no other a leased secret is issued, renewed, looked up and revoked.
func TestPolicyOfALease(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	r := l.role(t, "reader", "3s", "1h")
	root := loggedIn(t, rootOptions(l.Vault))
	o := VaultOptions{Address: l.Address, Method: "token", Bare: true, RevokeOnExit: true, Token: secret.New("t")}
	root.Refer([]Reference{r})
	grants, err := root.Grants(t.Context(), GrantOptions{})
	if err != nil || slices.ContainsFunc(grants, func(g Grant) bool { return g.Path == "sys/leases/revoke" }) {
		t.Fatalf("without revoke_on_exit: %v, %v", grants, err)
	}
	revoke := Grant{Path: "sys/leases/revoke", Capabilities: []string{"update"}}
	l.Policy(t, "printed", Policy(append(grants, revoke)))
	o.Token = secret.New(l.NewToken(t, map[string]any{"policies": []string{"printed"}, "no_default_policy": true}))
	v := loggedIn(t, o)
	v.Refer([]Reference{r})
	if grants, err = v.Grants(t.Context(), GrantOptions{}); err != nil || !slices.ContainsFunc(grants, func(g Grant) bool { return g.Path == revoke.Path }) {
		t.Errorf("with revoke_on_exit: %v, %v", grants, err)
	}
	s := NewOverlay(noRecords{}, v.Vault)
	mustGet(t, s, r.Ref)
	eventually(t, "renewed", patience, func() bool { mustGet(t, s, r.Ref); return v.calls(opLeaseRenew, "ok") > 0 })
	if _, err := s.Get(credential.WithNeed(t.Context(), credential.Refused), r.Ref); err != nil {
		t.Error(err)
	}
	if err := v.stop(); err != nil {
		t.Error(err)
	}
	for _, op := range []string{opIssue, opLeaseRenew, opLeaseLookup, opLeaseRevoke} {
		if v.calls(op, "ok") == 0 || v.calls(op, "vault_denied") > 0 {
			t.Errorf("%s: %d done, %d denied", op, v.calls(op, "ok"), v.calls(op, "vault_denied"))
		}
	}
}
