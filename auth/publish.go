package auth

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Times between the tries to write an answer into the store, which go on for as
// long as the process lives.
const (
	firstPublish = 50 * time.Millisecond
	lastPublish  = 5 * time.Second
)

// publication is an answer on its way into the store. The keeper's lock guards
// what changes in it.
type publication struct {
	ref     credential.Ref
	record  *credential.Credential // with the answer in it; replaced, never changed
	kind    Kind
	granted granted
	at      time.Time // of the answer
	claim   claim     // as it will stand
	spent   string    // fingerprint of the refresh token that brought it; empty: none did
	id      string    // of the claim, whose entry in the journal ends with this
	tries   int
	next    time.Time
}

// grant puts an answer into the record: in memory at once, in the store as soon
// as that can be.
func (s *spending) grant(ctx context.Context, g granted, at time.Time) *credential.Credential {
	p := &publication{ref: s.record.Ref, kind: s.kind, granted: g, at: at, claim: s.claim.granted(g, at), spent: s.claim.Token, id: s.claim.ID}
	p.record = p.onto(s.record)
	s.publish(ctx, p)
	s.o.Log.Info("token refreshed", "credential", s.record.Ref.String(), "generation", p.claim.Gen, "rotated", g.refresh != "", "life", g.life.Round(time.Second))
	if c := s.held(s.record.Ref); c != nil {
		s.record = c
	} else {
		s.record = p.record.Clone() // nobody else has p any more
	}
	return s.record
}

// granted is the claim behind an answer.
func (cl claim) granted(g granted, at time.Time) claim {
	cl = cl.free()
	cl.Gen, cl.Sent, cl.First, cl.After = cl.Gen+1, 0, nil, nil
	if g.refreshLife > 0 {
		cl.Ends = timePtr(at.Add(g.refreshLife))
	}
	return cl
}

// onto gives a record as the store has it with the answer in it.
func (p *publication) onto(c *credential.Credential) *credential.Credential {
	c = c.Clone()
	p.granted.write(p.kind, c, p.at)
	if p.spent != "" {
		cl := p.claim
		cl.Token = fingerprint(c.Ref, c.Field("refresh_token"))
		if now, err := claimOf(c); err == nil {
			cl.more, cl.Dead = now.more, now.Dead
		}
		cl.write(c)
	}
	return c
}

// publish serves an answer from memory and tries once to write it; Run goes on.
func (k *Keeper) publish(ctx context.Context, p *publication) {
	k.o.Reached("publishing")
	k.mu.Lock()
	k.pending[p.ref] = p
	k.mu.Unlock()
	k.try(ctx, p)
}

// try writes an answer, unless the store has a better one. One try of an answer
// is made at a time.
func (k *Keeper) try(ctx context.Context, p *publication) {
	k.mu.Lock()
	next := p.record.Clone()
	k.mu.Unlock()
	err := k.o.Store.Put(ctx, next)
	if errors.Is(err, fault.StoreConflict) || errors.Is(err, fault.CredentialNotFound) {
		if next = k.compare(ctx, p, next); next != nil {
			err = nil
		}
	}
	if err == nil {
		k.o.Reached("published")
		k.finish(p, next)
		return
	}
	k.mu.Lock()
	first := p.tries == 0
	d := min(firstPublish<<min(p.tries, 10), lastPublish)
	p.tries, p.next = p.tries+1, time.Now().Add(d/2+rand.N(d/2))
	k.mu.Unlock()
	if first {
		k.o.Log.Warn("a new token is not in the store yet; it is served from memory", "credential", p.ref.String(), "error", err)
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// compare decides between our answer, which the store did not take, and what the
// store has by now. It gives the record that stands; nil: ours is still to be
// written.
func (k *Keeper) compare(ctx context.Context, p *publication, ours *credential.Credential) *credential.Credential {
	c, err := k.o.Store.Get(ctx, p.ref)
	switch {
	case errors.Is(err, fault.CredentialNotFound):
		k.o.Log.Warn("a credential was deleted while its token was refreshed", "credential", p.ref.String())
		return ours
	case err != nil:
		return nil
	case c.Field("access_token").Equal(ours.Field("access_token")) && c.Field("refresh_token").Equal(ours.Field("refresh_token")):
		return c // our write had landed
	}
	if token := fingerprint(c.Ref, c.Field("refresh_token")); token != p.spent && p.spent != "" {
		k.o.Log.Info("the grant was replaced while it was refreshed; the new one stands", "credential", p.ref.String())
		return c
	}
	merged := p.onto(c) // who holds an answer wins over who does not
	k.mu.Lock()
	p.record = merged
	k.mu.Unlock()
	return nil
}

// finish ends a publication: the store has record.
func (k *Keeper) finish(p *publication, record *credential.Credential) {
	k.mu.Lock()
	p.record = record
	tries := p.tries
	if k.pending[p.ref] == p {
		delete(k.pending, p.ref)
	}
	k.mu.Unlock()
	if k.o.Journal != nil && p.id != "" {
		k.o.Journal.drop(p.id)
	}
	if tries > 0 {
		k.o.Log.Info("a new token is in the store now", "credential", p.ref.String(), "tries", tries+1)
	}
}

// fresh reads the record, with what the store does not have yet.
func (k *Keeper) fresh(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	if c := k.held(ref); c != nil {
		return c, nil
	}
	return k.o.Store.Get(ctx, ref)
}

// held gives a copy of a record whose new token the store does not have yet.
func (k *Keeper) held(ref credential.Ref) *credential.Credential {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pending[ref]; p != nil {
		return p.record.Clone()
	}
	return nil
}

// recover takes over an answer that an earlier process left in the journal.
func (s *spending) recover(ctx context.Context, e *entry) error {
	a := readAnswer(*e.Reply)
	if a.AccessToken == "" && a.RefreshToken == "" {
		return errEntry
	}
	s.o.Log.Info("an answer that an earlier process received is taken over", "credential", s.record.Ref.String())
	s.grant(ctx, a.granted(), e.At)
	return nil
}
