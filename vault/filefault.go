package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/seal"
)

// usable turns away a call that is over already or whose reference is none,
// before any path is built.
func (s *File) usable(ctx context.Context, badRef error) error {
	if badRef != nil {
		return fault.New(fault.InvalidRequest, badRef.Error(), nil)
	}
	if err := ctx.Err(); err != nil {
		return fault.New(fault.Internal, "the store was asked too late", err)
	}
	return nil
}

// present tells a store whose folder went away (a disk that is not mounted)
// from one that is empty.
func (s *File) present() error {
	if _, err := os.Lstat(filepath.Join(s.dir, fingerprintName)); err != nil {
		return fault.New(fault.Internal, "the store's folder is gone or not readable; is its disk mounted?", err)
	}
	return nil
}

func (s *File) missing(ref credential.Ref) error {
	if err := s.present(); err != nil {
		return err
	}
	return fault.New(fault.CredentialNotFound, ref.String(), nil)
}

func (s *File) unreadable(ref credential.Ref, err error) error {
	remedy := "put a copy of the file back, or remove the credential and add it again"
	why := strings.TrimPrefix(s.reason(err), ref.String()+suffix+": ")
	switch {
	case errors.Is(err, seal.ErrOtherKey):
		why = fmt.Sprintf("%s than that of the store (%s), or is damaged; %s", why, s.sealer.Fingerprint(), remedy)
	case errors.Is(err, seal.ErrDamaged), errors.Is(err, errForm):
		why += "; " + remedy
	}
	return fault.New(fault.Internal, fmt.Sprintf("the store's file %s%s: %s", ref, suffix, why), err)
}

func (s *File) unwritten(ref credential.Ref, err error) error {
	return fault.New(fault.Internal, fmt.Sprintf("%s was not stored, what was stored before stands: %s", ref, s.reason(err)), err)
}

func (s *File) undeleted(ref credential.Ref, err error) error {
	return fault.New(fault.Internal, fmt.Sprintf("%s was not deleted: %s", ref, s.reason(err)), err)
}

// reason says what was wrong and what to do. Paths in it begin below the store's
// folder: where that lies is for the log only.
func (s *File) reason(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return strings.ReplaceAll(err.Error(), s.dir+string(filepath.Separator), "")
	}
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT:
		return "the store's disk is full; free some space and try again"
	case syscall.EROFS:
		return "the store's disk is mounted read-only"
	case syscall.EACCES, syscall.EPERM:
		return errno.Error() + "; the store's folder must belong to the user that Sallyport runs as"
	}
	return errno.Error()
}
