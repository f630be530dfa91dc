package vault

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// listAtOnce bounds the calls of one List that are under way.
const listAtOnce = 8

// Get implements credential.Store.
func (v *Vault) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	if err := v.pace(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	m, err := v.kv(ctx)
	if err != nil {
		return nil, err
	}
	r, err := v.read(ctx, m, ref)
	if err != nil {
		return nil, err
	}
	if r.gone() {
		return nil, r.notFound(ref)
	}
	c, trimmed, err := credential.Decode(ref, r.version, r.data)
	if err != nil {
		return nil, fault.New(fault.Internal, "", err)
	}
	if len(trimmed) > 0 {
		v.log.Warn("trailing newlines of a record's fields are ignored", "credential", ref.String(), "fields", trimmed)
	}
	unmark(c)
	return c, nil
}

// Delete implements credential.Store. No version of the record stays.
func (v *Vault) Delete(ctx context.Context, ref credential.Ref) error {
	if err := ref.Validate(); err != nil {
		return fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	return v.removeAt(ctx, v.name(ref.String()), func(r *record) error { return r.notFound(ref) })
}

// removeAt removes the secret of that name in our own mount; missing gives the error if there is none.
func (v *Vault) removeAt(ctx context.Context, name string, missing func(*record) error) error {
	m, err := v.kv(ctx)
	if err != nil {
		return err
	}
	return v.remove(ctx, m, name, "metadata", missing)
}

// remove ends the secret of that name in a KV mount: part is "metadata" for all of it, or "data" for its newest version,
// which version 2 can restore.
func (v *Vault) remove(ctx context.Context, m mount, name, part string, missing func(*record) error) error {
	r, err := v.readAt(ctx, m, name)
	if err != nil {
		return err
	}
	if r.gone() {
		return missing(r)
	}
	path := m.at(part, name)
	err = v.do(ctx, "delete", path, func(ctx context.Context, c *api.Client) error { return remove(ctx, c, path) })
	if !errors.Is(err, fault.VaultUnreachable) {
		return err
	}
	if r, e := v.readAt(ctx, m, name); e == nil && r.gone() { // the answer was lost, not the call
		return nil
	}
	return err
}

// read gives what lies at ref in our own mount.
func (v *Vault) read(ctx context.Context, m mount, ref credential.Ref) (*record, error) {
	if err := ref.Validate(); err != nil {
		return nil, fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	return v.readAt(ctx, m, v.name(ref.String()))
}

// name of a record or folder in our own mount.
func (v *Vault) name(s string) string {
	return strings.TrimSuffix(v.o.Prefix+"/credentials/"+s, "/")
}

// List implements credential.Store. It asks for names only, so a record that others deleted without its metadata is
// still listed.
func (v *Vault) List(ctx context.Context, folder credential.Ref) ([]credential.Ref, error) {
	if err := validFolder(folder); err != nil {
		return nil, fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	parts := []string{folder.Workspace, folder.Environment, folder.Provider}
	d := callLimit
	if folder.Workspace == "" || folder.Environment == "" {
		d = wideLimit
	}
	ctx, cancel := limit(ctx, d)
	defer cancel()
	m, err := v.kv(ctx)
	if err != nil {
		return nil, err
	}
	folders := []string{""}
	for _, part := range parts {
		if folders, err = v.descend(ctx, m, folders, part); err != nil {
			return nil, err
		}
	}
	names, err := v.listAll(ctx, m, folders, false)
	if err != nil {
		return nil, err
	}
	refs := make([]credential.Ref, len(names))
	for i, n := range names {
		p := strings.Split(n, "/")
		refs[i] = credential.Ref{Workspace: p[0], Environment: p[1], Provider: p[2], Name: p[3]}
	}
	slices.SortFunc(refs, credential.Ref.Compare)
	return refs, nil
}

// Folders implements credential.Store, by one call.
func (v *Vault) Folders(ctx context.Context, folder credential.Ref) ([]string, error) {
	if err := validFolder(folder); err != nil {
		return nil, fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	m, err := v.kv(ctx)
	if err != nil {
		return nil, err
	}
	path := ""
	for _, p := range []string{folder.Workspace, folder.Environment} {
		if p != "" {
			path += p + "/"
		}
	}
	names, err := v.listAll(ctx, m, []string{path}, true)
	for i, n := range names {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(n, path), "/")
	}
	slices.Sort(names)
	return names, err
}

// descend gives the folder part of each folder, all of them if part is "".
func (v *Vault) descend(ctx context.Context, m mount, folders []string, part string) ([]string, error) {
	if part == "" {
		return v.listAll(ctx, m, folders, true)
	}
	for i := range folders {
		folders[i] += part + "/"
	}
	return folders, nil
}

// listAll gives what lies in folders, with their paths: folders, with / at their end, or else records. What our policy
// does not let us see is left out, unless that is all.
func (v *Vault) listAll(ctx context.Context, m mount, folders []string, wantFolders bool) ([]string, error) {
	var (
		mu     sync.Mutex
		all    []string
		hidden int
		denied error
	)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listAtOnce)
	for _, f := range folders {
		g.Go(func() error {
			keys, err := v.listAt(ctx, m, v.name(f))
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, fault.VaultDenied) {
				hidden, denied = hidden+1, err
				return nil
			}
			for _, k := range keys {
				name, isFolder := strings.CutSuffix(k, "/")
				if isFolder == wantFolders && credential.ValidPart(name) {
					all = append(all, f+k)
				}
			}
			return err
		})
	}
	err := g.Wait()
	if err == nil && hidden == len(folders) {
		err = denied
	}
	return all, err
}
