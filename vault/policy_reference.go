package vault

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
)

// referenceGrants are for the credentials that Refer was told.
func (v *Vault) referenceGrants(ctx context.Context, g *grants, o GrantOptions) error {
	all, lent := v.references(), false
	for _, ref := range slices.SortedFunc(maps.Keys(all), credential.Ref.Compare) {
		r := all[ref]
		m, err := v.engine(ctx, r.Path)
		switch {
		case err == nil && m.kv == 0:
			g.add(r.Path, ref.String()+", of the configuration: have it issued", "read")
		case err == nil:
			err = r.grant(g, m, o.ReadOnly)
		case o.Assume != nil:
			o.Assume(r.Path, err)
			err = r.grantUnknown(g, o.ReadOnly)
		}
		if err != nil {
			return err
		}
		lent = lent || m.kv == 0
	}
	if lent {
		v.leaseGrants(g)
	}
	return nil
}

// grant is for a KV secret.
func (r *reference) grant(g *grants, m mount, readOnly bool) error {
	name, err := r.nameIn(m)
	if err != nil {
		return err
	}
	if readOnly || !r.writable() {
		g.add(m.at("data", name), r.Ref.String()+", of the configuration: read it", "read")
		return nil
	}
	g.add(m.at("data", name), r.Ref.String()+", of the configuration: read it, store its tokens when they are refreshed", "read", "update")
	return nil
}

// grantUnknown is for whatever may lie at the path, if the mount is the first name of it.
func (r *reference) grantUnknown(g *grants, readOnly bool) error {
	engine, _, _ := strings.Cut(r.Path, "/")
	for _, kv := range []int{2, 1} {
		if err := r.grant(g, mount{engine, kv}, readOnly); err != nil {
			return err
		}
		last := &g.list[len(g.list)-1]
		last.Why += map[int]string{2: "; this path if " + engine + " is KV version 2", 1: "; this path if " + engine + " is anything else"}[kv]
	}
	return nil
}

// leaseGrants are for what is issued for a time.
func (v *Vault) leaseGrants(g *grants) {
	g.add("sys/leases/renew", "what is issued for a time: use it longer", "update")
	g.add("sys/leases/lookup", "what is issued for a time: see whether it still is, when an upstream refuses it", "update")
	if v.o.RevokeOnExit {
		g.add("sys/leases/revoke", "what is issued for a time: end it with the daemon (revoke_on_exit)", "update")
	}
}
