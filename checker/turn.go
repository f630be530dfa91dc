package checker

import (
	"math/rand/v2"
	"time"
)

// Pauses of background checks.
const (
	coolTurns  = 10             // intervals that the first one after a refusal takes
	maxCool    = 24 * time.Hour // or one interval if that is longer
	retryPart  = 16             // of an interval: the first pause after a check that told nothing
	leastRetry = time.Minute    // or one interval
)

// turn is when a credential is checked in the background, and what is known of it.
type turn struct {
	due     time.Time     // of the next look at the record
	busy    bool          // it is looked at now
	version int           // of the record that was looked at last; 0: none
	judged  time.Time     // when the last report that counted was made
	cool    time.Duration // pause after the last refusal; 0: it was not refused
	until   time.Time     // of that pause
	retry   time.Duration // pause after the last check that told nothing; 0: it told
	warned  time.Time     // of the end that comes near
}

// meet takes note of the record as it is now. What was found out about an earlier
// one does not count. A clock that was set back since makes no pause longer.
func (t *turn) meet(version int, now time.Time) {
	t.until, t.judged = earlier(t.until, now.Add(t.cool)), earlier(t.judged, now)
	if version != t.version {
		t.version, t.cool, t.until, t.retry = version, 0, time.Time{}, 0
	}
}

// judge takes note of a report on the record.
func (t *turn) judge(rep *Report, interval time.Duration) {
	t.judged = rep.CheckedAt
	switch rep.Status {
	case Error:
		t.retry = 0
		t.cool = min(max(2*t.cool, coolTurns*interval), max(maxCool, interval))
		t.until = rep.CheckedAt.Add(t.cool)
	case Unknown:
		t.retry = min(max(2*t.retry, interval/retryPart, leastRetry), interval)
	default:
		t.cool, t.until, t.retry = 0, time.Time{}, 0
	}
}

// learn takes note of a report that another check of the same record has made, and
// reports whether that makes a check needless.
func (t *turn) learn(rep *Report, interval time.Duration, now time.Time) bool {
	if rep == nil || rep.version != t.version || !rep.CheckedAt.After(t.judged) || rep.CheckedAt.After(now) || rep.Status == Unknown {
		return false
	}
	t.judge(rep, interval)
	return now.Sub(rep.CheckedAt) < interval/2
}

// next sets when the record is looked at again.
func (t *turn) next(now time.Time, interval time.Duration) {
	pause := interval
	if t.retry > 0 {
		pause = t.retry
	}
	t.due = now.Add(jittered(pause))
}

// jittered gives up to a twentieth more or less, so that daemons do not keep step.
func jittered(d time.Duration) time.Duration { return d - d/20 + rand.N(d/10+1) }
