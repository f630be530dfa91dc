package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"
)

// directConn is one connection, used by one request at a time.
type directConn struct {
	net.Conn
	pool    *direct
	address string
	r       *bufio.Reader
	w       *bufio.Writer
	room    int64 // bytes that may still be read from the connection before the answer's body
	read    int64 // of the present answer
	writes  int   // of the present request
	failed  error // of the last read
	reused  bool
	since   time.Time // idle
	probe   func() bool
}

func newDirectConn(d *direct, raw net.Conn, address string) *directConn {
	c := &directConn{Conn: raw, pool: d, address: address}
	c.r, c.w = bufio.NewReader(headReader{c}), bufio.NewWriter(headWriter{c})
	c.probe = quietProbe(raw)
	return c
}

// headReader bounds what is read before the header has ended.
type headReader struct{ c *directConn }

var errLongHeader = fmt.Errorf("the answer's header is longer than %d bytes", maxResponseHeader)

// Read implements io.Reader.
func (h headReader) Read(p []byte) (int, error) {
	c := h.c
	if c.room <= 0 {
		return 0, errLongHeader
	}
	n, err := c.Read(p[:min(int64(len(p)), c.room)])
	c.room -= int64(n)
	c.read += int64(n)
	c.failed = err
	return n, err
}

// headWriter bounds the time that a request of more than one write may stand
// still; a shorter one fits into the kernel's buffer.
type headWriter struct{ c *directConn }

// Write implements io.Writer.
func (h headWriter) Write(p []byte) (int, error) {
	if h.c.writes++; h.c.writes > 1 {
		if err := h.c.SetWriteDeadline(time.Now().Add(h.c.pool.timeout)); err != nil {
			return 0, err
		}
	}
	return h.c.Write(p)
}

// quiet reports whether a pooled connection is open and nothing came on it that
// nobody asked for, which would be taken for the next answer.
func (c *directConn) quiet() bool {
	return time.Since(c.since) < pooledFor && c.r.Buffered() == 0 && c.probe()
}

func (c *directConn) answered() bool { return c.read > 0 }

// exchange sends the request and reads the answer's header. The answer's body
// gives the connection back at its end, and closes it if it is closed before.
func (c *directConn) exchange(ctx context.Context, req *http.Request) (*http.Response, error) {
	if c.writes > 1 { // the request before set a time limit
		_ = c.SetWriteDeadline(time.Time{})
	}
	c.room, c.read, c.writes, c.failed = maxResponseHeader, 0, 0, nil
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	resp, err := c.ask(ctx, req)
	if err != nil {
		stop()
		return nil, err
	}
	c.room = math.MaxInt64
	b := &directBody{rc: resp.Body, stop: stop, keep: !resp.Close}
	b.c.Store(c)
	if resp.Body == http.NoBody {
		b.finish(true)
		return resp, nil
	}
	resp.Body = b
	return resp, nil
}

func (c *directConn) ask(ctx context.Context, req *http.Request) (*http.Response, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.pool.timeout)); err != nil {
		return nil, err
	}
	if err := req.Write(c.w); err != nil {
		return nil, err
	}
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	for {
		resp, err := http.ReadResponse(c.r, req)
		switch {
		case err != nil && c.failed != nil && c.failed != io.EOF: //nolint:errorlint // the bare value of a connection's end
			return nil, c.failed // net/http takes a line that was cut for a malformed one
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the upstream switches protocols, which nobody asked for")
		case resp.StatusCode >= http.StatusOK:
			return resp, c.unhurried(resp)
		}
		if t := httptrace.ContextClientTrace(ctx); t != nil && t.Got1xxResponse != nil {
			if err := t.Got1xxResponse(resp.StatusCode, textproto.MIMEHeader(resp.Header)); err != nil {
				return nil, err
			}
		}
	}
}

// unhurried lifts the header's time limit from a body that is still to come.
func (c *directConn) unhurried(resp *http.Response) error {
	if n := resp.ContentLength; n >= 0 && n <= int64(c.r.Buffered()) {
		return nil
	}
	return c.SetReadDeadline(time.Time{})
}

// directBody is an answer's body. It may be closed while it is read.
type directBody struct {
	rc   io.ReadCloser
	c    atomic.Pointer[directConn] // nil once finished
	stop func() bool
	keep bool // the connection may be used again
}

// Read implements io.Reader.
func (b *directBody) Read(p []byte) (int, error) {
	n, err := b.rc.Read(p)
	if err != nil {
		b.finish(err == io.EOF) //nolint:errorlint // a body's end is the bare value
	}
	return n, err
}

// Close implements io.Closer.
func (b *directBody) Close() error {
	b.finish(false)
	return nil
}

func (b *directBody) finish(whole bool) {
	c := b.c.Swap(nil)
	if c == nil {
		return
	}
	if b.stop() && whole && b.keep && c.r.Buffered() == 0 {
		c.pool.put(c)
		return
	}
	_ = c.Close()
}
