package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/file"
)

// walk visits every PROVIDER folder that lies in folder.
func (s *File) walk(folder credential.Ref, visit func(credential.Ref, []fs.DirEntry) error) error {
	return each(s.dir, folder.Workspace, func(w string) error {
		return each(filepath.Join(s.dir, w), folder.Environment, func(e string) error {
			return each(filepath.Join(s.dir, w, e), folder.Provider, func(p string) error {
				ref := credential.Ref{Workspace: w, Environment: e, Provider: p}
				entries, err := readDir(s.folder(ref))
				if err != nil {
					return err
				}
				return visit(ref, entries)
			})
		})
	})
}

// each visits the folders in dir, or the one that is named.
func each(dir, only string, visit func(name string) error) error {
	if only != "" {
		return visit(only)
	}
	entries, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !credential.ValidPart(e.Name()) {
			continue
		}
		if err := visit(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// readDir finds nothing in a folder that is not there.
func readDir(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

func validFolder(f credential.Ref) error {
	for _, p := range []string{f.Workspace, f.Environment, f.Provider} {
		if p != "" && !credential.ValidPart(p) {
			return fmt.Errorf("folder %q: %q is not a name", f, p)
		}
	}
	return nil
}

// records visits every record that lies in folder; a damaged one too.
func (s *File) records(folder credential.Ref, visit func(credential.Ref) error) error {
	return s.walk(folder, func(ref credential.Ref, entries []fs.DirEntry) error {
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), suffix)
			if !ok || !credential.ValidPart(name) || e.IsDir() {
				continue
			}
			ref.Name = name
			if err := visit(ref); err != nil {
				return err
			}
		}
		return nil
	})
}

// sweep removes what killed writers left. A folder in which somebody writes now
// is left for the next time.
func (s *File) sweep() {
	entries, err := readDir(s.dir)
	if err == nil {
		err = s.sweepFolder(s.dir, entries)
	}
	if err == nil {
		err = s.walk(credential.Ref{}, func(ref credential.Ref, entries []fs.DirEntry) error {
			return s.sweepFolder(s.folder(ref), entries)
		})
	}
	if err == nil {
		err = s.walkApps(func(workspace string, entries []fs.DirEntry) error {
			return s.sweepFolder(filepath.Join(s.dir, fileAppFolder, workspace), entries)
		})
	}
	if err != nil { // it only takes room
		s.log.Warn("leftovers in the store were not removed", "dir", s.dir, "error", err.Error())
	}
}

func (s *File) sweepFolder(dir string, entries []fs.DirEntry) error {
	var l *os.File
	for _, e := range entries {
		if !file.Temporary(e.Name()) {
			continue
		}
		if l == nil {
			f, err := try(filepath.Join(dir, lockName))
			if errors.Is(err, errHeld) {
				return nil
			}
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			l = f
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
