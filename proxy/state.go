package proxy

import (
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// Config is what the configuration says about the proxy. A reload makes a new
// one; requests in flight finish on the one they began with.
type Config struct {
	Callers      []Caller
	Anonymous    string // caller of every connection that asks for no token; empty: Proxy-Authorization is required
	Providers    *provider.Table
	Upstream     *Upstream
	Deny         bool     // unmatched hosts are refused
	TunnelPorts  []int    // of unmatched CONNECT; empty: any
	Hosts        []string // further Host names of gateway paths
	ReplayLimit  int64    // bytes of a request body kept for a second try
	Retry        Retry
	Limits       provider.Limits // of each credential whose provider sets none
	CacheTTL     time.Duration   // how long a look at the store counts
	MaxStale     time.Duration   // how long it is served on while the store is away; 0: for ever
	DrainTimeout time.Duration
}

// Retry says how tries that surely or harmlessly did not act are repeated.
type Retry struct {
	Attempts int           // sendings in all; 1: none is repeated
	Base     time.Duration // first pause; doubled each time
	Max      time.Duration // longest pause; a longer Retry-After is passed on
	Budget   float64       // retries per request, on average
}

// state is a Config with what is looked up in it on every request. Immutable.
type state struct {
	Config
	callers map[string]*Caller
	tokens  map[[32]byte][]*Caller // several with one token must tell their names
	dir     *directory
	budgets *budgets
	limits  map[*provider.Provider]provider.Limits // of a credential, by its provider
}

func newState(c Config) *state {
	st := &state{Config: c, callers: map[string]*Caller{}, tokens: map[[32]byte][]*Caller{}, budgets: newBudgets(c.Retry.Budget), limits: map[*provider.Provider]provider.Limits{}}
	for i := range c.Callers {
		caller := &c.Callers[i]
		st.callers[caller.Name] = caller
		st.tokens[caller.TokenSHA256] = append(st.tokens[caller.TokenSHA256], caller)
	}
	for _, p := range c.Providers.All() {
		st.limits[p] = limitsOf(p, c.Limits)
	}
	return st
}

// limitsOf gives the provider's own limits, and the configuration's where it
// sets none.
func limitsOf(p *provider.Provider, common provider.Limits) provider.Limits {
	l := p.Limits
	if len(l.Rates) == 0 {
		l.Rates = common.Rates
	}
	if l.Burst == 0 {
		l.Burst = common.Burst
	}
	if l.Concurrency == 0 {
		l.Concurrency = common.Concurrency
	}
	if l.MaxWait < 0 {
		l.MaxWait = common.MaxWait
	}
	return l
}

// Swap takes a new configuration for the requests that begin from now on.
func (s *Server) Swap(c Config) {
	s.swap.Lock()
	defer s.swap.Unlock()
	st := newState(c)
	var before *directory
	if old := s.st.Load(); old != nil {
		before = old.dir
	}
	s.sources.reload(st)
	st.dir = newDirectory(s, st, before)
	s.st.Store(st)
}

// Changed notes that a record was written or removed: it is read anew before
// its next use.
func (s *Server) Changed(ref credential.Ref) {
	s.used.unreject(ref)
	if src := s.sources.find(ref); src != nil {
		src.Changed()
	}
	if st := s.st.Load(); st != nil {
		st.dir.changed(ref)
	}
}
