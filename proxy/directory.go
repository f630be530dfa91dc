package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
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

// entry is one credential in a view.
type entry struct {
	ref    credential.Ref
	label  string // ref.String(), made once
	url    *url.URL
	hosts  []provider.Authority // owned by its url or its provider's {field} hosts
	base   *url.URL             // the provider's {field} base URL, filled; nil: the provider's own
	source *auth.Source
	used   *useOf

	ignored bool // another provider owns its url's host
}

// view is what the store held for one scope when it was last asked. Immutable.
type view struct {
	at      time.Time
	entries map[string][]*entry                       // by provider, sorted by name
	owned   map[provider.Authority]*provider.Provider // by the entries' hosts
	next    atomic.Int64                              // Unix nanoseconds: not looked for again before
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
	stale  sync.Map // scope -> struct{}: changed by us, look before the next use
	failed sync.Map // scope -> failure: the last look, if it failed
}

type failure struct {
	at  time.Time
	err error
}

func newDirectory(s *Server, st *state) *directory {
	d := &directory{st: st, store: s.o.Store, sources: s.sources, usage: &s.used, ttl: st.CacheTTL, log: s.o.Log, life: s.o.Life}
	d.views.Store(&map[scope]*view{})
	return d
}

// view gives what is known of a scope. The first request of a scope waits for
// the store, up to storeWait; later ones are served what is known.
func (d *directory) view(ctx context.Context, sc scope) (*view, error) {
	v := (*d.views.Load())[sc]
	if v == nil {
		return d.look(ctx, sc)
	}
	if _, changed := d.stale.Load(sc); changed {
		if fresh, err := d.look(ctx, sc); err == nil {
			return fresh, nil
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
	if fresh, err := d.look(ctx, sc); err == nil {
		return fresh
	}
	return v
}

// changed notes that we wrote a record of the scope.
func (d *directory) changed(sc scope) { d.stale.Store(sc, struct{}{}) }

func flightKey(sc scope) string { return sc.workspace + "/" + sc.environment }

func (d *directory) look(ctx context.Context, sc scope) (*view, error) {
	if v, _ := d.failed.Load(sc); v != nil {
		if f, ok := v.(failure); ok && time.Since(f.at) < missRelook {
			return nil, f.err
		}
	}
	done := d.flight.DoChan(flightKey(sc), func() (any, error) { return d.read(sc) })
	timer := time.NewTimer(storeWait)
	defer timer.Stop()
	select {
	case res := <-done:
		if res.Err != nil {
			return nil, res.Err
		}
		v, _ := res.Val.(*view) // read gives nothing else
		return v, nil
	case <-timer.C:
		return nil, fault.New(fault.VaultUnreachable, "the credential store did not answer in time", nil)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// read asks the store, once per scope at a time, on the daemon's life.
func (d *directory) read(sc scope) (*view, error) {
	v, err := d.ask(sc)
	if err != nil {
		d.failed.Store(sc, failure{time.Now(), err})
		return nil, err
	}
	d.failed.Delete(sc)
	v.at = time.Now()
	v.next.Store(v.at.Add(d.ttl).UnixNano())
	d.keep(sc, v)
	return v, nil
}

// ask makes one listing, and reads the records whose hosts only they tell.
func (d *directory) ask(sc scope) (*view, error) {
	ctx, cancel := context.WithTimeout(d.life, 5*storeWait)
	defer cancel()
	d.stale.Delete(sc)
	refs, err := d.store.List(ctx, credential.Ref{Workspace: sc.workspace, Environment: sc.environment})
	if err != nil {
		d.log.Warn("credential store: list failed", "workspace", sc.workspace, "environment", sc.environment, "error", err)
		return nil, storeFault(err)
	}
	v := &view{entries: map[string][]*entry{}, owned: map[provider.Authority]*provider.Provider{}}
	for _, ref := range refs {
		p := d.st.Providers.Get(ref.Provider)
		if p == nil {
			continue
		}
		e := &entry{ref: ref, label: ref.String(), source: d.sources.get(ref, p), used: d.usage.of(ref)}
		if err := d.learn(ctx, p, e); err != nil {
			return nil, err
		}
		v.entries[p.Name] = append(v.entries[p.Name], e)
	}
	d.claim(v)
	return v, nil
}

// learn reads the record of an entry whose provider's hosts depend on it.
func (d *directory) learn(ctx context.Context, p *provider.Provider, e *entry) error {
	if !urlType(p) && !p.Templated() {
		return nil
	}
	c, err := d.store.Get(ctx, e.ref)
	if errors.Is(err, fault.CredentialNotFound) {
		return nil // removed since it was listed
	}
	if err != nil && isStoreAway(err) {
		return storeFault(err)
	}
	if err != nil { // one bad record does not hide the others
		d.log.Error("credential store: record is not readable", "credential", e.label, "error", err)
		return nil
	}
	if err := e.fill(p, c); err != nil {
		d.log.Error("credential owns no host", "credential", e.label, "error", err)
	}
	return nil
}

// fill takes the hosts from a record's url, or from the provider's templates.
func (e *entry) fill(p *provider.Provider, c *credential.Credential) error {
	get := c.Text
	if raw := get("url"); raw != "" {
		u, a, err := ParseUpstream(raw)
		if err != nil {
			return err
		}
		e.url, e.hosts = u, []provider.Authority{a}
		return nil
	}
	if !p.Templated() {
		return nil
	}
	hosts, err := p.OwnedBy(get)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		a, err := provider.ParseAuthority(h, 443)
		if err != nil {
			return err
		}
		e.hosts = append(e.hosts, a)
	}
	base, err := provider.Expand(p.BaseURL, get)
	if err != nil {
		return err
	}
	e.base, err = url.Parse(base)
	return err
}

// claim gives each provider the hosts of its entries. A host that another
// provider owns already is not taken: first the configuration, then by order.
func (d *directory) claim(v *view) {
	for _, p := range d.st.Providers.All() {
		for _, e := range v.entries[p.Name] {
			for _, a := range e.hosts {
				if other := d.otherOwner(v, p, a); other != nil {
					d.log.Error("credential's url is ignored: another provider owns the host", "credential", e.label, "provider", other.Name)
					e.ignored = true
					break
				}
				v.owned[a] = p
			}
		}
	}
}

func (d *directory) otherOwner(v *view, p *provider.Provider, a provider.Authority) *provider.Provider {
	if o := v.owned[a]; o != nil && o != p {
		return o
	}
	for _, o := range d.st.Providers.Owners(a) {
		if o != p && v.active(o) {
			return o
		}
	}
	return nil
}

// active reports whether a provider's static hosts are owned in this scope.
func (v *view) active(p *provider.Provider) bool { return p.Configured || len(v.entries[p.Name]) > 0 }

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

// urlType reports whether records of the provider may have a url of their own.
func urlType(p *provider.Provider) bool {
	return slices.ContainsFunc(append([]string{p.Type}, p.Types...), func(name string) bool {
		k, _ := auth.Lookup(name)
		return slices.Contains(k.Fields(), "url")
	})
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
