package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// paced sends n requests, some at a time, and gives when each began.
func paced(t *testing.T, c *Pace, p *provider.Provider, n, atOnce int, took time.Duration) (began []time.Time) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	todo := make(chan int, n)
	for i := range n {
		todo <- i
	}
	close(todo)
	for range atOnce {
		wg.Go(func() {
			for range todo {
				leave, err := c.Enter(t.Context(), p)
				if err != nil {
					t.Error(err)
					continue
				}
				mu.Lock()
				began = append(began, time.Now())
				mu.Unlock()
				time.Sleep(took)
				leave()
				leave()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(began, time.Time.Compare)
	return began
}

// densest gives the most that began in any window.
func densest(began []time.Time, window time.Duration) int {
	most, from := 0, 0
	for i, at := range began {
		for at.Sub(began[from]) >= window {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// A thousand credentials of one provider are checked at once: no window, wherever
// it begins, has more than the provider allows.
func TestPaceStaysInside(t *testing.T) {
	for _, c := range []struct {
		name  string
		rates []provider.Rate
		n     int
		least time.Duration // how long it takes at the allowed rate
	}{
		{"50/s", []provider.Rate{{Count: 50, Window: time.Second}}, 1000, 19 * time.Second},
		{"3/s", []provider.Rate{{Count: 3, Window: time.Second}}, 30, 9 * time.Second},
		{"1/s", []provider.Rate{{Count: 1, Window: time.Second}}, 10, 9 * time.Second},
		{"50/10s", []provider.Rate{{Count: 50, Window: 10 * time.Second}}, 300, 50 * time.Second},
		{"9/min", []provider.Rate{{Count: 9, Window: time.Minute}}, 30, 4 * time.Minute},
		{"80/s and 300/10min", []provider.Rate{{Count: 80, Window: time.Second}, {Count: 300, Window: 10 * time.Minute}}, 450, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &provider.Provider{Name: "api", Limits: provider.Limits{Rates: c.rates, MaxWait: -1, Concurrency: 100}}
				began := paced(t, NewPace(nil), p, c.n, 4, 0)
				for _, r := range c.rates {
					if most := densest(began, r.Window); most > r.Count {
						t.Errorf("%d requests in %s, allowed are %d", most, r.Window, r.Count)
					}
				}
				if took := began[len(began)-1].Sub(began[0]); took < c.least || took > 3*c.least {
					t.Errorf("%d requests took %s, want about %s", c.n, took, c.least)
				}
			})
		})
	}
}

func TestPaceAtOnce(t *testing.T) {
	for _, c := range []struct{ set, want int }{{0, paceAtOnce}, {1, 1}, {9, 9}} {
		synctest.Test(t, func(t *testing.T) {
			p := &provider.Provider{Name: "api", Limits: provider.Limits{Concurrency: c.set}}
			began := paced(t, NewPace(nil), p, 90, 30, time.Second)
			if most := densest(began, time.Second); most != c.want {
				t.Errorf("concurrency %d: %d at once, want %d", c.set, most, c.want)
			}
		})
	}
}

// Nobody waits without limits, providers do not wait for each other, and those
// that set none have the common ones.
func TestPaceApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		common := provider.Limits{}
		c := NewPace(func() provider.Limits { return common })
		start := time.Now()
		for i := range 100 {
			slow := &provider.Provider{Name: fmt.Sprint("p", i), Limits: provider.Limits{Rates: []provider.Rate{{Count: 1, Window: time.Hour}}}}
			paced(t, c, slow, 1, 1, 0)
		}
		free := &provider.Provider{Name: "free"}
		paced(t, c, free, 1000, 4, 0)
		if took := time.Since(start); took != 0 {
			t.Errorf("took %s", took)
		}
		common.Rates = []provider.Rate{{Count: 1, Window: time.Second}}
		paced(t, c, free, 3, 1, 0)
		if took := time.Since(start); took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("three requests at the common 1/s took %s, want 2s", took)
		}
	})
}

// Whoever would wait for longer than a minute is told so at once, and a wait ends
// with its context.
func TestPaceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider.Provider{Name: "api", Limits: provider.Limits{Rates: []provider.Rate{{Count: 1, Window: 50 * time.Second}}, Concurrency: 10}}
		c := NewPace(nil)
		if _, err := c.Enter(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := c.Enter(ctx, p); !errors.Is(err, fault.RateLimited) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v; want rate_limited by the deadline after 1s", time.Since(start), err)
		}
		if leave, err := c.Enter(t.Context(), p); err != nil || time.Since(start) > 51*time.Second {
			t.Errorf("after %s: %v; a wait that was given up takes no turn", time.Since(start), err)
		} else {
			leave()
		}
		go func() { _, _ = c.Enter(t.Context(), p) }()
		synctest.Wait()
		now := time.Now()
		if _, err := c.Enter(t.Context(), p); !errors.Is(err, fault.RateLimited) || fault.From(err).RetryAfter < time.Minute || time.Since(now) != 0 {
			t.Errorf("after %s: %v; want rate_limited at once", time.Since(now), err)
		}
		time.Sleep(time.Minute)
	})
}
