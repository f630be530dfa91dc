// Package vault is where credentials live: a KV secrets engine of HashiCorp Vault or OpenBao, or a folder of sealed files.
package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// Time limits.
const (
	callLimit  = 2 * time.Second  // an operation that a request may wait for
	wideLimit  = 10 * time.Second // a listing of many folders
	loginLimit = 10 * time.Second
)

// errSlow is the cause of a context that one of these limits has ended.
var errSlow = errors.New("no answer in time")

// VaultOptions say where Vault is and how to log in.
type VaultOptions struct { //nolint:revive // it stands beside FileOptions
	Address       string // http://host:port, https://host:port, or unix:///path of an agent's socket
	Namespace     string // "": none
	Mount         string // of the KV secrets engine; "": secret
	Prefix        string // folder inside the mount; "": sallyport
	KVVersion     int    // 1 or 2; 0: the mount is asked
	CAFile        string // PEM, in place of the system's roots; "": those
	TLSServerName string // in place of Address' host

	ClientCertFile, ClientKeyFile string // PEM; "": no client certificate

	Method          string       // token, approle, kubernetes, jwt, userpass, cert or agent
	AuthMount       string       // "": the method's name
	Role            string       // kubernetes; jwt, "": the mount's default one; cert, "": any that accepts the certificate
	RoleIDFile      string       // approle
	SecretIDFile    string       // approle; "" for a role that binds none
	SecretIDWrapped bool         // SecretIDFile holds a wrapping token, unwrapped once and again when the file changes
	JWTFile         string       // jwt, kubernetes; "" with kubernetes: the pod's service account
	Username        string       // userpass
	PasswordFile    string       // userpass
	TokenFile       string       // token; read again when it changes
	Token           secret.Value // token, if there is no TokenFile
	RevokeOnExit    bool         // revoke the token, unless it was given to us, and what was lent by leases, when Run ends

	Bare bool // no records of ours lie there: Mount is not asked about

	Log        *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: no metrics
}

// Vault is a credential.Store in a KV secrets engine of HashiCorp Vault or OpenBao: one secret per record at
// MOUNT/PREFIX/credentials/WORKSPACE/ENVIRONMENT/PROVIDER/NAME. Version 2 of the engine checks and sets; version 1
// cannot: there a write that another process makes between our reading and our writing is lost. Run must run for it to serve: until its first login
// every call fails with vault_unreachable. No call but a wide List takes longer than a few seconds.
type Vault struct {
	o         VaultOptions
	log       *slog.Logger
	metrics   *metrics
	transport *transport
	client    *api.Client // without a token
	method    *method
	unwrapped unwrapped             // Run's goroutine only
	own       atomic.Pointer[mount] // where our records lie; nil: not known yet
	fit       atomic.Bool           // Vault says of our mount what the configuration does
	writing   chan struct{}         // holds one token: writes to KV version 1 are made one after the other
	doubts    chan doubt
	circuit   *circuit
	referred  atomic.Pointer[references] // nil: none
	engines   engines
	leases    leases

	mu      sync.Mutex
	session *session      // nil: none
	refused *fault.Fault  // why the last login failed; nil: it did not, or none was tried
	dropped bool          // the session turned out to be dead; a login is under way
	changed chan struct{} // closed and made anew when session or refused change
	state   Status
}

// Status tells how Vault was when last heard of.
type Status struct {
	LoggedIn    bool      // a token is held that has not expired
	Up          bool      // Vault answered when last asked, and is not sealed; one path that does not answer is not Vault
	Sealed      bool      // the last call was answered by a sealed one
	TokenExpiry time.Time // zero: never, or no token is held
	LastSuccess time.Time // when a call was last answered and not denied; zero: never
}

// NewVault makes the store. It does no I/O; its errors name a setting.
func NewVault(o VaultOptions) (*Vault, error) {
	method, err := o.method()
	if err != nil {
		return nil, err
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	t := &transport{
		socket: socket(o.Address), caFile: o.CAFile, certFile: o.ClientCertFile, keyFile: o.ClientKeyFile, serverName: o.TLSServerName,
	}
	client, err := newClient(o, t)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	v := &Vault{
		o: o, log: o.Log, metrics: m, transport: t, client: client, method: method,
		doubts: make(chan doubt), changed: make(chan struct{}), writing: make(chan struct{}, 1),
	}
	v.circuit = newCircuit(func() bool { return v.Status().Up })
	if v.o.KVVersion != 0 {
		v.own.Store(&mount{v.o.Mount, v.o.KVVersion})
	}
	return v, nil
}

var pathForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)

// complete fills in the defaults and tells the first setting that is wrong.
func (o *VaultOptions) complete() error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Namespace = strings.Trim(o.Namespace, "/")
	if !validAddress(o.Address) {
		return errors.New("vault.address: want http://HOST:PORT, https://HOST:PORT or unix:///PATH")
	}
	for _, p := range []struct {
		key, def string
		s        *string
	}{{"mount", "secret", &o.Mount}, {"prefix", "sallyport", &o.Prefix}, {"auth.mount", o.Method, &o.AuthMount}} {
		if *p.s = strings.Trim(*p.s, "/"); *p.s == "" {
			*p.s = p.def
		}
		if !pathForm.MatchString(*p.s) {
			return fmt.Errorf("vault.%s: %q is not a path of letters, digits and . _ - with / between", p.key, *p.s)
		}
	}
	if strings.Contains(o.Username, "/") || strings.Trim(o.Username, ".") == "" && o.Username != "" {
		return fmt.Errorf("vault.auth.username: %q is not the name of a user", o.Username)
	}
	if o.SecretIDWrapped && o.SecretIDFile == "" {
		return errors.New("vault.auth.secret_id_file: missing; vault.auth.secret_id_wrapped says that it holds a wrapping token")
	}
	if (o.ClientCertFile == "") != (o.ClientKeyFile == "") {
		return errors.New("vault.client_cert_file and vault.client_key_file: want both or none")
	}
	if o.KVVersion < 0 || o.KVVersion > 2 {
		return fmt.Errorf("vault.kv_version: %d is not a version; want 1 or 2, or 0 to ask the mount", o.KVVersion)
	}
	return nil
}

func validAddress(s string) bool {
	if path := socket(s); path != "" {
		return filepath.IsAbs(path)
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// socket gives PATH of the address unix:///PATH or unix:/PATH; "": it is another one, or names none.
func socket(address string) string {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return ""
	}
	return strings.TrimPrefix(path, "//")
}

// Status gives what is known of Vault now. It makes no call.
func (v *Vault) Status() Status {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.state
	if v.session != nil && !v.session.expired() {
		s.LoggedIn, s.TokenExpiry = true, v.session.expiry
	}
	return s
}

// Ready waits until Run holds a token, or gives the fault of its last login as soon as one has failed.
func (v *Vault) Ready(ctx context.Context) error {
	_, err := v.await(ctx, nil)
	return err
}
