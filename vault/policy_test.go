package vault

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

var update = flag.Bool("update", false, "rewrite what the tests expect; read the diff")

var acme = credential.Ref{Workspace: "acme", Environment: "production"}

// offlineGrants gives the grants of a store that asks nobody.
func offlineGrants(t *testing.T, o VaultOptions, g GrantOptions, named ...Reference) []Grant {
	t.Helper()
	v, err := NewVault(o)
	if err != nil {
		t.Fatal(err)
	}
	v.Refer(named)
	if g.Assume == nil {
		g.Assume = func(string, error) {}
	}
	list, err := v.Grants(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestPolicyText(t *testing.T) {
	t.Parallel()
	at := func(method string, kv int) VaultOptions {
		return VaultOptions{
			Address: "http://127.0.0.1:1", Method: method, KVVersion: kv, RoleIDFile: "role", Token: secret.New("t"), RevokeOnExit: true,
		}
	}
	staging := credential.Ref{Workspace: "acme", Environment: "staging"}
	for _, c := range []struct {
		file string
		v    VaultOptions
		g    GrantOptions
	}{
		{"two_folders", at("approle", 2), GrantOptions{Folders: []credential.Ref{staging, acme, staging}}},
		{"version_1", at("token", 1), GrantOptions{Folders: []credential.Ref{acme}}},
		{"all", at("token", 2), GrantOptions{Folders: []credential.Ref{acme, {}}}},
		{"read_only", at("token", 2), GrantOptions{Folders: []credential.Ref{acme}, ReadOnly: true}},
		{"read_only_version_1", at("token", 1), GrantOptions{Folders: []credential.Ref{acme}, ReadOnly: true}},
		{"transit", at("token", 2), GrantOptions{Transit: "seals/sallyport"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			got := Policy(offlineGrants(t, c.v, c.g))
			file := filepath.Join("testdata", "policy", c.file+".hcl")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("%v; got:\n%s", err, got)
			}
		})
	}
}

func TestPolicyQuotes(t *testing.T) {
	got := Policy([]Grant{{Path: `kv/a"b\c`, Capabilities: []string{"read"}, Why: "w"}})
	if want := "# w\npath \"kv/a\\\"b\\\\c\" {\n  capabilities = [\"read\"]\n}\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// story does what a daemon does with its records, and gives what did not work.
func story(ctx context.Context, v *Vault) error {
	c := &credential.Credential{Ref: credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "main"}, Type: "bearer"}
	c.Set("token", secret.New("1"))
	steps := []error{v.Put(ctx, c), v.Put(ctx, c)}
	_, err := v.Get(ctx, c.Ref)
	steps = append(steps, err)
	for _, folder := range []credential.Ref{{Workspace: "acme", Environment: "production", Provider: "crm"}, acme, {Workspace: "acme"}, {}} {
		refs, err := v.List(ctx, folder)
		if err == nil && !slices.Equal(refs, []credential.Ref{c.Ref}) {
			err = fmt.Errorf("a listing gives %v", refs)
		}
		steps = append(steps, err)
	}
	for _, f := range []struct {
		in   credential.Ref
		want []string
	}{{credential.Ref{}, []string{"acme", "other"}}, {credential.Ref{Workspace: "acme"}, []string{"production", "staging"}}, {acme, []string{"crm"}}} {
		names, err := v.Folders(ctx, f.in)
		if err == nil && !slices.Equal(names, f.want) {
			err = fmt.Errorf("folders in %v are %v, want %v", f.in, names, f.want)
		}
		steps = append(steps, err)
	}
	return errors.Join(append(steps, v.Delete(ctx, c.Ref), appStory(ctx, v))...)
}

// appStory does the same with apps: its workspace's own, and a shared one that is there.
func appStory(ctx context.Context, v *Vault) error {
	a := &credential.App{Workspace: "acme", Provider: "crm", ClientID: "web"}
	_, none := v.App(ctx, "acme", "mail")
	if errors.Is(none, fault.NotFound) {
		none = nil
	}
	steps := []error{none, v.PutApp(ctx, a), v.PutApp(ctx, a)}
	_, shared := v.App(ctx, "", "crm")
	_, own := v.App(ctx, "acme", "crm")
	names, err := v.ListApps(ctx)
	if err == nil && !slices.Equal(names, []credential.AppName{{Provider: "crm"}, {Workspace: "acme", Provider: "crm"}}) {
		err = fmt.Errorf("the apps are %v", names)
	}
	return errors.Join(append(steps, shared, own, err, v.DeleteApp(ctx, "acme", "crm"))...)
}

// With the printed policy and no other the store does all it has to; without any one of its capabilities it does not,
// and Missing says which.
func TestPolicyIsTheLeast(t *testing.T) {
	t.Parallel()
	for _, kv := range []string{"2", "1"} {
		t.Run("version "+kv, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartVault(t, testserver.VaultOptions{})
			server.Do(t, http.MethodPost, "sys/mounts/team/kv", map[string]any{"type": "kv", "options": map[string]any{"version": kv}})
			o := rootOptions(server)
			o.Mount = "team/kv"
			root := loggedIn(t, o)
			for _, ref := range []string{"other/production/crm/main", "acme/staging/crm/main"} {
				mustPut(t, root.Vault, newCredential(t, ref, "token", "hidden"))
			}
			for _, workspace := range []string{"", "other"} {
				if err := root.PutApp(t.Context(), &credential.App{Workspace: workspace, Provider: "crm", ClientID: "hidden"}); err != nil {
					t.Fatal(err)
				}
			}
			grants, err := root.Grants(t.Context(), GrantOptions{Folders: []credential.Ref{acme}})
			if err != nil {
				t.Fatal(err)
			}
			if gaps, err := root.Missing(t.Context(), grants); err != nil || len(gaps) > 0 {
				t.Errorf("root has gaps: %v, %v", gaps, err)
			}
			o = withPolicy(t, server, Policy(grants))
			o.Mount = "team/kv"
			v := loggedIn(t, o)
			if err := story(t.Context(), v.Vault); err != nil {
				t.Fatalf("with the policy as printed: %v", err)
			}
			if gaps, err := v.Missing(t.Context(), grants); err != nil || len(gaps) > 0 {
				t.Fatalf("the policy as printed has gaps: %v, %v", gaps, err)
			}
			eachCut(t, v.Vault, server, grants)
		})
	}
}

// withPolicy gives the options of a role that has this policy alone.
func withPolicy(t *testing.T, server *testserver.Vault, policy string) VaultOptions {
	t.Helper()
	server.Policy(t, "printed", policy)
	role, id := server.AppRole(t, "printed", map[string]any{"token_policies": "printed", "token_no_default_policy": true})
	return VaultOptions{
		Address: server.Address, Method: "approle", RevokeOnExit: true,
		RoleIDFile: tempFile(t, "role", role), SecretIDFile: tempFile(t, "secret", id),
	}
}

// eachCut takes one capability after the other out of the policy.
func eachCut(t *testing.T, v *Vault, server *testserver.Vault, all []Grant) {
	t.Helper()
	for i, g := range all {
		for _, c := range g.Capabilities {
			if g.Path == capabilitiesPath {
				continue
			}
			server.Policy(t, "printed", Policy(without(all, i, c)))
			if err := story(t.Context(), v); err == nil && !strings.HasPrefix(g.Path, "auth/token/") {
				t.Errorf("it works without %s on %s", c, g.Path)
			}
			gaps, err := v.Missing(t.Context(), all)
			if err != nil || len(gaps) != 1 || gaps[0].Grant.Path != g.Path || !slices.Equal(gaps[0].Missing, []string{c}) {
				t.Errorf("without %s on %s Missing gives %v, %v", c, g.Path, gaps, err)
			}
			server.Policy(t, "printed", Policy(all))
			_ = v.Delete(t.Context(), credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "main"})
			_ = v.DeleteApp(t.Context(), "acme", "crm")
		}
	}
}

// without gives grants without capability c of the one at i.
func without(grants []Grant, i int, c string) []Grant {
	grants = slices.Clone(grants)
	grants[i].Capabilities = slices.DeleteFunc(slices.Clone(grants[i].Capabilities), func(s string) bool { return s == c })
	return slices.DeleteFunc(grants, func(g Grant) bool { return len(g.Capabilities) == 0 })
}

// The printed policy is enough for the token's own life, without Vault's default policy.
func TestPolicyOfTheToken(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := withPolicy(t, server, `path "none" { capabilities = ["deny"] }`)
	server.Policy(t, "printed", Policy(offlineGrants(t, o, GrantOptions{Folders: []credential.Ref{acme}})))
	server.Do(t, http.MethodPost, "auth/approle/role/printed", map[string]any{"token_ttl": "3s", "token_max_ttl": "1h"})
	v := loggedIn(t, o)
	about, err := v.Token(t.Context())
	if err != nil || !slices.Equal(about.Policies, []string{"printed"}) || !about.Renewable || about.Expiry.IsZero() {
		t.Errorf("the token is %+v, %v", about, err)
	}
	if kv, err := v.KVVersion(t.Context()); err != nil || kv != 2 {
		t.Errorf("the mount's version is %d, %v", kv, err)
	}
	_, err = v.Get(t.Context(), credential.Ref{Workspace: "other", Environment: "production", Provider: "crm", Name: "main"})
	wantCode(t, "a record of another workspace", err, fault.VaultDenied)
	if v.calls("lookup", "ok") == 0 || v.calls("lookup", "vault_denied") > 0 {
		t.Error("the token was not looked up when a call was denied")
	}
	eventually(t, "renewed", patience, func() bool { return v.calls(opRenew, "ok") > 0 })
	if v.calls(opRenew, "vault_denied") > 0 {
		t.Error("the renewal was denied")
	}
	if err := v.stop(); err != nil {
		t.Error(err)
	}
	if v.calls("revoke", "ok") != 1 {
		t.Error("the token was not revoked at the end")
	}
}

// A policy that names records by other patterns is as good.
func TestMissingUnderstandsPatterns(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := withPolicy(t, server, `
path "secret/data/+/credentials/acme/+/+/+" { capabilities = ["read", "create", "update"] }
path "secret/data/sallyport/apps/*" { capabilities = ["read", "create", "update"] }
path "secret/metadata/sallyport/apps/acme/*" { capabilities = ["delete", "list"] }
path "secret/metadata/sallyport/credentials/acme/+/+/+" { capabilities = ["delete"] }
path "secret/metadata/sallyport/*" { capabilities = ["list"] }
path "auth/token/*" { capabilities = ["read", "update"] }
path "sys/capabilities-self" { capabilities = ["update"] }`)
	v := loggedIn(t, o)
	grants, err := v.Grants(t.Context(), GrantOptions{Folders: []credential.Ref{acme}})
	if err != nil {
		t.Fatal(err)
	}
	gaps, err := v.Missing(t.Context(), grants)
	if err != nil || len(gaps) != 1 || gaps[0].Grant.Path != "secret/metadata/sallyport/credentials/acme/production/*" || !slices.Equal(gaps[0].Missing, []string{"list"}) {
		t.Errorf("gaps %v, %v; the longest pattern counts, so names of one provider cannot be listed", gaps, err)
	}
	_, err = v.List(t.Context(), credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm"})
	wantCode(t, "and Vault says so", err, fault.VaultDenied)
}

func TestGrantsWithoutLogin(t *testing.T) {
	o := VaultOptions{Address: "http://127.0.0.1:1", Method: "token", Token: secret.New("t")}
	v, err := NewVault(o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Grants(t.Context(), GrantOptions{Folders: []credential.Ref{acme}})
	wantCode(t, "Grants that may not assume", err, fault.VaultUnreachable)
	var assumed []string
	offlineGrants(t, o, GrantOptions{Folders: []credential.Ref{acme}, Assume: func(path string, _ error) { assumed = append(assumed, path) }})
	if !slices.Equal(assumed, []string{"secret"}) {
		t.Errorf("assumed %v, want the mount", assumed)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	v, err := NewVault(rootOptions(server))
	if err != nil {
		t.Fatal(err)
	}
	h, err := v.Health(t.Context())
	if err != nil || !strings.HasPrefix(h.Version, "1.") || !h.Initialized || h.Sealed || h.Standby {
		t.Errorf("health %+v, %v", h, err)
	}
	server.Seal(t)
	if h, err = v.Health(t.Context()); err != nil || !h.Sealed {
		t.Errorf("FM-02: sealed: %+v, %v", h, err)
	}
	v, err = NewVault(VaultOptions{Address: "http://127.0.0.1:1", Method: "token", Token: secret.New("t")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Health(t.Context())
	wantCode(t, "FM-01: nobody listens", err, fault.VaultUnreachable)
}
