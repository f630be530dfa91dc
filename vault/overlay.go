package vault

import (
	"context"
	"slices"

	"github.com/sallyport/sallyport/internal/credential"
)

// Overlay is a credential.Store that shows the credentials which the configuration names among the records of another
// store. Of these, one of the same name is hidden.
type Overlay struct {
	base credential.Store
	v    *Vault
}

// NewOverlay lays what v.Refer is told over base, which may be v itself.
func NewOverlay(base credential.Store, v *Vault) *Overlay { return &Overlay{base, v} }

// Get implements credential.Store. A record that is lent has Until, and as its Version the number of the lease; of a
// secret in KV it is the secret's version.
func (o *Overlay) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	if r := o.v.references()[ref]; r != nil {
		return o.v.readReference(ctx, r)
	}
	return o.base.Get(ctx, ref)
}

// List implements credential.Store. Whether there is a secret where the configuration says is not asked.
func (o *Overlay) List(ctx context.Context, folder credential.Ref) ([]credential.Ref, error) {
	refs, err := o.base.List(ctx, folder)
	if err != nil {
		return nil, err
	}
	named := o.in(folder)
	if len(named) == 0 {
		return refs, nil
	}
	all := slices.Clip(refs)
	for _, r := range named {
		if _, found := slices.BinarySearchFunc(refs, r.Ref, credential.Ref.Compare); found {
			o.tellHidden(r)
			continue
		}
		all = append(all, r.Ref)
	}
	slices.SortFunc(all, credential.Ref.Compare)
	return all, nil
}

// Folders implements credential.Store.
func (o *Overlay) Folders(ctx context.Context, folder credential.Ref) ([]string, error) {
	names, err := o.base.Folders(ctx, folder)
	if err != nil {
		return nil, err
	}
	for _, r := range o.in(folder) {
		names = append(names, r.Ref.Below(folder))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// in gives what the configuration names in folder.
func (o *Overlay) in(folder credential.Ref) []*reference {
	var list []*reference
	for ref, r := range o.v.references() {
		if ref.In(folder) {
			list = append(list, r)
		}
	}
	return list
}

// tellHidden tells once that a record does not serve.
func (o *Overlay) tellHidden(r *reference) {
	if !r.hidden.Swap(true) {
		o.v.log.Warn("a stored record is hidden by the [[credential]] of that name", "credential", r.Ref.String(), "path", r.Path)
	}
}

// Put implements credential.Store. Of what the configuration names only token fields that it maps are written;
// anything else is invalid_request.
func (o *Overlay) Put(ctx context.Context, c *credential.Credential) error {
	if r := o.v.references()[c.Ref]; r != nil {
		return o.v.writeReference(ctx, r, c)
	}
	return o.base.Put(ctx, c)
}

// Delete implements credential.Store. Of what the configuration names the newest version goes, as by vault kv delete;
// what an engine issues is invalid_request.
func (o *Overlay) Delete(ctx context.Context, ref credential.Ref) error {
	if r := o.v.references()[ref]; r != nil {
		return o.v.deleteReference(ctx, r)
	}
	return o.base.Delete(ctx, ref)
}
