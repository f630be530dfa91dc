package checker

import (
	"maps"
	"time"
)

// floorFor is longer than any check takes.
const floorFor = time.Hour

// floors tell since when reports of a credential count.
type floors map[string]time.Time

// set sets the floor of a credential, and forgets those that no check can be older than.
func (m floors) set(ref string, now time.Time) {
	if len(m) >= maxReports {
		maps.DeleteFunc(m, func(_ string, at time.Time) bool { return now.Sub(at) > floorFor })
	}
	if len(m) >= maxReports { // more than a check can be about
		clear(m)
	}
	m[ref] = now.Truncate(time.Millisecond) // as reports have it
}

// older reports whether r's check began before at. A moment that is still to come
// was told by a clock that was set back since.
func older(r *Report, at, now time.Time) bool {
	return !r.CheckedAt.IsZero() && r.CheckedAt.Before(at) && !at.After(now)
}
