package vault

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential/credtest"
)

// Of daemons with different keys that make one store at once, one wins and the others are told.
func TestFileClaimAtOnce(t *testing.T) {
	dir := t.TempDir()
	var won, refused int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 6 {
		key := loadKey(t, filepath.Join(dir, fmt.Sprint("key", i)))
		wg.Go(func() {
			_, err := OpenFile(FileOptions{Dir: filepath.Join(dir, "store"), Sealer: key})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case strings.Contains(err.Error(), "was made with the key"):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || refused != 5 {
		t.Errorf("%d opened the store and %d were refused, want 1 and 5", won, refused)
	}
}

// Whoever waits for a writer that hangs gives up, at its own end or after lockWait.
func TestFileLockIsBounded(t *testing.T) {
	s := openStore(t, t.TempDir())
	c := putNew(t, s, "github", "1")
	path := filepath.Join(s.folder(c.Ref), lockName)
	held, err := try(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put while the lock is held: %v, want its deadline", err)
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := await(t.Context(), path)
		if err == nil || !strings.Contains(err.Error(), "another process holds this lock for more than 10s") {
			t.Errorf("error %v", err)
		}
		if waited := time.Since(start); waited < lockWait || waited > lockWait+time.Second {
			t.Errorf("waited %s, want about %s", waited, lockWait)
		}
	})
	wantToken(t, s, "github", "1") // readers need no lock
}

// Two stores in one process exclude each other like two processes.
func TestFileSharedInOneProcess(t *testing.T) {
	const each = 15
	dir := t.TempDir()
	stores := []*File{openStore(t, dir), openStore(t, dir)}
	c := putNew(t, stores[0], "github", "0")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range each {
				if err := credtest.Increment(t.Context(), stores[i%2], c.Ref, "token"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantToken(t, stores[1], "github", fmt.Sprint(4*each))
}
