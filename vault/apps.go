package vault

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// appFolder is where apps lie below the prefix.
const appFolder = "apps"

// App implements credential.Apps. Apps lie at MOUNT/PREFIX/apps/PROVIDER and MOUNT/PREFIX/apps/WORKSPACE/PROVIDER.
func (v *Vault) App(ctx context.Context, workspace, provider string) (*credential.App, error) {
	name := credential.AppName{Workspace: workspace, Provider: provider}
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	m, err := v.appMount(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := v.readAt(ctx, m, v.appName(name.String()))
	if err != nil {
		return nil, err
	}
	if r.gone() {
		return nil, r.noApp(name)
	}
	a, err := credential.DecodeApp(name, r.version, r.data)
	if err != nil {
		return nil, fault.New(fault.Internal, "", err)
	}
	return a, nil
}

// PutApp implements credential.Apps as Put implements credential.Store.
func (v *Vault) PutApp(ctx context.Context, a *credential.App) error {
	m, err := v.appMount(ctx, a.Name())
	if err != nil {
		return err
	}
	id := rand.Text()
	mark, _ := json.Marshal(id) // a string
	data, err := credential.EncodeApp(a, join(map[string]json.RawMessage{attempt: mark}).Reveal())
	if err != nil {
		return fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	version, err := v.write(ctx, draft{m, v.appName(a.Name().String()), tellApp(a.Name()), data, id}, a.Version)
	if err == nil {
		a.Version = version
	}
	return err
}

// DeleteApp implements credential.Apps. No version of the app stays.
func (v *Vault) DeleteApp(ctx context.Context, workspace, provider string) error {
	name := credential.AppName{Workspace: workspace, Provider: provider}
	if _, err := v.appMount(ctx, name); err != nil {
		return err
	}
	return v.removeAt(ctx, v.appName(name.String()), func(r *record) error { return r.noApp(name) })
}

// ListApps implements credential.Apps. Folders that our policy hides are left out.
func (v *Vault) ListApps(ctx context.Context) ([]credential.AppName, error) {
	ctx, cancel := limit(ctx, wideLimit)
	defer cancel()
	m, err := v.kv(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := v.listAt(ctx, m, v.appName(""))
	if err != nil {
		return nil, err
	}
	var names []credential.AppName
	for _, key := range keys {
		workspace, folder := strings.CutSuffix(key, "/")
		if !folder {
			names = append(names, credential.AppName{Provider: key})
			continue
		}
		if !credential.ValidPart(workspace) {
			continue
		}
		own, err := v.listAt(ctx, m, v.appName(workspace))
		if err != nil && !errors.Is(err, fault.VaultDenied) {
			return nil, err
		}
		for _, provider := range own {
			names = append(names, credential.AppName{Workspace: workspace, Provider: provider})
		}
	}
	names = slices.DeleteFunc(names, func(n credential.AppName) bool { return n.Validate() != nil })
	slices.SortFunc(names, credential.AppName.Compare)
	return names, nil
}

// appMount gives our own mount for an app whose name is one.
func (v *Vault) appMount(ctx context.Context, name credential.AppName) (mount, error) {
	if err := name.Validate(); err != nil {
		return mount{}, fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	return v.kv(ctx)
}

// appName of an app or of a workspace's folder of them in our own mount.
func (v *Vault) appName(s string) string {
	return strings.TrimSuffix(v.o.Prefix+"/"+appFolder+"/"+s, "/")
}

// noApp says why there is no app to be read.
func (r *record) noApp(name credential.AppName) error {
	return fault.New(fault.NotFound, tellApp(name)+" does not exist"+r.fate(), nil)
}

// tellApp names an app in a fault.
func tellApp(name credential.AppName) string {
	if name.Workspace == "" {
		return "the shared app of " + name.Provider
	}
	return "the app of " + name.Provider + " of workspace " + name.Workspace
}
