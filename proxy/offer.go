package proxy

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sallyport/sallyport/internal/fault"
)

// Bounds of what is remembered of upstreams that do not take offers.
const (
	maxDeaf = 1024
	deafFor = 10 * time.Minute
)

// offer is a body that is too large to be kept, of a request whose token may be
// refused. It goes out with Expect: 100-continue (RFC 9110 section 10.1.1), over
// HTTP/1.1 and HTTP/2, and is not read before the upstream asks for it: a refusal
// that comes first leaves it whole for the next try.
//
// net/http waits continueTimeout for the upstream's word. Over HTTP/1.1 it reads
// the body after a final answer too, to keep the connection; here such a read
// waits until somebody has judged that answer.
type offer struct {
	ours bool            // the runner did not ask for it
	word time.Duration   // how long the upstream's is waited for
	gone <-chan struct{} // closed when the exchange is over
	late func()          // called once if the upstream let the time pass

	mu     sync.Mutex
	since  time.Time     // the upstream's word is waited for; zero: not yet
	wanted chan struct{} // closed once the body may be read
	over   chan struct{} // closed when the try is over
}

// offer gives the request to send, which is out itself where nothing is offered.
func (s *Server) offer(out *http.Request, x *exchange) *http.Request {
	x.offer.close()
	x.offer = nil
	x.quiet.Store(false)
	asked := expects(out.Header)
	if !x.offers(out, asked) || !asked && s.deaf.has(out.URL.Host) {
		return out
	}
	host := out.URL.Host
	o := &offer{
		ours: !asked, word: x.st.Upstream.word, gone: out.Context().Done(), late: func() { s.deaf.add(host) },
		wanted: make(chan struct{}), over: make(chan struct{}),
	}
	if o.ours {
		out.Header.Set("Expect", "100-continue")
		x.quiet.Store(true)
	}
	x.offer = o
	out.Body = &offeredBody{out.Body, o}
	again := out.GetBody
	out.GetBody = func() (io.ReadCloser, error) {
		body, err := again()
		if err != nil {
			return nil, err
		}
		return &offeredBody{body, o}, nil
	}
	return out.WithContext(httptrace.WithClientTrace(out.Context(), &httptrace.ClientTrace{Wait100Continue: o.wait, Got100Continue: o.want}))
}

// offers reports whether the request's token can be renewed and its body cannot
// be kept. A body of unknown length is kept as far as it goes, unless the runner
// itself offers it.
func (x *exchange) offers(out *http.Request, asked bool) bool {
	large := out.ContentLength > x.st.ReplayLimit || asked && out.ContentLength < 0
	return large && x.body != nil && x.injector != nil && x.injector.Renewable() && len(out.Header["Upgrade"]) == 0
}

func expects(h http.Header) bool {
	v := h["Expect"]
	return len(v) > 0 && strings.EqualFold(v[0], "100-continue")
}

// wait notes that the header went out. net/http may send it again, over another
// connection.
func (o *offer) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = time.Now()
}

// want lets the body go.
func (o *offer) want() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.isWanted() {
		close(o.wanted)
	}
}

func (o *offer) isWanted() bool {
	select {
	case <-o.wanted:
		return true
	default:
		return false
	}
}

// close ends the try: its body is not read any more.
func (o *offer) close() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.over:
	default:
		close(o.over)
	}
}

// passes lets the body go where the runner gets a good answer that came before
// it: such an upstream may read on, as net/http has it over HTTP/2, and is not
// for offers. An error's upstream does not.
func (o *offer) passes(resp *http.Response) {
	if o != nil && resp.StatusCode < http.StatusMultipleChoices && !o.isWanted() {
		o.late()
		o.want()
	}
}

// declined reports whether the upstream does not take such an offer at all: it
// says 417, or closes the connection.
func (o *offer) declined(resp *http.Response, err error) bool {
	switch {
	case o == nil || !o.ours || o.isWanted():
		return false
	case err != nil:
		return fault.From(err).Code == fault.ConnectionReset
	}
	return resp.StatusCode == http.StatusExpectationFailed
}

// ready waits until the body may be read; false: the try is over.
func (o *offer) ready() bool {
	o.mu.Lock()
	since, wanted := o.since, o.isWanted()
	o.mu.Unlock()
	if since.IsZero() { // net/http looks at the first byte before the header
		return true
	}
	if !wanted && time.Since(since) >= o.word {
		o.late()
		o.want()
	}
	select {
	case <-o.over:
		return false
	default:
	}
	select {
	case <-o.wanted:
		return true
	case <-o.over:
	case <-o.gone:
	}
	return false
}

// offeredBody is the body of one sending.
type offeredBody struct {
	io.ReadCloser
	offer *offer
}

// Read implements io.Reader.
func (b *offeredBody) Read(p []byte) (int, error) {
	if !b.offer.ready() {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.ReadCloser.Read(p)
}

// deaf are the upstreams that do not take offers, each for a while.
type deaf struct{ held *lru.Cache[string, time.Time] }

func newDeaf() deaf {
	held, _ := lru.New[string, time.Time](maxDeaf) // it refuses only a size below one
	return deaf{held}
}

func (d deaf) add(host string) { d.held.Add(host, time.Now()) }

func (d deaf) has(host string) bool {
	since, ok := d.held.Get(host)
	return ok && time.Since(since) < deafFor
}
