package checker_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
)

// However much there is to tell, what was told can be read again: nothing is told
// twice after a restart, and the rest is told then.
func TestNotifierFileIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t)
		_, stop := h.run()
		const many = 2000
		put := func() {
			for i := range many {
				rep := onMain(checker.Error, checker.Error)
				rep.Credential = fmt.Sprintf("acme/production/api/n%d", i)
				rep.Fault.Detail = strings.Repeat("<", 3000) + strings.Repeat("\x01", 1000)
				h.history.Put(rep)
			}
		}
		h.set(func() { h.status = 503 })
		put()
		time.Sleep(time.Minute)
		stop()
		if info, err := os.Stat(h.file); err != nil || info.Size() > 12<<20 {
			t.Errorf("%v, %v", info, err)
		}
		h.set(func() { h.status = 0 })
		_, stop = h.run()
		time.Sleep(time.Minute)
		stop()
		whole := 0
		for _, e := range h.got {
			if e.Fault != nil && len(e.Fault.Detail) == 4000 {
				whole++
			}
		}
		if len(h.got) != many || whole == 0 || h.log.String() != "" && strings.Contains(h.log.String(), "not known") {
			t.Errorf("%d events, %d with their faults:\n%s", len(h.got), whole, h.log.String())
		}
		h.told()
		_, stop = h.run()
		put()
		h.expect("told already", time.Minute)
		stop()
	})
}
