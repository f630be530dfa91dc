package vault

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/fault"
)

const (
	probeEvery = 10 * time.Second       // when nothing else is asked
	watchEvery = 2 * time.Second        // the file that the session came from
	retryRenew = 45 * time.Second       // two thirds of it, while Vault is away
	provenFor  = time.Second            // a token that was just found valid is not looked up again
	dropGap    = 5 * time.Second        // at least, between logins that denied calls lead to
	minWait    = 500 * time.Millisecond // before a renewal
)

// Run logs in, renews the token at about two thirds of its life, and logs in again when that fails, when the token
// nears its maximum life, when it turns out to be revoked and when a file that it came from changes. It ends with ctx and gives nil
// then; a mount of the wrong kind is an error. It is called once.
func (v *Vault) Run(ctx context.Context) error {
	defer v.transport.reset()
	var healer sync.WaitGroup
	defer healer.Wait()
	healing, cancel := context.WithCancel(ctx)
	defer cancel()
	healer.Go(func() { v.heal(healing) })
	k := keeper{Vault: v}
	for {
		s, err := k.signIn(ctx)
		if err != nil {
			return err
		}
		if s == nil {
			return nil
		}
		k.keep(ctx, s)
		if ctx.Err() != nil {
			v.end(ctx, s)
			return nil
		}
	}
}

// keeper is what only Run's goroutine knows.
type keeper struct {
	*Vault
	proven time.Time // when the token was last found valid
	drops  time.Time // when a token was last found dead
}

// signIn logs in, with backoff until it works. A nil session means that ctx is done.
func (k *keeper) signIn(ctx context.Context) (*session, error) {
	wait := &backoff.ExponentialBackOff{InitialInterval: time.Second, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 20 * time.Second}
	for {
		s, err := k.tryLogin(ctx)
		switch {
		case errors.Is(err, errNotKV):
			return nil, err
		case err == nil:
			k.begin(s)
			return s, nil
		case ctx.Err() != nil:
			return nil, nil
		}
		pause := wait.NextBackOff()
		k.fail(err, pause)
		if !k.pause(ctx, pause) {
			return nil, nil
		}
	}
}

func (k *keeper) tryLogin(ctx context.Context) (*session, error) {
	ctx, cancel := limit(ctx, loginLimit)
	defer cancel()
	s, err := k.method.login(k.Vault, ctx)
	if err != nil {
		return nil, k.method.explain(&k.o, err)
	}
	return s, k.ask(ctx, s)
}

// ask finds out early whether our mount is of the right kind; any other fault is told to who calls.
func (k *keeper) ask(ctx context.Context, s *session) error {
	if k.o.Bare || k.own.Load() != nil {
		return nil
	}
	var m mount
	err := k.call(ctx, opMounts, mountsPath+k.o.Mount, s.client, func(ctx context.Context, c *api.Client) (err error) {
		m, err = askMount(ctx, c, k.o.Mount)
		return err
	})
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	return k.settle(m)
}

// begin puts s in force.
func (v *Vault) begin(s *session) {
	v.mu.Lock()
	v.session, v.refused, v.dropped = s, nil, false
	expiry := s.expiry
	v.tell()
	v.mu.Unlock()
	v.metrics.setExpiry(expiry)
	v.log.Info("logged in to vault", "method", v.o.Method, "life", s.life, "renewable", s.renewable)
}

// fail keeps why a login failed. A session that is still alive stays.
func (v *Vault) fail(err error, pause time.Duration) {
	v.mu.Lock()
	v.refused, v.dropped = fault.From(err), false
	if v.session != nil && v.session.expired() {
		v.session = nil
	}
	v.tell()
	v.mu.Unlock()
	v.transport.reset()
	v.log.Warn("vault login failed", "method", v.o.Method, "err", err, "again_in", pause.Round(time.Millisecond))
}

// tell wakes those who wait for a change; mu is held.
func (v *Vault) tell() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// pause waits for d; false means that ctx is done. There is no valid session to be in doubt about.
func (v *Vault) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		case d := <-v.doubts:
			d.valid <- false
		}
	}
}

// keep looks after s until it is time to log in again or ctx is done.
func (k *keeper) keep(ctx context.Context, s *session) {
	renew, probe, watch := time.NewTimer(s.due()), time.NewTicker(probeEvery), time.NewTicker(watchEvery)
	defer renew.Stop()
	defer probe.Stop()
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			if !k.renew(ctx, s) {
				return
			}
			renew.Reset(s.due())
		case <-probe.C:
			k.probe(ctx)
		case <-watch.C:
			if s.source.moved() {
				k.log.Info("a file of the vault login has changed", "file", s.source.path)
				return
			}
		case d := <-k.doubts:
			if !k.judge(ctx, s, d) {
				return
			}
		}
	}
}

// due gives how long to wait until something must be done about s: two thirds of what it has left, a little less at
// random. For a given token that cannot be renewed it is the rest of its life.
func (s *session) due() time.Duration {
	switch {
	case s.life == 0:
		return math.MaxInt64
	case !s.ours && !s.renewable:
		return max(time.Until(s.expiry), minWait)
	}
	d := s.left * 2 / 3
	return max(d-rand.N(d/10+1), minWait)
}

// renew extends the token's life; false means that a new login is due. That is so, too, when Vault grants little
// because the maximum life is near: the token still works while its successor is got.
func (k *keeper) renew(ctx context.Context, s *session) bool {
	if !s.renewable {
		return false
	}
	ctx, cancel := limit(ctx, loginLimit)
	defer cancel()
	var out grant
	err := k.call(ctx, opRenew, "auth/token/renew-self", s.client, func(ctx context.Context, c *api.Client) error {
		return write(ctx, c, "auth/token/renew-self", struct{}{}, &out)
	})
	if err != nil {
		k.log.Warn("vault token was not renewed", "err", err)
		return s.outlasts(err)
	}
	s.left = out.ttl()
	k.mu.Lock()
	s.expiry = time.Now().Add(s.left)
	k.mu.Unlock()
	k.metrics.setExpiry(s.expiry)
	k.log.Debug("renewed the vault token", "life", s.left)
	if s.left > s.life/2 {
		s.life = max(s.life, s.left)
		return true
	}
	if s.ours {
		return false
	}
	k.log.Warn("vault token nears its maximum life; give a new one", "life", s.left)
	s.life = s.left
	return true
}

// outlasts reports whether the renewal that failed is worth another try: Vault was away, and the token lives on.
func (s *session) outlasts(err error) bool {
	final := errors.Is(err, fault.VaultDenied) || status(err) == http.StatusInternalServerError || status(err) == http.StatusBadRequest
	s.left = min(time.Until(s.expiry), retryRenew)
	return !final && s.left > 2*minWait
}

// judge answers a doubt; false means that s is dead.
func (k *keeper) judge(ctx context.Context, s *session, d doubt) bool {
	if d.about != s || time.Since(k.proven) < provenFor {
		d.valid <- d.about == s
		return true
	}
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	err := k.lookup(ctx, s)
	if err == nil {
		k.proven = time.Now()
	}
	if !errors.Is(err, fault.VaultDenied) || time.Since(k.drops) < dropGap {
		d.valid <- true // or not known: the caller's answer stands
		return true
	}
	k.log.Warn("vault refuses our token; it may be revoked")
	k.drops = time.Now()
	k.drop()
	d.valid <- false
	return false
}

// lookup asks whether Vault knows our token.
func (v *Vault) lookup(ctx context.Context, s *session) error {
	return v.call(ctx, "lookup", "auth/token/lookup-self", s.client, func(ctx context.Context, c *api.Client) error {
		return read(ctx, c, "auth/token/lookup-self", nil, nil)
	})
}

// drop ends the use of a dead session; calls wait for the login that follows.
func (v *Vault) drop() {
	v.mu.Lock()
	if v.session != nil {
		v.session.dead = true
	}
	v.session, v.refused, v.dropped = nil, nil, true
	v.mu.Unlock()
	v.metrics.setExpiry(time.Time{})
}

// end takes s out of use. If that is wanted, it revokes what was lent to us, and s if it is ours.
func (v *Vault) end(ctx context.Context, s *session) {
	v.mu.Lock()
	v.session, v.refused = nil, nil
	v.mu.Unlock()
	if v.o.RevokeOnExit {
		v.revokeAll(context.WithoutCancel(ctx), s)
	}
}
