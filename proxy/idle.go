package proxy

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

var errIdle = fault.New(fault.Timeout, "no byte of the body moved for too long", nil)

// idleWatch ends an exchange of which no byte has moved for limit although a
// read or a write waits for one. The time until the answer's header is not its
// business: the upstream's time-out bounds that.
type idleWatch struct {
	limit time.Duration
	end   func() // called once, when it is idle

	moving atomic.Int32 // reads and writes that wait
	last   atomic.Int64 // Unix nanoseconds of the last one's beginning or end
	mu     sync.Mutex
	timer  *time.Timer // nil before the first one
	over   bool
}

// begin and done go round one read or write.
func (w *idleWatch) begin() {
	w.last.Store(time.Now().UnixNano())
	if w.moving.Add(1) == 1 {
		w.start()
	}
}

func (w *idleWatch) done() {
	w.last.Store(time.Now().UnixNano())
	w.moving.Add(-1)
}

func (w *idleWatch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil && !w.over {
		w.timer = time.AfterFunc(w.limit, w.look)
	}
}

func (w *idleWatch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	since := time.Since(time.Unix(0, w.last.Load()))
	switch {
	case w.over:
	case w.moving.Load() == 0:
		w.timer = nil // the next one starts it
		if w.moving.Load() > 0 {
			w.timer = time.AfterFunc(w.limit, w.look)
		}
	case since < w.limit:
		w.timer.Reset(w.limit - since)
	default:
		w.over = true
		w.end()
	}
}

// stop ends the watching.
func (w *idleWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// watch bounds the time in which nothing of the exchange's bodies moves. The
// context that it gives ends with the exchange, or with errIdle as its cause.
func (s *Server) watch(ctx context.Context, w http.ResponseWriter, x *exchange) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	x.idle = &idleWatch{limit: s.idle, end: func() {
		cancel(errIdle)
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Now())
		_ = c.SetWriteDeadline(time.Now().Add(lingering)) // an answer may still be told
	}}
	return ctx, func() { x.idle.stop(); cancel(nil) }
}

// movedBody is a body, of either side, whose reads are watched.
type movedBody struct {
	io.ReadCloser
	watch *idleWatch
}

// Read implements io.Reader.
func (b *movedBody) Read(p []byte) (int, error) {
	b.watch.begin()
	defer b.watch.done()
	return b.ReadCloser.Read(p)
}

// runnerBody is the runner's body as the stages see it. net/http closes it: its
// Close would wait for a Read that waits for the runner.
type runnerBody struct {
	io.Reader
	begun atomic.Bool // read, for which the runner was told to continue
	whole atomic.Bool // read to its end
}

// Read implements io.Reader.
func (b *runnerBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	n, err := b.Reader.Read(p)
	if err == io.EOF { //nolint:errorlint // a body's end is the bare value
		b.whole.Store(true)
	}
	return n, err
}

// Close implements io.Closer.
func (b *runnerBody) Close() error { return nil }
