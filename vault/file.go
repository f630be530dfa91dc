package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/seal"
)

// suffix of the name of a record's file.
const suffix = ".age"

// FileOptions say where a File keeps its records.
type FileOptions struct {
	Dir    string       // made if it is not there; several processes may use it with one key
	Sealer seal.Sealer  // seals every record
	Log    *slog.Logger // nil: nothing is logged
}

// File is a credential.Store in a folder: a record is the sealed file
// DIR/WORKSPACE/ENVIRONMENT/PROVIDER/NAME.age, replaced whole or not at all.
// Processes that share the folder exclude each other when they write: by .lock in
// the PROVIDER folder. The store's .fingerprint names the key of all its records.
type File struct {
	dir    string
	sealer seal.Sealer
	log    *slog.Logger
	locks  locks
}

// OpenFile opens the store in o.Dir, or makes it. It refuses a folder that was
// made with another key, and removes what killed processes left half-written.
func OpenFile(o FileOptions) (*File, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &File{dir: dir, sealer: o.Sealer, log: o.Log, locks: newLocks()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := file.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := s.checkKey(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s.sweep()
	return s, nil
}

// Get implements credential.Store.
func (s *File) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	if err := s.usable(ctx, ref.Validate()); err != nil {
		return nil, err
	}
	c, trimmed, err := s.read(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.missing(ref)
	}
	if err != nil {
		return nil, s.unreadable(ref, err)
	}
	if len(trimmed) > 0 {
		s.log.WarnContext(ctx, "trailing newline trimmed", "credential", ref.String(), "fields", trimmed)
	}
	return c, nil
}

// List implements credential.Store. It opens no record: one that is damaged is listed too.
func (s *File) List(ctx context.Context, folder credential.Ref) ([]credential.Ref, error) {
	if err := s.usable(ctx, validFolder(folder)); err != nil {
		return nil, err
	}
	if err := s.present(); err != nil {
		return nil, err
	}
	var refs []credential.Ref
	if err := s.records(folder, func(ref credential.Ref) error {
		refs = append(refs, ref)
		return nil
	}); err != nil {
		return nil, fault.New(fault.Internal, "the store's folder cannot be listed: "+s.reason(err), err)
	}
	slices.SortFunc(refs, credential.Ref.Compare)
	return refs, nil
}

// Folders implements credential.Store. A folder without a record is left out.
func (s *File) Folders(ctx context.Context, folder credential.Ref) ([]string, error) {
	if err := s.usable(ctx, validFolder(folder)); err != nil {
		return nil, err
	}
	if err := s.present(); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	if err := s.records(folder, func(ref credential.Ref) error {
		names[ref.Below(folder)] = true
		return nil
	}); err != nil {
		return nil, fault.New(fault.Internal, "the store's folder cannot be listed: "+s.reason(err), err)
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// Put implements credential.Store.
func (s *File) Put(ctx context.Context, c *credential.Credential) error {
	if err := s.usable(ctx, c.Ref.Validate()); err != nil {
		return err
	}
	record, err := encode(c)
	if err != nil {
		return err
	}
	if err := s.present(); err != nil {
		return err
	}
	folder := s.folder(c.Ref)
	if err := file.MakeDir(folder); err != nil {
		return s.unwritten(c.Ref, err)
	}
	l, err := s.locks.lock(ctx, folder)
	if err != nil {
		return s.unwritten(c.Ref, err)
	}
	defer l.release()
	next, err := s.next(l, c)
	if err != nil {
		return err
	}
	if err := s.write(c.Ref, next, record); err != nil {
		return s.unwritten(c.Ref, err)
	}
	c.Version = next
	return nil
}

// next is the version that c gets, if nobody has written the record since c was
// read. A new record goes on above every version that was deleted in its folder,
// so that a version which somebody still holds never fits it by accident.
func (s *File) next(l *folderLock, c *credential.Credential) (int, error) {
	old, _, err := s.read(c.Ref)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.Version == 0:
		mark, err := l.mark()
		if err != nil {
			return 0, s.unwritten(c.Ref, err)
		}
		return mark + 1, nil
	case errors.Is(err, fs.ErrNotExist):
		return 0, fault.New(fault.StoreConflict, fmt.Sprintf("%s was deleted meanwhile", c.Ref), nil)
	case err != nil:
		return 0, s.unreadable(c.Ref, err)
	case c.Version == 0:
		return 0, fault.New(fault.StoreConflict, fmt.Sprintf("%s exists already, with version %d", c.Ref, old.Version), nil)
	case old.Version != c.Version:
		return 0, fault.New(fault.StoreConflict, fmt.Sprintf("%s has version %d by now; the change was made to version %d", c.Ref, old.Version, c.Version), nil)
	}
	return old.Version + 1, nil
}

// unknownVersions is how far the mark leaps over a record that cannot be opened:
// nobody writes one record that often.
const unknownVersions = 1 << 20

// Delete implements credential.Store. A record that cannot be opened is deleted too.
func (s *File) Delete(ctx context.Context, ref credential.Ref) error {
	if err := s.usable(ctx, ref.Validate()); err != nil {
		return err
	}
	l, err := s.locks.lock(ctx, s.folder(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return s.missing(ref)
	}
	if err != nil {
		return s.undeleted(ref, err)
	}
	defer l.release()
	if _, err := os.Lstat(s.path(ref)); errors.Is(err, fs.ErrNotExist) {
		return s.missing(ref)
	}
	if err := s.retire(l, ref); err != nil {
		return s.undeleted(ref, err)
	}
	if err := os.Remove(s.path(ref)); err != nil {
		return s.undeleted(ref, err)
	}
	if err := file.SyncDir(s.folder(ref)); err != nil {
		return s.undeleted(ref, err)
	}
	return nil
}

// retire raises the folder's mark to the version of a record that is about to go.
func (s *File) retire(l *folderLock, ref credential.Ref) error {
	mark, err := l.mark()
	if err != nil {
		return err
	}
	c, _, err := s.read(ref)
	if err != nil {
		return l.raise(mark + unknownVersions)
	}
	return l.raise(max(mark, c.Version))
}
