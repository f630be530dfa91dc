package checker_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
)

// What was removed or changed while nobody looked leaves no report, once the store
// can tell: where nothing is checked in the background, once somebody reads the
// record, or its folder does not hold it.
func TestRestoredReportsMeetTheirRecords(t *testing.T) {
	for _, c := range []struct {
		name, typ string
		status    checker.Status
		meanwhile func(*watched)
		want      bool
	}{
		{"as it was", "bearer", checker.Error, func(*watched) {}, true},
		{"removed", "bearer", checker.OK, func(w *watched) { _ = w.store.Delete(t.Context(), w.ref("others")) }, false},
		{"changed", "bearer", checker.OK, func(w *watched) { w.add("others", "new") }, false},
		{"changed, bad before", "bearer", checker.Error, func(w *watched) { w.add("others", "new") }, false},
		{"renewed", "oauth2_refresh_token", checker.OK, func(w *watched) { w.add("others", "new") }, true},
		{"renewed, bad before", "oauth2_refresh_token", checker.Error, func(w *watched) { w.add("others", "new") }, false},
	} {
		for _, interval := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprint(c.name, " ", interval), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "reports.json")
					w := newWatched(t, interval)
					w.history, _ = restore(path)
					cred := w.add("others", "old") // which no turn reads
					w.history.Replace(&checker.Report{Credential: cred.Ref.String(), Type: c.typ, Status: c.status, CheckedAt: time.Now()}, cred.Version)
					w.history.Save()
					c.meanwhile(w)
					w.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
					defer w.restart(t, path)()
					time.Sleep(time.Minute)
					if w.history.Last(cred.Ref.String()) == nil {
						t.Error("nothing is known though the store has not told")
					}
					w.store.Fail(nil)
					time.Sleep(5 * time.Minute)
					if reads := w.store.Gets.Load(); interval == 0 && reads > 0 && c.name != "removed" {
						t.Errorf("the record was read %d times for nobody", reads)
					}
					if interval == 0 {
						_, _ = w.history.Over(w.store).Get(t.Context(), cred.Ref)
					}
					if got := w.history.Last(cred.Ref.String()) != nil; got != c.want {
						t.Errorf("the report is kept: %v, want %v", got, c.want)
					}
				})
			})
		}
	}
}

// slowStore does not answer for one record, and counts the readings of each.
type slowStore struct {
	*credtest.Store
	read []string
}

// Get implements credential.Store.
func (s *slowStore) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	s.read = append(s.read, ref.Name)
	if ref.Name == "n0-others" {
		<-ctx.Done()
		return nil, fault.New(fault.Timeout, "", ctx.Err())
	}
	return s.Store.Get(ctx, ref)
}

// A record that the store does not answer for holds up no other, and what the
// configuration names is not read: that may have a secret issued.
func TestRestoredReportsWaitForNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "reports.json")
		w := newWatched(t, time.Hour)
		w.history, _ = restore(path)
		w.wanted = func(credential.Ref) bool { return false }
		var names []string
		for i := range 5 {
			cred := w.add(fmt.Sprintf("n%d-others", i), "old")
			w.history.Replace(&checker.Report{Credential: cred.Ref.String(), Status: checker.OK, CheckedAt: time.Now()}, cred.Version)
			w.add(cred.Ref.Name, "new")
			names = append(names, cred.Ref.String())
		}
		w.history.Save()
		w.history, _ = restore(path)
		store := &slowStore{Store: w.store}
		rounds := checker.NewRounds(checker.RoundsOptions{
			Interval: func() time.Duration { return time.Hour }, Folders: func() []credential.Ref { return nil }, Store: store, History: w.history,
			Issued: func(ref credential.Ref) bool { return strings.HasPrefix(ref.Name, "n4") },
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := rounds.Run(ctx); err != nil {
			t.Error(err)
		}
		for i, name := range names {
			if kept := w.history.Last(name) != nil; kept != (i == 0 || i == 4) {
				t.Errorf("the report of %s is kept: %v; read %v", name, kept, store.read)
			}
		}
		if slices.Contains(store.read, "n4-others") {
			t.Errorf("read %v", store.read)
		}
	})
}
