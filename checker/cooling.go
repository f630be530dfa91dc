package checker

import "time"

// cooling is how long a record that was refused is left alone, as it is kept over a
// restart.
type cooling struct {
	Version int           `json:"version"` // of the record
	Pause   time.Duration `json:"pause"`   // after the last refusal, in nanoseconds; 0: it was not refused
	Until   time.Time     `json:"until"`   // of that pause
	Judged  time.Time     `json:"judged"`  // when the last report that counted was made
}

// cooling gives what is kept of a turn; the zero one where nothing was refused.
func (t *turn) cooling() cooling {
	if t.cool <= 0 {
		return cooling{}
	}
	return cooling{Version: t.version, Pause: t.cool, Until: t.until, Judged: t.judged}
}

// within gives a cooling as a clock that shows now may have told it: one that was
// set back since must not make it longer.
func (c cooling) within(now time.Time) cooling {
	c.Until, c.Judged = earlier(c.Until, now.Add(c.Pause)), earlier(c.Judged, now)
	return c
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// cool keeps the cooling of a credential; a zero one ends it.
func (h *History) cool(ref string, c cooling) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, ok := h.cools[ref]
	switch {
	case c.Pause <= 0:
		if delete(h.cools, ref); ok {
			h.changed(false)
		}
	case old != c && (ok || len(h.cools) < maxReports):
		h.cools[ref] = c
		h.changed(true)
	}
}

// turn makes the turn of a credential, with what is known of it from before.
func (h *History) turn(ref string, interval time.Duration) *turn {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, last, t := h.cools[ref], h.last.m[ref], &turn{}
	if c.Pause > 0 {
		t.version, t.cool, t.until, t.judged = c.Version, c.Pause, c.Until, c.Judged
	}
	if last == nil || !last.restored || last.Status != OK && last.Status != Warning {
		return t
	}
	now := time.Now()
	if wait := interval - now.Sub(last.CheckedAt); wait > 0 {
		t.due = now.Add(min(wait, interval)) // by the clock that nobody sets
	}
	return t
}
