// Package file writes and reads the daemon's own files: 0600 in 0700 folders,
// replaced whole or not at all, on the disk before they count.
package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Modes of what Sallyport makes.
const (
	Private    fs.FileMode = 0o600
	PrivateDir fs.FileMode = 0o700
)

// maxSize bounds every file that is read here.
const maxSize = 16 << 20

// Write replaces the file at path by data: a temporary file beside it, synced,
// renamed, and the folder synced. On any error the old file is untouched.
func Write(path string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes renames and removals in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// MakeDir makes a private folder and its parents, and refuses one that others
// may enter or that is not ours.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, PrivateDir); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return private(dir, info, PrivateDir)
}

// ReadPrivate reads a file that Sallyport made. The opened descriptor must be a
// regular file of ours, no link, with no bit for group or others.
func ReadPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s: is a symbolic link; Sallyport's own files must not be links", path)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	if err := private(path, info, Private); err != nil {
		return nil, err
	}
	return readAll(path, f)
}

// ReadOperator reads a file that the operator provides: a mount or a link is
// fine. World-writable is refused; readable tells whether the world may read it.
func ReadOperator(path string) (data []byte, readable bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		return nil, false, fmt.Errorf("%s: is writable by everybody (mode %04o); run chmod o-w on it", path, info.Mode().Perm())
	}
	data, err = readAll(path, f)
	return data, info.Mode().Perm()&0o004 != 0, err
}

func readAll(path string, r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err == nil && len(b) > maxSize {
		return nil, fmt.Errorf("%s: is larger than %d MiB", path, maxSize>>20)
	}
	return b, err
}

func private(path string, info fs.FileInfo, want fs.FileMode) error {
	if m := info.Mode().Perm(); m&0o077 != 0 {
		return fmt.Errorf("%s: mode is %04o, must be %04o; run chmod %o on it", path, m, want, want)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: belongs to uid %d, but Sallyport runs as uid %d", path, st.Uid, os.Geteuid())
	}
	return nil
}
