package proxy

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// retry sends the request again where that is harmless: the method is
// idempotent, or the upstream surely did not act. Hosts that no provider owns
// get what they get.
func (s *Server) retry(req *http.Request, x *exchange) (*http.Response, error) {
	if x.provider == nil {
		return s.authenticated(req, x)
	}
	budget := x.st.budgets.of(x.provider)
	budget.deposit()
	for n := 1; ; n++ {
		resp, err := s.authenticated(req, x)
		if n >= x.st.Retry.Attempts || !x.harmless(req, resp, err) {
			return resp, err
		}
		pause, ok := x.st.Retry.pause(n, resp)
		if !ok || !x.body.again() || !budget.withdraw() {
			return resp, err
		}
		if resp != nil {
			discard(resp)
		}
		if err := sleep(req.Context(), pause); err != nil {
			return nil, err
		}
	}
}

// idempotent methods (RFC 9110 section 9.2.2).
var idempotent = []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}

// harmless reports whether sending again can do no harm and may help.
func (x *exchange) harmless(req *http.Request, resp *http.Response, err error) bool {
	if req.Context().Err() != nil {
		return false
	}
	safe := slices.Contains(idempotent, req.Method)
	if err != nil {
		switch fault.From(err).Code {
		case fault.ConnectionRefused, fault.DNSFailure: // nothing was sent
			return true
		case fault.ConnectionReset:
			return safe
		}
		return false
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests: // refused before it acted
		return true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return safe
	}
	return false
}

// pause before try n+1: doubled each time with half of it jitter, or what
// Retry-After says. A longer Retry-After is the runner's to obey.
func (r Retry) pause(n int, resp *http.Response) (time.Duration, bool) {
	d := min(r.Base<<(n-1), r.Max)
	d = d/2 + rand.N(d/2+1)
	if resp == nil {
		return d, true
	}
	asked, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	if !ok {
		return d, resp.Header.Get("Retry-After") == ""
	}
	return max(asked, d), asked <= r.Max
}

// retryAfter reads seconds or an HTTP date (RFC 9110 section 10.2.3).
func retryAfter(v string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < 1<<31 {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(now), 0), true
	}
	return 0, false
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// budgets bounds retries per provider to a share of its requests.
type budgets struct {
	share float64
	mu    sync.Mutex
	held  map[*provider.Provider]*budget
}

func newBudgets(share float64) *budgets {
	return &budgets{share: share, held: map[*provider.Provider]*budget{}}
}

func (b *budgets) of(p *provider.Provider) *budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h := b.held[p]; h != nil {
		return h
	}
	h := &budget{share: b.share, floor: rate.NewLimiter(1, 3)}
	b.held[p] = h
	return h
}

// budget is filled by requests and spent by retries. A few retries a second are
// always free, so that a quiet provider's are not refused.
type budget struct {
	share float64
	floor *rate.Limiter
	mu    sync.Mutex
	have  float64
}

const maxBudget = 100

func (b *budget) deposit() {
	b.mu.Lock()
	b.have = min(b.have+b.share, maxBudget)
	b.mu.Unlock()
}

func (b *budget) withdraw() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.have >= 1 {
		b.have--
		return true
	}
	return b.share > 0 && b.floor.Allow()
}
