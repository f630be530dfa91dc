package proxy

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// slots lets so many calls run at once; the others wait in the order they came.
type slots struct {
	size int // 0: no limit

	mu      sync.Mutex
	used    int
	waiting list.List     // of chan struct{}; closed when its waiter has the slot
	typical time.Duration // how long calls held a slot lately; for Retry-After
}

// enter waits for a slot, maxWait at most, and gives what frees it.
func (s *slots) enter(ctx context.Context, maxWait time.Duration) (leave func(), err error) {
	if s.size == 0 {
		return released, nil
	}
	turn, place, err := s.queue(maxWait)
	if err != nil {
		return nil, err
	}
	if turn != nil {
		if err := s.await(ctx, turn, place, maxWait); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	return func() { s.leave(time.Since(start)) }, nil
}

// queue takes a free slot (turn is nil then) or a place in the line.
func (s *slots) queue(maxWait time.Duration) (turn chan struct{}, place *list.Element, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used < s.size {
		s.used++
		return nil, nil, nil
	}
	if maxWait <= 0 || s.waiting.Len() >= maxWaiters {
		return nil, nil, limitReached(s.expected(s.waiting.Len()))
	}
	turn = make(chan struct{})
	return turn, s.waiting.PushBack(turn), nil
}

func (s *slots) await(ctx context.Context, turn chan struct{}, place *list.Element, maxWait time.Duration) error {
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	var refused *fault.Fault
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		refused = limitGivenUp(ctx)
	case <-timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-turn: // it came at the same moment: pass it on
		s.pass()
	default:
		s.waiting.Remove(place)
	}
	if refused == nil {
		refused = limitReached(s.expected(s.waiting.Len()))
	}
	return refused
}

func (s *slots) leave(held time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.typical == 0 {
		s.typical = held
	}
	s.typical += (held - s.typical) / 4
	s.pass()
}

// pass gives a slot that became free to the first in the line.
func (s *slots) pass() {
	first := s.waiting.Front()
	if first == nil {
		s.used--
		return
	}
	turn, _ := s.waiting.Remove(first).(chan struct{})
	close(turn)
}

// expected is when a call behind so many others would have its slot: by the time
// calls took lately, one second at least.
func (s *slots) expected(ahead int) time.Duration {
	return max(time.Second, s.typical*time.Duration(ahead+1)/time.Duration(s.size))
}
