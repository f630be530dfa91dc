package credtest

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// TestApps holds s to what credential.Apps promises. It must hold no app yet.
func TestApps(t *testing.T, s credential.Apps) {
	t.Run("life", func(t *testing.T) { testAppLife(t, s) })
	t.Run("apart", func(t *testing.T) { testAppsApart(t, s) })
	t.Run("bad names", func(t *testing.T) { testBadApps(t, s) })
	t.Run("at once", func(t *testing.T) { testAppsAtOnce(t, s) })
}

func putApp(t *testing.T, s credential.Apps, a *credential.App) {
	t.Helper()
	if err := s.PutApp(t.Context(), a); err != nil {
		t.Fatalf("PutApp of %s: %v", a, err)
	}
}

func app(t *testing.T, s credential.Apps, workspace, provider string) *credential.App {
	t.Helper()
	a, err := s.App(t.Context(), workspace, provider)
	if err != nil {
		t.Fatalf("App %s of %q: %v", provider, workspace, err)
	}
	return a
}

func testAppLife(t *testing.T, s credential.Apps) {
	_, err := s.App(t.Context(), suiteOne, "crm")
	wantFault(t, "App of none", err, fault.NotFound)
	wantFault(t, "DeleteApp of none", s.DeleteApp(t.Context(), suiteOne, "crm"), fault.NotFound)

	a := &credential.App{Workspace: suiteOne, Provider: "crm", ClientID: "web", ClientSecret: secret.New(`pä"ss<&>\/`)}
	a.Rest = map[string]json.RawMessage{"owner": json.RawMessage(`"team-a"`)}
	putApp(t, s, a)
	got := app(t, s, suiteOne, "crm")
	if got.ClientID != "web" || !got.ClientSecret.Equal(a.ClientSecret) || got.Version != a.Version || a.Version == 0 || string(got.Rest["owner"]) != `"team-a"` {
		t.Errorf("read %s, version %d, others' %s; written version %d", got.ClientID, got.Version, got.Rest, a.Version)
	}
	stale := got.Clone()
	got.ClientSecret = secret.Value{}
	putApp(t, s, got)
	if now := app(t, s, suiteOne, "crm"); !now.ClientSecret.Empty() || now.Version != got.Version {
		t.Errorf("version %d, want %d without a secret", now.Version, got.Version)
	}
	wantFault(t, "PutApp of an old version", s.PutApp(t.Context(), stale), fault.StoreConflict)
	stale.Version = 0
	wantFault(t, "PutApp of a new one where one is", s.PutApp(t.Context(), stale), fault.StoreConflict)
	if err := s.DeleteApp(t.Context(), suiteOne, "crm"); err != nil {
		t.Fatal(err)
	}
	_, err = s.App(t.Context(), suiteOne, "crm")
	wantFault(t, "App of a deleted one", err, fault.NotFound)
	wantFault(t, "PutApp of a deleted one", s.PutApp(t.Context(), got), fault.StoreConflict)
	again := &credential.App{Workspace: suiteOne, Provider: "crm", ClientID: "again"}
	putApp(t, s, again)
	if again.Version == got.Version {
		t.Error("an app that was made again has the version of the deleted one")
	}
	if err := s.DeleteApp(t.Context(), suiteOne, "crm"); err != nil {
		t.Fatal(err)
	}
}

// A shared app, a workspace's own, and one of a workspace with the name of a provider are three.
func testAppsApart(t *testing.T, s credential.Apps) {
	names := []credential.AppName{{Provider: "crm"}, {Provider: suiteOne}, {Workspace: "crm", Provider: "mail"}, {Workspace: suiteOne, Provider: "crm"}}
	for _, n := range names {
		putApp(t, s, &credential.App{Workspace: n.Workspace, Provider: n.Provider, ClientID: n.String()})
	}
	for _, n := range names {
		if a := app(t, s, n.Workspace, n.Provider); a.ClientID != n.String() || a.Name() != n {
			t.Errorf("%s is %s with client %s", n, a.Name(), a.ClientID)
		}
	}
	got, err := s.ListApps(t.Context())
	if err != nil || !slices.Equal(got, names) {
		t.Errorf("ListApps = %v, %v, want %v", got, err, names)
	}
	for _, n := range names {
		if err := s.DeleteApp(t.Context(), n.Workspace, n.Provider); err != nil {
			t.Error(err)
		}
	}
	if got, err := s.ListApps(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("ListApps of none = %v, %v", got, err)
	}
}

func testBadApps(t *testing.T, s credential.Apps) {
	for _, n := range []credential.AppName{{}, {Workspace: "..", Provider: "crm"}, {Provider: "../credentials"}, {Workspace: "a/b", Provider: "crm"}, {Provider: "CRM"}} {
		_, err := s.App(t.Context(), n.Workspace, n.Provider)
		wantFault(t, "App", err, fault.InvalidRequest)
		wantFault(t, "PutApp", s.PutApp(t.Context(), &credential.App{Workspace: n.Workspace, Provider: n.Provider, ClientID: "x"}), fault.InvalidRequest)
		wantFault(t, "DeleteApp", s.DeleteApp(t.Context(), n.Workspace, n.Provider), fault.InvalidRequest)
	}
}

// Of several who make the same app one succeeds.
func testAppsAtOnce(t *testing.T, s credential.Apps) {
	var made atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := s.PutApp(t.Context(), &credential.App{Provider: "busy", ClientID: "x"})
			if err == nil {
				made.Add(1)
			} else if !errors.Is(err, fault.StoreConflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d made it, want one", made.Load())
	}
	if err := s.DeleteApp(t.Context(), "", "busy"); err != nil {
		t.Error(err)
	}
}
