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
	"time"
)

// Modes of what Sallyport makes.
const (
	Private    fs.FileMode = 0o600
	PrivateDir fs.FileMode = 0o700
)

// maxSize bounds every file that is read here.
const maxSize = 16 << 20

// temporary is the pattern of the names that Write and Create use on their way.
const temporary = ".tmp-*"

// Temporary reports whether name is of a file that Write or Create left behind
// when the process was killed. It holds nothing that counts.
func Temporary(name string) bool {
	ok, err := filepath.Match(temporary, name)
	return ok && err == nil
}

// unfinished is how old a temporary file is that no Write is still about.
const unfinished = time.Minute

// Sweep removes what writes that were killed have left in a folder. A write of
// another process that is under way keeps its file.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !Temporary(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > unfinished {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Write replaces the file at path by data: a temporary file beside it, synced,
// renamed, and the folder synced. On an error before the rename the old file is
// untouched; if only the folder could not be synced, the new one is in place but
// may not outlive a power cut.
func Write(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Rename)
}

// Create is Write for a file that must not exist yet: the error is fs.ErrExist
// if it does. Of several processes that create it at once, one does.
func Create(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, func(from, to string) error {
		if err := os.Link(from, to); err != nil { // a rename would replace the other's
			return err
		}
		return os.Remove(from)
	})
}

func write(path string, data []byte, mode fs.FileMode, place func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporary)
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
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes renames and removals in dir durable, where the file system can.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) { // some network file systems cannot
		return err
	}
	return nil
}

// MakeDir makes a private folder and its parents, durably, and refuses one that
// others may enter or that is not ours.
func MakeDir(dir string) error { return makeDir(dir, 0o077, PrivateDir) }

// MakeBase makes a folder like MakeDir for private folders to stand in. One that
// is there may be readable for others, as service managers make them, but
// nobody else may write to it.
func MakeBase(dir string) error { return makeDir(dir, 0o022, 0o755) }

func makeDir(dir string, forbidden, want fs.FileMode) error {
	if err := makeDirs(filepath.Clean(dir)); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: is not a folder", dir)
	}
	if err := allowed(dir, info, forbidden, want); err != nil {
		return fmt.Errorf("%w, or use a folder below it", err)
	}
	return nil
}

func makeDirs(dir string) error {
	parent := filepath.Dir(dir)
	err := os.Mkdir(dir, PrivateDir)
	if errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, PrivateDir)
	}
	if info, bad := os.Stat(dir); err != nil && bad == nil && info.IsDir() { // it was there, or somebody else was faster
		return nil
	}
	if err != nil {
		return err
	}
	return SyncDir(parent)
}

// ReadPrivate reads a file that Sallyport made. The opened descriptor must be a
// regular file of ours, no link, with no bit for group or others.
func ReadPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) // a named pipe must not hold us up
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
	f, readable, err := OpenOperator(path)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	data, err = readAll(path, f)
	return data, readable, err
}

// OpenOperator is ReadOperator for a file that may be large: whoever reads it
// bounds that, and closes it.
func OpenOperator(path string) (f *os.File, readable bool, err error) {
	if f, err = os.Open(path); err != nil {
		return nil, false, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		err = fmt.Errorf("%s: is writable by everybody (mode %04o); run chmod o-w on it", path, info.Mode().Perm())
	}
	if err != nil {
		_ = f.Close()
		return nil, false, err
	}
	return f, info.Mode().Perm()&0o004 != 0, nil
}

func readAll(path string, r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err == nil && len(b) > maxSize {
		return nil, fmt.Errorf("%s: is larger than %d MiB", path, maxSize>>20)
	}
	return b, err
}

func private(path string, info fs.FileInfo, want fs.FileMode) error {
	return allowed(path, info, 0o077, want)
}

// allowed refuses a mode with forbidden bits, and another owner than us.
func allowed(path string, info fs.FileInfo, forbidden, want fs.FileMode) error {
	if m := info.Mode().Perm(); m&forbidden != 0 {
		return fmt.Errorf("%s: mode is %04o, must be %04o; run chmod %o on it", path, m, want, want)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: belongs to uid %d, but Sallyport runs as uid %d", path, st.Uid, os.Geteuid())
	}
	return nil
}
