package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// spare are the connections beyond the limit that are still told so; more are
// closed at once.
const spare = 64

// runnerListener accepts the runners of one listener.
type runnerListener struct {
	net.Listener
	server *Server
	caller string // that the listener is bound to; empty: each request tells
}

// runnerConn is a runner's connection. What net/http answers by itself to a
// request that it cannot read goes out as a problem.
type runnerConn struct {
	net.Conn
	server *Server
	caller string
	beyond bool // the limit of connections
}

// Accept implements net.Listener.
func (l runnerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		over := l.server.over()
		if over < spare {
			return &runnerConn{Conn: c, server: l.server, caller: l.caller, beyond: over >= 0}, nil
		}
		_ = c.Close()
	}
}

// over is how many connections there are beyond the limit; negative: below it.
func (s *Server) over() int64 {
	if s.o.MaxConnections <= 0 {
		return -1
	}
	return s.open.Load() + s.doors.open.Load() + s.tunnels.open.Load() - int64(s.o.MaxConnections)
}

// outerConn carries a runner's connection to its requests.
func outerConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, runnerKey, c)
}

func runnerOf(ctx context.Context) *runnerConn {
	c, _ := ctx.Value(runnerKey).(*runnerConn)
	return c
}

// boundCaller names the caller that the request's listener is bound to.
func boundCaller(ctx context.Context) string {
	if c := runnerOf(ctx); c != nil {
		return c.caller
	}
	return ""
}

// CloseWrite is for net/http, which ends a connection so that its last answer
// can be read.
func (c *runnerConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// Write implements net.Conn.
func (c *runnerConn) Write(p []byte) (int, error) {
	f := ownWords(p)
	if f == nil {
		return c.Conn.Write(p)
	}
	if _, err := c.Conn.Write(c.server.unreadable(f)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// plainHeader stands in each answer that net/http gives by itself, between its
// status line and a body that repeats it.
const plainHeader = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// ownWords gives the fault that net/http tells in its own words; nil if p is not
// such an answer, which has no length and comes in one piece.
func ownWords(p []byte) *fault.Fault {
	if len(p) > 512 || len(p) < len("HTTP/1.1 4") || string(p[:8]) != "HTTP/1.1" || (p[9] != '4' && p[9] != '5') {
		return nil
	}
	status, body, ok := strings.Cut(string(p), plainHeader)
	status = strings.TrimPrefix(status, "HTTP/1.1 ")
	switch {
	case !ok || strings.Contains(status, "\n"):
		return nil
	case body == "Unsupported transfer encoding":
		return fault.New(fault.InvalidRequest, "the transfer encoding is not supported", nil)
	case body != status:
		return nil
	case strings.HasPrefix(status, "431 "):
		return fault.New(fault.HeaderTooLarge, "", nil)
	}
	_, detail, _ := strings.Cut(status, ": ")
	if detail == "" {
		detail = "this is no HTTP request"
	}
	return fault.New(fault.InvalidRequest, detail, nil)
}

// unreadable counts a request that could not be read, and gives its answer.
func (s *Server) unreadable(f *fault.Fault) []byte {
	id := s.ids.next()
	s.metrics.requests.WithLabelValues("", "", string(f.Code)).Inc()
	s.o.Log.Warn("request", "request_id", id, "status", f.Status(), "outcome", f.Code, "error", f)
	body := f.Body(id)
	h := http.Header{"Connection": {"close"}, "Content-Length": {strconv.Itoa(len(body))}}
	f.Header(h)
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", f.Status(), http.StatusText(f.Status()))
	_ = h.Write(&b) // a Builder does not fail
	b.WriteString("\r\n")
	b.Write(body)
	return []byte(b.String())
}
