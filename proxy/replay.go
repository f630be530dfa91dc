package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// replayPool bounds the memory of all kept request bodies.
const replayPool = 64 << 20

var errLost = errors.New("the request body was not kept for a second try")

// replay lets a request body be sent more than once: what a try reads is kept,
// up to limit, and given to the next one first.
type replay struct {
	pool    *atomic.Int64 // bytes kept by all requests
	limit   int64
	trailer http.Header // the runner's, filled when its body ends

	mu   sync.Mutex
	src  io.Reader
	kept []byte
	read int64 // from src
	end  error // of src
	lost bool  // read more than is kept
}

func newReplay(r *http.Request, limit int64, pool *atomic.Int64) *replay {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.ContentLength > limit {
		limit = 0
	}
	return &replay{pool: pool, limit: limit, src: r.Body}
}

// again reports whether the body can be sent once more from its beginning. A nil
// replay is a request without a body.
func (b *replay) again() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.lost
}

// release gives the kept bytes back to the pool.
func (b *replay) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop()
	b.lost = true
}

func (b *replay) drop() {
	b.pool.Add(-int64(len(b.kept)))
	b.kept = nil
}

// try gives the body from its beginning. Only one try reads at a time; a closed
// one reads no more.
func (b *replay) try() *tryBody { return &tryBody{b: b} }

type tryBody struct {
	b      *replay
	pos    int64
	closed atomic.Bool
	onEnd  func(http.Header) // called once with the runner's trailers
}

func (t *tryBody) Read(p []byte) (int, error) {
	b := t.b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case t.closed.Load():
		return 0, http.ErrBodyReadAfterClose
	case t.pos < int64(len(b.kept)):
		n := copy(p, b.kept[t.pos:])
		t.pos += int64(n)
		return n, nil
	case t.pos != b.read:
		return 0, errLost
	case b.end != nil:
		return 0, t.ended()
	}
	n, err := b.src.Read(p)
	b.keep(p[:n])
	t.pos += int64(n)
	if err != nil {
		b.end = err
		return n, t.ended()
	}
	return n, nil
}

func (t *tryBody) ended() error {
	if t.onEnd != nil && t.b.end == io.EOF { //nolint:errorlint // io.EOF is never wrapped by a Reader
		t.onEnd(t.b.trailer)
		t.onEnd = nil
	}
	return t.b.end
}

// Close ends this try. The runner's body stays open for the next one.
func (t *tryBody) Close() error {
	t.closed.Store(true)
	return nil
}

// keep remembers what was read, or forgets everything once it is too much.
func (b *replay) keep(p []byte) {
	b.read += int64(len(p))
	if b.lost || len(p) == 0 {
		return
	}
	if b.read > b.limit || b.pool.Add(int64(len(p))) > replayPool {
		if b.read <= b.limit {
			b.pool.Add(-int64(len(p)))
		}
		b.drop()
		b.lost = true
		return
	}
	b.kept = append(b.kept, p...)
}
