package vault

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// lockName is the file in a folder that whoever writes there holds locked.
	lockName = ".lock"
	// lockWait bounds the wait for another process. A write takes milliseconds.
	lockWait = 10 * time.Second
)

// errHeld: another process holds the lock.
var errHeld = errors.New("the folder's lock is held")

// locks lets one goroutine at a time try for a folder's lock, so that many
// writers of one process queue up in memory and not at the file.
type locks []chan struct{}

func newLocks() locks {
	l := make(locks, 16)
	for i := range l {
		l[i] = make(chan struct{}, 1)
	}
	return l
}

// folderLock is the right to write in a folder. It lies on the open file, so it
// ends with the process, however that ends. The file's text is the folder's
// mark: the highest version of a record that was deleted there.
type folderLock struct {
	f    *os.File
	turn chan struct{}
}

// lock waits its turn in this process for as long as ctx lives, and lockWait for
// other processes. A folder that does not exist is fs.ErrNotExist.
func (l locks) lock(ctx context.Context, dir string) (*folderLock, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(dir))
	turn := l[h.Sum32()%uint32(len(l))]
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := await(ctx, filepath.Join(dir, lockName))
	if err != nil {
		<-turn
		return nil, err
	}
	return &folderLock{f, turn}, nil
}

func (l *folderLock) release() {
	_ = syscall.Flock(int(l.f.Fd()), syscall.LOCK_UN) // also for a copy of the file that a child holds until it runs
	_ = l.f.Close()
	<-l.turn
}

// await polls: a thread that blocks in flock could not be told to give up.
func await(ctx context.Context, path string) (*os.File, error) {
	end := time.Now().Add(lockWait)
	for wait := time.Millisecond; ; wait = min(2*wait, 32*time.Millisecond) {
		f, err := try(path)
		if !errors.Is(err, errHeld) {
			return f, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%s: another process holds this lock for more than %s; is one of them stopped?", path, lockWait)
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try locks the file that is at path now: one that was removed meanwhile keeps nobody out.
func try(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil && same(f, path) {
		return f, nil
	}
	_ = f.Close()
	if err == nil || errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return nil, errHeld
	}
	return nil, &os.PathError{Op: "lock", Path: path, Err: err}
}

func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// mark reads the mark; 0 if nothing was deleted yet. It is written into a new
// file at once, because a full disk has no room for it later, when a record
// shall be deleted.
func (l *folderLock) mark() (int, error) {
	b, err := io.ReadAll(io.NewSectionReader(l.f, 0, 64))
	if err != nil {
		return 0, err
	}
	if len(b) == 0 {
		return 0, l.raise(0)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: holds no version number; remove it while no Sallyport runs", l.f.Name())
	}
	return n, nil
}

// raise writes the mark in place, 20 bytes of one disk block.
func (l *folderLock) raise(n int) error {
	if _, err := l.f.WriteAt(fmt.Appendf(nil, "%019d\n", n), 0); err != nil {
		return err
	}
	return l.f.Sync()
}
