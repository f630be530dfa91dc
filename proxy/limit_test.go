package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func perSecond(n int) provider.Rate { return provider.Rate{Count: n, Window: time.Second} }
func perMinute(n int) provider.Rate { return provider.Rate{Count: n, Window: time.Minute} }
func perHour(n int) provider.Rate   { return provider.Rate{Count: n, Window: time.Hour} }

// atOnce counts the calls that go without waiting.
func atOnce(m *limiter) int {
	for n := range 100_000 {
		release, waited, err := m.acquire(context.Background())
		if err != nil || waited > 0 {
			return n
		}
		release()
	}
	return -1
}

func TestLimitBurst(t *testing.T) {
	for name, tt := range map[string]struct {
		rates []provider.Rate
		burst int
		want  int
	}{
		"one second's allowance":                   {[]provider.Rate{perSecond(10)}, 0, 10},
		"a tenth of a minute's":                    {[]provider.Rate{perMinute(300)}, 0, 30},
		"at least one":                             {[]provider.Rate{perMinute(3)}, 0, 1},
		"set":                                      {[]provider.Rate{perMinute(300)}, 7, 7},
		"of the shortest window":                   {[]provider.Rate{perHour(5000), perSecond(20)}, 0, 20},
		"set is of the shortest":                   {[]provider.Rate{perHour(5000), perMinute(100)}, 40, 40},
		"a longer window holds its whole":          {[]provider.Rate{perSecond(100), perMinute(60)}, 0, 60},
		"a longer window's allowance is not a cut": {[]provider.Rate{perSecond(100), perHour(5000)}, 0, 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newLimiters().get("k", provider.Limits{Rates: tt.rates, Burst: tt.burst})
				if got := atOnce(m); got != tt.want {
					t.Errorf("%d calls went at once, want %d", got, tt.want)
				}
			})
		})
	}
}

func TestLimitPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLimiters().get("k", provider.Limits{Rates: []provider.Rate{perSecond(10)}, Burst: 1, MaxWait: time.Minute})
		start := time.Now()
		for range 101 {
			release, _, err := m.acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			release()
		}
		if took := time.Since(start); took < 10*time.Second || took > 10100*time.Millisecond {
			t.Errorf("101 calls at 10/s took %v", took)
		}
	})
}

func TestLimitWindowsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLimiters().get("k", provider.Limits{Rates: []provider.Rate{perSecond(5), perMinute(20)}, MaxWait: time.Hour})
		start := time.Now()
		var at []time.Duration
		for range 30 {
			release, _, err := m.acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			release()
			at = append(at, time.Since(start))
		}
		if at[4] != 0 || at[19] != 3*time.Second {
			t.Errorf("the short window: the 5th went at %v, the 20th at %v", at[4], at[19])
		}
		if last := at[29]; last < 29*time.Second || last > 31*time.Second { // 20 and one more every 3 s
			t.Errorf("the long window: the 30th went at %v", last)
		}
	})
}

func TestLimitReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLimiters().get("k", provider.Limits{Rates: []provider.Rate{perSecond(100), perMinute(1)}, MaxWait: 10 * time.Second})
		if _, _, err := m.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 200 { // refusals take no tokens
			start := time.Now()
			_, waited, err := m.acquire(t.Context())
			f := fault.From(err)
			if f.Code != fault.RateLimited || waited != 0 || time.Since(start) != 0 {
				t.Fatalf("error %v after %v, want rate_limited at once", err, waited)
			}
			if f.RetryAfter < 59*time.Second || f.RetryAfter > time.Minute {
				t.Fatalf("Retry-After %v, want what is left of the minute", f.RetryAfter)
			}
		}
		time.Sleep(55 * time.Second)
		release, waited, err := m.acquire(t.Context())
		if err != nil || waited < 4*time.Second || waited > 6*time.Second {
			t.Fatalf("after 55 s: waited %v, %v; want the last 5 s", waited, err)
		}
		release()
	})
}

func TestLimitRetryAfterIsHonest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLimiters().get("k", provider.Limits{Rates: []provider.Rate{perMinute(6)}, Burst: 1, MaxWait: 0})
		_, _, _ = m.acquire(t.Context())
		_, _, err := m.acquire(t.Context())
		time.Sleep(fault.From(err).RetryAfter)
		if _, waited, err := m.acquire(t.Context()); err != nil || waited != 0 {
			t.Errorf("after Retry-After the call still waits %v: %v", waited, err)
		}
	})
}

func TestLimitDefaultWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLimiters().get("k", provider.Limits{Rates: []provider.Rate{perSecond(1)}, MaxWait: -1})
		var passed int
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 30 {
			wg.Go(func() {
				if release, _, err := m.acquire(t.Context()); err == nil {
					release()
					mu.Lock()
					passed++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if passed != 11 { // one at once, one more in each of ten seconds
			t.Errorf("%d calls passed, want 11: max_wait is 10 s where it is not set", passed)
		}
	})
}

func TestLimitConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLimiters().get("k", provider.Limits{Concurrency: 3, MaxWait: time.Minute})
		var running, most int
		var order []int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				release, _, err := m.acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				defer release()
				mu.Lock()
				running++
				most = max(most, running)
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				running--
				mu.Unlock()
			})
			synctest.Wait() // they come one after another
		}
		wg.Wait()
		if most != 3 {
			t.Errorf("%d calls ran at once, want 3", most)
		}
		for i, who := range order {
			if who/3 != i/3 {
				t.Fatalf("served in the order %v, want the order they came", order)
			}
		}
		if m.slots.used != 0 || m.slots.waiting.Len() != 0 {
			t.Errorf("left over: %d slots, %d waiters", m.slots.used, m.slots.waiting.Len())
		}
	})
}

func TestLimitConcurrencyTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLimiters().get("k", provider.Limits{Concurrency: 1, MaxWait: 2 * time.Second})
		release, _, err := m.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, waited, err := m.acquire(t.Context())
		if f := fault.From(err); f.Code != fault.RateLimited || waited != 2*time.Second || f.RetryAfter < time.Second {
			t.Errorf("waited %v, error %v, Retry-After %v", waited, err, f.RetryAfter)
		}
		time.Sleep(28 * time.Second)
		release()
		release, _, _ = m.acquire(t.Context())
		_, _, err = m.acquire(t.Context())
		if f := fault.From(err); f.RetryAfter < 29*time.Second || f.RetryAfter > 31*time.Second {
			t.Errorf("Retry-After %v, want about the 30 s that a call takes", f.RetryAfter)
		}
		release()
	})
}

func TestLimitGivenUp(t *testing.T) {
	for name, limits := range map[string]provider.Limits{
		"slots":  {Concurrency: 1, MaxWait: time.Hour},
		"tokens": {Rates: []provider.Rate{perHour(60)}, Burst: 1, MaxWait: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newLimiters().get("k", limits)
				release, _, err := m.acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(5*time.Second, cancel)
				_, waited, err := m.acquire(ctx)
				if !errors.Is(err, context.Canceled) || waited != 5*time.Second {
					t.Errorf("waited %v, error %v", waited, err)
				}
				release()
				time.Sleep(time.Minute)
				if _, waited, err := m.acquire(t.Context()); err != nil || waited != 0 {
					t.Errorf("the turn of a call that was given up is lost: waited %v, %v", waited, err)
				}
			})
		})
	}
}

// A slot that is passed on at the moment its waiter gives up goes to the next.
func TestLimitSlotNotLost(t *testing.T) {
	m := newLimiters().get("k", provider.Limits{Concurrency: 1, MaxWait: time.Minute})
	var wg sync.WaitGroup
	for i := range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if release, _, err := m.acquire(ctx); err == nil {
				release()
			}
		})
		if i%2 == 0 {
			cancel()
		} else {
			defer cancel()
		}
	}
	wg.Wait()
	if m.slots.used != 0 || m.slots.waiting.Len() != 0 {
		t.Errorf("left over: %d slots, %d waiters", m.slots.used, m.slots.waiting.Len())
	}
}

func TestLimitWaitersBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newLimiters().get("k", provider.Limits{Concurrency: 1, MaxWait: time.Minute})
		release, _, err := m.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range maxWaiters {
			wg.Go(func() { _, _, _ = m.acquire(ctx) })
		}
		synctest.Wait()
		if _, waited, err := m.acquire(t.Context()); fault.From(err).Code != fault.RateLimited || waited != 0 {
			t.Errorf("one more waiter than the bound: waited %v, %v", waited, err)
		}
		cancel()
		wg.Wait()
		release()
	})
}

func TestLimiters(t *testing.T) {
	all := newLimiters()
	if all.get("k", provider.Limits{MaxWait: -1}) != nil {
		t.Error("limits that limit nothing have a limiter")
	}
	var none *limiter
	release, waited, err := none.acquire(t.Context())
	if err != nil || waited != 0 {
		t.Fatalf("a nil limiter: waited %v, %v", waited, err)
	}
	release()

	lim := provider.Limits{Rates: []provider.Rate{perSecond(1)}, MaxWait: -1}
	first := all.get("k", lim)
	if all.get("k", provider.Limits{Rates: []provider.Rate{perSecond(1)}, MaxWait: -1}) != first {
		t.Error("the same limits made another limiter")
	}
	if all.get("other", lim) == first {
		t.Error("two keys share a limiter")
	}
	lim.Concurrency = 1
	if all.get("k", lim) == first {
		t.Error("other limits after a reload are not taken")
	}
	for i := range 100_000 {
		all.get(fmt.Sprint(i), lim)
	}
	if n := all.held.Len(); n != maxLimiters {
		t.Errorf("XT-01: %d limiters after 100,000 keys, want %d", n, maxLimiters)
	}
}

func BenchmarkLimitNone(b *testing.B) {
	all := newLimiters()
	b.ReportAllocs()
	for b.Loop() {
		release, _, _ := all.get("k", provider.Limits{MaxWait: -1}).acquire(b.Context())
		release()
	}
}

func BenchmarkLimitRate(b *testing.B) {
	all, lim := newLimiters(), provider.Limits{Rates: []provider.Rate{perSecond(1e9), {Count: 1e9, Window: time.Minute}}, MaxWait: -1}
	b.ReportAllocs()
	for b.Loop() {
		release, _, err := all.get("k", lim).acquire(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}

func BenchmarkLimitConcurrency(b *testing.B) {
	all, lim := newLimiters(), provider.Limits{Concurrency: 8, MaxWait: -1}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			release, _, err := all.get("k", lim).acquire(b.Context())
			if err != nil {
				b.Error(err)
				return
			}
			release()
		}
	})
}
