package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
)

// fileAppFolder is the folder of the store that holds apps. No workspace can have its name.
const fileAppFolder = ".apps"

// sealedApp is what an app's file holds under its seal. Its name stands inside, as a record's does.
type sealedApp struct {
	App     string          `json:"app"`
	Version int             `json:"version"`
	Record  json.RawMessage `json:"record"`
}

// App implements credential.Apps. Apps are DIR/.apps/PROVIDER.age and DIR/.apps/WORKSPACE/PROVIDER.age.
func (s *File) App(ctx context.Context, workspace, provider string) (*credential.App, error) {
	name := credential.AppName{Workspace: workspace, Provider: provider}
	if err := s.usable(ctx, fileAppName(name)); err != nil {
		return nil, err
	}
	a, err := s.readApp(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.missingApp(name)
	}
	if err != nil {
		return nil, s.brokenApp(name, "cannot be read", err)
	}
	return a, nil
}

// PutApp implements credential.Apps.
func (s *File) PutApp(ctx context.Context, a *credential.App) error {
	name := a.Name()
	if err := s.usable(ctx, fileAppName(name)); err != nil {
		return err
	}
	data, err := credential.EncodeApp(a, "")
	if err != nil {
		return fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	if err := s.present(); err != nil {
		return err
	}
	folder := filepath.Dir(s.appPath(name))
	if err := file.MakeDir(folder); err != nil {
		return s.brokenApp(name, "was not stored", err)
	}
	l, err := s.locks.lock(ctx, folder)
	if err != nil {
		return s.brokenApp(name, "was not stored", err)
	}
	defer l.release()
	next, err := s.nextApp(l, a)
	if err != nil {
		return err
	}
	if err := s.writeApp(name, next, data); err != nil {
		return s.brokenApp(name, "was not stored, what was stored before stands", err)
	}
	a.Version = next
	return nil
}

// nextApp is next for an app.
func (s *File) nextApp(l *folderLock, a *credential.App) (int, error) {
	old, err := s.readApp(a.Name())
	switch {
	case errors.Is(err, fs.ErrNotExist) && a.Version == 0:
		mark, err := l.mark()
		if err != nil {
			return 0, s.brokenApp(a.Name(), "was not stored", err)
		}
		return mark + 1, nil
	case errors.Is(err, fs.ErrNotExist):
		return 0, fault.New(fault.StoreConflict, tellApp(a.Name())+" was deleted meanwhile", nil)
	case err != nil:
		return 0, s.brokenApp(a.Name(), "cannot be read", err)
	case old.Version != a.Version:
		return 0, fault.New(fault.StoreConflict, fmt.Sprintf("%s has version %d; the change was made to version %d", tellApp(a.Name()), old.Version, a.Version), nil)
	}
	return old.Version + 1, nil
}

// DeleteApp implements credential.Apps. An app that cannot be opened is deleted too.
func (s *File) DeleteApp(ctx context.Context, workspace, provider string) error {
	name := credential.AppName{Workspace: workspace, Provider: provider}
	if err := s.usable(ctx, fileAppName(name)); err != nil {
		return err
	}
	path := s.appPath(name)
	l, err := s.locks.lock(ctx, filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return s.missingApp(name)
	}
	if err != nil {
		return s.brokenApp(name, "was not deleted", err)
	}
	defer l.release()
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return s.missingApp(name)
	}
	mark, err := l.mark()
	if err == nil {
		mark += unknownVersions
		if a, e := s.readApp(name); e == nil {
			mark = max(mark-unknownVersions, a.Version)
		}
		err = errors.Join(l.raise(mark), os.Remove(path), file.SyncDir(filepath.Dir(path)))
	}
	if err != nil {
		return s.brokenApp(name, "was not deleted", err)
	}
	return nil
}

// ListApps implements credential.Apps. It opens no app.
func (s *File) ListApps(ctx context.Context) ([]credential.AppName, error) {
	if err := s.usable(ctx, nil); err != nil {
		return nil, err
	}
	if err := s.present(); err != nil {
		return nil, err
	}
	var names []credential.AppName
	err := s.walkApps(func(workspace string, entries []fs.DirEntry) error {
		for _, e := range entries {
			name := credential.AppName{Workspace: workspace}
			var ours bool
			name.Provider, ours = strings.CutSuffix(e.Name(), suffix)
			if ours && !e.IsDir() && name.Validate() == nil {
				names = append(names, name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fault.New(fault.Internal, "the store's folder cannot be listed: "+s.reason(err), err)
	}
	slices.SortFunc(names, credential.AppName.Compare)
	return names, nil
}

// walkApps visits the folders of apps: the shared ones', with an empty workspace, and each workspace's.
func (s *File) walkApps(visit func(workspace string, entries []fs.DirEntry) error) error {
	dir := filepath.Join(s.dir, fileAppFolder)
	entries, err := readDir(dir)
	if err == nil {
		err = visit("", entries)
	}
	if err != nil {
		return err
	}
	return each(dir, "", func(workspace string) error {
		own, err := readDir(filepath.Join(dir, workspace))
		if err != nil {
			return err
		}
		return visit(workspace, own)
	})
}

// fileAppName refuses a name that is none, and the workspace whose folder would have the name of a shared app's file.
func fileAppName(n credential.AppName) error {
	if err := n.Validate(); err != nil {
		return err
	}
	if strings.HasSuffix(n.Workspace, suffix) {
		return fmt.Errorf("app %q: a workspace whose name ends with %s has no apps of its own in this store", n, suffix)
	}
	return nil
}

func (s *File) appPath(n credential.AppName) string {
	return filepath.Join(s.dir, fileAppFolder, n.Workspace, n.Provider+suffix)
}

func (s *File) writeApp(name credential.AppName, version int, data []byte) error {
	plain, err := json.Marshal(sealedApp{name.String(), version, data})
	if err != nil {
		return err
	}
	sealed, err := s.sealer.Seal(plain)
	if err != nil {
		return err
	}
	return file.Write(s.appPath(name), sealed, file.Private)
}

func (s *File) readApp(name credential.AppName) (*credential.App, error) {
	path := s.appPath(name)
	data, err := file.ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	plain, err := s.sealer.Open(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var r sealedApp
	if json.Unmarshal(plain, &r) != nil || r.Version <= 0 {
		return nil, fmt.Errorf("%s: %w", path, errForm)
	}
	if r.App != name.String() {
		return nil, fmt.Errorf("%s: holds the app %q; was it moved?", path, r.App)
	}
	a, err := credential.DecodeApp(name, r.Version, r.Record)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errForm)
	}
	return a, nil
}

func (s *File) missingApp(name credential.AppName) error {
	if err := s.present(); err != nil {
		return err
	}
	return fault.New(fault.NotFound, tellApp(name)+" does not exist", nil)
}

func (s *File) brokenApp(name credential.AppName, what string, err error) error {
	return fault.New(fault.Internal, fmt.Sprintf("%s %s: %s", tellApp(name), what, s.reason(err)), err)
}
