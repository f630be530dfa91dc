package auth

import (
	"context"
	"sync"
	"time"
)

// askEvery is the time between the beginnings of two exchanges.
const askEvery = time.Second / 50

// pace spreads exchanges: when many tokens end in the same minute, their
// endpoints are asked one after the other.
type pace struct {
	mu   sync.Mutex
	next time.Time
}

// wait for the next place.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	at := later(now, p.next)
	p.next = at.Add(askEvery)
	p.mu.Unlock()
	if !at.After(now) {
		return nil
	}
	t := time.NewTimer(at.Sub(now))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
