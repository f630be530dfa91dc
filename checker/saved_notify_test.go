package checker_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
)

// What is known over a restart tells the webhook nothing twice, and nothing that is
// no longer so: a daemon that is killed may have told more than a minute's reports.
func TestNotifierWithRestoredReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "reports.json")
		h, w := newHook(t), newWatched(t, 0)
		cred := w.add("main", "one")
		var ends []func()
		begin := func() {
			h.history, _ = restore(path)
			w.history = h.history
			_, stop := h.run()
			ends = []func(){stop, w.run(t)}
		}
		kill := func() { // nothing is saved that was not
			h.history.Restore(filepath.Join(t.TempDir(), "lost.json"), nil)
			for _, end := range ends {
				end()
			}
		}
		put := func(s checker.Status) { h.history.Replace(onMain(s, s), cred.Version) }
		begin()
		put(checker.OK)
		h.expect("good", time.Minute)
		put(checker.Error)
		h.expect("broke", time.Minute, "broken")
		kill()
		begin()
		h.expect("killed, broken still", time.Minute)
		if rep := h.history.Last(mainRef); rep == nil || rep.Status != checker.Error {
			t.Errorf("the last report is %+v", rep)
		}
		put(checker.OK)
		h.expect("recovered", time.Minute, "recovered")
		kill()
		begin()
		h.expect("killed, good still", time.Minute)
		h.set(func() {
			h.uses = map[string]checker.Use{mainRef: {Fault: fault.New(fault.ReauthorizationRequired, "", nil), Type: "bearer", Version: cred.Version}}
		})
		h.expect("broke by use", time.Minute, "broken")
		put(checker.OK) // of a token that lives on
		h.expect("a check is good, the use is not", time.Minute)
		h.history.Save()
		kill()
		h.uses = nil
		begin()
		h.expect("killed: what was good before tells nothing", time.Hour)
		put(checker.OK)
		h.expect("checked anew", time.Minute, "recovered")
		put(checker.Error)
		h.expect("broke again", time.Minute, "broken")
		put(checker.OK)
		h.expect("and recovered", time.Minute, "recovered")
		h.set(func() { h.off = true })
		put(checker.Error)
		h.history.Save()
		kill()
		h.off = false
		w.add("main", "two")
		begin()
		h.expect("broke unnoticed, and was changed since", time.Minute)
		kill()
	})
}
