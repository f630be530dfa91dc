package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// tunnels passes connections through untouched and knows which are open.
type tunnels struct {
	mu    sync.Mutex
	conns map[*pair]struct{}
	open  atomic.Int64
	brief atomic.Bool // draining: an idle second ends a tunnel
}

// pair is the two ends of one tunnel.
type pair struct {
	a, b net.Conn
	last atomic.Int64 // Unix nanoseconds of the last bytes either way, give or take a step
}

func newTunnels() *tunnels { return &tunnels{conns: map[*pair]struct{}{}} }

// relay copies both ways until both ends are done, or nothing moved for
// idleTimeout. It gives the bytes that went to the runner.
func (t *tunnels) relay(runner, upstream net.Conn) int64 {
	p := &pair{a: runner, b: upstream}
	p.last.Store(time.Now().UnixNano())
	t.add(p)
	defer t.remove(p)
	up := make(chan struct{})
	go func() {
		defer close(up)
		t.copy(p, upstream, runner)
	}()
	n := t.copy(p, runner, upstream)
	<-up
	return n
}

func (t *tunnels) add(p *pair) {
	t.mu.Lock()
	t.conns[p] = struct{}{}
	t.mu.Unlock()
	t.open.Add(1)
}

func (t *tunnels) remove(p *pair) {
	_, _ = p.a.Close(), p.b.Close()
	t.mu.Lock()
	delete(t.conns, p)
	t.mu.Unlock()
	t.open.Add(-1)
}

// copyStep bounds one copy so that idleness is noticed; both ends being TCP, the
// kernel moves the bytes.
const copyStep = 4 << 20

// copy moves bytes one way until the source ends, then closes the other end's
// writing side. A failure ends the whole tunnel.
func (t *tunnels) copy(p *pair, dst, src net.Conn) (total int64) {
	for {
		_ = src.SetReadDeadline(time.Now().Add(t.idle()))
		n, err := io.CopyN(dst, unwrap(src), copyStep)
		total += n
		if n > 0 {
			p.last.Store(time.Now().UnixNano())
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			closeWrite(dst)
			return total
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(time.Unix(0, p.last.Load())) < t.idle():
		default:
			_, _ = p.a.Close(), p.b.Close()
			return total
		}
	}
}

// unwrap gives the connection itself once a prefix has been read, so that the
// kernel can copy.
func unwrap(c net.Conn) io.Reader {
	if p, ok := c.(*prefixed); ok && len(p.prefix) == 0 {
		return p.Conn
	}
	return c
}

func closeWrite(c net.Conn) {
	if p, ok := c.(*prefixed); ok {
		c = p.Conn
	}
	if b, ok := c.(boundConn); ok {
		c = b.Conn
	}
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
		return
	}
	_ = c.Close()
}

func (t *tunnels) idle() time.Duration {
	if t.brief.Load() {
		return time.Second
	}
	return idleTimeout
}

// closeIdle makes tunnels end that have been idle for a second.
func (t *tunnels) closeIdle() {
	t.brief.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.conns {
		_, _ = p.a.SetReadDeadline(time.Now()), p.b.SetReadDeadline(time.Now())
	}
}

// wait returns when no tunnel is open, or with ctx's error.
func (t *tunnels) wait(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for t.open.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (t *tunnels) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.conns {
		_, _ = p.a.Close(), p.b.Close()
	}
}
