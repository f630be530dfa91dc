package proxy

import (
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

// peekTime bounds the wait for the first bytes of a body that may be a stream,
// which may say nothing for long.
const peekTime = 500 * time.Millisecond

// peek is a body whose first bytes were looked at; they stay to be read.
type peek struct {
	src  io.ReadCloser
	done chan struct{} // closed when nobody fills buf any more

	mu     sync.Mutex
	buf    []byte
	n, pos int // filled, read
	err    error
	enough bool // the next bytes are the reader's
}

// peekBody gives the first bytes of a body. They are waited for as long as they
// take where the body has a length, and peekTime where it may be a stream.
func peekBody(resp *http.Response, stream bool) []byte {
	size := int64(provider.PeekSize)
	if resp.ContentLength >= 0 {
		size = min(size, resp.ContentLength)
	}
	if size == 0 {
		return nil
	}
	p := &peek{src: resp.Body, buf: make([]byte, size), done: make(chan struct{})}
	resp.Body = p
	if !stream {
		p.fill()
		return p.seen()
	}
	go p.fill()
	t := time.NewTimer(peekTime)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
	}
	return p.seen()
}

func (p *peek) fill() {
	defer close(p.done)
	for more := true; more; {
		n, err := p.src.Read(p.buf[p.n:])
		p.mu.Lock()
		p.n += n
		p.err = err
		more = err == nil && p.n < len(p.buf) && !p.enough
		p.mu.Unlock()
	}
}

// seen gives what came so far. The read that goes on is the last one ahead.
func (p *peek) seen() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enough = true
	return p.buf[:p.n]
}

// Read implements io.Reader.
func (p *peek) Read(b []byte) (int, error) {
	if n := p.give(b); n > 0 || len(b) == 0 {
		return n, nil
	}
	<-p.done
	if n := p.give(b); n > 0 {
		return n, nil
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.src.Read(b)
}

func (p *peek) give(b []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := copy(b, p.buf[p.pos:p.n])
	p.pos += n
	return n
}

// Close implements io.Closer. A read that goes on ahead ends with it.
func (p *peek) Close() error { return p.src.Close() }
