package auth

import (
	"context"
	"slices"
	"sync"
	"time"
)

// askEvery is the time between the beginnings of two exchanges.
const askEvery = time.Second / 50

// pace spreads exchanges: when many tokens end in the same minute, their
// endpoints are asked one after the other, those that somebody waits for first.
type pace struct {
	mu      sync.Mutex
	busy    bool            // askEvery has not passed since the last place was given
	waiting []chan struct{} // closed in order
	leisure []chan struct{} // the same, for whom nobody waits
}

// wait for the next place. leisure is done when somebody waits for what it is
// for; nil: somebody does. waited tells whether it took any time.
func (p *pace) wait(ctx, leisure context.Context) (waited bool, err error) {
	mine := make(chan struct{})
	if p.enter(mine, leisure != nil && leisure.Err() == nil) {
		return false, nil
	}
	var hurry <-chan struct{}
	if leisure != nil {
		hurry = leisure.Done()
	}
	for {
		select {
		case <-mine:
			return true, nil
		case <-hurry:
			p.hasten(mine)
			hurry = nil
		case <-ctx.Done():
			p.leave(mine)
			return true, ctx.Err()
		}
	}
}

// enter takes a place at once, or a place in the queue.
func (p *pace) enter(mine chan struct{}, leisurely bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.busy:
		p.busy = true
		time.AfterFunc(askEvery, p.step)
		return true
	case leisurely:
		p.leisure = append(p.leisure, mine)
	default:
		p.waiting = append(p.waiting, mine)
	}
	return false
}

// step gives the next place.
func (p *pace) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	queue := &p.waiting
	if len(*queue) == 0 {
		queue = &p.leisure
	}
	if p.busy = len(*queue) > 0; !p.busy {
		return
	}
	close((*queue)[0])
	*queue = slices.Delete(*queue, 0, 1)
	time.AfterFunc(askEvery, p.step)
}

func (p *pace) hasten(mine chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.leisure, mine); i >= 0 {
		p.leisure = slices.Delete(p.leisure, i, i+1)
		p.waiting = append(p.waiting, mine)
	}
}

func (p *pace) leave(mine chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := func(c chan struct{}) bool { return c == mine }
	p.waiting, p.leisure = slices.DeleteFunc(p.waiting, gone), slices.DeleteFunc(p.leisure, gone)
}
