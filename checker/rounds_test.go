package checker_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// watched is a provider that counts who asks, and a daemon that checks in the
// background.
type watched struct {
	store    *credtest.Store
	history  *checker.History
	interval time.Duration
	folders  []credential.Ref
	wanted   func(credential.Ref) bool
	during   func() // while a request is answered
	log      bytes.Buffer
	rounds   *checker.Rounds

	mu     sync.Mutex
	status map[string]int         // by token; 0: 200
	asked  map[string][]time.Time // by token
	gone   []string
}

func (w *watched) RoundTrip(req *http.Request) (*http.Response, error) {
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	if w.during != nil {
		w.during()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[token] = append(w.asked[token], time.Now())
	status := w.status[token]
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: req}, nil
}

// set has the provider answer a token with that status.
func (w *watched) set(token string, status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status[token] = status
}

// times gives when the provider was asked with a token, and forgets it.
func (w *watched) times(token string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.asked[token]
	delete(w.asked, token)
	return at
}

// newWatched runs background checks until the test is over.
func newWatched(t *testing.T, interval time.Duration) *watched {
	t.Helper()
	w := &watched{
		store: &credtest.Store{}, history: checker.NewHistory(nil), interval: interval, status: map[string]int{}, asked: map[string][]time.Time{},
		folders: []credential.Ref{{Workspace: "acme", Environment: "production"}},
		wanted:  func(ref credential.Ref) bool { return ref.Name != "others" },
	}
	return w
}

// run runs the rounds for that long.
func (w *watched) run(t *testing.T) (stop func()) {
	t.Helper()
	locked := func(f func()) { w.mu.Lock(); defer w.mu.Unlock(); f() }
	w.rounds = checker.NewRounds(checker.RoundsOptions{
		Interval: func() (d time.Duration) { locked(func() { d = w.interval }); return d },
		Folders:  func() (f []credential.Ref) { locked(func() { f = slices.Clone(w.folders) }); return f },
		Wanted:   w.wanted,
		Provider: func(name string) *provider.Provider {
			if name == "unknown" {
				return nil
			}
			return &provider.Provider{Name: name, BaseURL: "https://api.example", Type: "bearer", Verify: provider.Verify{Path: "/me"}}
		},
		Store: w.store, Checker: newChecker(w), History: w.history, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Gone: func(ref credential.Ref) { locked(func() { w.gone = append(w.gone, ref.String()) }) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.rounds.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func (w *watched) add(name, token string) *credential.Credential {
	return w.store.Add("acme/production/api/"+name, "bearer", "token", token)
}

// Each credential that a caller may use is asked about once an interval; they are
// spread over it, and the first ones wait a moment.
func TestRoundsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, 6*time.Hour)
		for i := range 30 {
			w.add(fmt.Sprintf("n%02d", i), fmt.Sprintf("t%02d", i))
		}
		w.add("others", "others")
		w.store.Add("acme/staging/api/main", "bearer", "token", "others")
		w.store.Add("acme/production/unknown/main", "bearer", "token", "others")
		start := time.Now()
		defer w.run(t)()
		time.Sleep(3 * 24 * time.Hour)
		var first []time.Time
		for i := range 30 {
			at := w.times(fmt.Sprintf("t%02d", i))
			if len(at) < 11 || len(at) > 13 {
				t.Errorf("n%02d: checked %d times in 3 days, want 12", i, len(at))
			}
			first = append(first, at[0])
			for j := range at[1:] {
				if d := at[j+1].Sub(at[j]); d < 5*time.Hour || d > 7*time.Hour {
					t.Errorf("n%02d: checked again after %s", i, d)
				}
			}
		}
		slices.SortFunc(first, time.Time.Compare)
		for i := range first[2:] {
			if d := first[i+2].Sub(first[i]); d < time.Minute {
				t.Errorf("three checks within %s", d)
			}
		}
		if d := first[0].Sub(start); d > 20*time.Minute {
			t.Errorf("the first check was after %s", d)
		}
		if at := w.times("others"); at != nil {
			t.Errorf("credentials of nobody here were checked %d times", len(at))
		}
		if rep := w.history.Last("acme/production/api/n00"); rep == nil || rep.Status != checker.OK {
			t.Errorf("the last report is %+v", rep)
		}
	})
}

// GitHub locks accounts that come again and again with a bad token: one that was
// refused is left alone for longer and longer, until its record changes.
func TestRoundsCoolDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, time.Hour)
		w.add("main", "bad")
		w.set("bad", http.StatusUnauthorized)
		defer w.run(t)()
		time.Sleep(7 * 24 * time.Hour)
		at := w.times("bad")
		for i, want := range []time.Duration{10 * time.Hour, 20 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
			if i+1 >= len(at) {
				t.Fatalf("checked %d times in 7 days", len(at))
			}
			if d := at[i+1].Sub(at[i]); d < want || d > want+75*time.Minute {
				t.Errorf("pause %d was %s, want %s and less than a turn", i, d, want)
			}
		}
		if len(at) > 9 {
			t.Errorf("checked %d times in 7 days", len(at))
		}
		w.add("main", "good")
		time.Sleep(70 * time.Minute)
		if at := w.times("good"); len(at) == 0 || w.times("bad") != nil || w.history.Last("acme/production/api/main").Status != checker.OK {
			t.Errorf("the changed record was checked %d times at its next turn", len(at))
		}
		w.set("good", http.StatusUnauthorized)
		time.Sleep(5 * time.Hour)
		if n := len(w.times("good")); n != 1 {
			t.Errorf("checked %d times after it broke again, want once", n)
		}
	})
}

// A long interval is the shortest cool-down.
func TestRoundsCoolDownOfLongIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		w := newWatched(t, 3*day)
		w.add("main", "bad")
		w.set("bad", http.StatusUnauthorized)
		defer w.run(t)()
		time.Sleep(40 * day)
		at := w.times("bad")
		for i := range at[1:] {
			if d := at[i+1].Sub(at[i]); d < 3*day {
				t.Errorf("checked again after %s", d)
			}
		}
		if len(at) < 5 {
			t.Errorf("checked %d times in 40 days", len(at))
		}
	})
}

// A check that told nothing is made again sooner, then ever more rarely.
func TestRoundsRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, 4*time.Hour)
		w.add("main", "away")
		w.set("away", http.StatusBadGateway)
		defer w.run(t)()
		time.Sleep(24 * time.Hour)
		at := w.times("away")
		for i, want := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 4 * time.Hour} {
			if i+1 >= len(at) {
				t.Fatalf("checked %d times in a day", len(at))
			}
			if d := at[i+1].Sub(at[i]); d < want*19/20 || d > want*21/20+time.Minute {
				t.Errorf("pause %d was %s, want %s", i, d, want)
			}
		}
		w.set("away", 0)
		time.Sleep(5 * time.Hour)
		w.times("away")
		time.Sleep(24 * time.Hour)
		if n := len(w.times("away")); n < 5 || n > 7 {
			t.Errorf("checked %d times in a day of good answers, want 6", n)
		}
	})
}

// What a person's check has found just now is not asked again, and what it found
// bad is left alone.
func TestRoundsLearn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, 10*time.Hour)
		good, bad := w.add("good", "good"), w.add("bad", "bad")
		w.set("bad", http.StatusUnauthorized)
		check := newChecker(w)
		p := &provider.Provider{Name: "api", BaseURL: "https://api.example", Verify: provider.Verify{Path: "/me"}}
		defer w.run(t)()
		for range 20 {
			time.Sleep(4 * time.Hour)
			w.history.Put(check.Check(t.Context(), p, good))
		}
		w.history.Replace(check.Check(t.Context(), p, bad), bad.Version)
		w.times("bad")
		if n := len(w.times("good")); n > 21 {
			t.Errorf("%d checks, of which a person has made 20", n)
		}
		time.Sleep(23 * time.Hour)
		if n := len(w.times("bad")); n != 0 {
			t.Errorf("what was refused is checked %d times all the same", n)
		}
	})
}

// What is found of a record that is removed or changed meanwhile is not kept.
func TestRoundsMeanwhile(t *testing.T) {
	for _, c := range []struct {
		name   string
		during func(*watched)
		gone   bool
	}{
		{"removed", func(w *watched) { _ = w.store.Delete(context.Background(), w.ref("main")) }, true},
		{"removed by the API", func(w *watched) {
			_ = w.store.Delete(context.Background(), w.ref("main"))
			w.history.Forget("acme/production/api/main")
		}, true},
		{"changed", func(w *watched) { w.add("main", "new") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(t, time.Hour)
				w.add("main", "old")
				w.set("old", http.StatusUnauthorized)
				once := sync.OnceFunc(func() { c.during(w) })
				w.during = once
				stop := w.run(t)
				for w.times("old") == nil {
					time.Sleep(time.Second)
				}
				synctest.Wait()
				if rep := w.history.Last("acme/production/api/main"); rep != nil {
					t.Errorf("the report of the old record is kept: %s", rep.Status)
				}
				time.Sleep(3 * time.Hour)
				if n := len(w.times("old")); n != 0 {
					t.Errorf("the old record is checked again %d times", n)
				}
				if rep := w.history.Last("acme/production/api/main"); c.gone != (rep == nil) {
					t.Errorf("the last report is %+v", rep)
				}
				stop()
				if c.gone != slices.Contains(w.gone, "acme/production/api/main") {
					t.Errorf("told of as gone: %v", w.gone)
				}
			})
		})
	}
}

func (w *watched) ref(name string) credential.Ref {
	return credential.Ref{Workspace: "acme", Environment: "production", Provider: "api", Name: name}
}

// A store that is away is waited for, in one line of the log, and no turn is lost.
func TestRoundsStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, time.Hour)
		for i := range 30 {
			w.add(fmt.Sprint("n", i), fmt.Sprint("t", i))
		}
		w.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
		stop := w.run(t)
		time.Sleep(24 * time.Hour)
		reads := w.store.Gets.Load() + w.store.Folds.Load()
		if reads > 350 {
			t.Errorf("the store that is away was asked %d times in a day", reads)
		}
		w.store.Fail(nil)
		time.Sleep(2 * time.Hour)
		w.store.Fail(fault.New(fault.VaultSealed, "", nil))
		time.Sleep(2 * time.Hour)
		w.store.Fail(nil)
		time.Sleep(10 * time.Minute)
		stop()
		for i := range 30 {
			if n := len(w.times(fmt.Sprint("t", i))); n < 2 || n > 4 {
				t.Errorf("n%d was checked %d times", i, n)
			}
		}
		if n := strings.Count(w.log.String(), "wait for the store"); n != 2 {
			t.Errorf("%d lines of two outages:\n%s", n, w.log.String())
		}
	})
}

// Another interval counts at once, none ends the checks, and new folders are
// looked into.
func TestRoundsReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, 0)
		w.add("main", "one")
		w.store.Add("acme/staging/api/main", "bearer", "token", "two")
		stop := w.run(t)
		reload := func(interval time.Duration, folders ...string) {
			defer w.rounds.Wake()
			w.mu.Lock()
			defer w.mu.Unlock()
			w.interval = interval
			for _, f := range folders {
				w.folders = append(w.folders, credential.Ref{Workspace: "acme", Environment: f})
			}
		}
		expect := func(what string, after time.Duration, one, two int) {
			t.Helper()
			time.Sleep(after)
			if a, b := len(w.times("one")), len(w.times("two")); a < one-1 || a > one+1 || b < two-1 || b > two+1 || (one == 0) != (a == 0) || (two == 0) != (b == 0) {
				t.Errorf("%s: %d and %d checks in %s, want about %d and %d", what, a, b, after, one, two)
			}
		}
		expect("off", 48*time.Hour, 0, 0)
		reload(time.Hour)
		expect("on", 10*time.Hour, 10, 0)
		reload(time.Hour, "staging")
		expect("another folder", 10*time.Hour, 10, 10)
		reload(10 * time.Minute)
		expect("more often", 2*time.Hour, 12, 12)
		reload(0)
		time.Sleep(time.Minute)
		w.times("one")
		w.times("two")
		expect("off again", 48*time.Hour, 0, 0)
		stop()
	})
}

// An end that comes near stands in the log, once a day.
func TestRoundsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, time.Hour)
		ends := time.Now().Add(17 * 24 * time.Hour)
		w.add("main", jwt(ends))
		stop := w.run(t)
		time.Sleep(17 * 24 * time.Hour)
		stop()
		lines := strings.Count(w.log.String(), `level=WARN msg="a credential ends soon" credential=acme/production/api/main`)
		if lines < 13 || lines > 15 {
			t.Errorf("%d warnings in 14 days:\n%s", lines, w.log.String())
		}
	})
}
