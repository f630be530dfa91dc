package proxy

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// sources keeps one auth.Source per credential for as long as its provider's
// entry stays the same, over reloads too.
type sources struct {
	life    context.Context // of refreshes: the daemon's, not a request's
	store   credential.Store
	keeper  *auth.Keeper // nil: tokens are not kept
	log     *slog.Logger
	metrics *auth.Metrics

	mu   sync.Mutex
	st   *state
	held map[sourceKey]*auth.Source
}

type sourceKey struct {
	ref         credential.Ref
	fingerprint string
}

// get gives the source of a credential, made where there is none yet.
func (s *sources) get(ref credential.Ref, p *provider.Provider) *auth.Source {
	key := sourceKey{ref, p.Fingerprint}
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.held[key]; src != nil {
		return src
	}
	src := auth.NewSource(auth.SourceOptions{
		Ref: ref, Provider: p, Store: s.store, Keeper: s.keeper, Client: s.st.Upstream.Client(p), Life: s.life,
		TTL: s.st.CacheTTL, MaxStale: s.st.MaxStale, Log: s.log, Metrics: s.metrics,
	})
	s.held[key] = src
	return src
}

// find gives the held source of a credential under the current configuration.
func (s *sources) find(ref credential.Ref) *auth.Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.st.Providers.Get(ref.Provider)
	if p == nil {
		return nil
	}
	return s.held[sourceKey{ref, p.Fingerprint}]
}

// reload drops the sources whose provider's entry is gone or changed.
func (s *sources) reload(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sameRoad := s.st != nil && s.st.Upstream == st.Upstream
	s.st = st
	for key := range s.held {
		p := st.Providers.Get(key.ref.Provider)
		if p == nil || p.Fingerprint != key.fingerprint || !sameRoad {
			delete(s.held, key)
		}
	}
}

// drop drops the sources of credentials that are gone.
func (s *sources) drop(gone func(credential.Ref) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.held, func(k sourceKey, _ *auth.Source) bool { return gone(k.ref) })
}

// forget drops the source of a credential that was deleted.
func (s *sources) forget(ref credential.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.held {
		if key.ref == ref {
			delete(s.held, key)
		}
	}
}

// tickEvery is how often tokens in use are looked at.
const tickEvery = time.Second

// run renews the tokens of credentials in use before a request needs that.
func (s *sources) run(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			for _, src := range s.all() {
				src.Tick(now)
			}
		}
	}
}

func (s *sources) all() []*auth.Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.held))
}
