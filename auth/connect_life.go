package auth

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// admit makes room for a connect and begins its life.
func (cs *Connects) admit(c *connect) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	open := 0
	var oldest *connect
	ended := 0
	for id, other := range cs.all {
		switch {
		case other.ended.IsZero():
			open++
		case time.Since(other.ended) > endedLife:
			delete(cs.all, id)
		default:
			if ended++; oldest == nil || other.ended.Before(oldest.ended) {
				oldest = other
			}
		}
	}
	if open >= maxOpen {
		return fault.New(fault.Overloaded, "too many connects are open; finish some, or wait ten minutes", nil)
	}
	if ended >= maxEnded {
		delete(cs.all, oldest.id)
	}
	c.life, c.stop = context.WithCancel(cs.o.Life)
	cs.all[c.id] = c
	cs.expire(c, connectLife)
	return nil
}

// expire ends c after d, unless its grant is on its way then.
func (cs *Connects) expire(c *connect, d time.Duration) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.expires = time.Now().Add(d)
	c.timer = time.AfterFunc(d, func() {
		if cs.claim(c) {
			cs.end(c, fault.New(fault.AuthorizationIncomplete, "nobody finished it within "+d.String()+c.hint(), nil))
		}
	})
}

// hint is what most often keeps a person from coming back.
func (c *connect) hint() string {
	if c.Flow != FlowCode {
		return ""
	}
	return "; if the provider's page refused the redirect URI, register " + c.redirect + " there"
}

// Get tells how far a connect is. One that never was, or is forgotten, is not_found.
func (cs *Connects) Get(id string) (Connect, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.all[id]
	if c == nil || !c.ended.IsZero() && time.Since(c.ended) > endedLife {
		return Connect{}, fault.New(fault.NotFound, "there is no connect of that id; they are forgotten after an hour, and when the daemon ends", nil)
	}
	return c.view(), nil
}

// view is read under the lock.
func (c *connect) view() Connect {
	v := Connect{ID: c.id, Ref: c.Ref, Test: c.Test, State: ConnectPending, Fault: c.fault, Warnings: c.warnings, Steps: c.log.taken(), Expires: c.expires}
	if !c.ended.IsZero() {
		v.State = ConnectDone
		if c.fault != nil {
			v.State = ConnectFailed
		}
	}
	return v
}

// Cancel ends a connect that is pending. A grant that is on its way already is
// not stopped.
func (cs *Connects) Cancel(id string) error {
	if _, err := cs.Get(id); err != nil {
		return err
	}
	cs.mu.Lock()
	c := cs.all[id]
	cs.mu.Unlock()
	if c != nil && cs.claim(c) {
		cs.end(c, fault.New(fault.AuthorizationIncomplete, "it was cancelled", nil))
	}
	return nil
}

// claim gives the connect to one of those who would end it: its redirect, its
// device code's token, a timer, a person.
func (cs *Connects) claim(c *connect) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.taken {
		return false
	}
	c.taken = true
	return true
}

// Drain waits until no code is being exchanged and no grant is on its way into
// the store, or until ctx ends.
func (cs *Connects) Drain(ctx context.Context) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for cs.busy() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return errors.New("a grant is not in the store yet, and is lost: a person must consent again")
		}
	}
	return nil
}

func (cs *Connects) busy() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.all {
		if c.taken && c.ended.IsZero() {
			return true
		}
	}
	return false
}

// end gives a connect its outcome; only the first one counts.
func (cs *Connects) end(c *connect, err error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !c.ended.IsZero() {
		return
	}
	outcome := "ok"
	if err != nil {
		f := about(Material{Credential: c.record, Provider: c.Provider}, err)
		f.Detail = c.log.redact(f.Detail)
		c.fault, outcome = f, string(f.Code)
	}
	c.ended, c.taken = time.Now(), true
	c.timer.Stop()
	c.stop()
	close(c.done)
	cs.o.Log.Info("connect ended", "id", c.id, "credential", c.Ref.String(), "outcome", outcome)
}
