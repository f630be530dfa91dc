package checker_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
)

// A record that cannot be read is not told as good for ever: its report says why it
// is not known how it is, and the log does, once, as of folders that cannot be listed.
func TestRoundsCannotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, time.Hour)
		w.add("main", "one")
		stop := w.run(t)
		time.Sleep(90 * time.Minute)
		w.store.Fail(fault.New(fault.VaultDenied, "permission denied", nil))
		time.Sleep(10 * time.Hour)
		rep := w.history.Last(mainRef)
		if rep == nil || rep.Status != checker.Unknown || rep.Fault == nil || rep.Fault.Code != fault.VaultDenied || time.Since(rep.CheckedAt) > 70*time.Minute {
			t.Errorf("the last report is %+v", rep)
		}
		w.store.Fail(nil)
		time.Sleep(70 * time.Minute)
		stop()
		if rep := w.history.Last(mainRef); rep.Status != checker.OK {
			t.Errorf("it can be read again, and is %s", rep.Status)
		}
		for _, line := range []string{
			`level=WARN msg="a credential cannot be read, and is not checked" credential=` + mainRef,
			`level=WARN msg="nothing is checked in a folder that cannot be listed"`,
		} {
			if n := strings.Count(w.log.String(), line); n != 1 {
				t.Errorf("%d lines %s:\n%s", n, line, w.log.String())
			}
		}
	})
}
