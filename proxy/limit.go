package proxy

import (
	"context"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

const (
	// maxLimiters bounds the keys that are remembered; the one unused for
	// longest is forgotten, and starts with full buckets when it comes back.
	maxLimiters = 10_000
	// maxWaiters bounds the calls that wait for one key's concurrency.
	maxWaiters = 1_000
	// defaultMaxWait is the wait of limits that set none.
	defaultMaxWait = 10 * time.Second
)

// limiters keeps one limiter for each key: a credential's or a caller's.
type limiters struct {
	mu   sync.Mutex // makes get one step: two calls never make two limiters of one key
	held *lru.Cache[string, *limiter]
}

func newLimiters() *limiters {
	held, _ := lru.New[string, *limiter](maxLimiters) // it refuses only a size below one
	return &limiters{held: held}
}

// get gives the key's limiter; nil where lim limits nothing. Other limits than
// last time make a new one, with full buckets: the old one's calls end on it.
func (l *limiters) get(key string, lim provider.Limits) *limiter {
	if unlimited(lim) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m, ok := l.held.Get(key); ok && m.made(lim) {
		return m
	}
	m := newLimiter(lim)
	l.held.Add(key, m)
	return m
}

func unlimited(lim provider.Limits) bool { return len(lim.Rates) == 0 && lim.Concurrency <= 0 }

// limiter holds the buckets of one key. A nil limiter limits nothing.
type limiter struct {
	limits  provider.Limits
	maxWait time.Duration
	slots   slots

	mu      sync.Mutex // a call takes a token of every bucket or of none
	buckets []*rate.Limiter
}

func newLimiter(lim provider.Limits) *limiter {
	lim.Rates = slices.Clone(lim.Rates)
	m := &limiter{limits: lim, maxWait: lim.MaxWait, slots: slots{size: max(lim.Concurrency, 0)}}
	if m.maxWait < 0 {
		m.maxWait = defaultMaxWait
	}
	shortest := shortestWindow(lim.Rates)
	for i, r := range lim.Rates {
		every := rate.Limit(float64(r.Count) / r.Window.Seconds())
		m.buckets = append(m.buckets, rate.NewLimiter(every, burst(r, lim.Burst, i == shortest)))
	}
	return m
}

func shortestWindow(rates []provider.Rate) int {
	at := 0
	for i, r := range rates {
		if r.Window < rates[at].Window {
			at = i
		}
	}
	return at
}

// burst is the size of a window's bucket. The shortest window has the set one,
// or one second's allowance of a per-second rate, or a tenth; a longer window
// beside it holds its whole allowance.
func burst(r provider.Rate, set int, shortest bool) int {
	switch {
	case !shortest:
		return max(r.Count, 1)
	case set > 0:
		return set
	case r.Window <= time.Second:
		return max(r.Count, 1)
	}
	return max(r.Count/10, 1)
}

func (m *limiter) made(lim provider.Limits) bool {
	return m.limits.Burst == lim.Burst && m.limits.Concurrency == lim.Concurrency &&
		m.limits.MaxWait == lim.MaxWait && slices.Equal(m.limits.Rates, lim.Rates)
}

func released() {}

// acquire waits for the turn of one call, max_wait at most in all, and gives
// what ends the call, which the caller calls exactly once, and how long it
// waited. The error is a *fault.Fault: rate_limited, whose RetryAfter is the
// time until the call could go; where ctx ends first, ctx's cause is in its chain.
//
// The concurrency comes first: a token is taken when the call can go with it,
// so that a queue behind slow calls saves none up.
func (m *limiter) acquire(ctx context.Context) (release func(), waited time.Duration, err error) {
	if m == nil {
		return released, 0, nil
	}
	start := time.Now()
	release, err = m.slots.enter(ctx, m.maxWait)
	if err != nil {
		return nil, time.Since(start), err
	}
	if len(m.buckets) == 0 {
		return release, time.Since(start), nil
	}
	if err := m.takeTokens(ctx, m.maxWait-time.Since(start)); err != nil {
		release()
		return nil, time.Since(start), err
	}
	return release, time.Since(start), nil
}

// takeTokens takes one token of each bucket, now or within left.
func (m *limiter) takeTokens(ctx context.Context, left time.Duration) error {
	if ctx.Err() != nil {
		return limitGivenUp(ctx)
	}
	wait, give, err := m.reserve(max(left, 0))
	if err != nil || wait <= 0 {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		give()
		return limitGivenUp(ctx)
	}
}

// reserve takes a token of every bucket if the slowest gives it within left;
// give puts them back.
func (m *limiter) reserve(left time.Duration) (wait time.Duration, give func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var few [4]*rate.Reservation
	taken := few[:0]
	for _, b := range m.buckets {
		r := b.ReserveN(now, 1)
		taken = append(taken, r)
		wait = max(wait, r.DelayFrom(now))
	}
	if wait > left {
		cancelReservations(taken, now)
		return 0, nil, limitReached(wait)
	}
	if wait <= 0 {
		return 0, nil, nil
	}
	held := slices.Clone(taken)
	return wait, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		cancelReservations(held, time.Now())
	}, nil
}

func cancelReservations(taken []*rate.Reservation, now time.Time) {
	for _, r := range taken {
		r.CancelAt(now)
	}
}

func limitReached(wait time.Duration) *fault.Fault {
	f := fault.New(fault.RateLimited, "", nil)
	f.RetryAfter = wait
	return f
}

// limitGivenUp is the fault of a call whose context ended in the queue.
func limitGivenUp(ctx context.Context) *fault.Fault {
	return fault.New(fault.RateLimited, "the call was given up while it waited for its turn", ctx.Err())
}
