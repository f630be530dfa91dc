// Package configs reads Sallyport's configuration: defaults, then the file, then
// the environment, judged as a whole so that every fault is told at once. It
// also holds the catalogue of built-in providers, which the same loader reads.
package configs

import (
	"net/netip"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// Config is a configuration without faults. Nobody changes it after Load.
type Config struct {
	Proxy       Proxy
	Admin       Admin
	Log         Log
	Store       Store
	Vault       Vault
	Limits      provider.Limits // per credential; a provider's own override them
	Retry       Retry
	Checks      Checks
	Notify      Notify
	Callers     []Caller
	Credentials []Credential         // of others' secrets in Vault
	Providers   []*provider.Provider // the catalogue and the configuration merged, by name
	Table       *provider.Table      // of Providers

	Path     string   // the file; empty: built-in defaults
	Warnings []string // what is no fault but worth a log line
	EnvUsed  []string // names of the environment variables that count, sorted

	form  *form          // what WriteTOML writes
	lines map[string]int // of the file's keys
}

// Proxy is the table [proxy].
type Proxy struct {
	Listen          string         `toml:"listen"` // host:port, or unix:/path
	Auth            string         `toml:"auth" oneof:"token none"`
	Unmatched       string         `toml:"unmatched" oneof:"tunnel deny"`
	AllowNetworks   []netip.Prefix `toml:"allow_networks"`
	TunnelPorts     []int          `toml:"tunnel_ports" min:"1" max:"65535"` // none: any
	Hosts           []string       `toml:"hosts"`
	AnonymousCaller string         `toml:"anonymous_caller"`
	MaxConnections  int            `toml:"max_connections"` // 0: from the file descriptor limit
	ReplayLimit     int64          `toml:"replay_limit" form:"size"`
	UpstreamTimeout time.Duration  `toml:"upstream_timeout" positive:"true"`
	UpstreamProxy   *url.URL       `toml:"upstream_proxy"` // nil: none
	Drain           time.Duration  `toml:"drain"`
	Listeners       []Listener     `toml:"listener"`
	CA              CA             `toml:"ca"`
}

// Listener is one [[proxy.listener]], bound to one caller.
type Listener struct {
	Listen string `toml:"listen"`
	Caller string `toml:"caller"`
}

// CA is the table [proxy.ca].
type CA struct {
	CertFile  string   `toml:"cert_file" form:"path"`
	KeyFile   string   `toml:"key_file" form:"path"`
	ExportDir string   `toml:"export_dir" form:"path"`
	Permitted []string `toml:"permitted"` // DNS names and networks; none: no constraint
}

// Admin is the table [admin].
type Admin struct {
	Listen        string        `toml:"listen"`
	MetricsListen string        `toml:"metrics_listen"`
	Hosts         []string      `toml:"hosts"`
	PublicURL     string        `toml:"public_url"`
	TokenFile     string        `toml:"token_file" form:"path"`
	InUseWindow   time.Duration `toml:"in_use_window"`
}

// Log is the table [log].
type Log struct {
	Level  string `toml:"level" oneof:"debug info warn error"`
	Format string `toml:"format" oneof:"text json"`
}

// Store is the table [store].
type Store struct {
	Backend string `toml:"backend" oneof:"file vault"`
	Dir     string `toml:"dir" form:"path"`
	KeyFile string `toml:"key_file" form:"path"`
	Key     string `toml:"key"` // empty: the key lies in KeyFile; "transit:KEY": Vault's transit engine wraps it
}

// Vault is the table [vault].
type Vault struct {
	Address        string        `toml:"address"`
	Namespace      string        `toml:"namespace"`
	Mount          string        `toml:"mount"`
	Prefix         string        `toml:"prefix"`
	KVVersion      int           `toml:"kv_version" max:"2"` // 1 or 2; 0: ask the mount
	CAFile         string        `toml:"ca_file" form:"path"`
	ClientCertFile string        `toml:"client_cert_file" form:"path"`
	ClientKeyFile  string        `toml:"client_key_file" form:"path"`
	TLSServerName  string        `toml:"tls_server_name"`
	CacheTTL       time.Duration `toml:"cache_ttl"`
	MaxStale       time.Duration `toml:"max_stale"`
	Auth           VaultAuth     `toml:"auth"`
}

// VaultAuth is the table [vault.auth].
type VaultAuth struct {
	Method          string `toml:"method" oneof:"token approle kubernetes jwt userpass cert agent"`
	Mount           string `toml:"mount"` // empty: the method's name
	Role            string `toml:"role"`
	TokenFile       string `toml:"token_file" form:"path"`
	RoleIDFile      string `toml:"role_id_file" form:"path"`
	SecretIDFile    string `toml:"secret_id_file" form:"path"`
	SecretIDWrapped bool   `toml:"secret_id_wrapped"`
	JWTFile         string `toml:"jwt_file" form:"path"`
	Username        string `toml:"username"`
	PasswordFile    string `toml:"password_file" form:"path"`
	RevokeOnExit    bool   `toml:"revoke_on_exit"`
}

// Retry is the table [retry].
type Retry struct {
	Attempts int           `toml:"attempts" min:"1"` // tries in all; 1: no second one
	Base     time.Duration `toml:"base" positive:"true"`
	Max      time.Duration `toml:"max" positive:"true"`
	Budget   float64       `toml:"budget"` // second tries per first try, 0 to 1
}

// Checks is the table [checks].
type Checks struct {
	Interval      time.Duration // of background checks; 0: there are none
	ExpiryWarning time.Duration // before the end of what a person must renew
}

// Notify is the table [notify].
type Notify struct {
	URL        string // of the webhook; empty: nobody is told
	SecretFile string // its key of HMAC-SHA256
}

// Caller is one [[caller]].
type Caller struct {
	Name        string
	Workspace   string
	Environment string
	TokenSHA256 string                    // 64 hexadecimal digits in lower case; empty: see TokenFile
	TokenFile   string                    // empty, and no TokenSHA256: STATE_DIR/callers/NAME.token
	Needs       map[string]provider.Needs // by provider; without an entry the provider's own
	Limits      provider.Limits           // of this caller's calls
	Allow       []Allow                   // none: everything in its workspace and environment
}

// Allow is one [[caller.allow]]: it matches where all the keys that it sets match.
type Allow struct {
	Credentials []string `toml:"credentials"` // PROVIDER/NAME, with *
	Methods     []string `toml:"methods"`
	Paths       []string `toml:"paths"` // * one segment, ** the rest
	Hosts       []string `toml:"hosts"` // unmatched hosts; an entry with only hosts allows no credential
}

// Credential is one [[credential]]: a secret that lies in Vault, or is issued
// there, at a path of its own.
type Credential struct {
	Ref    credential.Ref
	Type   string            // empty: the provider's default
	Path   string            // logical, as in vault kv get
	Fields map[string]string // ours = theirs; none: all, under their own names
}

// UsesVault reports whether the daemon talks to Vault: for its records, for
// others' secrets, or for the key of the embedded store.
func (c *Config) UsesVault() bool { return c.form.usesVault() }

func (f *form) usesVault() bool {
	return f.Store.Backend == "vault" || f.Store.Key != "" || len(f.Credentials) > 0
}

// Options of Load.
type Options struct {
	Path    string                                // of the file; empty: built-in defaults
	Environ []string                              // NAME=VALUE, as os.Environ gives them
	Types   func(name string) (known, built bool) // credential types; nil: the documented ones, all built
	Files   bool                                  // judge the operator's files too, as far as the daemon needs them to start
}
