package proxy

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// upgrade is the upstream's end of a connection that has switched to another
// protocol: a tunnel inside an exchange.
type upgrade struct {
	io.ReadWriteCloser
	x       *exchange
	tunnels *tunnels
	once    sync.Once
	sent    atomic.Int64 // bytes to the runner
}

// adopt counts an upgraded connection among the tunnels until it is closed.
func (t *tunnels) adopt(c io.ReadWriteCloser, x *exchange) *upgrade {
	u := &upgrade{ReadWriteCloser: c, x: x, tunnels: t}
	x.upgrade = u
	t.mu.Lock()
	t.upgrades[u] = struct{}{}
	t.mu.Unlock()
	t.open.Add(1)
	return u
}

// Read implements io.Reader.
func (u *upgrade) Read(p []byte) (int, error) {
	u.x.idle.begin()
	defer u.x.idle.done()
	n, err := u.ReadWriteCloser.Read(p)
	u.sent.Add(int64(n))
	return n, err
}

// Write implements io.Writer.
func (u *upgrade) Write(p []byte) (int, error) {
	u.x.idle.begin()
	defer u.x.idle.done()
	return u.ReadWriteCloser.Write(p)
}

// CloseWrite tells the upstream that the runner sends no more.
func (u *upgrade) CloseWrite() error {
	if w, ok := u.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return u.Close()
}

// Close implements io.Closer.
func (u *upgrade) Close() error {
	u.once.Do(func() {
		u.tunnels.mu.Lock()
		delete(u.tunnels.upgrades, u)
		u.tunnels.mu.Unlock()
		u.tunnels.open.Add(-1)
	})
	return u.ReadWriteCloser.Close()
}

// quiet gives the upgraded connections of which nothing has moved for d.
func (t *tunnels) quiet(d time.Duration) []*upgrade {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []*upgrade
	for u := range t.upgrades {
		if time.Since(time.Unix(0, u.x.idle.last.Load())) >= d {
			found = append(found, u)
		}
	}
	return found
}
