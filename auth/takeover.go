package auth

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// Times of what others have begun.
const (
	claimLease = 35 * time.Second       // a claim that stands still for so long has lost its owner
	firstPoll  = 250 * time.Millisecond // of another's claim; grows
	lastPoll   = 2 * time.Second        // to this

	lastTryAfter = 5 * time.Second  // a refresh token whose answer was lost is sent once more,
	lastTryAt    = 24 * time.Hour   // when its endpoint answers again, or after so long
	maxProbe     = 10 * time.Second // to find that out
)

// mayAsk tells what forbids to send the refresh token.
func (s *spending) mayAsk(now time.Time) error {
	if s.claim.buried(s.claim.Token) {
		return reauthorize("the authorization server has refused this refresh token, or lost it")
	}
	if d := s.resting(now); d > 0 {
		f := fault.New(fault.TokenEndpointUnreachable, "the token endpoint is not asked again before "+now.Add(d).UTC().Format(time.RFC3339), nil)
		f.RetryAfter = d
		return f
	}
	return nil
}

func reauthorize(detail string) error {
	return fault.New(fault.ReauthorizationRequired, detail, nil)
}

// sight is when we saw a claim's After first.
type sight struct{ after, at time.Time }

// resting gives how long the token endpoint is not to be asked. It is over when
// either the clock says so or the pause has passed since we saw it first: another
// host's clock may be wrong, and our own be set.
func (s *spending) resting(now time.Time) time.Duration {
	after := s.claim.After
	if after == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen[s.record.Ref]
	if !seen.after.Equal(*after) {
		seen = sight{*after, now}
		s.seen[s.record.Ref] = seen
	}
	return min(after.Sub(now), seen.at.Add(s.claim.wait()).Sub(now))
}

// ours: the claim was made by this process, or by an earlier one on this state
// directory.
func (s *spending) ours() bool { return s.claim.Owner == s.owner }

// takeOver finds out what became of a claim that was left, and of the refresh
// token in it. nil: it may be sent.
func (s *spending) takeOver(ctx context.Context) error {
	if s.claim.State == claimed && s.sentBefore() {
		s.claim = s.claim.lost(time.Now())
	}
	if s.claim.Sent == 0 || s.claim.Stays || s.inGrace() {
		return nil
	}
	if s.claim.Sent > 1 {
		var id string
		if e := s.left(); e != nil {
			id = e.ID
		}
		s.bury(ctx, id)
		return reauthorize("the refresh token was sent twice, and no answer came back")
	}
	return s.probe(ctx)
}

// inGrace: the provider takes a refresh token again that it has replaced.
func (s *spending) inGrace() bool {
	return s.claim.First != nil && time.Since(*s.claim.First) < s.d.Provider.Refresh.Grace
}

// probe asks the token endpoint for nothing, before the last try is spent on it:
// while it is away, or only a gateway of it is there, the try would be lost too.
func (s *spending) probe(ctx context.Context) error {
	if s.claim.First != nil && time.Since(*s.claim.First) > lastTryAt {
		return nil
	}
	m := Material{Credential: s.record, Provider: s.d.Provider}
	endpoint, err := s.kind.refreshURL(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, maxProbe)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil || s.d.Client == nil || s.d.Client.Transport == nil {
		return nil // the try itself will tell
	}
	req.Close = true
	req.Header.Set("User-Agent", "sallyport")
	resp, err := s.d.Client.Transport.RoundTrip(req)
	if err != nil {
		return unreached(req.URL.Host, err)
	}
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		f := noToken(req.URL.Host, fmt.Sprintf("answered %d, and an answer of it is missing already", resp.StatusCode))
		f.RetryAfter = retryAfter(resp.Header, time.Now())
		return f
	}
	return nil
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

// settled gives the journal's entry that tells what became of the refresh token,
// whoever has claimed it since; nil: there is none.
func (s *spending) settled() *entry {
	if s.o.Journal == nil {
		return nil
	}
	return s.o.Journal.settled(s.record.Ref.String(), s.claim.Token)
}

// recover takes over what an earlier process left in the journal. false: that
// does not tell what became of the refresh token.
func (s *spending) recover(ctx context.Context, e *entry) bool {
	if e.Refused {
		s.bury(ctx, e.ID)
		return true
	}
	g := granted{}
	if e.Reply != nil {
		g = e.Reply.granted()
	}
	if g.access == "" && g.refresh == "" {
		return false
	}
	s.o.Log.Info("an answer that an earlier process received is taken over", "credential", s.record.Ref.String())
	s.claim.ID = e.ID
	s.grant(ctx, g, e.At)
	return true
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
	t := time.NewTimer(w.poll/2 + rand.N(w.poll/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another's claim: %w", ctx.Err())
	}
}
