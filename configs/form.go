package configs

import (
	"net/netip"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// form is the file key by key. The tags are the whole schema: the decoder, the
// environment, the writer and the reference's test all read them.
//
//	toml:"name"      the key
//	oneof:"a b"      the values of a string; noun:"a place" says what they are
//	unbuilt:"b"      those of oneof whose part is not built yet
//	later:"true"     the key's part is not built yet: only the default is taken
//	form:"size"      an int64 of bytes, written "1MiB"
//	form:"path"      a path; in the file relative to the file's folder
//	form:"webhook"   a URL that is often a secret: WriteTOML writes its scheme and host
//	min:"1" max:"9"  the bounds of an int; without them 0 and 1<<31 - 1
//	positive:"true"  a duration that must not be zero
type form struct {
	Proxy       Proxy            `toml:"proxy"`
	Admin       Admin            `toml:"admin"`
	Log         Log              `toml:"log"`
	Store       Store            `toml:"store"`
	Vault       Vault            `toml:"vault"`
	Limits      limitsForm       `toml:"limits"`
	Retry       Retry            `toml:"retry"`
	Checks      checksForm       `toml:"checks"`
	Notify      notifyForm       `toml:"notify"`
	Audit       auditForm        `toml:"audit" later:"true"`
	Tracing     tracingForm      `toml:"tracing" later:"true"`
	Callers     []callerForm     `toml:"caller"`
	Providers   []providerForm   `toml:"provider"`
	Credentials []credentialForm `toml:"credential"`
}

// limitsForm is [limits]; the other limits tables have all of it but shared.
type limitsForm struct {
	Rate        []provider.Rate `toml:"rate"`
	Burst       int             `toml:"burst"`
	Concurrency int             `toml:"concurrency"`
	MaxWait     time.Duration   `toml:"max_wait"`
	Shared      string          `toml:"shared" later:"true"`
}

type ownLimitsForm struct {
	Rate        []provider.Rate `toml:"rate"`
	Burst       int             `toml:"burst"`
	Concurrency int             `toml:"concurrency"`
	MaxWait     time.Duration   `toml:"max_wait"` // below zero: not set
}

type checksForm struct {
	Interval      string        `toml:"interval"`
	ExpiryWarning time.Duration `toml:"expiry_warning"`
}

type notifyForm struct {
	URL        string `toml:"url" form:"webhook"`
	SecretFile string `toml:"secret_file" form:"path"`
}

type auditForm struct {
	File   string `toml:"file" form:"path"`
	OnFull string `toml:"on_full" oneof:"count block"`
}

type tracingForm struct {
	OTLPEndpoint string `toml:"otlp_endpoint"`
}

type callerForm struct {
	Name        string           `toml:"name"`
	Workspace   string           `toml:"workspace"`
	Environment string           `toml:"environment"`
	TokenSHA256 string           `toml:"token_sha256"`
	TokenFile   string           `toml:"token_file" form:"path"`
	Needs       map[string]needs `toml:"needs"`
	Limits      ownLimitsForm    `toml:"limits"`
	Allow       []Allow          `toml:"allow"`
}

type providerForm struct {
	Name           string            `toml:"name"`
	Hosts          []string          `toml:"hosts"`
	Paths          []string          `toml:"paths"`
	BaseURL        string            `toml:"base_url"`
	Type           string            `toml:"type"`
	Types          []string          `toml:"types"`
	AllowCleartext bool              `toml:"allow_cleartext"`
	AllowNetworks  []netip.Prefix    `toml:"allow_networks"`
	Anonymous      bool              `toml:"anonymous"`
	Accounts       string            `toml:"accounts" oneof:"many one"`
	Protocol       string            `toml:"protocol" oneof:"http ftp"`
	CAFile         string            `toml:"ca_file" form:"path"`
	UpstreamProxy  *url.URL          `toml:"upstream_proxy"`
	HMAC           string            `toml:"hmac"`
	Unverified     bool              `toml:"unverified"`
	Redact         bool              `toml:"redact" later:"true"`
	Headers        map[string]string `toml:"headers"`
	Places         []placeForm       `toml:"place"`
	OAuth2         oauth2Form        `toml:"oauth2"`
	Login          loginForm         `toml:"login"`
	Refresh        refreshForm       `toml:"refresh"`
	Verify         verifyForm        `toml:"verify"`
	Needs          needsForm         `toml:"needs"`
	Limits         ownLimitsForm     `toml:"limits"`
	Signals        []signalForm      `toml:"signal"`
}

type placeForm struct {
	In       string `toml:"in" oneof:"header query cookie body basic" noun:"a place"`
	Name     string `toml:"name"`
	Value    string `toml:"value"`
	Username string `toml:"username"`
	Password string `toml:"password"`
}

type oauth2Form struct {
	AuthorizationURL       string            `toml:"authorization_url"`
	TokenURL               string            `toml:"token_url"`
	RefreshURL             string            `toml:"refresh_url"`
	RevocationURL          string            `toml:"revocation_url"`
	IntrospectionURL       string            `toml:"introspection_url"`
	DeviceAuthorizationURL string            `toml:"device_authorization_url"`
	ClientAuth             string            `toml:"client_auth" oneof:"basic body private_key_jwt none"`
	Scopes                 []string          `toml:"scopes"`
	ScopeSeparator         string            `toml:"scope_separator"`
	Params                 map[string]string `toml:"params"`
	OwnAppOnly             bool              `toml:"own_app_only"`

	Encoding                string            `toml:"encoding" oneof:"form json"`
	ClientCredentialsParams map[string]string `toml:"client_credentials_params"`
}

type loginForm struct {
	Method    string `toml:"method" oneof:"POST GET PUT"`
	Path      string `toml:"path"`
	Body      string `toml:"body"`
	Token     string `toml:"token"`
	ExpiresIn string `toml:"expires_in"`
}

type refreshForm struct {
	Rotates bool          `toml:"rotates"`
	Grace   time.Duration `toml:"grace"`
	Idle    time.Duration `toml:"idle"`
}

type verifyForm struct {
	Method string `toml:"method" oneof:"GET HEAD POST"`
	Path   string `toml:"path"`
	Body   string `toml:"body"`
}

type needsForm struct {
	Scopes      []string `toml:"scopes"`
	Permissions []string `toml:"permissions"`
	OAuthScopes []string `toml:"oauth_scopes"`
}

// needs of one caller, of one provider.
type needs struct {
	Scopes      []string `toml:"scopes"`
	Permissions []string `toml:"permissions"`
}

type signalForm struct {
	Status int               `toml:"status" max:"599"`
	Body   string            `toml:"body"`
	Header map[string]string `toml:"header"`
	Means  string            `toml:"means" oneof:"expired invalid scope permission rate_limited policy" noun:"a meaning"`
}

type credentialForm struct {
	Workspace   string            `toml:"workspace"`
	Environment string            `toml:"environment"`
	Provider    string            `toml:"provider"`
	Name        string            `toml:"name"`
	Type        string            `toml:"type"`
	Path        string            `toml:"path"`
	Fields      map[string]string `toml:"fields"`
}

// defaults are the values of the keys that nobody sets.
func defaults() form {
	return form{
		Proxy: Proxy{
			Listen: "127.0.0.1:3128", Auth: "token", Unmatched: "tunnel", TunnelPorts: []int{443},
			AnonymousCaller: "default", ReplayLimit: 1 << 20, UpstreamTimeout: time.Minute, Drain: 30 * time.Second,
		},
		Admin:  Admin{Listen: "127.0.0.1:3129", InUseWindow: 24 * time.Hour},
		Log:    Log{Level: "info", Format: "text"},
		Store:  Store{Backend: "file"},
		Vault:  Vault{Mount: "secret", Prefix: "sallyport", CacheTTL: time.Minute, MaxStale: time.Hour, Auth: VaultAuth{Method: "token"}},
		Limits: limitsForm{MaxWait: 10 * time.Second},
		Retry:  Retry{Attempts: 3, Base: 200 * time.Millisecond, Max: 5 * time.Second, Budget: 0.2},
		Checks: checksForm{ExpiryWarning: 14 * 24 * time.Hour},
		Audit:  auditForm{OnFull: "count"},
	}
}

const notSet = time.Duration(-1)

// The elements of arrays have defaults of their own.

func (c *callerForm) setDefaults() {
	c.Workspace, c.Environment, c.Limits.MaxWait = credential.DefaultWorkspace, credential.DefaultEnvironment, notSet
}

func (c *credentialForm) setDefaults() {
	c.Workspace, c.Environment, c.Name = credential.DefaultWorkspace, credential.DefaultEnvironment, credential.DefaultName
}

func (p *providerForm) setDefaults() {
	*p = providerForm{
		Type: "api_key", Accounts: "many", Protocol: "http",
		OAuth2:  oauth2Form{ClientAuth: "basic", ScopeSeparator: " ", Encoding: "form"},
		Login:   loginForm{Method: "POST", Token: "access_token"},
		Refresh: refreshForm{Rotates: true},
		Verify:  verifyForm{Method: "GET"},
		Limits:  ownLimitsForm{MaxWait: notSet},
	}
}
