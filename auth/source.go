package auth

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// SourceOptions say what a Source keeps fresh, and by what.
type SourceOptions struct {
	Ref      credential.Ref
	Provider *provider.Provider
	Store    credential.Store
	Keeper   *Keeper         // of tokens; nil: they are made anew and not kept
	Client   *http.Client    // for token endpoints; guarded, without redirects
	Life     context.Context // the daemon's: refreshes run on it, not on a request's; nil: for ever
	TTL      time.Duration   // how long a record counts as read; zero: a minute
	MaxStale time.Duration   // how long it is served while the store is away; zero: an hour
	Log      *slog.Logger    // nil: nothing is logged
	Metrics  *Metrics        // nil: nothing is counted
}

// Source keeps one credential fresh. All methods may be called at once.
//
// It reads the record when it is first needed, again after TTL, and when told of
// a change or a rejection; what it holds meanwhile goes on being served. A token
// is renewed within its margin while it still serves. What the store was lent
// (credential.Credential.Until) is read again well before its end, and not served
// after it. There is at most one flight, the reading and minting, at a time, and
// no lock is held during it.
type Source struct {
	o    SourceOptions
	view atomic.Pointer[view] // what callers get without a lock
	used atomic.Bool          // since Tick last looked

	mu sync.Mutex
	state
	flight *flight // nil: none runs
}

// view is what a caller may be given without looking further.
type view struct {
	injector *Injector // nil: there is none
	due      time.Time // until then nothing is to be done
	until    time.Time // when what the store was lent ends; zero: never
}

// SourceStatus is what the admin shows of a credential in use.
type SourceStatus struct {
	Type        string
	Version     int
	ExpiresAt   time.Time    // of the held token or certificate; zero: it does not expire, or none is held
	LastRefresh time.Time    // of a token, by whomever; zero: none yet
	NextRefresh time.Time    // of a token; zero: none is planned
	GrantEnds   time.Time    // of the refresh token or the certificate; zero: not known, or a token can be had without it
	LastError   *fault.Fault // of the last reading or minting, or that the grant is dead; nil: it worked
	FailedAt    time.Time    // when LastError was found last; zero: there is none
}

// NewSource makes a source. It reads nothing and starts nothing until it is used.
func NewSource(o SourceOptions) *Source {
	if o.Life == nil {
		o.Life = context.Background()
	}
	if o.TTL <= 0 {
		o.TTL = time.Minute
	}
	if o.MaxStale <= 0 {
		o.MaxStale = time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{o: o}
	s.view.Store(&view{})
	return s
}

// Injector gives a valid injector: at once if one is held, even while its
// successor is made; else when it is made, or with the fault that kept it from
// being made. ctx bounds the waiting only, never the work that others share.
// Errors are *fault.Fault.
func (s *Source) Injector(ctx context.Context) (*Injector, error) {
	if !s.used.Load() { // only the first of many writes
		s.used.Store(true)
	}
	v := s.view.Load()
	if now := time.Now(); now.Before(v.due) && !v.injector.expired(now) && !ended(v.until, now) {
		return v.injector, nil
	}
	return s.wait(ctx)
}

func (i *Injector) expired(now time.Time) bool { return ended(i.Expiry, now) }

// ended by either clock: the monotonic one stands still while a machine sleeps,
// the wall clock can be set back. What has no end, a zero one, does not end.
func ended(end, now time.Time) bool {
	return !end.IsZero() && (!now.Before(end) || now.Unix() > end.Unix())
}

// wait gives what is held if that may still be served, and else waits for a
// flight that began after all that was told to s.
func (s *Source) wait(ctx context.Context) (*Injector, error) {
	for {
		s.mu.Lock()
		now := time.Now()
		i, err := s.serve(now)
		f, told, overdue := s.flight, s.told, s.overdue(now)
		if f == nil && !now.Before(s.nextFlight(now)) {
			f = s.launch(now)
		}
		s.mu.Unlock()
		if err != nil || i != nil && (!overdue || f == nil) {
			return i, err
		}
		if i != nil {
			if s.reads(ctx, f) {
				continue
			}
			return i, nil
		}
		f.hurry() // it may have begun when nobody waited
		select {
		case <-f.done:
			if now := time.Now(); f.told == told && (f.err != nil || !f.injector.expired(now) && !ended(f.until, now)) {
				return f.injector, f.err
			}
		case <-ctx.Done(): // this request gives up; the flight goes on for the others
			return nil, s.fault(fault.New(fault.Timeout, "the request ended while its credential was being made", ctx.Err()))
		}
	}
}

// Reject tells s that the upstream refused i as expired or invalid. An injector
// minted since stays. Otherwise the next Injector reads the record again and, if
// that brings nothing new, refreshes a minted token, at most once in 30 s; where
// nothing new is to be had it gives i again.
func (s *Source) Reject(i *Injector) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if i == nil || i != s.injector || s.rejected || !s.mayReread(now) {
		return
	}
	s.rejected = true
	s.tell()
}

// Changed tells s that the record was written: it is read before the next use.
func (s *Source) Changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retryMint, s.retryRead, s.mintFault, s.storeFault = time.Time{}, time.Time{}, nil, nil
	s.mints, s.rereads, s.rereadAfter = 0, 0, time.Time{}
	s.tell()
}

// Take has s serve a token that was got beside it, if s is in use: the store may
// not have kept it.
func (s *Source) Take(got Obtained) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record == nil {
		return
	}
	now := time.Now()
	s.record, s.injector, s.rejected = got.stored(), got.Injector, false
	s.mintFault, s.mints, s.retryMint, s.lastMint = nil, 0, time.Time{}, now
	s.publish(now, s.nextFlight(now))
}

// Tick renews a token that is due, and reads a record that soon is, if it was used
// since the last time: so no request has to wait for it. A token that nobody uses
// lapses.
func (s *Source) Tick(now time.Time) {
	if !s.used.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.injector == nil || s.flight != nil || !s.ripe(now) {
		return
	}
	s.used.Store(false)
	s.launch(now)
}

// Status of the credential as s last saw it; it reads nothing.
func (s *Source) Status() SourceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SourceStatus{LastRefresh: s.lastMint}
	switch {
	case s.mintFault != nil:
		st.LastError, st.FailedAt = s.mintFault, s.failedMint
	case s.storeFault != nil:
		st.LastError, st.FailedAt = s.storeFault, s.failedRead
	}
	dead := s.mintFault != nil && s.mintFault.Code == fault.ReauthorizationRequired
	if s.record != nil {
		g := GrantOf(s.o.Provider, s.record)
		st.Type, st.Version = TypeOf(s.o.Provider, s.record), s.record.Version
		st.LastRefresh, st.GrantEnds = later(s.lastMint, g.Made), g.Ends
		if g.Dead != nil && !dead {
			dead, st.LastError, st.FailedAt = true, g.Dead, s.read
		}
	}
	if s.injector != nil && !s.injector.Ends.IsZero() {
		st.ExpiresAt, st.GrantEnds = s.injector.Ends, s.injector.Ends
	}
	if s.injector != nil && !s.injector.Expiry.IsZero() {
		st.ExpiresAt = s.injector.Expiry
		if !dead {
			st.NextRefresh = later(s.injector.renewal(), s.retryMint)
		}
	}
	return st
}
