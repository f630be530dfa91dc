package proxy

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// inventory is what is known of one scope, each part since it was first needed.
type inventory struct {
	d       *directory
	scope   scope
	names   known[map[string]bool] // of the providers that have a folder
	hosts   known[*hosts]
	shelves sync.Map // *provider.Provider -> *shelf
}

func (inv *inventory) shelf(p *provider.Provider) *shelf {
	sh, ok := inv.shelves.Load(p)
	if !ok {
		sh, _ = inv.shelves.LoadOrStore(p, inv.d.newShelf(inv.scope, p))
	}
	out, _ := sh.(*shelf) // it holds nothing else
	return out
}

// inherit takes what is known under another configuration, of the providers
// whose entry is the same.
func (inv *inventory) inherit(old *inventory) {
	old.shelves.Range(func(_, held any) bool {
		was, _ := held.(*shelf) // it holds nothing else
		p := inv.d.st.Providers.Get(was.p.Name)
		if a := was.held.Load(); a != nil && p != nil && p.Fingerprint == was.p.Fingerprint {
			inv.shelf(p).inherit(a.value.copy(), a.at)
		}
		return true
	})
	if a := old.names.held.Load(); a != nil {
		inv.names.inherit(a.value, a.at)
	}
	if a := old.hosts.held.Load(); a != nil {
		inv.hosts.inherit(inv.recall(a.value), a.at)
	}
}

// recall makes of what is known what learn makes of what it looks at.
func (inv *inventory) recall(last *hosts) *hosts {
	h := newHosts()
	present, _ := inv.names.last()
	for _, sh := range inv.owning(present) {
		f, ok := sh.last()
		if ok {
			h.add(sh.p, f)
			continue
		}
		h.hidden[sh.p] = fault.New(fault.VaultUnreachable, "nothing is known yet of the provider's credentials", nil)
		h.denied = h.hidden[sh.p]
	}
	_ = h.claim(inv.d, last, func(o *provider.Provider) (bool, error) {
		if o.Configured || !present[o.Name] {
			return o.Configured, nil
		}
		f, ok := inv.shelf(o).last()
		return !ok || len(f.list) > 0, nil
	})
	return h
}

// folders asks which providers have a folder, and drops what is held of those
// that have none.
func (inv *inventory) folders(ctx context.Context, _ map[string]bool) (map[string]bool, error) {
	folder := credential.Ref{Workspace: inv.scope.workspace, Environment: inv.scope.environment}
	list, err := inv.d.store.Folders(ctx, folder)
	if err != nil {
		inv.d.log.Warn("credential store: list failed", "workspace", folder.Workspace, "environment", folder.Environment, "error", err)
		return nil, storeFault(err)
	}
	present := make(map[string]bool, len(list))
	for _, name := range list {
		present[name] = true
	}
	inv.vanish(present)
	return present, nil
}

// vanish drops what is held of the folders that are not there any more: those
// whose credentials are known look for themselves.
func (inv *inventory) vanish(present map[string]bool) {
	known := map[string]bool{}
	inv.shelves.Range(func(_, held any) bool {
		sh, _ := held.(*shelf) // it holds nothing else
		if f, ok := sh.last(); ok && len(f.list) > 0 && !present[sh.p.Name] {
			known[sh.p.Name] = true
			sh.flight.DoChan("", sh.read)
		}
		return true
	})
	inv.d.forget(func(ref credential.Ref) bool {
		return inv.scope.has(ref) && !present[ref.Provider] && !known[ref.Provider]
	})
}

// owners are the providers, of those that list a host, that own it in this
// scope: a built-in one does where it has a credential. While that is not known
// it counts as owning, and away says why.
func (inv *inventory) owners(ctx context.Context, since time.Time, listed []*provider.Provider) (owners []*provider.Provider, away error) {
	for i, p := range listed {
		owns, err := inv.active(ctx, since, p)
		if away == nil {
			away = err
		}
		switch all := len(owners) == i; {
		case owns && all:
			owners = listed[:i+1]
		case owns:
			owners = append(slices.Clip(owners), p)
		}
	}
	return owners, away
}

// active reports whether the hosts that a provider lists are owned.
func (inv *inventory) active(ctx context.Context, since time.Time, p *provider.Provider) (bool, error) {
	if p.Configured {
		return true, nil
	}
	present, err := inv.names.get(ctx, since)
	if err != nil || !present[p.Name] {
		return err != nil, err
	}
	sh := inv.shelf(p)
	if !sh.owns {
		f, err := sh.get(ctx, since)
		return err != nil || len(f.list) > 0, err
	}
	h, err := inv.hosts.get(ctx, since)
	if err == nil {
		err = h.hidden[p]
	}
	return err != nil || h.racks[p].some(), err
}

// candidates are the credentials of a provider that may go where a request goes.
func (inv *inventory) candidates(ctx context.Context, q ask, p *provider.Provider) (*set, error) {
	sh := inv.shelf(p)
	if !sh.owns {
		f, err := sh.get(ctx, q.since)
		if err != nil {
			return nil, err
		}
		return f.set, nil
	}
	h, err := inv.hosts.get(ctx, q.since)
	if err == nil {
		err = h.hidden[p]
	}
	if err != nil {
		return nil, err
	}
	return h.candidates(p, q.authority, q.gateway != nil), nil
}

// relook asks the store again because a request did not find what it wants.
func (inv *inventory) relook(ctx context.Context, q ask, p *provider.Provider) {
	sh := inv.shelf(p)
	if !sh.owns {
		sh.again(ctx, q.since)
		return
	}
	if a := inv.hosts.held.Load(); a == nil || time.Since(a.at) >= missRelook {
		inv.names.again(ctx, q.since)
		sh.again(ctx, q.since)
		inv.hosts.again(ctx, q.since)
	}
}
