package vault

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

var (
	_ credential.Apps = (*Vault)(nil)
	_ credential.Apps = (*File)(nil)
)

func TestVaultApps(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	server.Do(t, http.MethodPost, "sys/mounts/one", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	for _, mount := range []string{"secret", "one"} {
		t.Run(mount, func(t *testing.T) {
			o := rootOptions(server)
			o.Mount = mount
			credtest.TestApps(t, loggedIn(t, o))
		})
	}
}

// An app that an operator wrote with vault kv put serves, and one of ours is what he would write.
func TestVaultAppOfOthers(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	v := loggedIn(t, rootOptions(server))
	server.Do(t, http.MethodPost, "secret/data/sallyport/apps/acme/crm", map[string]any{"data": map[string]any{"client_id": "web\n", "client_secret": "hush", "team": "a"}})
	a, err := v.App(t.Context(), "acme", "crm")
	if err != nil || a.ClientID != "web" || a.ClientSecret.Reveal() != "hush" {
		t.Fatalf("%v with client %q, %v", a, a.ClientID, err)
	}
	a.ClientSecret = secret.New("new")
	if err := v.PutApp(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	data := stored(t, server, "secret/data/sallyport/apps/acme/crm")
	delete(data, credential.StateField)
	if got, want := mapText(data), "map[client_id:web client_secret:new provider:crm team:a]"; got != want {
		t.Errorf("stored %s, want %s", got, want)
	}
	server.Do(t, http.MethodDelete, "secret/data/sallyport/apps/acme/crm", nil)
	_, err = v.App(t.Context(), "acme", "crm")
	wantCode(t, "one that was deleted by others", err, fault.NotFound)
	if !strings.Contains(err.Error(), "undelete") {
		t.Errorf("the way back is not told: %v", err)
	}
}

func TestFileApps(t *testing.T) { credtest.TestApps(t, openStore(t, t.TempDir())) }

// Apps are sealed, apart from the records, and no other app's file is taken for one.
func TestFileAppFiles(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for _, workspace := range []string{"", "acme"} {
		if err := s.PutApp(t.Context(), &credential.App{Workspace: workspace, Provider: "crm", ClientID: "web", ClientSecret: secret.New(fileCanary)}); err != nil {
			t.Fatal(err)
		}
	}
	shared, own := filepath.Join(dir, "store/.apps/crm.age"), filepath.Join(dir, "store/.apps/acme/crm.age")
	b, err := os.ReadFile(own)
	if err != nil || strings.Contains(string(b), fileCanary) || strings.Contains(string(b), "web") {
		t.Fatalf("the file is not sealed: %v", err)
	}
	if refs, err := s.List(t.Context(), credential.Ref{}); err != nil || len(refs) > 0 {
		t.Errorf("apps are listed as records: %v, %v", refs, err)
	}
	if err := os.WriteFile(shared, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.App(t.Context(), "", "crm")
	if detail := fault.From(err).Detail; !strings.Contains(detail, "was it moved?") || strings.Contains(detail, dir) {
		t.Errorf("an app's file in the place of another: %v", err)
	}
	if err := s.DeleteApp(t.Context(), "", "crm"); err != nil {
		t.Errorf("a damaged app cannot be deleted: %v", err)
	}
	for _, name := range []string{".tmp-1", "acme/.tmp-2"} {
		if err := os.WriteFile(filepath.Join(dir, "store/.apps", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openStore(t, dir)
	for _, name := range []string{".tmp-1", "acme/.tmp-2"} {
		if _, err := os.Lstat(filepath.Join(dir, "store/.apps", name)); err == nil {
			t.Errorf("what a killed writer left stays: %s", name)
		}
	}
	err = (&File{}).usable(t.Context(), fileAppName(credential.AppName{Workspace: "crm.age", Provider: "x"}))
	wantCode(t, "a workspace with the name of a file", err, fault.InvalidRequest)
}
