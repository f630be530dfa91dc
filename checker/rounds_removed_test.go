package checker_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// What somebody else removes leaves no report and no trouble once its folder is
// listed, whether it was checked in the background or by hand. What cannot be listed
// is not taken for removed.
func TestRoundsRemovedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, 6*time.Hour)
		w.set("bad", http.StatusUnauthorized)
		refs := map[string]bool{ // which are forgotten
			"acme/production/api/main": true, "acme/production/api/others": true, "acme/production/last/main": true,
			"acme/production/unknown/main": true, "acme/staging/api/main": false,
		}
		for ref := range refs {
			w.store.Add(ref, "bearer", "token", "bad")
		}
		w.add("stays", "good")
		stop := w.run(t)
		defer func() { stop() }()
		time.Sleep(7 * time.Hour)
		for ref := range refs {
			if w.history.Last(ref) == nil { // nobody checks it in the background
				w.history.Put(&checker.Report{Credential: ref, Status: checker.Error, CheckedAt: time.Now()})
			}
			if err := w.store.Delete(t.Context(), parse(t, ref)); err != nil {
				t.Fatal(err)
			}
		}
		w.store.Fail(fault.New(fault.VaultDenied, "", nil))
		time.Sleep(3 * time.Hour)
		for ref := range refs {
			if w.history.Last(ref) == nil {
				t.Errorf("%s is forgotten, and nobody could look", ref)
			}
		}
		w.store.Fail(nil)
		time.Sleep(time.Hour + 2*time.Minute)
		stop()
		stop = func() {}
		for ref, want := range refs {
			if got := len(w.history.Of(ref)) == 0; got != want || slices.Contains(w.gone, ref) != want {
				t.Errorf("%s is forgotten: %v, want %v; told of as gone: %v", ref, got, want, w.gone)
			}
		}
		if len(w.gone) != 4 || w.history.Last("acme/production/api/stays") == nil {
			t.Errorf("told of as gone: %v", w.gone)
		}
	})
}

// What was removed while the daemon was down is told of, too.
func TestRemovedMeanwhileIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "reports.json")
		w := newWatched(t, 6*time.Hour)
		w.history, _ = restore(path)
		cred := w.add("main", "bad")
		w.history.Replace(onMain(checker.Error, checker.Error), cred.Version)
		if err := w.store.Delete(t.Context(), cred.Ref); err != nil {
			t.Fatal(err)
		}
		stop := w.restart(t, path)
		time.Sleep(time.Second)
		stop()
		if !slices.Equal(slices.Compact(w.gone), []string{mainRef}) { // by the turn, too
			t.Errorf("told of as gone: %v", w.gone)
		}
	})
}

func parse(t *testing.T, name string) credential.Ref {
	t.Helper()
	ref, err := credential.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}
