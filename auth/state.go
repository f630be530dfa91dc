package auth

import (
	"math/rand/v2"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Times of a source.
const (
	maxMargin   = 5 * time.Minute        // a token is renewed so long before its end,
	marginPart  = 5                      // or this part of its life, whichever is less
	lentPart    = 5                      // what the store was lent is read again when this part of what it had at the last reading is left
	forcePause  = 30 * time.Second       // between two refreshes that an upstream's refusal led to
	aheadPart   = 5                      // this part of its time before a record in use has to be read, it is
	overdueWait = 250 * time.Millisecond // for a reading that is overdue; then what is held serves
	readPause   = time.Second            // between two readings while there is nothing to serve, or near the end of what was lent
	firstReread = 100 * time.Millisecond // between two readings that refusals led to and that brought nothing; doubles
	lastReread  = 5 * time.Second        // and ends here
	firstRetry  = time.Second            // after the first failed minting; doubles
	lastRetry   = time.Minute            // and ends here
	maxRetry    = time.Hour              // of a token endpoint's Retry-After
)

// state is what a source knows; it is guarded by the source's lock.
type state struct {
	record   *credential.Credential // last read; nil: none
	injector *Injector              // made of record; nil: none
	read     time.Time              // last successful reading
	lastMint time.Time              // of a token

	told, heard int  // how often s was told something; how much of it the last flight knew
	rejected    bool // the upstream refused injector, and no flight has dealt with it

	storeFault, mintFault  *fault.Fault // of the last reading, of the last minting; nil: it worked
	failedRead, failedMint time.Time    // when these were found
	retryRead, retryMint   time.Time    // no earlier try than these
	mints                  int          // failed mintings in a row
	rereads                int          // readings in a row that a refusal led to and that brought nothing
	rereadAfter            time.Time    // a refusal before this leads to nothing
	forced                 time.Time    // last refresh that a refusal led to
}

// renewal is when a token's successor is to be made; Expiry must be set. Tokens
// that were made together are not renewed together.
func (i *Injector) renewal() time.Time {
	margin := min(maxMargin, i.Expiry.Sub(i.Minted)/marginPart)
	return i.Expiry.Add(-margin - time.Duration(i.early*float64(margin)))
}

// Renewable reports whether i carries a token that another one can take the
// place of, made anew by whoever gave it.
func (i *Injector) Renewable() bool { return !i.Expiry.IsZero() || !i.token.Empty() }

// usable reports whether what is held may still be served.
func (s *Source) usable(now time.Time) bool {
	return s.injector != nil && !s.injector.expired(now) && !ended(s.until(), now) && !s.stale(now)
}

// until is when what the store was lent ends; zero: never.
func (s *Source) until() time.Time {
	if s.record == nil {
		return time.Time{}
	}
	return s.record.Until
}

// need is what a reading that begins now is for. After Changed a request waits
// for it, whatever is held.
func (s *Source) need(now time.Time) credential.Need {
	switch {
	case s.rejected:
		return credential.Refused
	case s.told == s.heard && s.usable(now):
		return credential.Aging
	}
	return credential.Missing
}

// overdue: the record may have changed, and nothing says that the store is away.
func (s *Source) overdue(now time.Time) bool {
	return s.storeFault == nil && s.told == s.heard && s.usable(now) && !now.Before(s.read.Add(s.o.TTL))
}

// ripe: something is due, or the record soon has to be read.
func (s *Source) ripe(now time.Time) bool {
	if now.Before(s.retryRead) || s.told != s.heard {
		return false
	}
	if i := s.injector; !i.Expiry.IsZero() && !now.Before(i.renewal()) && !now.Before(s.nextFlight(now)) {
		return true
	}
	return s.storeFault == nil && !now.Before(s.read.Add(s.o.TTL-s.o.TTL/aheadPart))
}

// ttl is how long what is held is served without asking; while the store is away
// as long as it may be served at all.
func (s *Source) ttl() time.Duration {
	if s.storeFault != nil {
		return s.o.MaxStale
	}
	return s.o.TTL
}

func (s *Source) stale(now time.Time) bool { return !now.Before(s.read.Add(s.o.MaxStale)) }

// serve gives what a caller can have without waiting: an injector, or the fault
// of a try that is not yet to be repeated; or neither.
func (s *Source) serve(now time.Time) (*Injector, error) {
	switch {
	case s.told != s.heard:
		return nil, nil
	case s.usable(now):
		return s.injector, nil
	case now.Before(s.retryRead):
		return nil, s.failure(now)
	}
	return nil, nil
}

// failure is why nothing can be served.
func (s *Source) failure(now time.Time) *fault.Fault {
	switch {
	case s.storeFault != nil && (s.mintFault == nil || s.stale(now)):
		return s.fault(s.storeFault)
	case s.mintFault == nil && ended(s.until(), now):
		return s.fault(fault.New(fault.TokenExpired, "what the store was lent has ended, and it has nothing newer", nil))
	case s.mintFault == nil: // made, and expired before anybody could use it
		return s.fault(fault.New(fault.TokenExpired, "", nil))
	}
	f := s.fault(s.mintFault)
	if f.Diagnosis().Transient {
		f.RetryAfter = later(s.retryMint, s.retryRead).Sub(now)
	}
	return f
}

func (s *Source) fault(f *fault.Fault) *fault.Fault {
	return f.On(s.o.Ref.String(), s.o.Provider.Name)
}

// nextFlight is when there is something to be done next.
func (s *Source) nextFlight(now time.Time) time.Time {
	switch {
	case s.told != s.heard:
		return time.Time{}
	case !s.usable(now):
		return s.retryRead
	}
	due := s.read.Add(s.o.TTL)
	if until := s.until(); !until.IsZero() {
		due = earlier(due, until.Add(-until.Sub(s.read)/lentPart))
	}
	if !s.injector.Expiry.IsZero() {
		due = earlier(due, later(s.injector.renewal(), s.retryMint))
	}
	return later(due, s.retryRead)
}

// publish lets callers have what is held without the lock until due, or as long
// as it may be served at all.
func (s *Source) publish(now, due time.Time) {
	if s.told != s.heard || !s.usable(now) {
		s.view.Store(&view{})
		return
	}
	due = earlier(due, s.read.Add(s.o.MaxStale))
	for _, end := range []time.Time{s.injector.Expiry, s.until()} {
		if !end.IsZero() {
			due = earlier(due, end)
		}
	}
	s.view.Store(&view{s.injector, due, s.until()})
}

// tell makes every later caller wait for a flight that knows of it.
func (s *Source) tell() {
	s.told++
	s.view.Store(&view{})
}

// settle takes over what a flight brought.
func (s *Source) settle(j job, o outcome, now time.Time) {
	old := s.injector
	switch {
	case o.gone:
		s.record, s.injector = nil, nil
		s.storeFault, s.mintFault = o.storeFault, nil
		s.failedRead, s.retryRead = now, now.Add(readPause)
	case o.storeFault != nil:
		s.storeFault, s.failedRead, s.retryRead = o.storeFault, now, now.Add(readPause)
	default:
		s.record, s.read = o.record, j.start
		s.storeFault, s.retryRead = nil, time.Time{}
		if !o.record.Until.IsZero() { // whether or not it has moved
			s.retryRead = now.Add(readPause)
		}
	}
	if o.changed {
		s.injector = nil // whatever it was made of is no longer the record
	}
	s.settleMint(j, o, now)
	s.settleReject(j, s.injector != old, now)
}

func (s *Source) settleMint(j job, o outcome, now time.Time) {
	switch {
	case o.injector != nil:
		s.injector, s.mintFault, s.mints, s.retryMint = o.injector, nil, 0, time.Time{}
		if !o.injector.Expiry.IsZero() && !o.injector.stored {
			s.lastMint = now
		}
		if j.force() && !o.injector.stored {
			s.forced = now
		}
	case o.mintFault != nil:
		s.mints++
		s.mintFault, s.failedMint, s.retryMint = o.mintFault, now, now.Add(pause(s.mints, o.mintFault.RetryAfter))
	}
	if s.mintFault != nil {
		next := now.Add(readPause) // the record may be mended before the next minting is due
		if s.retryMint.After(now) {
			next = earlier(next, s.retryMint)
		}
		s.retryRead = later(s.retryRead, next)
	}
}

func (s *Source) settleReject(j job, replaced bool, now time.Time) {
	switch {
	case replaced:
		s.rejected, s.rereads = false, 0
	case j.rejected:
		s.rejected = false
		s.rereads++
		s.rereadAfter = now.Add(min(firstReread<<min(s.rereads-1, 10), lastReread))
	}
}

// mayReread: refusals that brought nothing lead to fewer and fewer readings.
func (s *Source) mayReread(now time.Time) bool {
	if now.Sub(s.rereadAfter) > forcePause {
		s.rereads = 0
	}
	return !now.Before(s.rereadAfter)
}

// pause after the nth failure in a row, a little longer at random so that
// daemons do not keep step, and at least what the endpoint asked for.
func pause(n int, asked time.Duration) time.Duration {
	d := min(firstRetry<<min(n-1, 10), lastRetry)
	return max(d+rand.N(d/4), min(asked, maxRetry))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
