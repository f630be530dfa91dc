package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// direct sends requests without a body over plain HTTP/1.1, each wholly in the
// goroutine that asks. net/http's Transport passes every request and answer
// between three goroutines, which costs a quarter of the CPU of a small one.
// Everything else goes through the Transport; messages are read and written by
// net/http here too.
type direct struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	timeout time.Duration // to the answer's header

	mu    sync.Mutex
	idle  map[string][]*directConn // by address, the one used last at the end
	sweep bool                     // a sweep is due
}

func newDirect(s *domainSettings) *direct {
	return &direct{dial: s.dialUpstream, timeout: s.timeout, idle: map[string][]*directConn{}}
}

// suits reports whether a request can go this way: it can be sent again if a
// pooled connection turns out to be dead, and nothing of it comes later.
func (d *direct) suits(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return req.URL.Scheme == "http" && (req.Body == nil || req.Body == http.NoBody) && !req.Close &&
			len(req.Header["Upgrade"]) == 0 && len(req.Header["Expect"]) == 0 && len(req.Trailer) == 0
	}
	return false
}

// RoundTrip implements http.RoundTripper.
func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	for {
		c, err := d.conn(ctx, directAddress(req))
		if err != nil {
			return nil, err
		}
		resp, err := c.exchange(ctx, req)
		if err == nil {
			return resp, nil
		}
		_ = c.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !c.reused || c.answered() || timedOut(err) {
			return nil, err
		}
	}
}

func directAddress(req *http.Request) string {
	if req.URL.Port() == "" {
		return net.JoinHostPort(req.URL.Hostname(), "80")
	}
	return req.URL.Host
}

func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// conn gives a pooled connection that is still quiet, or a new one.
func (d *direct) conn(ctx context.Context, address string) (*directConn, error) {
	for c := d.take(address); c != nil; c = d.take(address) {
		if c.quiet() {
			c.reused = true
			return c, nil
		}
		_ = c.Close()
	}
	raw, err := d.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newDirectConn(d, raw, address), nil
}

func (d *direct) take(address string) *directConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.idle[address]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	d.idle[address] = list[:len(list)-1]
	return c
}

// put pools a connection whose answer was read to its end.
func (d *direct) put(c *directConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.idle[c.address]) >= maxIdlePerHost {
		_ = c.Close()
		return
	}
	c.since = time.Now()
	d.idle[c.address] = append(d.idle[c.address], c)
	if !d.sweep {
		d.sweep = true
		time.AfterFunc(pooledFor, func() { d.close(time.Now().Add(-pooledFor)) })
	}
}

// close ends the connections that have been idle since before, and comes again
// while any is left.
func (d *direct) close(before time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := false
	for address, list := range d.idle {
		n := 0
		for n < len(list) && list[n].since.Before(before) {
			_ = list[n].Close()
			n++
		}
		if n == len(list) {
			delete(d.idle, address)
			continue
		}
		d.idle[address] = append([]*directConn(nil), list[n:]...)
		left = true
	}
	if d.sweep = left; left {
		time.AfterFunc(pooledFor/2, func() { d.close(time.Now().Add(-pooledFor)) })
	}
}
