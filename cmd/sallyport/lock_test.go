package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if up, err := running(dir); up || err != nil {
		t.Fatalf("no directory: %v, %v", up, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("looking made the state directory")
	}
	l, err := acquireLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if up, err := running(dir); !up || err != nil {
		t.Errorf("held: %v, %v", up, err)
	}
	_, err = acquireLock(dir)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second daemon must fail and name the first: %v", err)
	}
	if err := os.WriteFile(addressesPath(dir), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(addressesPath(dir)); err == nil {
		t.Error("the addresses of a daemon that is gone are still there")
	}
	if up, err := running(dir); up || err != nil {
		t.Errorf("released: %v, %v", up, err)
	}
	left, old := filepath.Join(dir, ".tmp-123"), time.Now().Add(-time.Hour) // by a daemon that was killed
	if err := errors.Join(os.WriteFile(left, nil, 0o600), os.Chtimes(left, old, old)); err != nil {
		t.Fatal(err)
	}
	again, err := acquireLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what a killed daemon was writing is still there")
	}
	_ = again.release()
}

// A command that looks holds the lock for an instant: a daemon that starts then
// must not fail.
func TestLookingDoesNotStopAStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = running(dir)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for range 50 {
		l, err := acquireLock(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.release(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLockRefusesALink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := acquireLock(dir); err == nil {
		t.Error("LK-14: a symbolic link was taken for the lock")
	}
}
