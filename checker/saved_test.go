package checker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
)

// restore gives a History with what a file holds, and its log.
func restore(path string) (*checker.History, *bytes.Buffer) {
	h, log := checker.NewHistory(nil), &bytes.Buffer{}
	h.Restore(path, slog.New(slog.NewTextHandler(log, nil)))
	return h, log
}

func shown(t *testing.T, list ...*checker.Report) string {
	t.Helper()
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A restart keeps the last report and the last failure of each credential, as they
// were but for the steps.
func TestHistoryFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reports.json")
	h, _ := restore(path)
	n, ends, at := 3, time.Now().Add(time.Hour).UTC().Truncate(time.Second), time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	whole := &checker.Report{
		Credential: "acme/production/api/whole", Provider: "api", Type: "bearer", Status: checker.Warning, Account: &checker.Account{Login: "bot", Kind: "User"},
		Checks:    []checker.Line{{Name: checker.Projects, Status: checker.OK, Missing: []string{}, Count: &n}, {Name: checker.Scopes, Status: checker.Warning, Missing: []string{"repo"}}},
		ExpiresAt: &ends, Fault: checker.NewFault(fault.New(fault.ExpiresSoon, "it ends", nil)), Steps: []checker.Step{{Name: "verify", ResponseExcerpt: "excerpt"}},
		CheckedAt: at, TookMS: 12,
	}
	mended := func(status checker.Status, at time.Time) *checker.Report {
		return &checker.Report{Credential: "acme/production/api/mended", Status: status, CheckedAt: at, Steps: []checker.Step{}}
	}
	failure, good := mended(checker.Error, at), mended(checker.OK, at.Add(time.Minute))
	for _, r := range []*checker.Report{whole, failure, good} {
		h.Put(r)
	}
	h.Save()
	b, err := file.ReadPrivate(path)
	if err != nil || bytes.Contains(b, []byte("excerpt")) {
		t.Fatalf("%v, with steps: %s", err, b)
	}
	place(t, path, strings.Replace(string(b), `{"reports":`, `{"later":{"a":1},"reports":`, 1)) // as another version may have written it
	h, log := restore(path)
	without := *whole
	without.Steps = []checker.Step{}
	if got, want := shown(t, h.Of(whole.Credential)...), shown(t, &without); got != want {
		t.Errorf("restored\n%s, want\n%s", got, want)
	}
	if got, want := shown(t, h.Of(good.Credential)...), shown(t, good, failure); got != want {
		t.Errorf("restored\n%s, want\n%s", got, want)
	}
	if len(h.All()) != 2 || h.LastFailure(good.Credential) == nil || log.Len() > 0 {
		t.Errorf("%d last reports; %s", len(h.All()), log)
	}
	h.Forget(whole.Credential)
	h.Save()
	if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte(whole.Credential)) {
		t.Errorf("what was forgotten is in the file: %v %s", err, b)
	}
}

func place(t *testing.T, path, text string) {
	t.Helper()
	if err := file.Write(path, []byte(text), file.Private); err != nil {
		t.Fatal(err)
	}
}

// A file that is spoilt, or not only ours, is told of in one line and counts as empty;
// what no check makes is left out.
func TestHistoryFileSpoilt(t *testing.T) {
	const report = `{"credential":"%s","status":"%s","checked_at":"%s"}`
	one := func(ref, status, at string) string { return fmt.Sprintf(`{"reports":[`+report+`]}`, ref, status, at) }
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		warned     int
		want       int // reports
	}{
		{"none", "", 0, 0, 0},
		{"good", one("acme/production/api/main", "error", "2020-01-01T00:00:00Z"), 0o600, 0, 1},
		{"empty", " ", 0o600, 1, 0},
		{"cut", `{"reports":[{"credential":`, 0o600, 1, 0},
		{"another shape", `[]`, 0o600, 1, 0},
		{"a report of another shape", `{"reports":["x"]}`, 0o600, 1, 0},
		{"a failure of another shape", `{"failures":[1]}`, 0o600, 1, 0},
		{"readable for others", one("acme/production/api/main", "error", "2020-01-01T00:00:00Z"), 0o644, 1, 0},
		{"no reference", one("main", "error", "2020-01-01T00:00:00Z"), 0o600, 0, 0},
		{"no status", one("acme/production/api/main", "fine", "2020-01-01T00:00:00Z"), 0o600, 0, 0},
		{"no time", one("acme/production/api/main", "ok", "0001-01-01T00:00:00Z"), 0o600, 0, 0},
		{"nothing", `{"reports":null,"cooling":{"x":{},"acme/production/api/main":{"pause":-1}}}`, 0o600, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "reports.json")
			if c.text != "" {
				place(t, path, c.text)
				if err := os.Chmod(path, c.mode); err != nil {
					t.Fatal(err)
				}
			}
			h, log := restore(path)
			if n := strings.Count(log.String(), "level=WARN"); n != c.warned || strings.Count(log.String(), "\n") != c.warned {
				t.Errorf("%d warnings, want %d: %s", n, c.warned, log)
			}
			if n := len(h.All()); n != c.want {
				t.Errorf("%d reports, want %d", n, c.want)
			}
		})
	}
}

// A file is never larger than what can be read again: failures stay.
func TestHistoryFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reports.json")
	h, _ := restore(path)
	for i := range 4000 {
		status := checker.OK
		if i < 100 {
			status = checker.Error
		}
		h.Put(&checker.Report{
			Credential: fmt.Sprintf("acme/production/api/n%04d", i), Status: status, CheckedAt: time.Now(),
			Checks: []checker.Line{{Detail: strings.Repeat("x", 4000)}},
		})
	}
	h.Save()
	h, log := restore(path)
	failures := 0
	for _, r := range h.All() {
		if r.Status == checker.Error {
			failures++
		}
	}
	if n := len(h.All()); n < 1000 || n == 4000 || failures != 100 || log.Len() > 0 {
		t.Errorf("%d reports, %d failures: %s", n, failures, log)
	}
}

// What is bad is in the file within seconds, what changes nothing within a minute.
func TestHistoryFileInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "reports.json")
		h, _ := restore(path)
		go func() { _ = h.Run(t.Context()) }()
		const ref = "acme/production/api/main"
		saved := func() (s checker.Status, at time.Time) {
			if kept, _ := restore(path); kept.Last(ref) != nil {
				return kept.Last(ref).Status, kept.Last(ref).CheckedAt
			}
			return "", time.Time{}
		}
		put := func(s checker.Status) {
			h.Put(&checker.Report{Credential: ref, Status: s, CheckedAt: time.Now()})
		}
		for _, s := range []checker.Status{checker.OK, checker.Error, checker.OK, checker.Error} {
			put(s)
			time.Sleep(2500 * time.Millisecond)
			if got, _ := saved(); got != s {
				t.Errorf("after seconds %q is kept, want %q", got, s)
			}
		}
		put(checker.OK)
		time.Sleep(3 * time.Second)
		now := time.Now()
		put(checker.OK)
		time.Sleep(65 * time.Second)
		if _, at := saved(); !at.Equal(now) {
			t.Errorf("after a minute the report of %s is kept, want %s", at, now)
		}
	})
}

// restart ends the background checks, and begins with what is in the file.
func (w *watched) restart(t *testing.T, path string) (stop func()) {
	t.Helper()
	w.history.Save()
	w.history, _ = restore(path)
	return w.run(t)
}

// A daemon that is started again and again sends no refused token: the pauses are
// those of one that runs on, until the record changes.
func TestRoundsCoolDownOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "reports.json")
		w := newWatched(t, time.Hour)
		w.history, _ = restore(path)
		w.add("main", "bad")
		w.set("bad", http.StatusUnauthorized)
		stop := w.run(t)
		for range 7 * 24 {
			time.Sleep(time.Hour + time.Minute)
			stop()
			stop = w.restart(t, path)
		}
		at := w.times("bad")
		for i, want := range []time.Duration{10 * time.Hour, 20 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
			if i+1 >= len(at) {
				t.Fatalf("checked %d times in 7 days", len(at))
			}
			if d := at[i+1].Sub(at[i]); d < want {
				t.Errorf("pause %d was %s, want %s", i, d, want)
			}
		}
		stop()
		w.history.Save()
		w.add("main", "good")
		stop = w.restart(t, path)
		time.Sleep(time.Second)
		if rep := w.history.Last("acme/production/api/main"); rep != nil {
			t.Errorf("the report of the record before is kept: %s", rep.Status)
		}
		time.Sleep(70 * time.Minute)
		if len(w.times("good")) == 0 || w.times("bad") != nil {
			t.Error("the changed record was not checked at its next turn")
		}
		stop()
	})
}

// A report from before a restart counts as long as one from after it: the record is
// checked when its turn comes.
func TestRoundsTurnsOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "reports.json")
		w := newWatched(t, 10*time.Hour)
		w.history, _ = restore(path)
		for i := range 10 {
			w.add(fmt.Sprint("n", i), fmt.Sprint("t", i))
		}
		stop := w.run(t)
		for range 10 * 24 {
			time.Sleep(time.Hour)
			stop()
			stop = w.restart(t, path)
		}
		stop()
		for i := range 10 {
			if n := len(w.times(fmt.Sprint("t", i))); n < 16 || n > 30 { // chance spreads them; a restart that began anew would give none, one that asked at once 240
				t.Errorf("n%d was checked %d times in ten days, want about 24", i, n)
			}
		}
	})
}
