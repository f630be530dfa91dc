package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

var errNotKV = errors.New("vault.mount: is no KV secrets engine")

// listAtOnce bounds the calls of one List that are under way.
const listAtOnce = 8

// record is a secret as it lies in Vault.
type record struct {
	Data struct {
		Data     json.RawMessage `json:"data"` // null if the version was deleted or destroyed
		Metadata struct {
			Version int `json:"version"`
		} `json:"metadata"`
	} `json:"data"`
}

func (r *record) version() int { return r.Data.Metadata.Version }

// gone reports whether nothing can be read: never written, deleted or destroyed.
func (r *record) gone() bool { return len(r.Data.Data) == 0 || string(r.Data.Data) == "null" }

// Get implements credential.Store.
func (v *Vault) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	r, err := v.read(ctx, ref)
	if err != nil {
		return nil, err
	}
	if r.gone() {
		return nil, notFound(ref)
	}
	c, trimmed, err := credential.Decode(ref, r.version(), r.Data.Data)
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
	r, err := v.read(ctx, ref)
	if err != nil {
		return err
	}
	if r.gone() {
		return notFound(ref)
	}
	path := v.path("metadata", ref.String())
	err = v.do(ctx, "delete", path, func(ctx context.Context, c *api.Client) error { return remove(ctx, c, path) })
	if !errors.Is(err, fault.VaultUnreachable) {
		return err
	}
	if r, e := v.read(ctx, ref); e == nil && r.gone() { // the answer was lost, not the call
		return nil
	}
	return err
}

// read gives what lies at ref, with its version even if the record is gone.
func (v *Vault) read(ctx context.Context, ref credential.Ref) (*record, error) {
	if err := ref.Validate(); err != nil {
		return nil, fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	var r record
	path := v.path("data", ref.String())
	err := v.do(ctx, "read", path, func(ctx context.Context, c *api.Client) error {
		r = record{}
		err := read(ctx, c, path, nil, &r)
		if status(err) == http.StatusNotFound {
			return nil
		}
		if err == nil && r.version() == 0 {
			return errors.New("the answer is not what Vault sends")
		}
		return err
	})
	return &r, err
}

// List implements credential.Store. It asks for names only, so a record that others deleted without its metadata is
// still listed.
func (v *Vault) List(ctx context.Context, folder credential.Ref) ([]credential.Ref, error) {
	parts := []string{folder.Workspace, folder.Environment, folder.Provider}
	for _, p := range parts {
		if p != "" && !credential.ValidPart(p) {
			return nil, fault.New(fault.InvalidRequest, fmt.Sprintf("%q is not a name", p), nil)
		}
	}
	d := callLimit
	if folder.Workspace == "" || folder.Environment == "" {
		d = wideLimit
	}
	ctx, cancel := limit(ctx, d)
	defer cancel()
	folders := []string{""}
	var err error
	for _, part := range parts {
		if folders, err = v.descend(ctx, folders, part); err != nil {
			return nil, err
		}
	}
	names, err := v.listAll(ctx, folders, false)
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

// descend gives the folder part of each folder, all of them if part is "".
func (v *Vault) descend(ctx context.Context, folders []string, part string) ([]string, error) {
	if part == "" {
		return v.listAll(ctx, folders, true)
	}
	for i := range folders {
		folders[i] += part + "/"
	}
	return folders, nil
}

// listAll gives what lies in folders, with their paths: folders, with / at their end, or else records.
func (v *Vault) listAll(ctx context.Context, folders []string, wantFolders bool) ([]string, error) {
	var (
		mu  sync.Mutex
		all []string
	)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listAtOnce)
	for _, f := range folders {
		g.Go(func() error {
			keys, err := v.list(ctx, f)
			mu.Lock()
			defer mu.Unlock()
			for _, k := range keys {
				name, isFolder := strings.CutSuffix(k, "/")
				if isFolder == wantFolders && credential.ValidPart(name) {
					all = append(all, f+k)
				}
			}
			return err
		})
	}
	return all, g.Wait()
}

// list gives the keys of one folder; one that does not exist has none.
func (v *Vault) list(ctx context.Context, folder string) ([]string, error) {
	var out struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	path := v.path("metadata", folder)
	err := v.do(ctx, "list", path, func(ctx context.Context, c *api.Client) error {
		err := read(ctx, c, path, url.Values{"list": {"true"}}, &out)
		if status(err) == http.StatusNotFound {
			return nil
		}
		return err
	})
	return out.Data.Keys, err
}

// path of a record or folder below the mount's data or metadata.
func (v *Vault) path(kind, name string) string {
	return strings.TrimSuffix(v.o.Mount+"/"+kind+"/"+v.o.Prefix+"/credentials/"+name, "/")
}

// ask finds out whether the mount is of KV version 2, once.
func (v *Vault) ask(ctx context.Context, s *session) error {
	if v.version.Load() != 0 {
		return nil
	}
	var out struct {
		Data struct {
			Type    string `json:"type"`
			Options struct {
				Version string `json:"version"`
			} `json:"options"`
		} `json:"data"`
	}
	path := "sys/internal/ui/mounts/" + v.o.Mount
	err := v.call(ctx, "mounts", path, s.client, func(ctx context.Context, c *api.Client) error {
		return read(ctx, c, path, nil, &out)
	})
	switch {
	case err != nil:
		return err
	case out.Data.Type != "kv" && out.Data.Type != "generic":
		return fault.New(fault.Internal, "", fmt.Errorf("%w: %s is of type %q", errNotKV, v.o.Mount, out.Data.Type))
	case out.Data.Options.Version != "2":
		return fault.New(fault.Internal, "", fmt.Errorf("%w: %s is of version 1", errVersion1, v.o.Mount))
	}
	v.version.Store(2)
	return nil
}

func notFound(ref credential.Ref) error {
	return fault.New(fault.CredentialNotFound, ref.String(), nil)
}
