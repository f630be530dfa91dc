package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// handover is a ResponseWriter whose hijacked connection first gives what the
// server had already read: bytes that a runner sent right behind its CONNECT.
type handover struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (h *handover) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	if rc, ok := c.(*runnerConn); ok {
		c = rc.Conn
	}
	if n := rw.Reader.Buffered(); n > 0 {
		early := make([]byte, n)
		if _, err := io.ReadFull(rw.Reader, early); err != nil {
			_ = c.Close()
			return nil, nil, err
		}
		return &prefixed{Conn: c, prefix: early}, rw, nil
	}
	return c, rw, nil
}

// prefixed gives prefix before what the connection gives.
type prefixed struct {
	net.Conn
	prefix []byte
}

// Read implements net.Conn.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// door is a runner's connection inside an intercepted tunnel.
type door struct {
	prefixed
	*passage
	closed sync.Once
	doors  *doors
}

// Close implements net.Conn.
func (d *door) Close() error {
	d.closed.Do(func() { d.doors.open.Add(-1) })
	return d.Conn.Close()
}

// CloseWrite ends the writing side, so that the last answer can be read.
func (d *door) CloseWrite() error {
	closeWrite(d.Conn)
	return nil
}

// doors is the listener of the road: it accepts the connections that the gate
// has let through.
type doors struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	open  atomic.Int64
}

func newDoors() *doors { return &doors{conns: make(chan net.Conn), done: make(chan struct{})} }

// Accept implements net.Listener.
func (d *doors) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (d *doors) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

// Addr implements net.Listener.
func (d *doors) Addr() net.Addr { return &net.UnixAddr{Name: "tunnel", Net: "tunnel"} }

func (d *doors) offer(c net.Conn) {
	select {
	case d.conns <- c:
	case <-d.done:
		_ = c.Close()
	}
}

// enter answers the CONNECT and gives the connection to the road: as TLS where
// the first byte is a handshake's, else as plain HTTP. It reports whether the
// runner was content with that, or said nothing.
func (s *Server) enter(c net.Conn, p *passage) bool {
	s.doors.open.Add(1)
	d := &door{prefixed: prefixed{Conn: c}, passage: p, doors: s.doors}
	if pre, ok := c.(*prefixed); ok {
		d.prefixed = *pre
	}
	first, err := d.begin()
	if err != nil {
		_ = d.Close()
		return true
	}
	if first != recordHandshake {
		s.doors.offer(&runnerConn{Conn: d, server: s})
		return true
	}
	return s.secure(d)
}

// secure makes TLS with the runner. An h2 connection is given on as what it is,
// which net/http must see; the other one's answers are looked at on their way.
// It reports whether the runner took the certificate, or went away.
func (s *Server) secure(d *door) bool {
	t := tls.Server(d, s.inner.TLSConfig)
	ctx, cancel := context.WithTimeout(s.o.Life, headerTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		level := slog.LevelWarn
		if left(err) {
			level = slog.LevelDebug
		}
		s.o.Log.Log(ctx, level, "a runner's TLS handshake inside its tunnel failed; does it trust the CA?",
			"caller", d.caller.Name, "host", d.authority.String(), "error", err)
		_ = t.Close()
		return left(err)
	}
	state := t.ConnectionState()
	d.tls = &state
	if state.NegotiatedProtocol == "h2" {
		s.doors.offer(t)
		return true
	}
	s.doors.offer(&runnerConn{Conn: t, server: s})
	return true
}

// left reports whether the runner went away or said nothing.
func left(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// recordHandshake is the first byte of a TLS connection (RFC 8446 section 5.1).
const recordHandshake = 0x16

// begin answers the CONNECT and reads the first bytes, which stay to be read.
func (d *door) begin() (byte, error) {
	if err := d.SetDeadline(time.Now().Add(headerTimeout)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(d.Conn, established); err != nil {
		return 0, err
	}
	if len(d.prefix) == 0 {
		buf := make([]byte, 2048)
		n, err := d.Conn.Read(buf)
		if n == 0 {
			return 0, err
		}
		d.prefix = buf[:n]
	}
	return d.prefix[0], d.SetDeadline(time.Time{})
}

// innerConn carries a tunnel's passage to its requests.
func innerConn(ctx context.Context, c net.Conn) context.Context {
	if r, ok := c.(*runnerConn); ok {
		c = r.Conn
	}
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if d, ok := c.(*door); ok {
		return context.WithValue(withHops(ctx, d.hops), passageKey, d.passage)
	}
	return ctx
}

// tunnelTLS is shared by all tunnels, so that TLS sessions resume. The leaf is
// for the authority of CONNECT, whatever the runner's SNI says: a request whose
// SNI disagrees is answered 421.
func (s *Server) tunnelTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			d, ok := hello.Conn.(*door)
			if !ok {
				return nil, net.ErrClosed
			}
			return s.o.CA.Leaf(d.authority.Host)
		},
	}
}
