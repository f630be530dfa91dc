package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/fault"
)

// doubt asks Run whether a session whose token Vault has just refused is dead.
type doubt struct {
	about *session
	valid chan bool // gets one answer; false: another session will take its place
}

func limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, errSlow)
}

// do makes one call with our token, within callLimit. If Vault denies it because the token has died,
// do waits for Run to log in again and tries once more; a path that our policy does not allow is vault_denied. While
// Vault does not answer it fails at once.
func (v *Vault) do(ctx context.Context, op, path string, fn func(context.Context, *api.Client) error) error {
	return v.within(ctx, op, path, func(ctx context.Context, s *session) error { return fn(ctx, s.client) })
}

// within is do for who must know whose token the call is made with.
func (v *Vault) within(ctx context.Context, op, path string, fn func(context.Context, *session) error) error {
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	if !v.circuit.closed() {
		return v.away()
	}
	try := func(s *session) error {
		return v.through(ctx, op, path, s.client, func(ctx context.Context, _ *api.Client) error { return fn(ctx, s) })
	}
	s, err := v.current(ctx)
	if err != nil {
		return err
	}
	denied := try(s)
	if !errors.Is(denied, fault.VaultDenied) || v.holds(ctx, s) {
		return denied
	}
	if s, err = v.await(ctx, s); err != nil {
		return err
	}
	return try(s)
}

// holds asks Run whether s is still in force; if Run does not answer in time, it is.
func (v *Vault) holds(ctx context.Context, s *session) bool {
	d := doubt{s, make(chan bool, 1)}
	select {
	case v.doubts <- d:
	case <-ctx.Done():
		return true
	}
	select {
	case valid := <-d.valid:
		return valid
	case <-ctx.Done():
		return true
	}
}

// call makes one call of our own and takes note of how it ended. No circuit is in its way.
func (v *Vault) call(ctx context.Context, op, path string, c *api.Client, fn func(context.Context, *api.Client) error) error {
	err := v.ask(ctx, op, path, c, fn)
	if op != opRenew || status(err) != http.StatusInternalServerError { // how a token past its maximum life is refused
		v.note(ctx, err)
	}
	return err
}

// ask makes one call and counts it.
func (v *Vault) ask(ctx context.Context, op, path string, c *api.Client, fn func(context.Context, *api.Client) error) error {
	err := v.classify(ctx, op, path, fn(ctx, c))
	v.metrics.request(op, err)
	return err
}

// classify makes a fault of a call's error by its status; texts differ between versions.
func (v *Vault) classify(ctx context.Context, op, path string, err error) error {
	if err == nil {
		return nil
	}
	detail := ""
	code, st := fault.VaultUnreachable, status(err) // no answer, 5xx, standby (472, 473), throttled (429), behind (412)
	switch {
	case st == http.StatusForbidden:
		code = fault.VaultDenied
		if op != opLogin {
			detail = v.method.deny
		}
	case st == http.StatusServiceUnavailable && v.sealed(ctx):
		code = fault.VaultSealed
	case loginRefused(op, st):
		if !v.follows(ctx) {
			code = fault.VaultDenied
		}
	case st == http.StatusNotFound:
		code = fault.CredentialNotFound
	case st == http.StatusBadRequest || st == http.StatusMethodNotAllowed || st == http.StatusRequestEntityTooLarge:
		code = fault.Internal
	}
	return fault.New(code, detail, fmt.Errorf("vault: %s %s: %w", op, path, err))
}

// loginRefused reports whether a status means that what was presented is wrong.
func loginRefused(op string, status int) bool {
	return (op == opLogin || op == opUnwrap) &&
		(status == http.StatusBadRequest || status == http.StatusUnauthorized || status == http.StatusNotFound)
}

// follows asks whether this Vault only follows another for disaster recovery: it answers 400 to everything.
func (v *Vault) follows(ctx context.Context) bool {
	h, err := v.client.WithNamespace("").Sys().HealthWithContext(ctx)
	return err == nil && h.ReplicationDRMode == "secondary"
}

// sealed asks whether a status 503 means that.
func (v *Vault) sealed(ctx context.Context) bool {
	h, err := v.client.WithNamespace("").Sys().HealthWithContext(ctx)
	return err == nil && h.Sealed
}

// probe asks for Vault's health if nothing else was answered of late, so that Status and the metric stay true.
func (v *Vault) probe(ctx context.Context) {
	if time.Since(v.Status().LastSuccess) < probeEvery {
		return
	}
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	_ = v.health(ctx)
}

func (v *Vault) health(ctx context.Context) error {
	return v.call(ctx, "health", "sys/health", v.client.WithNamespace(""), func(ctx context.Context, c *api.Client) error {
		h, err := c.Sys().HealthWithContext(ctx)
		if err != nil {
			return withoutURL(err)
		}
		if h.Sealed {
			return &statusError{http.StatusServiceUnavailable}
		}
		return nil
	})
}

// note keeps Status and the metric, and logs when Vault goes and comes.
func (v *Vault) note(ctx context.Context, err error) {
	if left(ctx) {
		return
	}
	sealed, up := errors.Is(err, fault.VaultSealed), answered(err)
	v.mu.Lock()
	was, heard := v.state, v.state.Up || v.state.Sealed || !v.state.LastSuccess.IsZero()
	v.state.Up, v.state.Sealed = up, sealed
	if up && !errors.Is(err, fault.VaultDenied) {
		v.state.LastSuccess = time.Now()
	}
	v.mu.Unlock()
	v.metrics.setUp(up)
	switch {
	case !up && (was.Up || sealed && !was.Sealed):
		v.log.Warn("vault is away", "err", err)
	case up && !was.Up && heard:
		v.log.Info("vault is back")
	}
}

// current gives the session to call with. It waits only while a dead or expired one is being replaced.
func (v *Vault) current(ctx context.Context) (*session, error) {
	v.mu.Lock()
	s, refused, dropped := v.session, v.refused, v.dropped
	if s != nil && s.expired() {
		s, dropped = nil, true
	}
	v.mu.Unlock()
	switch {
	case s != nil:
		return s, nil
	case refused != nil:
		return nil, refused
	case dropped:
		return v.await(ctx, nil)
	}
	return nil, fault.New(fault.VaultUnreachable, "", errors.New("vault: not logged in yet"))
}

// await waits for a session other than old, or for a login that fails.
func (v *Vault) await(ctx context.Context, old *session) (*session, error) {
	for {
		v.mu.Lock()
		s, refused, changed := v.session, v.refused, v.changed
		held := s != nil && s != old && !s.expired()
		v.mu.Unlock()
		if held {
			return s, nil
		}
		if refused != nil {
			return nil, refused
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fault.New(fault.VaultUnreachable, "", fmt.Errorf("vault: waiting for a login: %w", context.Cause(ctx)))
		}
	}
}
