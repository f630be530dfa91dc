package proxy

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// exchange is one request and what became of it. It belongs to the goroutine
// that serves the request and is reached through the request's own context.
type exchange struct {
	id     string
	start  time.Time
	st     *state // the configuration that the request began with
	caller *Caller

	method, host, path string // as logged; the path without its query

	target
	body    *replay
	offer   *offer      // of the present try; nil: its body is not offered
	quiet   atomic.Bool // an upstream's 100 answers our own Expect, not the runner's
	idle    *idleWatch  // nil: it was refused before anything moved
	trailer http.Header // the runner's own map, which is filled when its body ends; ReverseProxy's copy never is

	tries    int
	waited   time.Duration // in the limits' queues
	upstream time.Duration // until the answer's header, all tries together
	injector *auth.Injector

	told    fault.Code   // what an upstream's answer means
	left    bool         // the runner went away before it was answered
	entered bool         // a CONNECT that was answered and intercepted
	upgrade *upgrade     // to another protocol; nil: none
	sent    int64        // bytes that went through a tunnel to the runner
	fault   *fault.Fault // our own answer
}

// target is where a request goes, and with which credential.
type target struct {
	authority provider.Authority // that the runner asked for
	secure    bool               // it came through TLS, ours or the runner's own scheme
	provider  *provider.Provider // nil: no provider owns it
	entry     *entry             // the credential; nil: none is injected
	road      *provider.Provider // whose roots, networks and proxy are used where no provider owns it; nil: nobody's
	rebase    *url.URL           // the base URL that the rest of the path is put to; nil: the authority as asked for
	rest      string             // escaped path behind the base, with a leading slash
}

func (x *exchange) providerName() string {
	if x.provider == nil {
		return ""
	}
	return x.provider.Name
}

func (x *exchange) callerName() string {
	if x.caller == nil {
		return ""
	}
	return x.caller.Name
}

func (x *exchange) credentialName() string {
	if x.entry == nil {
		return ""
	}
	return x.entry.label
}

// outcome is the label of the metrics and the log line.
func (x *exchange) outcome(status int) string {
	switch {
	case x.fault != nil:
		return string(x.fault.Code)
	case status >= 500:
		return "upstream_5xx"
	case status >= 400:
		return "upstream_4xx"
	}
	return "ok"
}

type contextKey int

const (
	exchangeKey contextKey = iota
	passageKey
	runnerKey
	hopsKey
)

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey).(*exchange)
	return x
}

func passageOf(ctx context.Context) *passage {
	p, _ := ctx.Value(passageKey).(*passage)
	return p
}

// ids makes request ids: a prefix of the process and a counter.
type ids struct {
	prefix string
	n      atomic.Uint64
}

func (i *ids) next() string { return i.prefix + strconv.FormatUint(i.n.Add(1), 36) }
