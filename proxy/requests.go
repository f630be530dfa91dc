package proxy

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// How much is kept of the last requests.
const (
	keptRequests = 1024 // of those that went well, and of those that failed
	maxMethod    = 32   // bytes, as of the two below: what runners say has a bound
	maxHostText  = 300
	maxPathText  = 512
)

// Request is a request that is over, as it is told of afterwards: who asked,
// for what, and what became of it. It holds no query, no header field, no body.
type Request struct {
	Seq        uint64    // requests that ended later have a higher one
	ID         string    // as in problems and in the log
	Time       time.Time // when it was over
	Caller     string    // empty: refused before that was known
	Method     string
	Scheme     string     // http or https; empty: of CONNECT
	Host       string     // as in the log, with its port; empty: none that could be read
	Path       string     // escaped, as in the log; of CONNECT empty
	Provider   string     // empty: no provider owns it
	Credential string     // whole reference; empty: none was chosen
	Status     int        // 0: the runner left before there was one
	Outcome    string     // as in the metrics
	Code       fault.Code // of our own answer, or what the upstream's says; empty: neither
	Tries      int
	Took       time.Duration
	Upstream   time.Duration // until the header of the upstream's answer, all tries together
	Refused    bool          // the answer is our own: none of an upstream passed
	Failed     bool          // Outcome is not ok
}

// requests are the last requests. Failures stand apart, so that no request that
// goes well pushes one out. Writers wait for nobody: a slot belongs to whoever
// has swapped its content out, and what a writer finds there it fills anew, so
// that nothing is allocated once a ring is full.
type requests struct {
	seq          atomic.Uint64
	good, failed ring
	reading      sync.Mutex // one reader would hide from another what it has swapped out
}

type ring struct {
	n     atomic.Uint64
	slots [keptRequests]atomic.Pointer[heldRequest]
}

// heldRequest is a Request whose texts that came from a runner lie in a buffer: they
// are parts of its whole message, which would be kept with them.
type heldRequest struct {
	Request
	text         []byte // method, host, path
	method, host int    // where they end
}

// put keeps r, whose texts are those of x: nothing that x holds is held on to.
func (q *requests) put(g *ring, x *exchange, r *Request) {
	slot := &g.slots[(g.n.Add(1)-1)%keptRequests]
	k := slot.Swap(nil)
	if k == nil {
		k = new(heldRequest)
	}
	k.Request, k.Seq = *r, q.seq.Add(1)
	k.text = appendShort(k.text[:0], x.method, maxMethod)
	k.method = len(k.text)
	k.text = appendShort(k.text, x.host, maxHostText)
	k.host = len(k.text)
	k.text = appendShort(k.text, x.path, maxPathText)
	slot.Store(k)
}

// appendShort appends s, cut to a length.
func appendShort(b []byte, s string, limit int) []byte {
	const more = "..."
	if len(s) <= limit {
		return append(b, s...)
	}
	return append(append(b, s[:limit-len(more)]...), more...)
}

func (k *heldRequest) request() Request {
	r, text := k.Request, string(k.text)
	r.Method, r.Host, r.Path = text[:k.method], text[k.method:k.host], text[k.host:]
	return r
}

// all gives what is kept, newest first.
func (q *requests) all() []Request {
	q.reading.Lock()
	defer q.reading.Unlock()
	out := make([]Request, 0, 2*keptRequests)
	for _, g := range []*ring{&q.good, &q.failed} {
		for i := range g.slots {
			k := g.slots[i].Swap(nil)
			if k == nil {
				continue
			}
			out = append(out, k.request())
			g.slots[i].CompareAndSwap(nil, k) // unless a newer one stands there
		}
	}
	slices.SortFunc(out, func(a, b Request) int {
		if a.Seq > b.Seq {
			return -1
		}
		return 1
	})
	return out
}

// Requests gives the last requests, newest first: about a thousand that went
// well, and about a thousand that failed, however long ago. Of an intercepted
// tunnel there are the requests inside; its CONNECT is there if nothing came
// through. A tunnel that is passed through is its CONNECT, once it has ended.
func (s *Server) Requests() []Request { return s.requests.all() }

// remember keeps a request for Requests.
func (s *Server) remember(r *http.Request, x *exchange, status int, outcome string, took time.Duration) {
	failed := outcome != "ok"
	if x.entered && !failed {
		return
	}
	told := Request{
		ID: x.id, Time: x.start.Add(took), Caller: x.callerName(), Provider: x.providerName(), Credential: x.credentialName(),
		Status: status, Outcome: outcome, Code: x.told, Tries: x.tries, Took: took, Upstream: x.upstream, Failed: failed,
	}
	if r.Method != http.MethodConnect {
		told.Scheme = "http"
		if x.secure {
			told.Scheme = "https"
		}
	}
	if x.fault != nil {
		told.Code, told.Refused = x.fault.Code, status == x.fault.Status()
	}
	ring := &s.requests.good
	if failed && !waitsToBeAsked(r, x) {
		ring = &s.requests.failed
	}
	s.requests.put(ring, x, &told)
}

// waitsToBeAsked: many clients send a request without their token first, each
// time. Such refusals are no failures that are worth more than a good request.
func waitsToBeAsked(r *http.Request, x *exchange) bool {
	return x.fault != nil && x.fault.Code == fault.ProxyAuthRequired && len(r.Header["Proxy-Authorization"]) == 0
}
