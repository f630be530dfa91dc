// Package provider is one kind of upstream, compiled from its catalogue entry:
// the hosts and paths it owns, where its credentials go, its endpoints and
// limits, and what its answers mean. It knows no file format.
package provider

import (
	"crypto/x509"
	"net/netip"
	"net/url"
	"regexp"
	"time"
)

// Provider is compiled and checked once; nobody changes it afterwards.
type Provider struct {
	Name       string
	Hosts      []string // patterns as written: host, host:port, *.host, and {field} for parts that a record fills
	Paths      []string // prefixes of whole segments; none: every path
	BaseURL    string   // absolute, without a trailing slash; may contain {field}
	Type       string   // default credential type
	Types      []string // others it accepts
	Builtin    bool     // from the shipped catalogue
	Configured bool     // the configuration names it: its hosts are owned even where no credential exists
	Unverified bool     // facts of the entry were not checked against the provider
	Protocol   Protocol // of its servers
	Note       string   // what a person needs to know of it, in a line; may be empty
	Redact     bool

	AllowCleartext bool
	AllowNetworks  []netip.Prefix
	Anonymous      bool           // without a credential the runner's request goes out as it is
	OneAccount     bool           // accounts = "one"
	Roots          *x509.CertPool // instead of the system's; nil: the system's
	UpstreamProxy  *url.URL       // nil: the daemon's own setting

	HMAC    string
	Headers []Header
	Places  []Place // none: the credential type's own
	OAuth2  OAuth2
	Login   Login
	Refresh Refresh
	Verify  Verify
	Needs   Needs
	Limits  Limits
	Signals []Signal

	// Fingerprint changes when the entry changes: what was made from an entry
	// of the same fingerprint can be kept over a reload.
	Fingerprint string
}

// Protocol is what a provider's servers speak.
type Protocol string

// The protocols. Credentials of a provider of another than HTTP are checked, and
// go on no request.
const (
	HTTP Protocol = "" // or HTTPS
	FTP  Protocol = "ftp"
)

// Header is a constant field that the API asks for; it is set where the runner sent none.
type Header struct{ Name, Value string }

// In says which part of a request a Place fills.
type In string

// The parts.
const (
	InHeader In = "header"
	InQuery  In = "query"
	InCookie In = "cookie"
	InBody   In = "body"
	InBasic  In = "basic"
)

// Place says where fields of a credential go.
type Place struct {
	In       In
	Name     string // header, query parameter, cookie or body member
	Value    string // template with {field}
	Username string // of InBasic, template
	Password string // of InBasic, template
}

// OAuth2 is the provider's authorization server.
type OAuth2 struct {
	AuthorizationURL, TokenURL, RefreshURL, RevocationURL, IntrospectionURL, DeviceAuthorizationURL string // may contain {field}

	ClientAuth     string // basic, body, private_key_jwt, none; empty: basic
	Scopes         []string
	ScopeSeparator string // empty: a space
	Params         map[string]string
	OwnAppOnly     bool

	Encoding                string            // of what is sent to these endpoints: form, json; empty: form
	ClientCredentialsParams map[string]string // further parameters of the client_credentials grant, whose grant_type they may change; with {field}s
}

// Login is the call of a two_step type.
type Login struct{ Method, Path, Body, Token, ExpiresIn string }

// Refresh is what the token endpoint does with a refresh token.
type Refresh struct {
	Rotates bool          // it is good for one use, and its answer brings the next
	Grace   time.Duration // in which it is taken again after that
	Idle    time.Duration // after which one that nobody uses lapses; 0: it does not
}

// Verify is a harmless request that only a working credential passes.
type Verify struct {
	Method string
	Path   string // relative to the base URL, with {field}s; empty: there is none
	Body   string // JSON or a form, with {field}s; empty: none is sent
}

// Needs are the scopes and permissions that flows usually need.
type Needs struct {
	Scopes, Permissions []string
	OAuthScopes         []string // of tokens that a consent gave; nil: Scopes
}

// Limits of calls for one credential. Nil or zero: not limited. MaxWait below zero: not set.
type Limits struct {
	Rates       []Rate
	Burst       int
	Concurrency int
	MaxWait     time.Duration
}

// Template fields: {name}.
var field = regexp.MustCompile(`\{([a-z0-9_]+)\}`)
