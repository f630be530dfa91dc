package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Times of a spending.
const (
	claimLease = 35 * time.Second       // a claim that stands still for so long has lost its owner
	beatEvery  = 10 * time.Second       // its owner moves it on, as long as it waits for the answer
	firstPoll  = 250 * time.Millisecond // of another's claim; grows
	lastPoll   = 2 * time.Second        // to this

	lastTryAfter = 5 * time.Second // a refresh token whose answer was lost is sent once more
)

// spending is one attempt at a new token by the record's refresh token.
type spending struct {
	*Keeper
	d      Demand
	kind   Kind
	record *credential.Credential // as last read or written
	claim  claim                  // of it
}

// refresh gives the record with a token that will do, by its refresh token: one
// that somebody else has got meanwhile, or one that is asked for here. minted
// tells which.
func (k *Keeper) refresh(ctx context.Context, d Demand, kind Kind) (c *credential.Credential, minted bool, err error) {
	if j := k.o.Journal; j != nil {
		if err := j.read(); err != nil {
			return nil, false, fault.New(fault.Internal, "the journal cannot be read", err)
		}
	}
	s := &spending{Keeper: k, d: d, kind: kind}
	var others watch
	for {
		if err := s.look(ctx); err != nil {
			return nil, false, err
		}
		if d.satisfied(s.record, time.Now()) {
			return s.record, false, nil
		}
		if err := s.mayAsk(time.Now()); err != nil {
			return nil, false, err
		}
		if s.claim.State == claimed && !others.over(s.record.Version, time.Now()) && !s.ours() {
			if err := others.pause(ctx); err != nil {
				return nil, false, fault.New(fault.Overloaded, "the daemon is stopping", err)
			}
			continue
		}
		switch found, err := s.takeOver(ctx); {
		case err != nil:
			return nil, false, err
		case found:
			continue
		}
		if !kind.rotates(d) {
			return s.askOnce(ctx)
		}
		switch err := s.take(ctx); {
		case errors.Is(err, fault.StoreConflict):
			continue
		case err != nil:
			return nil, false, err
		}
		return s.spend(ctx)
	}
}

// rotates: the provider's refresh tokens are good for one use, as far as is known.
func (k Kind) rotates(d Demand) bool { return d.Provider.Refresh.Rotates }

// look reads the record anew, with what we have and the store has not.
func (s *spending) look(ctx context.Context) error {
	c, err := s.fresh(ctx, s.d.Record.Ref)
	if err != nil {
		return err
	}
	s.record = c
	if s.claim, err = claimOf(c); err != nil {
		return err
	}
	token := c.Field("refresh_token")
	if token.Empty() {
		return fault.New(fault.FieldMissing, "field refresh_token is missing, and the record holds no valid access_token", nil)
	}
	s.claim = s.claim.about(fingerprint(c.Ref, token))
	return nil
}

// mayAsk tells what forbids to send the refresh token.
func (s *spending) mayAsk(now time.Time) error {
	s.mu.Lock()
	refused := s.refused[s.record.Ref] == s.claim.Token
	s.mu.Unlock()
	if refused || s.claim.buried(s.claim.Token) {
		return reauthorize("the authorization server has refused this refresh token")
	}
	if at := s.claim.After; at != nil && now.Before(*at) && at.Sub(now) <= maxRetry {
		f := fault.New(fault.TokenEndpointUnreachable, "the token endpoint asked not to be asked before "+at.Format(time.RFC3339), nil)
		f.RetryAfter = at.Sub(now)
		return f
	}
	return nil
}

func reauthorize(detail string) error {
	return fault.New(fault.ReauthorizationRequired, detail, nil)
}

// ours: the claim was made by this process, or by an earlier one on this state
// directory.
func (s *spending) ours() bool { return s.claim.Owner == s.owner }

// takeOver finds out what became of a claim that was left, and of the refresh
// token in it. found: its answer was, and the record is another now.
func (s *spending) takeOver(ctx context.Context) (found bool, err error) {
	if s.claim.State == claimed && s.sentBefore() {
		if e := s.left(); e != nil && e.Reply != nil {
			if err := s.recover(ctx, e); err == nil {
				return true, nil
			}
		}
		s.claim = s.claim.lost(time.Now())
	}
	if s.claim.Sent < 2 || s.inGrace() {
		return false, nil
	}
	s.bury(ctx)
	return false, reauthorize("the refresh token was sent twice, and no answer came back")
}

// inGrace: the provider takes a refresh token again that it has replaced.
func (s *spending) inGrace() bool {
	return s.claim.First != nil && time.Since(*s.claim.First) < s.d.Provider.Refresh.Grace
}

// sentBefore reports whether the refresh token of a claim may have been sent.
func (s *spending) sentBefore() bool {
	s.mu.Lock()
	unsent := s.unsent[s.record.Ref] == s.claim.ID
	s.mu.Unlock()
	return !unsent && (!s.ours() || !s.claim.Journaled || s.left() != nil)
}

// left gives the journal's entry of the claim; nil: there is none.
func (s *spending) left() *entry {
	if s.o.Journal == nil || !s.ours() {
		return nil
	}
	return s.o.Journal.get(s.claim.ID)
}

// lost counts a request without an answer.
func (cl claim) lost(now time.Time) claim {
	cl.State, cl.Sent = ambiguous, cl.Sent+1
	if cl.First == nil {
		cl.First = timePtr(now)
	}
	return cl
}

// take claims the refresh token by check-and-set: the lock, the intent, and the
// proof that the store can be written, in one.
func (s *spending) take(ctx context.Context) error {
	if s.o.Journal == nil && s.o.Required {
		return fault.New(fault.Internal, "there is no journal, and without it a refresh token could be lost", nil)
	}
	cl, before := s.claim, s.left()
	cl.State, cl.ID, cl.Owner, cl.Journaled = claimed, rand.Text(), s.owner, s.o.Journal != nil
	err := s.write(ctx, cl)
	if err == nil && before != nil {
		s.o.Journal.drop(before.ID)
	}
	return err
}

// write puts a claim into the store.
func (s *spending) write(ctx context.Context, cl claim) error {
	next := s.record.Clone()
	cl.write(next)
	if err := s.o.Store.Put(ctx, next); err != nil {
		return err
	}
	s.record, s.claim = next, cl
	return nil
}

// spend sends the claimed refresh token once.
func (s *spending) spend(ctx context.Context) (*credential.Credential, bool, error) {
	s.o.Reached("claimed")
	if err := s.intend(ctx); err != nil {
		return nil, false, err
	}
	s.o.Reached("intended")
	if err := s.pace.wait(ctx); err != nil {
		s.release(ctx, 0)
		return nil, false, fault.New(fault.Overloaded, "the daemon is stopping", err)
	}
	start := time.Now()
	out, err := s.send(ctx)
	s.o.Metrics.refreshed(s.d.Provider.Name, "refresh_token", outcomeName(err), time.Since(start))
	return s.settle(ctx, out, err)
}

// intend writes down that the token is about to be sent. Where the journal
// cannot be written the claim in the store is the intent, if that will do.
func (s *spending) intend(ctx context.Context) error {
	if s.o.Journal == nil {
		return nil
	}
	err := s.o.Journal.put(s.entry())
	if err == nil {
		return nil
	}
	if s.o.Required {
		s.release(ctx, 0)
		return fault.New(fault.Internal, "the journal cannot be written, and without it a refresh token could be lost", err)
	}
	cl := s.claim
	cl.Journaled = false
	if err := s.write(ctx, cl); err != nil {
		s.markUnsent()
		return err
	}
	return nil
}

// exchanged is how a request ended.
type exchanged struct {
	out outcomeOf
	err error
}

// send makes the request, and meanwhile moves the claim on so that nobody takes
// it for orphaned. It does not end before the answer is there or cannot come.
func (s *spending) send(ctx context.Context) (outcomeOf, error) {
	r, err := s.kind.refresh(Material{Credential: s.record, Provider: s.d.Provider})
	if err != nil {
		return outcomeOf{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxSpending)
	defer cancel()
	done, stage := make(chan exchanged, 1), s.stage()
	go func() {
		out, err := exchange(ctx, Material{Client: s.d.Client}, r, stage)
		done <- exchanged{out, err}
	}()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case got := <-done:
			s.o.Reached("answered")
			return got.out, got.err
		case <-beat.C:
			if err := s.write(ctx, s.claim); err != nil {
				s.o.Log.Debug("a claim was not moved on", "credential", s.record.Ref.String(), "error", err)
			}
		}
	}
}

// stage gives what keeps an answer before anybody reads it.
func (s *spending) stage() func(reply) {
	e, journaled := s.entry(), s.o.Journal != nil && s.claim.Journaled
	return func(r reply) {
		s.o.Reached("replied")
		if !journaled {
			return
		}
		e.At, e.Reply = time.Now(), &r
		_ = s.o.Journal.put(e) // it has logged why not; the store is tried all the same
		s.o.Reached("staged")
	}
}

func (s *spending) entry() entry {
	return entry{Credential: s.record.Ref.String(), ID: s.claim.ID, Token: s.claim.Token, At: time.Now()}
}

// settle takes over what the request brought.
func (s *spending) settle(ctx context.Context, out outcomeOf, err error) (*credential.Credential, bool, error) {
	if err == nil || out.refresh != "" {
		s.tellScope(s.d, out.granted)
		c := s.grant(ctx, out.granted, time.Now())
		return c, err == nil, err
	}
	switch {
	case out.refused:
		return s.settleRefused(ctx, err)
	case out.lost:
		s.o.Log.Warn("a refresh token was sent, and no answer came back", "credential", s.record.Ref.String(), "error", err)
		cl := s.claim.lost(time.Now()).orphan()
		if s.d.Provider.Refresh.Grace == 0 { // the one more try is not wasted on the same second
			cl.After = timePtr(time.Now().Add(lastTryAfter))
		}
		id := s.claim.ID
		if s.write(ctx, cl) == nil {
			s.dropEntry(id)
		}
	default:
		s.release(ctx, fault.From(err).RetryAfter)
	}
	return nil, false, err
}

// orphan lets anybody take over what is known to be ambiguous.
func (cl claim) orphan() claim {
	cl.ID, cl.Owner, cl.Journaled = "", "", false
	return cl
}

// settleRefused: an invalid_grant is a verdict on the token that was sent, not on
// the record, which may have another one by now.
func (s *spending) settleRefused(ctx context.Context, why error) (*credential.Credential, bool, error) {
	if c, err := s.o.Store.Get(ctx, s.record.Ref); err == nil && fingerprint(c.Ref, c.Field("refresh_token")) != s.claim.Token {
		s.dropEntry(s.claim.ID)
		if s.d.satisfied(c, time.Now()) {
			return c, false, nil
		}
		return nil, false, fault.New(fault.TokenExpired, "the grant was replaced while its refresh token was in use", why)
	}
	id := s.claim.ID
	s.bury(ctx)
	s.dropEntry(id)
	return nil, false, reauthorize("the authorization server refused the refresh token")
}

// bury sees to it that the refresh token is never sent again.
func (s *spending) bury(ctx context.Context) {
	ref := s.record.Ref
	s.mu.Lock()
	s.refused[ref] = s.claim.Token
	s.mu.Unlock()
	s.o.Log.Error("the grant is dead: somebody has to authorize it again", "credential", ref.String())
	if err := s.write(ctx, s.claim.bury()); err != nil {
		s.o.Log.Warn("that the grant is dead is not in the store yet", "credential", ref.String(), "error", err)
	}
}

// release gives back a claim whose token was not spent.
func (s *spending) release(ctx context.Context, wait time.Duration) {
	s.markUnsent()
	cl, id := s.claim.free(), s.claim.ID
	if wait > 0 {
		cl.After = timePtr(time.Now().Add(wait))
	}
	if err := s.write(ctx, cl); err != nil {
		s.o.Log.Debug("a claim was not given back", "credential", s.record.Ref.String(), "error", err)
	}
	s.dropEntry(id)
}

func (s *spending) markUnsent() {
	s.mu.Lock()
	s.unsent[s.record.Ref] = s.claim.ID
	s.mu.Unlock()
}

func (s *spending) dropEntry(id string) {
	if s.o.Journal != nil {
		s.o.Journal.drop(id)
	}
}

// askOnce is for a provider whose refresh tokens go on: there is nothing to claim.
// If it does give another one, that is kept as any.
func (s *spending) askOnce(ctx context.Context) (*credential.Credential, bool, error) {
	if err := s.pace.wait(ctx); err != nil {
		return nil, false, fault.New(fault.Overloaded, "the daemon is stopping", err)
	}
	r, err := s.kind.refresh(Material{Credential: s.record, Provider: s.d.Provider})
	if err != nil {
		return nil, false, err
	}
	limited, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	start := time.Now()
	out, err := exchange(limited, Material{Client: s.d.Client}, r, nil)
	s.o.Metrics.refreshed(s.d.Provider.Name, "refresh_token", outcomeName(err), time.Since(start))
	switch {
	case err == nil || out.refresh != "":
		return s.grant(ctx, out.granted, time.Now()), err == nil, err
	case out.refused:
		return s.settleRefused(ctx, err)
	}
	return nil, false, err
}

// watch times another's claim by our own clock: it is over when its version has
// stood still for a lease.
type watch struct {
	version int
	since   time.Time
	poll    time.Duration
}

func (w *watch) over(version int, now time.Time) bool {
	if w.version != version {
		w.version, w.since = version, now
	}
	return now.Sub(w.since) >= claimLease
}

func (w *watch) pause(ctx context.Context) error {
	w.poll = min(max(2*w.poll, firstPoll), lastPoll)
	t := time.NewTimer(w.poll/2 + mrand.N(w.poll/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another's claim: %w", ctx.Err())
	}
}
