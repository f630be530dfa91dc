package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func newTestReplay(src io.Reader, limit int64) (*replay, *atomic.Int64) {
	pool := new(atomic.Int64)
	return newReplay(&http.Request{Body: io.NopCloser(src), ContentLength: -1}, limit, pool), pool
}

func TestReplayGivesTheBodyAgain(t *testing.T) {
	b, pool := newTestReplay(strings.NewReader("hello world"), 100)
	for range 3 {
		try := b.try()
		if got, err := io.ReadAll(try); err != nil || string(got) != "hello world" {
			t.Fatalf("%q, %v", got, err)
		}
		_ = try.Close()
	}
	if !b.again() || pool.Load() != 11 {
		t.Errorf("again %v, %d bytes in the pool", b.again(), pool.Load())
	}
	b.release()
	if b.again() || pool.Load() != 0 {
		t.Errorf("released: again %v, %d bytes in the pool", b.again(), pool.Load())
	}
}

func TestReplayBeyondItsLimit(t *testing.T) {
	b, pool := newTestReplay(io.LimitReader(letters{}, 1000), 100)
	try := b.try()
	if got, err := io.ReadAll(try); err != nil || len(got) != 1000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if b.again() || pool.Load() != 0 {
		t.Errorf("again %v, %d bytes in the pool", b.again(), pool.Load())
	}
	if _, err := b.try().Read(make([]byte, 1)); !errors.Is(err, errLost) {
		t.Errorf("a second try: %v", err)
	}
}

// An upstream that answers early leaves a try waiting for a slow runner. The
// others do not wait with it, and lose none of what it reads.
func TestReplayWhileATryStillReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		b, _ := newTestReplay(r, 4)
		first := b.try()
		go func() { _, _ = w.Write([]byte("abc")) }()
		if _, err := io.ReadFull(first, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		late := make(chan error, 1)
		go func() { _, err := first.Read(make([]byte, 10)); late <- err }()
		synctest.Wait()
		if !b.again() {
			t.Error("it cannot be sent again while the runner is waited for")
		}
		_ = first.Close()
		synctest.Wait() // the closed try waits no more
		second := b.try()
		got := make(chan []byte, 1)
		go func() { data, _ := io.ReadAll(second); got <- data }()
		time.Sleep(time.Minute)
		_, _ = w.Write([]byte("defgh")) // beyond the limit, read by the closed try
		_, _ = w.Write([]byte("ij"))
		_ = w.Close()
		if data := <-got; !bytes.Equal(data, []byte("abcdefghij")) {
			t.Errorf("the second try read %q", data)
		}
		if err := <-late; !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("the closed try's last read: %v", err)
		}
	})
}

func TestReplayReleasedWhileATryStillReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		b, pool := newTestReplay(r, 100)
		first, second := b.try(), b.try()
		for _, try := range []*tryBody{first, second} {
			go func() { _, _ = try.Read(make([]byte, 10)) }()
		}
		synctest.Wait()
		b.release() // must not wait
		_ = first.Close()
		_ = second.Close() // ends its waiting
		_, _ = w.Write([]byte("late"))
		synctest.Wait()
		if pool.Load() != 0 {
			t.Errorf("%d bytes stay in the pool", pool.Load())
		}
	})
}

func TestReplayTellsABrokenBody(t *testing.T) {
	b, _ := newTestReplay(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(errors.New("cut"))), 100)
	if _, err := io.ReadAll(b.try()); err == nil {
		t.Error("a broken body looks whole")
	}
	if f := b.fault(); f == nil || f.Status() != http.StatusBadRequest {
		t.Errorf("fault %v", f)
	}
}
