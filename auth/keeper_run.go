package auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// How soon what an earlier process left is tried again; doubles.
const (
	firstRecover = 2 * time.Second
	lastRecover  = time.Minute
)

// Run takes over what an earlier process received and could not store, and
// writes into the store what this one could not. It ends with ctx.
func (k *Keeper) Run(ctx context.Context) error {
	var recovery sync.WaitGroup
	defer recovery.Wait()
	recovery.Go(func() { k.runRecovery(ctx) })
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-due.C:
		}
		due.Reset(k.publishDue(ctx))
	}
}

// runRecovery takes over until nothing is left, or ctx ends.
func (k *Keeper) runRecovery(ctx context.Context) {
	for wait := firstRecover; !k.takeOverAll(ctx); wait = min(2*wait, lastRecover) {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// publishDue tries what is due again and gives when something is next.
func (k *Keeper) publishDue(ctx context.Context) time.Duration {
	now := time.Now()
	var ready []*publication
	next := time.Hour
	k.mu.Lock()
	for _, p := range k.pending {
		if p.tries == 0 { // its first try is under way
			continue
		}
		if d := p.next.Sub(now); d > 0 {
			next = min(next, d)
			continue
		}
		ready = append(ready, p)
	}
	k.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(publishers)
	for _, p := range ready {
		next = firstPublish
		group.Go(func() error { return k.try(ctx, p) })
	}
	_ = group.Wait() // what failed is due again
	return next
}

// errRetry has who joined another's work ask again.
var errRetry = errors.New("ask again")

// takeOverAll deals with the answers in the journal. false: some are left.
func (k *Keeper) takeOverAll(ctx context.Context) bool {
	j := k.o.Journal
	if j == nil {
		return true
	}
	if err := j.read(); err != nil {
		k.o.Log.Debug("the journal cannot be read yet", "error", err)
		return false
	}
	whole := true
	for _, e := range j.all() {
		ref, err := credential.ParseRef(e.Credential)
		if err != nil || k.held(ref) != nil {
			continue
		}
		ch := k.flight.DoChan(ref.String(), func() (any, error) { return Obtained{}, k.takeOver(ctx, ref, e.ID) })
		select {
		case res := <-ch:
			whole = whole && errors.Is(res.Err, errRetry)
		case <-ctx.Done():
			return true
		}
	}
	return whole
}

// takeOver deals with one entry. errRetry says that it is done.
func (k *Keeper) takeOver(ctx context.Context, ref credential.Ref, id string) error {
	e := k.o.Journal.get(id)
	if e == nil {
		return errRetry
	}
	c, err := k.fresh(ctx, ref)
	if errors.Is(err, fault.CredentialNotFound) {
		k.o.Journal.drop(id)
		return errRetry
	}
	if err != nil {
		return err
	}
	cl, err := claimOf(c)
	if err != nil {
		return err
	}
	token := fingerprint(ref, c.Field("refresh_token"))
	switch {
	case e.moot(c.Version, token): // what it brought is in the store, or somebody's better grant
		k.o.Journal.drop(id)
	case token != e.Token:
		return fault.New(fault.StoreConflict, "the store gives an older record than the journal's", nil)
	case e.Reply == nil && !e.Refused: // whoever next needs the token decides
	case k.o.Provider == nil || k.o.Provider(ref.Provider) == nil:
	default:
		p := k.o.Provider(ref.Provider)
		kind, _ := Lookup(TypeOf(p, c))
		s := &spending{Keeper: k, d: Demand{Provider: p, Record: c}, kind: kind, record: c, claim: cl.about(e.Token)}
		s.recover(ctx, e)
	}
	return errRetry
}

// Drain waits until nothing is being spent and all answers are in the store, or
// until ctx ends: then the journal knows the rest.
func (k *Keeper) Drain(ctx context.Context) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for !k.idle() {
		k.publishDue(ctx) // Run may have ended
		select {
		case <-t.C:
		case <-ctx.Done():
			return errors.New("tokens are not in the store yet; the journal holds them")
		}
	}
	return nil
}

func (k *Keeper) idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.pending) == 0 && k.busy == 0
}

// Over gives the store as the rest of the program sees it: with the tokens that
// are not written yet.
func (k *Keeper) Over() credential.Store { return keptStore{k.o.Store, k} }

type keptStore struct {
	credential.Store
	keeper *Keeper
}

// Get implements credential.Store.
func (s keptStore) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	return s.keeper.fresh(ctx, ref)
}
