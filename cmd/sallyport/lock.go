package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/file"
)

// lockWait is how long acquireLock tries: a command that only looks whether a
// daemon runs holds the lock for an instant.
const lockWait = 500 * time.Millisecond

// lock is the hold of one daemon on a state directory. It ends with release or
// with the process, however that ends.
type lock struct {
	f        *os.File
	stateDir string
}

// acquireLock makes the state directory if need be and takes STATE_DIR/lock,
// which then holds this process' id. If another process has it, the error names
// it. The addresses that a killed daemon left there go: nobody listens on them. So
// do the files that it was writing.
func acquireLock(stateDir string) (*lock, error) {
	if err := file.MakeBase(stateDir); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	f, err := os.OpenFile(lockPath(stateDir), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, file.Private)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) {
		err = flock(f, syscall.LOCK_EX)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = try(fmt.Errorf("another daemon%s runs on the state directory %s", holder(f), stateDir),
			"stop it first, or give this one a directory of its own with --state-dir DIR")
	} else if err == nil {
		err = errors.Join(writePID(f), forgetAddresses(stateDir))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	_ = file.Sweep(stateDir) // what stays only takes room
	return &lock{f, stateDir}, nil
}

// release gives the state directory free. The file stays: removing it would let
// two daemons hold locks on two files of that name.
func (l *lock) release() error {
	return errors.Join(forgetAddresses(l.stateDir), l.f.Truncate(0), l.f.Close())
}

func forgetAddresses(stateDir string) error {
	err := os.Remove(addressesPath(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// running tells whether a daemon holds the state directory. It makes nothing.
func running(stateDir string) (bool, error) {
	f, err := os.OpenFile(lockPath(stateDir), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("state directory: %w", err)
	}
	defer func() { _ = f.Close() }()
	switch err := flock(f, syscall.LOCK_SH); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("state directory: %w", err)
	}
	return false, nil
}

func lockPath(stateDir string) string { return filepath.Join(stateDir, "lock") }

// flock takes the lock without waiting.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder gives " (pid N)" of the process that wrote the lock; "" if none did.
func holder(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return ""
	}
	if pid, err := strconv.Atoi(string(bytes.TrimSpace(b))); err == nil {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return ""
}
