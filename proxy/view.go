package proxy

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// entry is one credential in a view.
type entry struct {
	provider *provider.Provider
	ref      credential.Ref
	label    string // ref.String(), made once
	url      *url.URL
	hosts    []provider.Authority // owned by its url or its provider's {field} hosts
	base     *url.URL             // the provider's {field} base URL, filled; nil: the provider's own
	source   *auth.Source
	used     *useOf

	typed   bool // its type has a url: what it injects must come with the same one
	ignored bool // another provider owns its url's host
}

// view is what the store held for one scope when it was last asked. Immutable.
type view struct {
	at      time.Time
	heard   uint64                                    // what it knows of our own writes
	entries map[string][]*entry                       // by provider, sorted by name
	owned   map[provider.Authority]*provider.Provider // by the entries' hosts
	next    atomic.Int64                              // Unix nanoseconds: not looked for again before
	faults  map[string]string                         // of records, by label: logged once
}

func newView() *view {
	return &view{entries: map[string][]*entry{}, owned: map[provider.Authority]*provider.Provider{}, faults: map[string]string{}}
}

// learn reads the record of an entry whose provider's hosts depend on it.
func (d *directory) learn(ctx context.Context, v, before *view, e *entry) error {
	if !urlType(e.provider) && !e.provider.Templated() {
		return nil
	}
	c, err := d.store.Get(ctx, e.ref)
	switch {
	case errors.Is(err, fault.CredentialNotFound): // removed since it was listed
	case err != nil && isStoreAway(err):
		return storeFault(err)
	case err != nil: // one bad record does not hide the others
		d.complain(v, before, e, "the record is not readable: "+err.Error())
	default:
		if err := e.fill(c); err != nil {
			d.complain(v, before, e, err.Error())
		}
	}
	return nil
}

// complain logs what is wrong with a record, unless the view before told it too.
func (d *directory) complain(v, before *view, e *entry, what string) {
	v.faults[e.label] = what
	if before == nil || before.faults[e.label] != what {
		d.log.Error("credential owns no host", "credential", e.label, "error", what)
	}
}

// fill takes the hosts from a record's url, or from the provider's templates.
func (e *entry) fill(c *credential.Credential) error {
	p, get := e.provider, c.Text
	if raw := get("url"); raw != "" {
		k, _ := auth.Lookup(auth.TypeOf(p, c))
		e.typed = slices.Contains(k.Fields(), "url")
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
func (d *directory) claim(v, before *view) {
	for _, p := range d.st.Providers.All() {
		for _, e := range v.entries[p.Name] {
			for _, a := range e.hosts {
				if other := d.otherOwner(v, p, a); other != nil {
					d.complain(v, before, e, "its url or field is ignored: provider "+other.Name+" owns "+a.String())
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

// urlType reports whether records of the provider may have a url of their own.
func urlType(p *provider.Provider) bool {
	return slices.ContainsFunc(append([]string{p.Type}, p.Types...), func(name string) bool {
		k, _ := auth.Lookup(name)
		return slices.Contains(k.Fields(), "url")
	})
}
