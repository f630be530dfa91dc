package checker

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Limits of one check: of each request, of all of them together, and of what they
// wait for their turns, all together too.
const (
	timeLimit  = 10 * time.Second
	totalLimit = 30 * time.Second
	waitLimit  = time.Minute
)

// Options of a Checker. Client is required.
type Options struct {
	// Client gives the guarded client for a provider: no redirects, the
	// provider's roots and networks, errors that are faults.
	Client func(*provider.Provider) *http.Client
	// Dial connects to databases and FTP servers, guarded as Client is, and
	// Classify gives the fault of an error on that connection. Nil: none is
	// reached.
	Dial     Dial
	Classify func(error) *fault.Fault
	// Certified is that client's transport with a client certificate; nil: a
	// credential that is one cannot be checked.
	Certified func(*provider.Provider, *tls.Certificate) http.RoundTripper
	// Pace waits until a provider may be asked once more, so that many checks at
	// once stay inside its limits; done is called once, when the answer was
	// read. Its errors are *fault.Fault. Nil: nothing waits.
	Pace       func(context.Context, *provider.Provider) (done func(), err error)
	Panicked   func()                // told of each check that ended in a panic; nil: nobody is
	Ahead      func() time.Duration  // how long before its end a credential is warned of; nil: 14 days
	Log        *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: nothing is measured
	Now        func() time.Time      // nil: time.Now
}

// Checker checks credentials. Its methods may be called at once from many goroutines.
type Checker struct {
	client    func(*provider.Provider) *http.Client
	dial      Dial
	classify  func(error) *fault.Fault
	certified func(*provider.Provider, *tls.Certificate) http.RoundTripper
	pace      func(context.Context, *provider.Provider) (done func(), err error)
	panicked  func()
	ahead     func() time.Duration
	log       *slog.Logger
	durations *prometheus.HistogramVec
	now       func() time.Time
	offers    *offers
	large     chan struct{}
}

// New makes a Checker. It does no I/O.
func New(o Options) *Checker {
	c := &Checker{
		client: o.Client, dial: o.Dial, classify: o.Classify, certified: o.Certified, pace: o.Pace, panicked: o.Panicked,
		ahead: o.Ahead, log: o.Log, durations: newDurations(o.Registerer), now: o.Now, offers: newOffers(), large: make(chan struct{}, maxLarge),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.dial == nil {
		c.dial = unreachable
	}
	if c.classify == nil {
		c.classify = fault.From
	}
	if c.pace == nil {
		c.pace = func(context.Context, *provider.Provider) (func(), error) { return func() {}, nil }
	}
	if c.panicked == nil {
		c.panicked = func() {}
	}
	if c.ahead == nil {
		c.ahead = func() time.Duration { return defaultWarning }
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// Check tries cred at p with the provider's verify request, or, where it has
// none, by minting the token of a type that needs one; a database's by logging
// in. Where the provider takes it, it is asked what the credential may do, for
// when, and on what. Each request takes 10 s at most, all of them 30 s, and
// all their waiting a minute. Check writes nothing and spends no refresh token. cred
// need not be stored. A panic of what reads the answers ends the check, which is then
// Unknown, with internal.
func (c *Checker) Check(ctx context.Context, p *provider.Provider, cred *credential.Credential) *Report {
	return c.CheckFor(ctx, p, cred, p.Needs)
}

// CheckFor is Check by what somebody needs, in place of what p's entry says.
func (c *Checker) CheckFor(ctx context.Context, p *provider.Provider, cred *credential.Credential, needs provider.Needs) *Report {
	start := c.now()
	ctx, cancel := context.WithTimeout(ctx, waitLimit+totalLimit) // also where bodies come slowly
	defer cancel()
	t := newTrial(c.client(p), p, cred, c.now)
	t.needs = needs
	t.dial, t.classify, t.certified, t.ahead, t.offers, t.large = c.dial, c.classify, c.certified, c.ahead(), c.offers, c.large
	t.rec.pace = func(ctx context.Context) (func(), error) { return c.pace(ctx, p) }
	c.try(ctx, t)
	r := t.report()
	r.Credential, r.Provider, r.Type = cred.Ref.String(), p.Name, printable(auth.TypeOf(p, cred))
	r.Steps, r.CheckedAt = t.rec.taken(), start.UTC().Truncate(time.Millisecond)
	r.ends, r.version = t.when(r), cred.Version
	took := c.now().Sub(start)
	r.TookMS = took.Milliseconds()
	c.durations.WithLabelValues(p.Name).Observe(took.Seconds())
	c.log.LogAttrs(ctx, slog.LevelInfo, "checked a credential", slog.String("credential", r.Credential),
		slog.String("status", string(r.Status)), slog.String("code", r.code()), slog.Duration("took", took))
	return r
}

// try runs the trial. Parsers of others read what anybody may answer: one that
// panics ends this check, and not the daemon. What was found until then is not kept,
// for nothing of it was redacted.
func (c *Checker) try(ctx context.Context, t *trial) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		c.panicked()
		c.log.LogAttrs(ctx, slog.LevelError, "panic while checking a credential", slog.String("credential", t.cred.Ref.String()),
			slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
		broken := fault.New(fault.Internal, `what was answered could not be read; the log tells of it as "panic while checking a credential"`, nil)
		t.account, t.lines = nil, map[string]verdict{Authorization: verdictOf(broken)}
	}()
	t.run(ctx)
}

// atOnce is the key of contexts that AtOnce makes.
type atOnce struct{}

// AtOnce has a check wait for no turn: it is the one that somebody waits for, who
// writes one record.
func AtOnce(ctx context.Context) context.Context { return context.WithValue(ctx, atOnce{}, true) }

// when somebody must act: before the refresh token ends, or the secret itself
// where nothing renews it.
func (t *trial) when(r *Report) time.Time {
	if k, _ := auth.Lookup(r.Type); k.Grant == "" && r.ExpiresAt != nil {
		return *r.ExpiresAt
	}
	return auth.GrantOf(t.p, t.cred).Ends
}

// Validate refuses a record that its provider or type does not take: an
// invalid_request or field_missing that names the field, never its value.
func (c *Checker) Validate(p *provider.Provider, cred *credential.Credential) error {
	return auth.Validate(p, cred)
}

// Fields gives the fields that a type knows, required and optional; ok is false
// for a type that does not exist.
func (c *Checker) Fields(typ string) (fields []string, ok bool) {
	k, ok := auth.Lookup(typ)
	return k.Fields(), ok
}

// report gives the report of what was found. Its status is that of the worst
// check, and its fault that check's.
func (t *trial) report() *Report {
	w := worst(t.lines)
	r := &Report{Status: w.status, Account: t.account, Fault: NewFault(t.about(w.fault))}
	switch {
	case w.unknown:
		r.Status = Unknown
	case w.status == Unverifiable:
		r.Status = Warning
	}
	for _, name := range lineNames {
		if v, ok := t.lines[name]; ok {
			r.Checks = append(r.Checks, v.line(name))
		}
	}
	if !t.expires.IsZero() {
		at := t.expires.UTC().Truncate(time.Millisecond)
		r.ExpiresAt = &at
	}
	return r
}

// about names the credential of a fault, and tells of it as it can be mended: what
// is missing of a scope by its type, and what took too long by the bounds of a check.
func (t *trial) about(f *fault.Fault) *fault.Fault {
	if f == nil {
		return nil
	}
	typ := auth.TypeOf(t.p, t.cred)
	switch kind, _ := auth.Lookup(typ); {
	case f.Code == fault.RateLimited:
		f = f.Of(fault.CheckTurn)
	case f.Code == fault.Timeout:
		f = f.Of(fault.CheckTime)
	case f.Code != fault.InsufficientScope || grantedByConsent[typ]:
	case kind.Grant == "":
		f = f.Of(fault.KeyScope)
	default:
		f = f.Of(fault.ClientScope)
	}
	return f.On(t.cred.Ref.String(), t.p.Name)
}
