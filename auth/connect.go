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
