package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// Bounds of the connects.
const (
	maxOpen     = 100
	maxEnded    = 500
	connectLife = 10 * time.Minute // of one whose device code does not tell
	endedLife   = time.Hour        // how long the outcome can be read
)

// States of a connect.
const (
	ConnectPending = "pending"
	ConnectDone    = "done"
	ConnectFailed  = "failed"
)

// Flows of a connect.
const (
	FlowCode   = "code"   // a redirect to the provider's consent page and back (RFC 6749 section 4.1, RFC 7636)
	FlowDevice = "device" // a code that is typed in at the provider's page (RFC 8628)
)

// ConnectOptions say what connects are made with. Store and Client are required.
type ConnectOptions struct {
	Store    credential.Store
	Apps     credential.Apps                       // nil: there are none
	Client   func(*provider.Provider) *http.Client // for token endpoints; guarded, without redirects
	Redirect func() string                         // the URL that a consent page redirects to; nil or empty: none can be received
	Check    func(context.Context, *provider.Provider, *credential.Credential) Checked
	Changed  func(credential.Ref) // told of each record that was written; nil: nobody
	Life     context.Context      // of the exchanges: the daemon's; nil: for ever
	Log      *slog.Logger         // nil: nothing is logged
	Metrics  *Metrics             // nil: nothing is counted
}

// Checked is what trying a new grant found.
type Checked struct {
	Fault    *fault.Fault // the provider refuses it; nil: it does not
	Warnings []string     // for a person
	Steps    []Step
}

// ConnectRequest asks for a person's consent for one credential.
type ConnectRequest struct {
	Provider     *provider.Provider
	Ref          credential.Ref
	Scopes       []string          // none: those of the last connect, else the provider's
	ClientID     string            // empty: the record's own client, else the workspace's app, else the shared one
	ClientSecret secret.Value      // of ClientID; zero: a public client
	Flow         string            // FlowCode or FlowDevice; empty: what the provider has
	Fields       map[string]string // of the record, for the {field}s of the provider's URLs
	Test         bool              // run the flow and store nothing
}

// Connect is how far a connect is. It holds no secret but, in what Begin gives,
// the state in AuthorizationURL.
type Connect struct {
	ID       string
	Ref      credential.Ref
	Test     bool
	State    string       // pending, done or failed
	Fault    *fault.Fault // of failed
	Warnings []string
	Steps    []Step
	Expires  time.Time // of a pending one

	AuthorizationURL                                   string // of FlowCode, from Begin only: to be opened in a browser
	UserCode, VerificationURI, VerificationURIComplete string // of FlowDevice, from Begin only
}

// Connects are the consents that persons are asked for: each begins with Begin
// and ends with the provider's redirect, with the token of its device code, or
// by itself after a while. They live in memory only.
type Connects struct {
	o ConnectOptions

	mu  sync.Mutex
	all map[string]*connect
}

// connect is one of them.
type connect struct {
	ConnectRequest

	id       string
	kind     Kind
	client   oauthClient
	scopes   []string
	record   *credential.Credential // as it was, with the request's fields and the client
	redirect string
	state    [sha256.Size]byte // sum of the state's secret half
	verifier secret.Value
	issuers  []string // origins that may answer
	log      *stepLog
	expires  time.Time
	life     context.Context // ends with the connect
	done     chan struct{}   // closed when it has ended

	// Guarded by the lock of Connects.
	stop     context.CancelFunc
	timer    *time.Timer
	taken    bool      // its outcome is being decided, which nobody else can
	ended    time.Time // zero: pending
	fault    *fault.Fault
	warnings []string
}

// NewConnects makes Connects. It does no I/O.
func NewConnects(o ConnectOptions) *Connects {
	if o.Life == nil {
		o.Life = context.Background()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Redirect == nil {
		o.Redirect = func() string { return "" }
	}
	if o.Changed == nil {
		o.Changed = func(credential.Ref) {}
	}
	return &Connects{o: o, all: map[string]*connect{}}
}

// Begin starts a connect. Errors are *fault.Fault: invalid_request tells what is
// missing, overloaded that too many are open.
func (cs *Connects) Begin(ctx context.Context, r ConnectRequest) (Connect, error) {
	c, err := cs.prepare(ctx, r)
	if err != nil {
		return Connect{}, about(Material{Credential: &credential.Credential{Ref: r.Ref}, Provider: r.Provider}, err)
	}
	if err := cs.admit(c); err != nil {
		return Connect{}, err
	}
	var out Connect
	if c.Flow == FlowDevice {
		out, err = cs.beginDevice(ctx, c)
	} else {
		out, err = cs.beginCode(c)
	}
	if err != nil {
		cs.end(c, err)
		return Connect{}, about(Material{Credential: c.record, Provider: r.Provider}, err)
	}
	cs.o.Log.Info("connect began", "id", c.id, "credential", r.Ref.String(), "flow", c.Flow, "client", c.client.from, "test", r.Test)
	return out, nil
}

// prepare finds out whether the connect can be made, and with which client.
func (cs *Connects) prepare(ctx context.Context, r ConnectRequest) (*connect, error) {
	old, err := cs.o.Store.Get(ctx, r.Ref)
	if errors.Is(err, fault.CredentialNotFound) || err != nil && r.Test {
		old, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &connect{ConnectRequest: r, id: rand.Text(), log: &stepLog{}, done: make(chan struct{})}
	c.record = &credential.Credential{Ref: r.Ref, Type: grantType}
	if old != nil && (!r.Test || TypeOf(r.Provider, old) == grantType) {
		c.record = old.Clone()
	}
	if c.kind, err = connectable(r.Provider, c.record); err != nil {
		return nil, err
	}
	for name, v := range r.Fields {
		c.record.Set(name, secret.New(v))
	}
	if c.client, err = cs.client(ctx, r, c.record); err != nil {
		return nil, err
	}
	c.client.put(c.record)
	c.scopes = c.scopesOf()
	c.log.hide(c.client.secret)
	return c, c.flow()
}

// grantType is the type of the records that a connect makes.
const grantType = "oauth2_authorization_code"

// connectable gives the kind of the record, if a connect may write it.
func connectable(p *provider.Provider, c *credential.Credential) (Kind, error) {
	typ := TypeOf(p, c)
	if typ != grantType && typ != "oauth2_refresh_token" {
		return Kind{}, cannot("the credential is of type %s, which nobody consents to: remove it, or connect under another name", typ)
	}
	if !accepts(p, typ) {
		return Kind{}, cannot("provider %s does not accept %s: add it to its types", p.Name, typ)
	}
	k, _ := Lookup(typ)
	return k, nil
}

// flow settles which flow it is.
func (c *connect) flow() error {
	o := c.Provider.OAuth2
	switch c.Flow {
	case "":
		if c.Flow = FlowCode; o.AuthorizationURL == "" && o.DeviceAuthorizationURL != "" {
			c.Flow = FlowDevice
		}
	case FlowCode, FlowDevice:
	default:
		return cannot("flow: is neither %s nor %s", FlowCode, FlowDevice)
	}
	if c.Flow == FlowDevice && o.DeviceAuthorizationURL == "" {
		return cannot("provider %s has no device_authorization_url", c.Provider.Name)
	}
	if c.Flow == FlowCode && o.AuthorizationURL == "" {
		return cannot("provider %s has no authorization_url", c.Provider.Name)
	}
	return nil
}

// admit makes room for a connect and begins its life.
func (cs *Connects) admit(c *connect) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	open := 0
	var oldest *connect
	ended := 0
	for id, other := range cs.all {
		switch {
		case other.ended.IsZero():
			open++
		case time.Since(other.ended) > endedLife:
			delete(cs.all, id)
		default:
			if ended++; oldest == nil || other.ended.Before(oldest.ended) {
				oldest = other
			}
		}
	}
	if open >= maxOpen {
		return fault.New(fault.Overloaded, "too many connects are open; finish some, or wait ten minutes", nil)
	}
	if ended >= maxEnded {
		delete(cs.all, oldest.id)
	}
	c.life, c.stop = context.WithCancel(cs.o.Life)
	cs.all[c.id] = c
	cs.expire(c, connectLife)
	return nil
}

// expire ends c after d, unless its grant is on its way then.
func (cs *Connects) expire(c *connect, d time.Duration) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.expires = time.Now().Add(d)
	c.timer = time.AfterFunc(d, func() {
		if cs.claim(c) {
			cs.end(c, fault.New(fault.AuthorizationIncomplete, "nobody finished it within "+d.String()+c.hint(), nil))
		}
	})
}

// hint is what most often keeps a person from coming back.
func (c *connect) hint() string {
	if c.Flow != FlowCode {
		return ""
	}
	return "; if the provider's page refused the redirect URI, register " + c.redirect + " there"
}

// Get tells how far a connect is. One that never was, or is forgotten, is not_found.
func (cs *Connects) Get(id string) (Connect, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.all[id]
	if c == nil || !c.ended.IsZero() && time.Since(c.ended) > endedLife {
		return Connect{}, fault.New(fault.NotFound, "there is no connect of that id; they are forgotten after an hour, and when the daemon ends", nil)
	}
	return c.view(), nil
}

// view is read under the lock.
func (c *connect) view() Connect {
	v := Connect{ID: c.id, Ref: c.Ref, Test: c.Test, State: ConnectPending, Fault: c.fault, Warnings: c.warnings, Steps: c.log.taken(), Expires: c.expires}
	if !c.ended.IsZero() {
		v.State = ConnectDone
		if c.fault != nil {
			v.State = ConnectFailed
		}
	}
	return v
}

// Cancel ends a connect that is pending. A grant that is on its way already is
// not stopped.
func (cs *Connects) Cancel(id string) error {
	if _, err := cs.Get(id); err != nil {
		return err
	}
	cs.mu.Lock()
	c := cs.all[id]
	cs.mu.Unlock()
	if c != nil && cs.claim(c) {
		cs.end(c, fault.New(fault.AuthorizationIncomplete, "it was cancelled", nil))
	}
	return nil
}

// claim gives the connect to one of those who would end it: its redirect, its
// device code's token, a timer, a person.
func (cs *Connects) claim(c *connect) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.taken {
		return false
	}
	c.taken = true
	return true
}

// Drain waits until no code is being exchanged and no grant is on its way into
// the store, or until ctx ends.
func (cs *Connects) Drain(ctx context.Context) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for cs.busy() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return errors.New("a grant is not in the store yet, and is lost: a person must consent again")
		}
	}
	return nil
}

func (cs *Connects) busy() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.all {
		if c.taken && c.ended.IsZero() {
			return true
		}
	}
	return false
}

// end gives a connect its outcome; only the first one counts.
func (cs *Connects) end(c *connect, err error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !c.ended.IsZero() {
		return
	}
	outcome := "ok"
	if err != nil {
		f := about(Material{Credential: c.record, Provider: c.Provider}, err)
		f.Detail = c.log.redact(f.Detail)
		c.fault, outcome = f, string(f.Code)
	}
	c.ended, c.taken = time.Now(), true
	c.timer.Stop()
	c.stop()
	close(c.done)
	cs.o.Log.Info("connect ended", "id", c.id, "credential", c.Ref.String(), "outcome", outcome)
}
