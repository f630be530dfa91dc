package vault

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/secret"
)

// lease is what a secrets engine has lent us for a time. It never changes: a renewal makes another.
type lease struct {
	id        secret.Value // who knows it may end the lease
	session   *session     // whose token's end is the lease's end too
	renewable bool
	first     time.Duration // granted at first
	life      time.Duration // granted last,
	from      time.Time     // when that was asked for
	lent      *credential.Credential
}

// ends gives when nothing of l may be used any more: at its own end, or at its token's. One whose token was found dead
// has ended.
func (v *Vault) ends(l *lease) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	end := l.from.Add(l.life)
	switch s := l.session; {
	case s.dead:
		return l.from
	case !s.expiry.IsZero() && s.expiry.Before(end):
		return s.expiry
	}
	return end
}

// ended judges by either clock: the monotonic one stands still while a machine sleeps, the wall clock can be set back.
func (v *Vault) ended(l *lease) bool {
	end, now := v.ends(l), time.Now()
	return !now.Before(end) || now.Unix() > end.Unix()
}

// holding gives the lease that r holds, nil if there is none that may still be used.
func (v *Vault) holding(r *reference) *lease {
	l := r.lease.Load()
	if l == nil || v.ended(l) {
		return nil
	}
	return l
}

// shown gives what was lent as a record of its own.
func (v *Vault) shown(l *lease) *credential.Credential {
	c := l.lent.Clone()
	c.Until = v.ends(l)
	return c
}

// due reports whether something must be done about a lease that still serves: an upstream refused what was lent, its
// time has come, or its token has a successor and may end.
func (v *Vault) due(ctx context.Context, l *lease) bool {
	s := v.held()
	return credential.NeedOf(ctx) == credential.Refused || l.aged(time.Now()) || s != nil && s != l.session
}

// lastMoments of a lease: who is shown it then may not ask again before its end.
const lastMoments = 1500 * time.Millisecond

// aged reports whether l is to be renewed, past two thirds of its life, or replaced: past four fifths of it, in its last
// moments, and at once when a renewal brought less than half of the first life, because its maximum is near.
func (l *lease) aged(now time.Time) bool {
	age := now.Sub(l.from)
	return l.life < l.first/2 || age >= l.life*4/5 || l.renewable && age >= l.life*2/3 || l.life-age < lastMoments
}

// leases are those that have not ended, also of references that are no more: who stops revokes them.
type leases struct {
	life   sync.RWMutex // held for reading while a lease is made
	closed bool         // no more are made; guarded by life

	mu    sync.Mutex
	count int // made so far
	live  map[string]*lease
	room  int // of live, before those that have ended are sought
}

// open lets the caller make a lease until it calls done; false: no more are made.
func (l *leases) open() (done func(), ok bool) {
	l.life.RLock()
	if l.closed {
		l.life.RUnlock()
		return nil, false
	}
	return l.life.RUnlock, true
}

// number gives the next lease's.
func (l *leases) number() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	return l.count
}

// keep takes note of a lease or of its renewal.
func (l *leases) keep(made *lease, ended func(*lease) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live == nil {
		l.live = map[string]*lease{}
	}
	l.live[made.id.Reveal()] = made
	if len(l.live) <= l.room {
		return
	}
	for id, old := range l.live {
		if ended(old) {
			delete(l.live, id)
		}
	}
	l.room = 2*len(l.live) + 16
}

// drop forgets a lease that is dead.
func (l *leases) drop(dead *lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.live, dead.id.Reveal())
}

// close waits for the leases that are being made, lets no more be made and gives those that live.
func (l *leases) close(ended func(*lease) bool) []*lease {
	l.life.Lock()
	l.closed = true
	l.life.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*lease
	for _, made := range l.live {
		if !ended(made) {
			all = append(all, made)
		}
	}
	l.live = nil
	return all
}
