package checker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
)

// Checks of one credential may overlap with each other, with a change of its record
// and with its end: what is kept is of the record as it is.
func TestHistoryKeepsTheNewest(t *testing.T) {
	const ref = "acme/production/api/main"
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // as in a bubble
	rep := func(began time.Duration, status checker.Status) *checker.Report {
		return &checker.Report{Credential: ref, Status: status, CheckedAt: start.Add(began)}
	}
	for _, c := range []struct {
		name string
		do   func(*checker.History)
		late *checker.Report // put at second 10
		want checker.Status  // of the last report; empty: none
	}{
		{"one after the other", func(h *checker.History) { h.Put(rep(time.Second, checker.OK)) }, rep(2*time.Second, checker.Error), checker.Error},
		{"the older one is slower", func(h *checker.History) { h.Put(rep(2*time.Second, checker.OK)) }, rep(time.Second, checker.Error), checker.OK},
		{"at the same moment", func(h *checker.History) { h.Put(rep(time.Second, checker.OK)) }, rep(time.Second, checker.Error), checker.Error},
		{"written meanwhile", func(h *checker.History) { h.Replace(rep(time.Second, checker.OK), 7) }, rep(3*time.Second, checker.Error), checker.OK},
		{"written before", func(h *checker.History) { h.Replace(rep(time.Second, checker.OK), 7) }, rep(6*time.Second, checker.Error), checker.Error},
		{"written, though another has begun before", func(h *checker.History) {
			h.Put(rep(3*time.Second, checker.Error))
			h.Replace(rep(2*time.Second, checker.OK), 7)
		}, rep(4*time.Second, checker.Error), checker.OK},
		{"removed meanwhile", func(h *checker.History) { h.Put(rep(0, checker.OK)); h.Forget(ref) }, rep(4*time.Second, checker.OK), ""},
		{"removed, and made again", func(h *checker.History) { h.Forget(ref) }, rep(5*time.Second, checker.OK), checker.OK},
		{"a clock that was set back", func(h *checker.History) { h.Put(rep(time.Hour, checker.OK)) }, rep(6*time.Second, checker.Error), checker.Error},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := checker.NewHistory(nil)
				time.Sleep(5 * time.Second)
				c.do(h)
				time.Sleep(5 * time.Second)
				h.Put(c.late)
				var got checker.Status
				if last := h.Last(ref); last != nil {
					got = last.Status
				}
				if got != c.want {
					t.Errorf("the last report is %q, want %q", got, c.want)
				}
			})
		})
	}
}
