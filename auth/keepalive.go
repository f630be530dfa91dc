package auth

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Times and bounds of keeping idle grants alive.
const (
	firstSweep = time.Minute // after the start, and after a sweep that could not see everything
	sweepEvery = time.Hour   // or an eighth of the shortest idle time, if that is less
	keptAtOnce = 4           // grants
)

// Kept are the grants that a keeper keeps alive.
type Kept struct {
	Folders func() []credential.Ref   // workspaces and environments
	Wanted  func(credential.Ref) bool // of those in the folders
	Changed func(credential.Ref)      // told of each that was refreshed
}

// KeepAlive refreshes grants that nobody uses, at about half of the time after
// which their provider lets them lapse. One whose age is not known is refreshed,
// so that it is. KeepAlive ends with ctx.
func (k *Keeper) KeepAlive(ctx context.Context, kept Kept) error {
	t := time.NewTimer(jittered(firstSweep))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			t.Reset(jittered(k.sweep(ctx, kept)))
		}
	}
}

// jittered gives up to a quarter more, so that daemons do not keep step.
func jittered(d time.Duration) time.Duration { return d + rand.N(d/4+1) }

// sweep looks at each grant once and gives when to look again.
func (k *Keeper) sweep(ctx context.Context, kept Kept) time.Duration {
	s := sweep{Keeper: k, kept: kept, pause: sweepEvery}
	s.group.SetLimit(keptAtOnce)
	for _, folder := range kept.Folders() {
		names, err := k.o.Store.Folders(ctx, folder)
		s.missed(err, folder.Workspace+"/"+folder.Environment)
		for _, name := range names {
			folder.Provider = name
			if p := k.o.Provider(name); p != nil && p.Refresh.Idle > 0 {
				s.provider(ctx, p, folder)
			}
		}
	}
	_ = s.group.Wait() // none of them fails
	if s.again.Load() {
		return min(s.pause, firstSweep)
	}
	return s.pause
}

// sweep is one look at all grants.
type sweep struct {
	*Keeper
	kept  Kept
	group errgroup.Group
	pause time.Duration
	again atomic.Bool // something could not be read
}

// missed notes what could not be read. What is hidden from us is not looked for
// any sooner.
func (s *sweep) missed(err error, what string) {
	if err == nil || errors.Is(err, fault.CredentialNotFound) {
		return
	}
	s.o.Log.Debug("idle grants are not looked at", "in", what, "error", err)
	if !errors.Is(err, fault.VaultDenied) {
		s.again.Store(true)
	}
}

// provider looks at the grants of one provider.
func (s *sweep) provider(ctx context.Context, p *provider.Provider, folder credential.Ref) {
	s.pause = min(s.pause, p.Refresh.Idle/8)
	refs, err := s.o.Store.List(ctx, folder)
	s.missed(err, p.Name)
	for _, ref := range refs {
		if ctx.Err() == nil && s.kept.Wanted(ref) {
			s.group.Go(func() error { s.grant(ctx, p, ref); return nil })
		}
	}
}

// grant refreshes one grant if it has been idle for long.
func (s *sweep) grant(ctx context.Context, p *provider.Provider, ref credential.Ref) {
	c, err := s.fresh(ctx, ref)
	if s.missed(err, ref.String()); err != nil || !lapses(p, c, time.Now()) {
		return
	}
	_, err = s.Obtain(ctx, Demand{Provider: p, Client: s.o.Client(p), Record: c, Have: c.Field("access_token"), Leisure: ctx})
	switch {
	case ctx.Err() != nil: // the daemon stops; what was sent is seen to the end
	case err != nil:
		s.o.Log.Warn("an idle grant was not refreshed", "credential", ref.String(), "error", err)
	default:
		s.kept.Changed(ref)
	}
}

// lapses reports whether the record holds a grant that the provider lets lapse
// and that has lain idle for about half of that time. Kinds that can have a
// token without it lose nothing.
func lapses(p *provider.Provider, c *credential.Credential, now time.Time) bool {
	k, _ := Lookup(TypeOf(p, c))
	if !k.refreshes || k.ask != nil || c.Field("refresh_token").Empty() {
		return false
	}
	g := GrantOf(p, c)
	due := p.Refresh.Idle/2 - rand.N(p.Refresh.Idle/10+1) // those that were made together do not come together
	return g.Dead == nil && now.Sub(g.Made) >= due
}
