package proxy

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/internal/provider"
)

const (
	// paceWait is the longest wait for a turn.
	paceWait = time.Minute
	// paceAtOnce are the requests under way at a provider that sets no concurrency.
	paceAtOnce = 4
	// maxPaces bounds the providers that are remembered.
	maxPaces = 1_000
)

// Pace keeps requests that no runner asked for inside the limits of each
// provider, all credentials together: many are checked at once, and a limit may be
// an account's or an address's. It stands apart from the limits of runners.
type Pace struct {
	common func() provider.Limits // of providers that set none

	mu   sync.Mutex
	held *lru.Cache[string, *limiter]
}

// NewPace makes a Pace. common gives the limits of providers that set none; nil: none.
func NewPace(common func() provider.Limits) *Pace {
	if common == nil {
		common = func() provider.Limits { return provider.Limits{} }
	}
	held, _ := lru.New[string, *limiter](maxPaces) // it refuses only a size below one
	return &Pace{common: common, held: held}
}

// Enter waits until p may be asked once more, 60 s at most for others to end and
// for the rate together. leave ends the request; more calls of it do nothing. The
// error is a *fault.Fault: rate_limited, with ctx's cause in its chain where ctx
// ended first.
func (c *Pace) Enter(ctx context.Context, p *provider.Provider) (leave func(), err error) {
	leave, _, err = c.of(p).acquire(ctx)
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(leave), nil
}

func (c *Pace) of(p *provider.Provider) *limiter {
	lim := limitsOf(p, c.common())
	key := p.Name + " " + p.Fingerprint
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.held.Get(key); ok && m.made(lim) {
		return m
	}
	m := newPaced(lim)
	c.held.Add(key, m)
	return m
}

func newPaced(lim provider.Limits) *limiter {
	m := &limiter{limits: lim, maxWait: paceWait, slots: slots{size: paceAtOnce}}
	if lim.Concurrency > 0 {
		m.slots.size = lim.Concurrency
	}
	for _, r := range lim.Rates {
		m.buckets = append(m.buckets, evenly(r))
	}
	return m
}

// evenly is a bucket that lets no more than r through in any window, wherever it
// begins: what comes at once is taken off what comes after. A tenth comes at once;
// of a window longer than a second half, so that a few checks need not wait.
func evenly(r provider.Rate) *rate.Limiter {
	atOnce := max(r.Count/10, 1)
	if r.Window > time.Second {
		atOnce = max(r.Count/2, 1)
	}
	after := 0.99 * float64(r.Count-atOnce+1) // clocks differ
	return rate.NewLimiter(rate.Limit(after/r.Window.Seconds()), atOnce)
}
