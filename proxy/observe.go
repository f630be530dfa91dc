package proxy

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// observed serves one request and sees what the runner sees: it times it,
// counts it, writes its one log line, and makes a panic one failed request.
func (s *Server) observed(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, *exchange) error) {
	x := &exchange{id: s.ids.next(), start: time.Now(), st: s.st.Load(), method: r.Method, path: r.URL.EscapedPath()}
	if !strings.Contains(r.Host, "@") { // a user and a password are not logged
		x.host = r.Host
	}
	rec := &recorder{ResponseWriter: w, control: http.NewResponseController(w), x: x, bare: r.Method != http.MethodConnect}
	if r.ProtoMajor == 1 && r.Body != nil && r.Body != http.NoBody {
		rec.body, rec.expects = &runnerBody{Reader: r.Body}, r.Header.Get("Expect") != ""
		r.Body = rec.body
		_ = rec.control.EnableFullDuplex() // an answer does not wait for the rest of the request
		defer rec.linger()
	}
	s.metrics.inflight.Inc()
	defer s.finish(rec, r, x)
	if err := serve(rec, x); err != nil {
		s.refuse(rec, r, x, err)
	}
}

func (s *Server) finish(rec *recorder, r *http.Request, x *exchange) {
	s.metrics.inflight.Dec()
	p := recover()
	if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
		s.caught(rec, r, x, p)
		p = nil
	}
	s.report(rec, r, x)
	if p != nil {
		panic(p) //nolint:forbidigo // http.ErrAbortHandler: net/http closes the connection, so that a cut answer looks cut
	}
}

func (s *Server) caught(rec *recorder, r *http.Request, x *exchange, p any) {
	s.metrics.panics.Inc()
	s.o.Log.Error("panic while serving a request", "request_id", x.id, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	if rec.status == 0 {
		s.refuse(rec, r, x, fault.New(fault.Internal, "", nil))
		return
	}
	x.fault = fault.New(fault.Internal, "", nil)
}

// Panicked counts a panic that ended something else than a request.
func (s *Server) Panicked() { s.metrics.panics.Inc() }

// report writes the line and the counts of a request that has ended.
func (s *Server) report(rec *recorder, r *http.Request, x *exchange) {
	took := time.Since(x.start)
	if x.upgrade != nil {
		rec.status, x.sent = http.StatusSwitchingProtocols, x.upgrade.sent.Load()
	}
	status, outcome := rec.status, x.outcome(rec.status)
	if x.left || (status == 0 && r.Context().Err() != nil) {
		outcome = "canceled"
	}
	if r.Method == http.MethodConnect && status == 0 {
		status = http.StatusOK
	}
	s.metrics.done(x, outcome, took)
	s.remember(r, x, status, outcome, took)
	level := slog.LevelInfo
	attrs := [14]slog.Attr{
		slog.String("request_id", x.id), slog.String("caller", x.callerName()), slog.String("provider", x.providerName()),
		slog.String("credential", x.credentialName()), slog.String("method", x.method), slog.String("host", x.host),
		slog.String("path", x.path), slog.Int("status", status), slog.String("outcome", outcome), slog.Int("tries", x.tries),
		slog.Duration("took", took), slog.Int64("bytes", rec.bytes+x.sent),
	}
	n := 12
	if x.told != "" {
		attrs[n] = slog.String("told", string(x.told))
		n++
	}
	if x.fault != nil {
		level = slog.LevelWarn
		attrs[n] = slog.String("error", x.fault.Error())
		n++
	}
	s.o.Log.LogAttrs(r.Context(), level, "request", attrs[:n]...)
}

// recorder sees the answer that goes to the runner, and flushes each part of a
// body that is longer than what has come of it, so that slow streams flow.
type recorder struct {
	http.ResponseWriter
	control *http.ResponseController
	x       *exchange
	body    *runnerBody // of an HTTP/1 request; nil: it has none
	expects bool        // the runner sends its body only when it is asked to
	bare    bool        // net/http adds no field of its own to an upstream's answer
	status  int
	length  int64 // announced; 0: unknown or none
	bytes   int64
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	switch {
	case status == http.StatusContinue && w.x.quiet.Load():
		return
	case status < 200:
		dropHops(w.Header())
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = status
		h := w.Header()
		w.length, _ = strconv.ParseInt(h.Get("Content-Length"), 10, 64)
		if w.bare && w.x.fault == nil {
			unsent(h, "Date")
			unsent(h, "Content-Type")
		}
		if w.body != nil && !w.body.whole.Load() && !w.drained() { // what comes of it now is no next request
			h.Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// drained reads a short body that nobody wanted and that is here already, so that
// a refusal does not cost the runner its connection. The body of a request whose
// upstream has answered is the upstream's, which may read on.
func (w *recorder) drained() bool {
	if w.x.fault == nil && w.x.body != nil || w.x.body.busy() || !w.sends() {
		return false
	}
	_ = w.control.SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.CopyN(io.Discard, w.body, drainSize)
	_ = w.control.SetReadDeadline(time.Time{})
	return w.body.whole.Load()
}

// sends reports whether the runner sends its body without waiting to be asked.
func (w *recorder) sends() bool { return !w.expects || w.body.begun.Load() }

// What is read of a refused request's body before its answer.
const (
	drainTime = 50 * time.Millisecond
	drainSize = 64 << 10
)

// unsent keeps net/http from adding a field that the upstream did not send.
func unsent(h http.Header, name string) {
	if _, ok := h[name]; !ok {
		h[name] = nil
	}
}

// Write implements io.Writer.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.x.idle != nil {
		w.x.idle.begin()
		defer w.x.idle.done()
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	if err == nil && w.length > int64(n) { // more has come or is to come
		err = w.control.Flush()
	}
	return n, err
}

// FlushError is for http.ResponseController.
func (w *recorder) FlushError() error {
	if w.x.idle != nil {
		w.x.idle.begin()
		defer w.x.idle.done()
	}
	return w.control.Flush()
}

// linger reads on for a while where a request has been answered, wholly, before
// it was read whole: a connection that is closed on a runner that still sends
// would take the answer with it. Of any other answer the end waits for nothing: a
// read that goes on is ended, because net/http would end it itself and lift the
// limit for what it reads then.
func (w *recorder) linger() {
	if w.body.whole.Load() || w.x.upgrade != nil {
		return
	}
	until := time.Now().Add(lingering)
	if w.length > 0 && w.bytes == w.length && w.sends() && w.control.Flush() == nil {
		_ = w.control.SetReadDeadline(until)
		w.x.body.settle()
		_, _ = io.Copy(io.Discard, w.body)
		return
	}
	_ = w.control.SetReadDeadline(time.Now())
	w.x.body.settle()
	_ = w.control.SetReadDeadline(until)
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// outerLog takes what ReverseProxy complains about: answers that were cut.
func (s *Server) outerLog() *log.Logger { return slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug) }
