package proxy

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

var errUploadStalled = fault.New(fault.Timeout, "the upstream takes no more of the request and does not answer", nil)

// uploadWatch cancels a request of which the upstream takes no more bytes and
// that it does not answer. net/http's time-out begins only when the request is
// sent whole. The time that the runner takes to send does not count.
type uploadWatch struct {
	limit  time.Duration
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer // nil before the first byte
	fired bool
	over  bool // the answer's header is here
}

// watchUpload gives a copy of req that is watched; the watch is nil where there
// is no body.
func watchUpload(req *http.Request, limit time.Duration) (*http.Request, *uploadWatch) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &uploadWatch{limit: limit, cancel: cancel}
	watched := req.WithContext(ctx)
	watched.Body = &watchedBody{req.Body, w}
	if again := req.GetBody; again != nil {
		watched.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil {
				return nil, err
			}
			return &watchedBody{body, w}, nil
		}
	}
	return watched, w
}

// arm starts the time anew: the upstream has bytes to take, or all of them.
func (w *uploadWatch) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
	case w.timer == nil:
		w.timer = time.AfterFunc(w.limit, w.fire)
	default:
		w.timer.Reset(w.limit)
	}
}

// pause stops the time: the runner's bytes are waited for.
func (w *uploadWatch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *uploadWatch) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.fired = true
		w.cancel(errUploadStalled)
	}
}

// end is called when there is an answer or an error; the rest of the upload is
// watched no more. It reports whether the request was cancelled.
func (w *uploadWatch) end() (cancelled bool) {
	if w == nil {
		return false
	}
	w.pause()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	return w.fired
}

// watchedBody tells the watch when the transport waits for the runner.
type watchedBody struct {
	io.ReadCloser
	watch *uploadWatch
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.pause()
	defer b.watch.arm()
	return b.ReadCloser.Read(p)
}
