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
	limit    time.Duration // of idleness
	mu       sync.Mutex
	conns    map[*pair]struct{}
	upgrades map[*upgrade]struct{}
	open     atomic.Int64
	brief    atomic.Bool // draining: an idle second ends a tunnel
}

// pair is the two ends of one tunnel.
type pair struct {
	a, b net.Conn
	last atomic.Int64 // Unix nanoseconds of the last bytes either way, give or take a step
}

func newTunnels() *tunnels {
	return &tunnels{limit: idleTimeout, conns: map[*pair]struct{}{}, upgrades: map[*upgrade]struct{}{}}
}

// relay copies both ways until both ends are done, or nothing moved for the
// limit. It gives the bytes that went to the runner.
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

// copyStep and idleSteps bound one copy, so that what moves one way is known to
// the other in time; both ends being TCP, the kernel moves the bytes.
const (
	copyStep  = 4 << 20
	idleSteps = 4 // of one limit
)

// copy moves bytes one way until the source ends, then closes the other end's
// writing side. A failure ends the whole tunnel.
func (t *tunnels) copy(p *pair, dst, src net.Conn) (total int64) {
	for {
		t.setStep(src)
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

// setStep ends the next read in time. A drain that begins meanwhile counts.
func (t *tunnels) setStep(src net.Conn) {
	for {
		limit := t.idle()
		_ = src.SetReadDeadline(time.Now().Add(limit / idleSteps))
		if limit == t.idle() {
			return
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
	return t.limit
}

// closeIdle makes tunnels end that are idle for a second from now on.
func (t *tunnels) closeIdle() {
	t.brief.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for p := range t.conns {
		p.last.Store(now.UnixNano()) // what has moved in the current step is not known yet
		_, _ = p.a.SetReadDeadline(now), p.b.SetReadDeadline(now)
	}
}

// wait returns when no tunnel is open, or with ctx's error.
func (t *tunnels) wait(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for t.open.Load() > 0 {
		for _, u := range t.quiet(t.idle()) {
			_ = u.Close()
		}
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
	for p := range t.conns {
		_, _ = p.a.Close(), p.b.Close()
	}
	t.mu.Unlock()
	for _, u := range t.quiet(0) {
		_ = u.Close()
	}
}
