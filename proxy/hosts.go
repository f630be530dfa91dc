package proxy

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// hosts is who owns what by the records of one scope. Immutable.
type hosts struct {
	owned  map[provider.Authority]*provider.Provider
	racks  map[*provider.Provider]*rack
	hidden map[*provider.Provider]error // folders that our policy does not let us list
	denied error                        // why a record could not be read; nil: all could
	faults map[credential.Ref]string    // sites that are ignored: logged once
}

// rack is the credentials of a provider whose records may own hosts.
type rack struct {
	folder *folder
	base   provider.Authority          // of the provider's fixed base URL; zero: it has none
	all    *set                        // to that base, and on the gateway
	plain  *set                        // to the provider's other hosts: without hosts of their own
	at     map[provider.Authority]*set // to the hosts that they own
}

func newHosts() *hosts {
	return &hosts{
		owned: map[provider.Authority]*provider.Provider{}, racks: map[*provider.Provider]*rack{},
		hidden: map[*provider.Provider]error{}, faults: map[credential.Ref]string{},
	}
}

// learn gathers what the records of a scope own.
func (inv *inventory) learn(ctx context.Context, last *hosts) (*hosts, error) {
	age := inv.d.ttl
	if a := inv.hosts.held.Load(); a != nil && time.Since(a.at) >= age {
		age = min(age, missRelook) // what is looked at together is of one age
	}
	present, err := inv.names.fresh(ctx, age)
	if err != nil {
		return nil, storeFault(err)
	}
	h := newHosts()
	for _, sh := range inv.owning(present) {
		f, err := sh.fresh(ctx, age)
		switch {
		case errors.Is(err, fault.VaultDenied): // it may belong to others
			h.hidden[sh.p] = storeFault(err)
		case err != nil:
			return nil, storeFault(err)
		default:
			h.add(sh.p, f)
		}
	}
	return h, h.claim(inv.d, last, func(o *provider.Provider) (bool, error) {
		if o.Configured || !present[o.Name] {
			return o.Configured, nil
		}
		f, err := inv.shelf(o).fresh(ctx, inv.d.ttl)
		if errors.Is(err, fault.VaultDenied) {
			return true, nil
		}
		return err != nil || len(f.list) > 0, err
	})
}

// owning gives the shelves of the providers whose records may own hosts.
func (inv *inventory) owning(present map[string]bool) []*shelf {
	var list []*shelf
	for _, p := range inv.d.st.Providers.All() {
		if present[p.Name] && inv.shelf(p).owns {
			list = append(list, inv.shelf(p))
		}
	}
	return list
}

func (h *hosts) add(p *provider.Provider, f *folder) {
	if h.racks[p] = newRack(p, f); h.denied == nil {
		h.denied = f.denied
	}
}

// claim gives each provider the hosts of its records. A host that another
// provider owns already is not taken: first the configuration, then by order.
func (h *hosts) claim(d *directory, last *hosts, active func(*provider.Provider) (bool, error)) error {
	var before map[credential.Ref]string
	if last != nil {
		before = last.faults
	}
	for _, p := range d.st.Providers.All() {
		r := h.racks[p]
		if r == nil {
			continue
		}
		for _, l := range r.folder.list {
			other, a, err := h.conflict(d.st.Providers, p, l, active)
			if err != nil {
				return storeFault(err)
			}
			if other != nil {
				d.complain(h.faults, before, l.ref, "its url or field is ignored: provider "+other.Name+" owns "+a.String())
				continue
			}
			h.take(p, r, l)
		}
	}
	return nil
}

// conflict finds another provider that owns a host of p's credential.
func (h *hosts) conflict(t *provider.Table, p *provider.Provider, l *listed, active func(*provider.Provider) (bool, error)) (*provider.Provider, provider.Authority, error) {
	for _, a := range l.authorities() {
		if o := h.owned[a]; o != nil && o != p {
			return o, a, nil
		}
		for _, o := range t.Owners(a) {
			if o == p {
				continue
			}
			if owns, err := active(o); owns || err != nil {
				return o, a, err
			}
		}
	}
	return nil, provider.Authority{}, nil
}

func (h *hosts) take(p *provider.Provider, r *rack, l *listed) {
	r.put(l)
	for _, a := range l.authorities() {
		h.owned[a] = p
	}
}

// some reports whether anything is listed; nil: there is no folder.
func (r *rack) some() bool { return r != nil && len(r.folder.list) > 0 }

func newRack(p *provider.Provider, f *folder) *rack {
	r := &rack{folder: f, all: &set{}, plain: &set{}, at: map[provider.Authority]*set{}}
	u, err := url.Parse(p.BaseURL)
	if err != nil { // it has a {field}
		return r
	}
	if a, err := provider.ParseAuthority(u.Host, portOf(u.Scheme)); err == nil {
		r.base = a
	}
	return r
}

// put adds a credential to the sets that it is to be chosen from. A plain http
// request is for the https host.
func (r *rack) put(l *listed) {
	r.all.list = append(r.all.list, l)
	if l.site == nil || l.site.url == nil && len(l.site.hosts) == 0 {
		r.plain.list = append(r.plain.list, l)
		return
	}
	for _, a := range l.site.hosts {
		r.putAt(a, l)
		if a.Port == 443 {
			r.putAt(provider.Authority{Host: a.Host, Port: 80}, l)
		}
	}
}

func (r *rack) putAt(a provider.Authority, l *listed) {
	s := r.at[a]
	if s == nil {
		s = &set{}
		r.at[a] = s
	}
	if n := len(s.list); n == 0 || s.list[n-1] != l {
		s.list = append(s.list, l)
	}
}

// candidates are p's credentials that may go where a request goes: those that
// own hosts only there, or to the base URL's host, which they then stand for.
func (h *hosts) candidates(p *provider.Provider, a provider.Authority, gateway bool) *set {
	r := h.racks[p]
	switch {
	case r == nil:
		return &set{}
	case gateway || sameHost(r.base, a):
		return r.all
	case h.owner(a) != p:
		return r.plain
	case r.at[a] == nil:
		return &set{}
	}
	return r.at[a]
}

// owner gives the provider whose credential owns an authority by its own record.
// A plain http request is for the https one.
func (h *hosts) owner(a provider.Authority) *provider.Provider {
	if p := h.owned[a]; p != nil || a.Port != 80 {
		return p
	}
	return h.owned[provider.Authority{Host: a.Host, Port: 443}]
}

// sameHost reports whether a is the base, or the plain http side of it.
func sameHost(base, a provider.Authority) bool {
	return base.Host == a.Host && base.Host != "" && (base.Port == a.Port || (base.Port == 443 && a.Port == 80))
}
