package checker_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
)

// A refusal that was seen while the clock was a year ahead, and set back since, keeps
// nothing from being checked and told.
func TestClockSetBack(t *testing.T) {
	const year = 365 * 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		h, w := newHook(t), newWatched(t, time.Hour)
		w.history = h.history
		cred := w.add("main", "bad")
		w.set("bad", http.StatusUnauthorized)
		_, told := h.run()
		defer told()
		defer w.run(t)()
		ahead := onMain(checker.Error, checker.Error)
		ahead.CheckedAt = time.Now().Add(year)
		w.history.Replace(ahead, cred.Version)
		h.expect("refused a year ahead", time.Minute, "broken")
		time.Sleep(25 * time.Hour)
		if n := len(w.times("bad")); n < 2 {
			t.Errorf("checked %d times in a day", n)
		}
		w.set("bad", 0)
		h.expect("it is taken again", 49*time.Hour, "recovered")
	})
}
