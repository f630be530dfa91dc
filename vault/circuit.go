package vault

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/sony/gobreaker/v2"

	"github.com/sallyport/sallyport/internal/fault"
)

// When the circuit opens, and how often it is then looked at.
const (
	tripInRow  = 5                // calls in a row without an answer,
	tripLeast  = 10               // or more than half of at least so many
	tripWindow = 10 * time.Second // within this
	healGap    = time.Second      // between two questions whether Vault is back
)

var (
	errOpen = errors.New("vault: does not answer; it is asked once a second whether it is back")
	errLeft = errors.New("who asked has left")
)

// circuit keeps calls that requests wait for away from a Vault that does not answer: they fail at once. A call that
// is answered, be it by no, is a success. One path that does not answer while Vault does opens nothing.
type circuit struct {
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	doubt   chan struct{} // holds one when a call was not answered
	pacer   pacer
}

// newCircuit makes a closed one. up tells whether Vault answered when it was last asked for itself.
func newCircuit(up func() bool) *circuit {
	c := &circuit{doubt: make(chan struct{}, 1)}
	c.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Interval: tripWindow, BucketPeriod: time.Second,
		Timeout: healGap / 2, // heal alone asks then, and keeps its own gap
		ReadyToTrip: func(n gobreaker.Counts) bool {
			ended := n.TotalSuccesses + n.TotalFailures
			return !up() && (n.ConsecutiveFailures >= tripInRow || ended >= tripLeast && 2*n.TotalFailures > ended)
		},
		IsSuccessful: answered,
		IsExcluded:   func(err error) bool { return errors.Is(err, errLeft) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateClosed {
				c.pacer.begin(time.Now())
			}
		},
	})
	return c
}

func (c *circuit) closed() bool { return c.breaker.State() == gobreaker.StateClosed }

// suspect has heal find out what a call without an answer means.
func (c *circuit) suspect() {
	select {
	case c.doubt <- struct{}{}:
	default: // it will
	}
}

// answered reports whether a call that ended with err was answered by a Vault that can serve.
func answered(err error) bool {
	return !errors.Is(err, fault.VaultUnreachable) && !errors.Is(err, fault.VaultSealed)
}

// left reports whether who asked has gone before a limit of ours ended the call: that says nothing about Vault.
func left(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errSlow)
}

// verdict is what the circuit learns of a call.
func verdict(ctx context.Context, err error) error {
	if left(ctx) {
		return errLeft
	}
	return err
}

// away is the fault of a call that is not made.
func (v *Vault) away() error {
	code := fault.VaultUnreachable
	if v.Status().Sealed {
		code = fault.VaultSealed
	}
	f := fault.New(code, "", errOpen)
	f.RetryAfter = healGap
	return f
}

// through makes one call that a request waits for, unless the circuit is open. A call without an answer may be the
// fault of its path alone: what it means for Status is found out by heal.
func (v *Vault) through(ctx context.Context, op, path string, c *api.Client, fn func(context.Context, *api.Client) error) error {
	if !v.circuit.closed() {
		return v.away()
	}
	done, err := v.circuit.breaker.Allow()
	if err != nil {
		return v.away()
	}
	err = v.ask(ctx, op, path, c, fn)
	if !errors.Is(err, fault.VaultUnreachable) {
		v.note(ctx, err)
	}
	done(verdict(ctx, err))
	if !answered(err) && !left(ctx) {
		v.circuit.suspect()
	}
	return err
}

// heal asks, after a call without an answer, whether Vault itself is away, and then once a second whether it is back:
// that closes the circuit. It ends with ctx.
func (v *Vault) heal(ctx context.Context) {
	for {
		select {
		case <-v.circuit.doubt:
		case <-ctx.Done():
			return
		}
		for back := false; !back; {
			back = v.answers(ctx) && v.circuit.closed()
			select {
			case <-time.After(healGap):
			case <-ctx.Done():
				return
			}
		}
	}
}

// answers asks about our token, or, while we hold none, about Vault's health.
func (v *Vault) answers(ctx context.Context) bool {
	done, err := v.circuit.breaker.Allow()
	if err != nil {
		return false
	}
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	if s := v.held(); s != nil {
		err = v.lookup(ctx, s)
	} else {
		err = v.health(ctx)
	}
	done(verdict(ctx, err))
	return answered(err)
}

// held gives the session in force, nil if there is none.
func (v *Vault) held() *session {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.session == nil || v.session.expired() {
		return nil
	}
	return v.session
}
