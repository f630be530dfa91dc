package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// How long a request waits for the store, how soon after a look a miss may look
// again, and how soon after a failed look the next is tried.
const (
	storeWait  = 2 * time.Second
	missRelook = time.Second
	lookPause  = 5 * time.Second
)

// scope is what a caller sees of the store.
type scope struct{ workspace, environment string }

func (sc scope) has(ref credential.Ref) bool {
	return ref.Workspace == sc.workspace && ref.Environment == sc.environment
}

// directory knows which credentials exist, by scope. It keeps the last known
// view while the store is away and asks anew, in the background, after ttl.
type directory struct {
	st      *state
	store   credential.Store
	sources *sources
	usage   *usage
	ttl     time.Duration
	log     *slog.Logger
	life    context.Context // of the background looks: the daemon's

	flight singleflight.Group
	mu     sync.Mutex
	views  atomic.Pointer[map[scope]*view]
	told   sync.Map // scope -> *atomic.Uint64: our own writes; a view that knows of fewer is looked for anew before its next use
	failed sync.Map // scope -> failure: the last look, if it failed
}

type failure struct {
	at  time.Time
	err error
}

// newDirectory begins with what the one before knew: the store may be away. It
// asks anew before it relies on that.
func newDirectory(s *Server, st *state, before *directory) *directory {
	d := &directory{st: st, store: s.o.Store, sources: s.sources, usage: &s.used, ttl: st.CacheTTL, log: s.o.Log, life: s.o.Life}
	views := map[scope]*view{}
	if before != nil {
		for sc, v := range *before.views.Load() {
			views[sc] = d.inherit(v)
			d.changed(sc)
		}
	}
	d.views.Store(&views)
	return d
}

// inherit gives what a view of another configuration says under this one.
func (d *directory) inherit(old *view) *view {
	v := newView()
	v.at = old.at
	for _, p := range d.st.Providers.All() {
		for _, e := range old.entries[p.Name] {
			if e.provider.Fingerprint == p.Fingerprint {
				v.entries[p.Name] = append(v.entries[p.Name], &entry{
					provider: p, ref: e.ref, label: e.label, url: e.url, hosts: e.hosts, base: e.base, typed: e.typed,
					source: d.sources.get(e.ref, p), used: e.used,
				})
			}
		}
	}
	d.claim(v, old)
	return v
}

// view gives what is known of a scope. The first request of a scope, and the
// first behind a write of ours, waits for the store, up to storeWait; the others
// are served what is known.
func (d *directory) view(ctx context.Context, sc scope) (*view, error) {
	v, told := (*d.views.Load())[sc], d.writes(sc).Load()
	if v == nil || v.heard < told {
		fresh, err := d.look(ctx, sc, told)
		if v == nil || err == nil {
			return fresh, err
		}
	}
	if now, next := time.Now(), v.next.Load(); now.UnixNano() > next && v.next.CompareAndSwap(next, now.Add(lookPause).UnixNano()) {
		d.flight.DoChan(flightKey(sc), func() (any, error) { return d.read(sc) })
	}
	return v, nil
}

// relook asks the store again because v did not have what was wanted, at most
// once in missRelook. It gives v where the store does not answer.
func (d *directory) relook(ctx context.Context, sc scope, v *view) *view {
	if time.Since(v.at) < missRelook {
		return v
	}
	if fresh, err := d.look(ctx, sc, v.heard); err == nil {
		return fresh
	}
	return v
}

// changed notes that we wrote a record of the scope.
func (d *directory) changed(sc scope) { d.writes(sc).Add(1) }

func (d *directory) writes(sc scope) *atomic.Uint64 {
	n, ok := d.told.Load(sc)
	if !ok {
		n, _ = d.told.LoadOrStore(sc, new(atomic.Uint64))
	}
	count, _ := n.(*atomic.Uint64) // it holds nothing else
	return count
}

func flightKey(sc scope) string { return sc.workspace + "/" + sc.environment }

// look asks the store, or joins in asking, until the answer knows of what was
// told. A look that failed is not repeated for a while.
func (d *directory) look(ctx context.Context, sc scope, told uint64) (*view, error) {
	if v, _ := d.failed.Load(sc); v != nil {
		if f, ok := v.(failure); ok && time.Since(f.at) < missRelook {
			return nil, f.err
		}
	}
	timer := time.NewTimer(storeWait)
	defer timer.Stop()
	for {
		select {
		case res := <-d.flight.DoChan(flightKey(sc), func() (any, error) { return d.read(sc) }):
			if res.Err != nil {
				return nil, res.Err
			}
			if v, _ := res.Val.(*view); v.heard >= told { // read gives nothing else
				return v, nil
			}
		case <-timer.C:
			err := fault.New(fault.VaultUnreachable, "the credential store did not answer in time", nil)
			d.failed.Store(sc, failure{time.Now(), err})
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// read asks the store, once per scope at a time, on the daemon's life.
func (d *directory) read(sc scope) (*view, error) {
	told := d.writes(sc).Load() // before it is asked
	v, err := d.ask(sc)
	if err != nil {
		d.failed.Store(sc, failure{time.Now(), err})
		return nil, err
	}
	d.failed.Delete(sc)
	v.heard, v.at = told, time.Now()
	v.next.Store(v.at.Add(d.ttl).UnixNano())
	d.keep(sc, v)
	return v, nil
}

// ask makes one listing, and reads the records whose hosts only they tell.
func (d *directory) ask(sc scope) (*view, error) {
	ctx, cancel := context.WithTimeout(d.life, 5*storeWait)
	defer cancel()
	refs, err := d.store.List(ctx, credential.Ref{Workspace: sc.workspace, Environment: sc.environment})
	if err != nil {
		d.log.Warn("credential store: list failed", "workspace", sc.workspace, "environment", sc.environment, "error", err)
		return nil, storeFault(err)
	}
	v, before := newView(), (*d.views.Load())[sc]
	for _, ref := range refs {
		p := d.st.Providers.Get(ref.Provider)
		if p == nil {
			continue
		}
		e := &entry{provider: p, ref: ref, label: ref.String(), source: d.sources.get(ref, p), used: d.usage.of(ref)}
		if err := d.learn(ctx, v, before, e); err != nil {
			return nil, err
		}
		v.entries[p.Name] = append(v.entries[p.Name], e)
	}
	d.claim(v, before)
	d.forget(sc, refs)
	return v, nil
}

// forget drops what is held of credentials that are not listed any more.
func (d *directory) forget(sc scope, refs []credential.Ref) {
	listed := make(map[credential.Ref]bool, len(refs))
	for _, ref := range refs {
		listed[ref] = true
	}
	d.sources.only(sc, listed)
	d.usage.only(sc, listed)
}

func (d *directory) keep(sc scope, v *view) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := map[scope]*view{sc: v}
	for k, old := range *d.views.Load() {
		if k != sc {
			next[k] = old
		}
	}
	d.views.Store(&next)
}

func isStoreAway(err error) bool {
	return errors.Is(err, fault.VaultUnreachable) || errors.Is(err, fault.VaultSealed) || errors.Is(err, fault.VaultDenied) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// storeFault makes a store's error one that a runner may read.
func storeFault(err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return fault.New(f.Code, "", err)
	}
	return fault.New(fault.VaultUnreachable, "the credential store cannot be read", err)
}
