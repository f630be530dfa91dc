package checker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Checks that are due, but wait for a place, are not made any more once background
// checks are switched off.
func TestRoundsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, time.Minute)
		for i := range 60 {
			w.add(fmt.Sprint("n", i), fmt.Sprint("t", i))
		}
		w.during = func() { time.Sleep(5 * time.Second) }
		stop := w.run(t)
		time.Sleep(75 * time.Second)
		count := func() (n int) {
			for i := range 60 {
				n += len(w.times(fmt.Sprint("t", i)))
			}
			return n
		}
		if n := count(); n < 10 || n > 40 {
			t.Fatalf("%d checks; some of them must wait here", n)
		}
		w.mu.Lock()
		w.interval = 0
		w.mu.Unlock()
		w.rounds.Wake()
		time.Sleep(time.Hour)
		if n := count(); n > 2 {
			t.Errorf("%d checks were made after they were switched off; two were under way", n)
		}
		stop()
	})
}
