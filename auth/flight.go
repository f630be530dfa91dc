package auth

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// maxAdopted bounds how often a token of another daemon is taken over that has
// ended by then.
const maxAdopted = 3

// maxRead bounds one reading of the store.
const maxRead = 15 * time.Second

// flight is one reading and minting that callers share.
type flight struct {
	told     int                // what it knows of
	leisure  context.Context    // done when somebody waits for the flight, or the daemon stops
	hurry    context.CancelFunc // ends leisure
	same     chan struct{}      // closed when the record was read and is what was held
	done     chan struct{}      // closed when the rest is set
	injector *Injector
	until    time.Time // when what the store was lent ends; zero: never
	err      error
}

// job is what a flight begins with.
type job struct {
	start           time.Time
	record          *credential.Credential // held; nil: none
	injector        *Injector              // held, whether or not it is still valid
	need            credential.Need
	stale, rejected bool
	mayMint         bool // no pause after a failure
	mayForce        bool // no pause after a forced refresh
}

// force: the upstream refused a token that could be renewed.
func (j job) force() bool {
	return j.rejected && j.mayForce && j.injector != nil && j.injector.Renewable()
}

// due: the record as it was needs a new injector.
func (j job) due() bool {
	i := j.injector
	return i == nil || j.force() || !i.Expiry.IsZero() && (!j.start.Before(i.renewal()) || i.expired(j.start))
}

// outcome is what a flight brings.
type outcome struct {
	record     *credential.Credential // as read; nil: it could not be read
	gone       bool                   // the store says that there is none
	changed    bool                   // record is not what was held
	storeFault *fault.Fault
	injector   *Injector // new; nil: none was made
	mintFault  *fault.Fault
}

// launch starts a flight; the lock is held. What is held is served meanwhile.
func (s *Source) launch(now time.Time) *flight {
	f := &flight{told: s.told, done: make(chan struct{}), same: make(chan struct{})}
	f.leisure, f.hurry = context.WithCancel(s.o.Life)
	j := job{
		start: now, record: s.record, injector: s.injector, need: s.need(now), stale: s.stale(now), rejected: s.rejected,
		mayMint: !now.Before(s.retryMint), mayForce: now.Sub(s.forced) >= forcePause,
	}
	s.flight = f
	if s.overdue(now) { // whoever comes now waits a moment for it
		s.view.Store(&view{})
	} else {
		s.publish(now, s.read.Add(s.ttl()))
	}
	go s.fly(f, j)
	return f
}

// reads waits a moment for the reading of an overdue record. false: the record is
// what it was, or the store is slow; what is held serves meanwhile.
func (s *Source) reads(ctx context.Context, f *flight) (landed bool) {
	t := time.NewTimer(overdueWait)
	defer t.Stop()
	select {
	case <-f.done:
		return true
	case <-f.same:
		return false
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.flight == f { // nobody else waits for it
		s.publish(now, now.Add(s.o.MaxStale))
	}
	return false
}

// fly runs on the daemon's life: a caller that leaves does not end it.
func (s *Source) fly(f *flight, j job) {
	defer f.hurry()
	o := s.fetch(f, j)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.logStore(o)
	s.settle(j, o, now)
	s.heard, s.flight = f.told, nil
	s.land(f, j, o, now)
	s.publish(now, s.nextFlight(now))
	close(f.done)
}

// land sets what the flight's waiters get. Those behind a refused token get the
// fault that kept it from being renewed.
func (s *Source) land(f *flight, j job, o outcome, now time.Time) {
	switch {
	case j.rejected && o.mintFault != nil:
		f.err = s.failure(now)
	case s.usable(now):
		f.injector, f.until = s.injector, s.until()
	default:
		f.err = s.failure(now)
	}
}

// fetch reads the record and mints if that is due; it holds no lock.
func (s *Source) fetch(f *flight, j job) (o outcome) {
	record := j.record
	switch c, err := s.get(f, j.need); {
	case errors.Is(err, fault.CredentialNotFound):
		o.gone, o.storeFault = true, fault.From(err)
		return o
	case err != nil:
		o.storeFault = s.asFault(err)
		if record == nil || j.stale {
			return o
		}
	default:
		o.changed = record == nil || !same(record, c)
		if !o.changed {
			close(f.same)
		}
		o.record, record = c, c
	}
	if o.changed || j.due() && j.mayMint {
		s.make(&o, f, j, record)
	}
	return o
}

// make makes an injector of the record: of the token that it holds or that a
// keeper gets, if its type has one.
func (s *Source) make(o *outcome, f *flight, j job, record *credential.Credential) {
	renew := j.injector != nil && !o.changed
	k, _ := Lookup(TypeOf(s.o.Provider, record))
	if s.o.Keeper == nil || k.Grant == "" {
		o.injector, o.mintFault = s.mint(record, renew)
		return
	}
	d := Demand{Provider: s.o.Provider, Client: s.o.Client, Record: record, Leisure: f.leisure}
	if j.injector != nil && (renew || j.rejected) {
		d.Have = j.injector.token
	}
	got, err := s.o.Keeper.Obtain(s.o.Life, d)
	for n := 0; n < maxAdopted && err == nil && !got.Minted && got.Injector.expired(time.Now()); n++ { // another daemon's token, which has just ended
		d.Record, d.Have = got.Record, got.Injector.token
		got, err = s.o.Keeper.Obtain(s.o.Life, d)
	}
	if err == nil && got.Injector.expired(time.Now()) {
		err = fault.New(fault.TokenExpired, "the token endpoint gave a token that had already expired", nil)
		o.record = got.stored()
	}
	if err != nil {
		o.mintFault = s.asFault(err)
		s.o.Log.Warn("credential not made", "credential", s.o.Ref.String(), "type", k.Name, "error", o.mintFault)
		return
	}
	o.record, o.injector = got.stored(), got.Injector
}

// get reads the record. A reading that the store may take its time for begins
// anew, without that leave, once somebody waits for it.
func (s *Source) get(f *flight, need credential.Need) (*credential.Credential, error) {
	if need == credential.Aging {
		c, err := s.ask(f.leisure, need)
		if err == nil || f.leisure.Err() == nil {
			return c, err
		}
		need = credential.Missing
	}
	return s.ask(s.o.Life, need)
}

func (s *Source) ask(ctx context.Context, need credential.Need) (*credential.Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, maxRead)
	defer cancel()
	return s.o.Store.Get(credential.WithNeed(ctx, need), s.o.Ref)
}

func (s *Source) mint(c *credential.Credential, renew bool) (*Injector, *fault.Fault) {
	m := Material{Credential: c, Provider: s.o.Provider, Client: s.o.Client, Renew: renew}
	start := time.Now()
	i, err := Mint(s.o.Life, m)
	if err == nil && i.expired(time.Now()) {
		err = fault.New(fault.TokenExpired, "the token endpoint gave a token that had already expired", nil)
	}
	k, _ := Lookup(TypeOf(s.o.Provider, c))
	if err != nil {
		f := s.asFault(err)
		s.minted(k, string(f.Code), time.Since(start))
		s.o.Log.Warn("credential not made", "credential", s.o.Ref.String(), "type", k.Name, "error", f)
		return nil, f
	}
	if !i.stored {
		s.minted(k, "ok", time.Since(start))
	}
	s.o.Log.Debug("credential made", "credential", s.o.Ref.String(), "type", k.Name, "expires", i.Expiry)
	return i, nil
}

func (s *Source) minted(k Kind, outcome string, took time.Duration) {
	if k.Grant != "" {
		s.o.Metrics.refreshed(s.o.Provider.Name, k.Grant, outcome, took)
	}
}

// logStore tells once when the store goes away and once when it is back.
func (s *Source) logStore(o outcome) {
	switch {
	case o.storeFault != nil && s.storeFault == nil:
		s.o.Log.Warn("credential not read", "credential", s.o.Ref.String(), "error", o.storeFault)
	case o.storeFault == nil && s.storeFault != nil:
		s.o.Log.Info("credential read again", "credential", s.o.Ref.String())
	}
}

func (s *Source) asFault(err error) *fault.Fault {
	if s.o.Life.Err() != nil {
		return fault.New(fault.Overloaded, "the daemon is stopping", s.o.Life.Err())
	}
	return fault.From(err)
}

// same reports whether two records make the same injector; our own bookkeeping
// in them does not count.
func same(a, b *credential.Credential) bool {
	return a.Type == b.Type && maps.EqualFunc(wire(a), wire(b), secret.Value.Equal)
}

func wire(c *credential.Credential) map[string]secret.Value {
	m := maps.Clone(c.Fields)
	delete(m, credential.StateField)
	return m
}
