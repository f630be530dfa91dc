package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/seal"
)

// fingerprintName is the file of the store that names the key of its records.
const fingerprintName = ".fingerprint"

// checkKey refuses to mix the records of two keys in one folder.
func (s *File) checkKey() error {
	path := filepath.Join(s.dir, fingerprintName)
	have, err := file.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.claim(path); err != nil {
			return err
		}
		have, err = file.ReadPrivate(path)
	}
	if err != nil {
		return err
	}
	got, ours := strings.TrimSpace(string(have)), s.sealer.Fingerprint()
	if got == "" {
		return fmt.Errorf("%s: is empty; remove it, and it is written again", path)
	}
	if got != ours {
		return fmt.Errorf("%s was made with the key %q, but the key in use is %q; set the key_file of [store] to that key, or its dir to another folder", s.dir, got, ours)
	}
	return nil
}

// claim writes down our key, unless another process is faster or a record tells
// of another key.
func (s *File) claim(path string) error {
	l, err := s.locks.lock(context.Background(), s.dir)
	if err != nil {
		return err
	}
	defer l.release()
	err = s.records(credential.Ref{}, func(ref credential.Ref) error {
		_, _, err := s.read(ref)
		if errors.Is(err, seal.ErrOtherKey) {
			return fmt.Errorf("%w than that in use (%s); set the key_file of [store] to that key, or its dir to another folder", err, s.sealer.Fingerprint())
		}
		if err == nil {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.SkipAll) {
		return err
	}
	if err := file.Create(path, []byte(s.sealer.Fingerprint()+"\n"), file.Private); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
