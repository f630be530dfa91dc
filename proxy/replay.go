package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/fault"
)

// replayPool bounds the memory of all kept request bodies.
const replayPool = 64 << 20

var errLost = errors.New("the request body was not kept for a second try")

// replay lets a request body be sent more than once: what a try reads is kept,
// up to limit, and given to the next one first.
//
// An upstream may answer while the runner's next bytes are still waited for. So
// the runner is read by a goroutine of its own: nobody else waits with it, a try
// that is closed ends at once, and what comes then is the next one's.
type replay struct {
	pool    *atomic.Int64 // bytes kept by all requests
	limit   int64
	trailer http.Header // the runner's, filled when its body ends
	src     io.Reader

	mu       sync.Mutex // not held while src is read
	kept     []byte     // from the beginning
	fresh    *chunk     // the last bytes read, where they are not kept
	read     int64      // from src
	end      error      // of src
	lost     bool       // read more than is kept, or released
	fetching chan struct{}
}

// chunk is what one read of the runner's body gave.
type chunk struct {
	n   int
	buf [32 << 10]byte
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// newReplay keeps the body of r; nil if it has none.
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

// fault is what is wrong with the runner's body; nil: nothing so far.
func (b *replay) fault() *fault.Fault {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.end == nil || errors.Is(b.end, io.EOF) {
		return nil
	}
	return fault.New(fault.InvalidRequest, "the request body is cut or malformed", b.end)
}

// release gives the kept bytes back to the pool.
func (b *replay) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop()
	if b.fresh != nil {
		chunks.Put(b.fresh)
		b.fresh = nil
	}
}

// busy reports whether the runner's body is being read.
func (b *replay) busy() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fetching != nil
}

// settle waits for the read of the runner's body that goes on, if one does.
func (b *replay) settle() {
	if b == nil {
		return
	}
	b.mu.Lock()
	fetching := b.fetching
	b.mu.Unlock()
	if fetching != nil {
		<-fetching
	}
}

func (b *replay) drop() {
	b.pool.Add(-int64(len(b.kept)))
	b.kept, b.lost = nil, true
}

// try gives the body from its beginning. The try before it is closed.
func (b *replay) try() *tryBody { return &tryBody{b: b, done: make(chan struct{})} }

// tryBody is the body of one sending. Close may be called while Read waits.
type tryBody struct {
	b     *replay
	pos   int64
	once  sync.Once
	done  chan struct{}     // closed by Close
	onEnd func(http.Header) // called once with the runner's trailers
}

// Read implements io.Reader.
func (t *tryBody) Read(p []byte) (int, error) {
	for {
		n, more, err := t.held(p)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-more:
		case <-t.done:
		}
	}
}

// held gives what is here from pos on, or why there is no more, or what is
// closed when there is.
func (t *tryBody) held(p []byte) (n int, more <-chan struct{}, err error) {
	if t.closed() {
		return 0, nil, http.ErrBodyReadAfterClose
	}
	b := t.b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch rest, ok := b.from(t.pos); {
	case !ok:
		return 0, nil, errLost
	case len(rest) > 0:
		n = copy(p, rest)
		t.pos += int64(n)
		return n, nil, nil
	case b.end != nil:
		return 0, nil, t.ended()
	}
	if b.fetching == nil {
		b.fetching = make(chan struct{})
		go b.fetch(t, b.fetching)
	}
	return 0, b.fetching, nil
}

// from gives the bytes that are here from pos on; ok is false if they are gone.
func (b *replay) from(pos int64) (rest []byte, ok bool) {
	if !b.lost {
		return b.kept[pos:], true
	}
	if b.fresh != nil {
		if at := pos - (b.read - int64(b.fresh.n)); at >= 0 {
			return b.fresh.buf[at:b.fresh.n], true
		}
	}
	return nil, pos == b.read
}

// fetch reads the runner's next bytes for t.
func (b *replay) fetch(t *tryBody, done chan struct{}) {
	defer close(done)
	b.mu.Lock()
	c := b.fresh
	b.fresh = nil
	b.mu.Unlock()
	if c == nil {
		c, _ = chunks.Get().(*chunk) // the pool has nothing else
	}
	n, err := b.src.Read(c.buf[:])
	b.mu.Lock()
	defer b.mu.Unlock()
	c.n, b.fetching = n, nil
	b.keep(c, err, t.closed())
}

func (t *tryBody) ended() error {
	if t.onEnd != nil && errors.Is(t.b.end, io.EOF) {
		t.onEnd(t.b.trailer)
		t.onEnd = nil
	}
	return t.b.end
}

func (t *tryBody) closed() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// Close ends this try. The runner's body stays open for the next one.
func (t *tryBody) Close() error {
	t.once.Do(func() { close(t.done) })
	return nil
}

// keep remembers what was read, or forgets everything once it is too much. What
// a closed try had been waiting for is the next one's, whatever the limit.
func (b *replay) keep(c *chunk, end error, closed bool) {
	b.read += int64(c.n)
	b.end, b.fresh = end, c
	n := int64(c.n)
	switch {
	case b.lost || n == 0:
	case b.pool.Add(n) > replayPool, b.read > b.limit && !closed:
		b.pool.Add(-n)
		b.drop()
	default:
		b.kept = append(b.kept, c.buf[:n]...)
	}
}
