package proxy

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Reading of many records: how many at the same time, and how long in all.
const (
	readsAtOnce = 8
	readLimit   = time.Minute
)

// shelf is what is known of one WORKSPACE/ENVIRONMENT/PROVIDER folder.
type shelf struct {
	known[*folder]
	d      *directory
	p      *provider.Provider
	folder credential.Ref
	owns   bool // its records may own hosts: they are all read

	mu    sync.Mutex
	stale map[string]uint64 // names of records of ours that were written, and what told was then
}

// folder is what the store held in a folder when it was last asked. Immutable,
// but for what the listed learn of themselves.
type folder struct {
	*set
	read   time.Time                 // when the records were last all read; zero: they are not
	denied error                     // why a record could not be read; nil: all could
	faults map[credential.Ref]string // of records: logged once
}

// listed is one credential of a folder.
type listed struct {
	ref   credential.Ref
	site  *site // nil: its record, if it was read, says nothing of hosts
	life  atomic.Int32
	entry atomic.Pointer[entry] // made when it is first chosen
}

// What is known of a listed record: Vault lists those too that others deleted
// without their metadata.
const (
	unread int32 = iota
	alive
	gone
)

// entry is one credential that was chosen.
type entry struct {
	ref   credential.Ref
	label string // ref.String(), made once
	site
	source *auth.Source
	used   *useOf
}

func (d *directory) newShelf(sc scope, p *provider.Provider) *shelf {
	sh := &shelf{
		d: d, p: p, folder: credential.Ref{Workspace: sc.workspace, Environment: sc.environment, Provider: p.Name},
		owns: urlType(p) || p.Templated(), stale: map[string]uint64{},
	}
	sh.ask, sh.life, sh.ttl, sh.limit = sh.list, d.life, d.ttl, 5*storeWait
	if sh.owns {
		sh.limit = readLimit
	}
	return sh
}

// copy gives what is known under another configuration: nothing that was made
// by this one.
func (f *folder) copy() *folder {
	next := &folder{set: &set{list: make([]*listed, len(f.list))}, read: f.read, denied: f.denied, faults: f.faults}
	for i, was := range f.list {
		next.list[i] = &listed{ref: was.ref, site: was.site}
		next.list[i].life.Store(was.life.Load())
	}
	return next
}

// changed notes that we wrote a record of that name.
func (sh *shelf) changed(name string) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f, ok := sh.last(); ok {
		if l := f.named(name); l != nil {
			l.entry.Store(nil) // it may be another one by now
		}
	}
	if sh.owns {
		sh.stale[name] = sh.told.Load() + 1
	}
	sh.told.Add(1)
}

// list makes one listing, and reads the records whose hosts only they tell.
func (sh *shelf) list(ctx context.Context, last *folder) (*folder, error) {
	refs, err := sh.d.store.List(ctx, sh.folder)
	if err != nil {
		sh.d.log.Warn("credential store: list failed", "workspace", sh.folder.Workspace, "environment", sh.folder.Environment,
			"provider", sh.folder.Provider, "error", err)
		return nil, storeFault(err)
	}
	f := &folder{set: &set{list: relisted(last, refs)}, faults: map[credential.Ref]string{}}
	if sh.owns {
		err = sh.learn(ctx, f, last)
	} else {
		err = sh.d.review(ctx, f.list)
	}
	if err != nil {
		return nil, err
	}
	sh.d.forget(func(ref credential.Ref) bool { return ref.In(sh.folder) && f.named(ref.Name) == nil })
	return f, nil
}

// reading is what a record told of its credential.
type reading struct {
	*listed
	denied error  // why it could not be read; nil: it could, or what it said before still counts
	fault  string // what is wrong with it
}

// learn reads the records: those that are new or that we wrote, and all of them
// after ttl.
func (sh *shelf) learn(ctx context.Context, f, last *folder) error {
	sh.mu.Lock()
	written := maps.Clone(sh.stale)
	sh.mu.Unlock()
	var before map[credential.Ref]string
	partly := false
	if f.read = time.Now(); last != nil {
		if before = last.faults; f.read.Sub(last.read) < sh.ttl {
			f.read, partly = last.read, true
		}
	}
	found := make([]reading, len(f.list))
	err := each(ctx, len(found), func(ctx context.Context, i int) (err error) {
		l := f.list[i]
		if _, ours := written[l.ref.Name]; partly && !ours && l.life.Load() != unread {
			found[i] = reading{listed: l, fault: before[l.ref]}
			return nil
		}
		found[i], err = sh.d.read(ctx, sh.p, l)
		return err
	})
	if err != nil {
		return err
	}
	for i, r := range found {
		if f.list[i] = r.listed; f.denied == nil {
			f.denied = r.denied
		}
		if r.fault != "" {
			sh.d.complain(f.faults, before, r.ref, r.fault)
		}
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	maps.DeleteFunc(sh.stale, func(name string, at uint64) bool { return written[name] == at })
	return nil
}

// read asks for a record's hosts. It fails where the store is away.
func (d *directory) read(ctx context.Context, p *provider.Provider, before *listed) (reading, error) {
	c, err := d.store.Get(ctx, before.ref)
	r := reading{listed: &listed{ref: before.ref}}
	r.life.Store(alive)
	switch {
	case errors.Is(err, fault.CredentialNotFound): // removed, by others, or since it was listed
		r.life.Store(gone)
	case errors.Is(err, fault.VaultDenied):
		if r.listed = before; before.life.Load() == unread {
			r.denied = storeFault(err)
		}
		r.fault = "the record is not readable: " + err.Error()
	case err != nil && isStoreAway(err):
		return r, storeFault(err)
	case err != nil: // one bad record does not hide the others
		r.fault = "the record is not readable: " + err.Error()
	default:
		if r.site, err = siteOf(p, c); err != nil {
			r.fault = err.Error()
		}
	}
	return r, nil
}

// each calls f for 0 to n-1, some at once, until one fails.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	for i := range n {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return f(ctx, i)
		})
	}
	return g.Wait()
}
