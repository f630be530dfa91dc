package vault

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// How readings that can wait are spread after an outage: a thousand records are read within two minutes; where more
// wait, the gap halves every two.
const (
	paceGap   = 100 * time.Millisecond // between two readings
	paceHalf  = 2 * time.Minute
	paceLeast = time.Millisecond // a gap below this is none
	paceQueue = 10 * time.Second // who would wait longer is refused
)

var errQueue = errors.New("vault: is back, and many records wait to be read again")

// pacer spreads the readings of records that still serve: after an outage all are due at once.
type pacer struct {
	mu    sync.Mutex
	since time.Time // when Vault came back; zero: nothing is spread
	next  time.Time // the first free slot
}

func (p *pacer) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.next = now, now
}

// slot gives how long to wait; false if that were too long.
func (p *pacer) slot(now time.Time) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		return 0, true
	}
	halved := int(now.Sub(p.since) / paceHalf)
	gap := paceGap >> min(halved, 20)
	if halved > 0 && !p.next.After(now) || gap < paceLeast { // nobody waits any more
		p.since = time.Time{}
		return 0, true
	}
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	if wait > paceQueue {
		return 0, false
	}
	p.next = p.next.Add(gap)
	return wait, true
}

// pace has a reading wait for its turn if it can (credential.Aging) and Vault was away; it refuses it if Vault still is
// or too many wait. It is called before a reading's own time limit begins.
func (v *Vault) pace(ctx context.Context) error {
	if credential.NeedOf(ctx) != credential.Aging {
		return nil
	}
	if !v.circuit.closed() {
		return v.away()
	}
	wait, ok := v.circuit.pacer.slot(time.Now())
	if !ok {
		return fault.New(fault.VaultUnreachable, "", errQueue)
	}
	if wait == 0 {
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return fault.New(fault.VaultUnreachable, "", context.Cause(ctx))
	}
}
