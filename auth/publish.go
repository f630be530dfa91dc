package auth

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Times between the tries to write an answer into the store, which go on for as
// long as the process lives.
const (
	firstPublish = 50 * time.Millisecond
	lastPublish  = 5 * time.Second

	publishWait = 500 * time.Millisecond // whoever got the answer waits for the first try no longer
	publishers  = 16                     // tries at once
	maxMerges   = 5                      // of one write with what others write
)

// publication is what came of a refresh token, on its way into the store. The
// keeper's lock guards what changes in it.
type publication struct {
	ref     credential.Ref
	record  *credential.Credential // with the answer in it; replaced, never changed
	kind    Kind
	granted granted
	dead    bool      // the refresh token was refused: there is nothing granted
	at      time.Time // of the answer
	claim   claim     // as it will stand
	spent   string    // fingerprint of the refresh token it is about; empty: none was spent
	id      string    // of the claim, whose entry in the journal ends with this
	tries   int
	next    time.Time

	turn sync.Mutex // of whoever tries
}

// grant puts an answer into the record: in memory at once, in the store as soon
// as that can be.
func (s *spending) grant(ctx context.Context, g granted, at time.Time) *credential.Credential {
	p := &publication{ref: s.record.Ref, kind: s.kind, granted: g, at: at, claim: s.claim.granted(g, at), spent: s.claim.Token, id: s.claim.ID}
	p.claim.Stays = g.refresh == "" || g.refresh == s.record.Field("refresh_token").Reveal()
	p.record = p.onto(s.record)
	served := p.record.Clone()
	s.publish(ctx, p)
	s.o.Log.Info("token refreshed", "credential", s.record.Ref.String(), "generation", p.claim.Gen, "rotated", g.refresh != "", "life", g.life.Round(time.Second))
	return served
}

// bury sees to it that the refresh token is never sent again, by nobody. id is of
// the journal's entry that ends with this.
func (s *spending) bury(ctx context.Context, id string) {
	p := &publication{ref: s.record.Ref, dead: true, at: time.Now(), claim: s.claim.bury(), spent: s.claim.Token, id: id}
	p.record = p.onto(s.record)
	s.publish(ctx, p)
}

// granted is the claim behind an answer.
func (cl claim) granted(g granted, at time.Time) claim {
	cl = cl.free().rested()
	cl.Gen, cl.Sent, cl.First = cl.Gen+1, 0, nil
	if g.refreshLife > 0 {
		cl.Ends = timePtr(at.Add(g.refreshLife))
	}
	return cl
}

// onto gives a record as the store has it with the answer in it. The bookkeeping
// of a later version stays as it is.
func (p *publication) onto(c *credential.Credential) *credential.Credential {
	c = c.Clone()
	if !p.dead {
		p.granted.write(p.kind, c, p.at)
	}
	now, err := claimOf(c)
	if p.spent == "" || err != nil {
		return c
	}
	cl := p.claim
	cl.Token = fingerprint(c.Ref, c.Field("refresh_token"))
	cl.more = now.more
	if cl.Dead = now.Dead; p.dead {
		cl = cl.bury()
	}
	cl.write(c)
	return c
}

// landed reports whether c, which was just read, has the answer.
func (p *publication) landed(c, ours *credential.Credential) bool {
	if p.dead {
		cl, err := claimOf(c)
		return err == nil && cl.buried(p.spent)
	}
	return c.Field("access_token").Equal(ours.Field("access_token")) && c.Field("refresh_token").Equal(ours.Field("refresh_token"))
}

// publish serves an answer from memory and tries once to write it; Run goes on.
func (k *Keeper) publish(ctx context.Context, p *publication) {
	k.o.Reached("publishing")
	k.mu.Lock()
	k.pending[p.ref] = p
	k.mu.Unlock()
	tried := make(chan struct{})
	go func() {
		defer close(tried)
		_ = k.try(ctx, p) // it is tried again
	}()
	t := time.NewTimer(publishWait)
	defer t.Stop()
	select {
	case <-tried:
	case <-t.C:
	}
}

// try writes an answer, unless the store has a better one. nil: the store does not
// lack it any more.
func (k *Keeper) try(ctx context.Context, p *publication) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	var err error
	for range maxMerges {
		k.mu.Lock()
		if k.pending[p.ref] != p { // somebody was faster
			k.mu.Unlock()
			return nil
		}
		next := p.record.Clone()
		k.mu.Unlock()
		if err = k.put(ctx, next); err == nil {
			k.o.Reached("published")
			k.finish(p, next)
			return nil
		}
		if !errors.Is(err, fault.StoreConflict) && !errors.Is(err, fault.CredentialNotFound) {
			break
		}
		stands, failed := k.compare(ctx, p, next)
		if stands != nil {
			k.finish(p, stands)
			return nil
		}
		if failed != nil {
			err = failed
			break
		}
	}
	k.postpone(p, err)
	return err
}

// compare decides between our answer, which the store did not take, and what the
// store has by now. It gives the record that stands; nil: ours is to be written
// over it.
func (k *Keeper) compare(ctx context.Context, p *publication, ours *credential.Credential) (*credential.Credential, error) {
	c, err := k.get(ctx, p.ref)
	switch {
	case errors.Is(err, fault.CredentialNotFound):
		k.o.Log.Warn("a credential was deleted while its token was refreshed", "credential", p.ref.String())
		return ours, nil
	case err != nil:
		return nil, err
	case p.landed(c, ours):
		return c, nil
	}
	if token := fingerprint(c.Ref, c.Field("refresh_token")); token != p.spent && p.spent != "" {
		k.o.Log.Info("the grant was replaced while it was refreshed; the new one stands", "credential", p.ref.String())
		return c, nil
	}
	merged := p.onto(c) // who holds an answer wins over who does not
	k.mu.Lock()
	p.record = merged
	k.mu.Unlock()
	return nil, nil
}

// finish ends a publication: the store has record.
func (k *Keeper) finish(p *publication, record *credential.Credential) {
	if k.o.Journal != nil && p.id != "" {
		k.o.Journal.drop(p.id)
	}
	k.mu.Lock()
	tries := p.tries
	delete(k.pending, p.ref)
	k.mu.Unlock()
	cl, err := claimOf(record)
	switch {
	case p.dead && err == nil && cl.State == dead:
		k.o.Log.Error("the grant is dead: somebody has to authorize it again", "credential", p.ref.String())
	case tries > 0:
		k.o.Log.Info("a new token is in the store now", "credential", p.ref.String(), "tries", tries+1)
	}
}

// postpone sets when the next try is due.
func (k *Keeper) postpone(p *publication, why error) {
	k.mu.Lock()
	first := p.tries == 0
	d := min(firstPublish<<min(p.tries, 10), lastPublish)
	p.tries, p.next = p.tries+1, time.Now().Add(d/2+rand.N(d/2))
	k.mu.Unlock()
	if first {
		k.o.Log.Warn("what a token endpoint answered is not in the store yet; it is kept in memory", "credential", p.ref.String(), "error", why)
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// fresh reads the record, with what the store does not have yet.
func (k *Keeper) fresh(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	if c := k.held(ref); c != nil {
		return c, nil
	}
	return k.get(ctx, ref)
}

// held gives a copy of a record with what the store does not have yet; nil: the
// store has everything.
func (k *Keeper) held(ref credential.Ref) *credential.Credential {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pending[ref]; p != nil {
		return p.record.Clone()
	}
	return nil
}

// unwritten gives what the store does not have yet; nil: it has everything.
func (k *Keeper) unwritten(ref credential.Ref) *publication {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pending[ref]
}
