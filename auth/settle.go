package auth

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// settle takes over what the request brought.
func (s *spending) settle(ctx context.Context, out outcomeOf, err error) (*credential.Credential, bool, error) {
	switch {
	case err == nil:
		s.tellScope(s.d, out.granted)
		return s.grant(ctx, out.granted, time.Now()), true, nil
	case s.successor(out): // the rest of the answer is of no use
		s.grant(ctx, out.refreshOnly(), time.Now())
		return nil, false, err
	case out.refused:
		return s.settleRefused(ctx, err)
	case out.lost:
		s.settleLost(ctx, err)
	default:
		s.release(ctx, err)
	}
	return nil, false, err
}

// successor: the answer holds another refresh token than the one that was sent.
func (s *spending) successor(out outcomeOf) bool {
	return out.refresh != "" && out.refresh != s.record.Field("refresh_token").Reveal()
}

// settleLost: the token was sent, and nobody knows what became of it.
func (s *spending) settleLost(ctx context.Context, why error) {
	s.o.Log.Warn("a refresh token was sent, and no answer came back", "credential", s.record.Ref.String(), "error", why)
	id, now := s.claim.ID, time.Now()
	err := s.amend(ctx, func(cl claim) claim {
		cl = cl.lost(now)
		cl.ID, cl.Owner, cl.Journaled = "", "", false // anybody may take it over
		if s.d.Provider.Refresh.Grace == 0 {          // the one more try is not wasted on the same second
			cl = cl.fails(lastTryAfter, now)
		}
		return cl
	})
	if err == nil {
		s.dropEntry(id)
	}
}

// settleRefused: an invalid_grant is a verdict on the token that was sent, not on
// the record, which may have another one by now. why tells more of the verdict.
func (s *spending) settleRefused(ctx context.Context, why error) (*credential.Credential, bool, error) {
	id := s.claim.ID
	if c, err := s.get(ctx, s.record.Ref); err == nil && fingerprint(c.Ref, c.Field("refresh_token")) != s.claim.Token {
		s.dropEntry(id)
		return nil, false, errRetry
	}
	if j := s.o.Journal; j != nil && s.claim.Journaled {
		e := s.entry()
		e.Refused = true
		_ = j.put(e) // it has logged why not
	}
	s.bury(ctx, id)
	return nil, false, reauthorize("the authorization server refused the refresh token: " + fault.From(why).Detail)
}

// release gives back a claim whose token was not spent. why is nil if the token
// endpoint has no part in it.
func (s *spending) release(ctx context.Context, why error) {
	id := s.claim.ID
	s.markUnsent(id)
	now := time.Now()
	err := s.amend(ctx, func(cl claim) claim {
		cl = cl.free()
		if f := fault.From(why); why != nil && f.Diagnosis().Transient {
			cl = cl.fails(f.RetryAfter, now)
		}
		return cl
	})
	if err != nil {
		s.o.Log.Debug("a claim was not given back", "credential", s.record.Ref.String(), "error", err)
	}
	s.dropEntry(id)
}

// amend changes our claim in the store, and keeps what others write to the record
// meanwhile. It fails with store_conflict if the claim is no longer in it.
func (s *spending) amend(ctx context.Context, change func(claim) claim) error {
	var err error
	for range maxMerges {
		next, cl := s.record.Clone(), change(s.claim)
		cl.write(next)
		if err = s.put(ctx, next); err == nil {
			s.record, s.claim = next, cl
			return nil
		}
		if !errors.Is(err, fault.StoreConflict) {
			return err
		}
		c, failed := s.get(ctx, s.record.Ref)
		if failed != nil {
			return failed
		}
		now, failed := claimOf(c)
		if failed != nil || now.ID != s.claim.ID || now.Token != s.claim.Token || fingerprint(c.Ref, c.Field("refresh_token")) != s.claim.Token {
			return err
		}
		s.record, s.claim = c, now
	}
	return err
}

// markUnsent remembers a claim whose token was not sent, "" for none.
func (s *spending) markUnsent(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsent[s.record.Ref] = id; id == "" {
		delete(s.unsent, s.record.Ref)
	}
}

func (s *spending) dropEntry(id string) {
	if s.o.Journal != nil && id != "" {
		s.o.Journal.drop(id)
	}
}
