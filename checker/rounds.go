package checker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Times and bounds of background checks.
const (
	roundsAtOnce = 2           // checks
	lookEvery    = time.Minute // for folders that are new; or a tenth of the interval
	listEvery    = time.Hour   // for credentials that are new; or each interval
	shortest     = 10 * time.Millisecond
	firstDelay   = time.Minute // at most, or a tenth of the interval
	readLimit    = 30 * time.Second
	awayPause    = 10 * time.Second // while the store is away, doubled
	maxAwayPause = 5 * time.Minute
)

// RoundsOptions of Rounds. All but Issued, Gone and Log are required.
type RoundsOptions struct {
	Interval func() time.Duration                 // between two checks of a credential; 0: there are none
	Folders  func() []credential.Ref              // workspaces and environments
	Wanted   func(credential.Ref) bool            // of what is in the folders
	Provider func(name string) *provider.Provider // nil: it is not known
	Store    credential.Store
	Checker  *Checker
	History  *History
	Issued   func(credential.Ref) bool // whether to read it may have a secret issued: it is read for a check only; nil: none is
	Gone     func(credential.Ref)      // told of each that the store has no more; nil: nobody is
	Log      *slog.Logger              // nil: nothing is logged
}

// Rounds checks credentials in the background, each once an interval, spread over
// it. One that was refused is left alone for longer and longer unless its record
// changes, also over restarts: providers lock accounts that come again and again with a bad token.
type Rounds struct {
	o RoundsOptions

	wake chan struct{}

	mu       sync.Mutex
	turns    map[credential.Ref]*turn
	interval time.Duration    // that the turns are set by; 0: there are none
	folders  []credential.Ref // that were looked into
	hidden   []credential.Ref // and could not be listed
	listed   time.Time        // when

	away time.Duration // the last pause; 0: the store is there
	back time.Time     // when it is asked again
}

// NewRounds makes Rounds. Nothing is checked until Run.
func NewRounds(o RoundsOptions) *Rounds {
	if o.Issued == nil {
		o.Issued = func(credential.Ref) bool { return false }
	}
	if o.Gone == nil {
		o.Gone = func(credential.Ref) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Rounds{o: o, turns: map[credential.Ref]*turn{}, wake: make(chan struct{}, 1)}
}

// Wake has Run look at once at an interval, at folders and providers that have changed.
func (r *Rounds) Wake() { poke(r.wake) }

// Run checks until ctx ends.
func (r *Rounds) Run(ctx context.Context) error {
	var group errgroup.Group
	defer func() { _ = group.Wait() }() // none of them fails
	group.SetLimit(roundsAtOnce)
	var meeting sync.WaitGroup
	defer meeting.Wait()
	meeting.Go(func() { r.meetRestored(ctx) })
	for {
		t := time.NewTimer(r.step(ctx, &group))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-r.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// step begins the checks whose turn has come, and gives when to look again.
func (r *Rounds) step(ctx context.Context, group *errgroup.Group) time.Duration {
	interval := r.o.Interval()
	if r.set(interval); interval <= 0 {
		return lookEvery
	}
	if !r.isAway() && r.stale(interval) {
		r.list(ctx, interval)
	}
	refs, next := r.due()
	over := func() bool { return ctx.Err() != nil || r.isAway() || r.o.Interval() != interval }
	for _, ref := range refs {
		if over() {
			break
		}
		group.Go(func() error { // which may have waited for long
			if !over() {
				r.take(ctx, ref, interval)
			}
			return nil
		})
	}
	return max(min(lookEvery, interval/10, next), shortest)
}

// set forgets the turns that were set by another interval.
func (r *Rounds) set(interval time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if interval == r.interval {
		return
	}
	r.interval, r.listed = interval, time.Time{}
	for _, t := range r.turns {
		t.due = time.Time{} // it is set anew
	}
}

// stale reports whether it is time to look which credentials there are.
func (r *Rounds) stale(interval time.Duration) bool {
	folders := r.o.Folders()
	r.mu.Lock()
	defer r.mu.Unlock()
	same := slices.Equal(folders, r.folders)
	r.folders = folders
	return !same || time.Since(r.listed) >= min(interval, listEvery)
}

// due gives the credentials whose turn has come, that which waits for longest
// first, and when the next one comes.
func (r *Rounds) due() (refs []credential.Ref, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	next = lookEvery
	for ref, t := range r.turns {
		switch {
		case t.busy, t.due.IsZero():
		case t.due.After(now):
			next = min(next, t.due.Sub(now))
		default:
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, func(a, b credential.Ref) int { return r.turns[a].due.Compare(r.turns[b].due) })
	return refs, next
}

// missed takes note of how the store has answered; away is true where it does not
// serve at all.
func (r *Rounds) missed(ctx context.Context, err error) (away bool) {
	switch {
	case err == nil:
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.away > 0 {
			r.o.Log.Info("background checks go on")
		}
		r.away = 0
		return false
	case ctx.Err() != nil:
		return true
	case !absent(err):
		return false
	}
	r.wait(err)
	return true
}

// wait begins a pause, unless somebody else has.
func (r *Rounds) wait(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.away == 0:
		r.o.Log.Warn("background checks wait for the store", "error", err)
	case time.Now().Before(r.back):
		return
	}
	r.away = min(max(2*r.away, awayPause), maxAwayPause)
	r.back = time.Now().Add(jittered(r.away))
}

// absent reports whether err says that the store itself does not serve.
func absent(err error) bool {
	code := fault.From(err).Code
	return code == fault.VaultUnreachable || code == fault.VaultSealed || code == fault.Timeout
}

func (r *Rounds) isAway() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.away > 0 && time.Now().Before(r.back)
}

// gone reports whether err says that there is no such record.
func gone(err error) bool { return errors.Is(err, fault.CredentialNotFound) }
