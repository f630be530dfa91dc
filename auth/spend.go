package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// beatEvery is how often a claim is moved on while the answer is waited for.
const beatEvery = 10 * time.Second

// spending is one attempt at a new token by the record's refresh token.
type spending struct {
	*Keeper
	d      Demand
	kind   Kind
	record *credential.Credential // as last read or written
	claim  claim                  // of it
	others watch                  // of another's claim
	paced  bool                   // it has waited for its place among the exchanges
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
	for {
		if err := s.look(ctx); err != nil {
			return nil, false, err
		}
		if d.satisfied(s.record, time.Now()) {
			return s.record, false, nil
		}
		switch err := s.prepare(ctx); {
		case errors.Is(err, errRetry):
			continue
		case err != nil:
			return nil, false, err
		}
		if c, minted, err := s.exchange(ctx); !errors.Is(err, errRetry) {
			return c, minted, err
		}
	}
}

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
	refreshToken := c.Field("refresh_token")
	if refreshToken.Empty() {
		return fault.New(fault.FieldMissing, "field refresh_token is missing, and the record holds no valid access_token", nil)
	}
	token := fingerprint(c.Ref, refreshToken)
	if s.o.Journal != nil && s.unwritten(c.Ref) == nil {
		s.o.Journal.prune(c.Ref.String(), c.Version, token)
	}
	s.claim = s.claim.about(token)
	return nil
}

// prepare does what comes before the refresh token may be sent. errRetry says that
// the record is to be looked at again.
func (s *spending) prepare(ctx context.Context) error {
	if err := s.mayAsk(time.Now()); err != nil {
		return err
	}
	if p := s.unwritten(s.record.Ref); p != nil { // a token that only we know is not spent: first the store gets it
		if err := s.try(ctx, p); err != nil && !errors.Is(err, fault.StoreConflict) {
			return err
		}
		return errRetry
	}
	if e := s.settled(); e != nil && s.recover(ctx, e) {
		return errRetry
	}
	if s.claim.State == claimed && !s.ours() && !s.others.over(s.record.Version, time.Now()) {
		if err := s.others.pause(ctx); err != nil {
			return stopping(err)
		}
		return errRetry
	}
	if err := s.takeOver(ctx); err != nil {
		return err
	}
	return s.place(ctx)
}

// place waits for the turn of this exchange. It comes before the claim, which
// must not grow old meanwhile.
func (s *spending) place(ctx context.Context) error {
	if s.paced {
		return nil
	}
	waited, err := s.pace.wait(ctx, s.d.Leisure)
	if err != nil {
		return stopping(err)
	}
	if s.paced = true; waited {
		return errRetry
	}
	return nil
}

func stopping(err error) error { return fault.New(fault.Overloaded, "the daemon is stopping", err) }

// exchange sends the refresh token. errRetry says that the record has changed.
func (s *spending) exchange(ctx context.Context) (*credential.Credential, bool, error) {
	if !s.kind.rotates(s.d) {
		return s.askOnce(ctx)
	}
	if err := s.take(ctx); err != nil {
		return nil, false, err
	}
	s.o.Reached("claimed")
	if err := s.intend(ctx); err != nil {
		return nil, false, err
	}
	s.o.Reached("intended")
	start := time.Now()
	out, err := s.send(ctx)
	s.o.Metrics.refreshed(s.d.Provider.Name, "refresh_token", outcomeName(err), time.Since(start))
	return s.settle(ctx, out, err)
}

// rotates: the provider's refresh tokens are good for one use, as far as is known.
func (k Kind) rotates(d Demand) bool { return d.Provider.Refresh.Rotates }

// take claims the refresh token by check-and-set: the lock, the intent, and the
// proof that the store can be written, in one.
func (s *spending) take(ctx context.Context) error {
	if s.o.Journal == nil && s.o.Required {
		return fault.New(fault.Internal, "there is no journal, and without it a refresh token could be lost", nil)
	}
	cl, before := s.claim, s.left()
	cl.State, cl.ID, cl.Owner, cl.Journaled = claimed, rand.Text(), s.owner, s.o.Journal != nil
	s.markUnsent(cl.ID) // even if the store's answer to this is lost
	next := s.record.Clone()
	cl.write(next)
	err := s.put(ctx, next)
	if errors.Is(err, fault.StoreConflict) {
		return errRetry
	}
	if err != nil {
		return err
	}
	s.record, s.claim = next, cl
	if before != nil {
		s.o.Journal.drop(before.ID)
	}
	return nil
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
		s.release(ctx, nil)
		return fault.New(fault.Internal, "the journal cannot be written, and without it a refresh token could be lost", err)
	}
	return s.amend(ctx, func(cl claim) claim {
		cl.Journaled = false
		return cl
	})
}

// exchanged is how a request ended.
type exchanged struct {
	out outcomeOf
	err error
}

// send makes the request, and meanwhile moves the claim on so that nobody takes
// it for orphaned. It does not end before the answer is there or cannot come.
func (s *spending) send(ctx context.Context) (outcomeOf, error) {
	r, err := s.kind.refresh(Material{Credential: s.current(ctx, s.record), Provider: s.d.Provider})
	if err != nil {
		return outcomeOf{}, err
	}
	limited, cancel := context.WithTimeout(ctx, maxSpending)
	defer cancel()
	done, stage := make(chan exchanged, 1), s.stage()
	s.markUnsent("")
	go func() {
		out, err := exchange(limited, Material{Client: s.d.Client}, r, stage)
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
			if err := s.amend(ctx, func(cl claim) claim { return cl }); err != nil {
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
	return entry{Credential: s.record.Ref.String(), ID: s.claim.ID, Token: s.claim.Token, Version: s.record.Version, At: time.Now()}
}

// askOnce is for a provider whose refresh tokens go on: there is nothing to claim.
// If it does give another one, that is kept as any.
func (s *spending) askOnce(ctx context.Context) (*credential.Credential, bool, error) {
	r, err := s.kind.refresh(Material{Credential: s.current(ctx, s.record), Provider: s.d.Provider})
	if err != nil {
		return nil, false, err
	}
	limited, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	start := time.Now()
	out, err := exchange(limited, Material{Client: s.d.Client}, r, nil)
	s.o.Metrics.refreshed(s.d.Provider.Name, "refresh_token", outcomeName(err), time.Since(start))
	if out.lost = false; err == nil || out.refused || s.successor(out) || fault.From(err).RetryAfter > 0 {
		return s.settle(ctx, out, err)
	}
	return nil, false, err
}
