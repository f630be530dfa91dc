package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// scope is what a caller sees of the store.
type scope struct{ workspace, environment string }

func (sc scope) has(ref credential.Ref) bool {
	return ref.Workspace == sc.workspace && ref.Environment == sc.environment
}

// directory knows which credentials exist, by scope. It asks for what a request
// needs, and no more: for the names of a scope's folders, for the names in one
// folder, for the records of those whose hosts only they tell.
type directory struct {
	st      *state
	store   credential.Store
	sources *sources
	usage   *usage
	ttl     time.Duration
	log     *slog.Logger
	life    context.Context // of the background looks: the daemon's

	mu     sync.Mutex // of writing scopes
	scopes atomic.Pointer[map[scope]*inventory]
}

// newDirectory begins with what the one before knew: the store may be away. It
// asks anew before it relies on that.
func newDirectory(s *Server, st *state, before *directory) *directory {
	d := &directory{st: st, store: s.o.Store, sources: s.sources, usage: &s.used, ttl: st.CacheTTL, log: s.o.Log, life: s.o.Life}
	scopes := map[scope]*inventory{}
	if before != nil {
		for sc, old := range *before.scopes.Load() {
			scopes[sc] = d.newInventory(sc)
			scopes[sc].inherit(old)
		}
	}
	d.scopes.Store(&scopes)
	return d
}

func (d *directory) newInventory(sc scope) *inventory {
	inv := &inventory{d: d, scope: sc}
	inv.names.ask, inv.names.life, inv.names.ttl, inv.names.limit = inv.folders, d.life, d.ttl, 5*storeWait
	inv.hosts.ask, inv.hosts.life, inv.hosts.ttl, inv.hosts.limit = inv.learn, d.life, d.ttl, 2*readLimit
	return inv
}

// of gives the inventory of a scope. There are no more than the callers have.
func (d *directory) of(sc scope) *inventory {
	if inv := (*d.scopes.Load())[sc]; inv != nil {
		return inv
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := map[scope]*inventory{}
	for k, inv := range *d.scopes.Load() {
		next[k] = inv
	}
	if next[sc] == nil {
		next[sc] = d.newInventory(sc)
	}
	d.scopes.Store(&next)
	return next[sc]
}

// changed notes that we wrote a record.
func (d *directory) changed(ref credential.Ref) {
	inv := (*d.scopes.Load())[scope{ref.Workspace, ref.Environment}]
	if inv == nil {
		return
	}
	inv.names.told.Add(1)
	if p := d.st.Providers.Get(ref.Provider); p != nil {
		inv.shelf(p).changed(ref.Name)
	}
	inv.hosts.told.Add(1) // last: it is made of the others
}

// forget drops what is held of credentials that are not there any more.
func (d *directory) forget(gone func(credential.Ref) bool) {
	d.sources.drop(gone)
	d.usage.drop(gone)
}

// entry gives what is kept of a credential that is chosen.
func (d *directory) entry(p *provider.Provider, l *listed) *entry {
	if e := l.entry.Load(); e != nil {
		return e
	}
	e := &entry{ref: l.ref, label: l.ref.String(), source: d.sources.get(l.ref, p), used: d.usage.of(l.ref)}
	if l.site != nil {
		e.site = *l.site
	}
	l.entry.Store(e) // of two that are made at once either will do: they share source and use
	return e
}

// complain logs what is wrong with a record, unless the look before told it too.
func (d *directory) complain(now, before map[credential.Ref]string, ref credential.Ref, what string) {
	if now[ref] = what; before[ref] != what {
		d.log.Error("credential owns no host", "credential", ref.String(), "error", what)
	}
}

func isStoreAway(err error) bool {
	return errors.Is(err, fault.VaultUnreachable) || errors.Is(err, fault.VaultSealed) || errors.Is(err, fault.VaultDenied) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errStoreSlow)
}

// storeFault makes a store's error one that a runner may read.
func storeFault(err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return fault.New(f.Code, "", err)
	}
	return fault.New(fault.VaultUnreachable, "the credential store cannot be read", err)
}
