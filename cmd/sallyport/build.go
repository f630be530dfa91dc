package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/vault"
)

// fileTTL is how long a look at the embedded store counts: another process that
// shares the folder may write to it.
const fileTTL = 5 * time.Second

func vaultOptions(cfg *configs.Config, token secret.Value, log *slog.Logger, reg prometheus.Registerer) vault.VaultOptions {
	v := cfg.Vault
	return vault.VaultOptions{
		Address: v.Address, Namespace: v.Namespace, Mount: v.Mount, Prefix: v.Prefix, KVVersion: v.KVVersion,
		CAFile: v.CAFile, TLSServerName: v.TLSServerName, ClientCertFile: v.ClientCertFile, ClientKeyFile: v.ClientKeyFile,
		Method: v.Auth.Method, AuthMount: v.Auth.Mount, RoleIDFile: v.Auth.RoleIDFile, SecretIDFile: v.Auth.SecretIDFile,
		TokenFile: v.Auth.TokenFile, Token: token, RevokeOnExit: v.Auth.RevokeOnExit, Role: v.Auth.Role, JWTFile: v.Auth.JWTFile,
		Username: v.Auth.Username, PasswordFile: v.Auth.PasswordFile, SecretIDWrapped: v.Auth.SecretIDWrapped,
		Bare: cfg.Store.Backend != "vault", Log: log, Registerer: reg,
	}
}

// newUpstream makes the road out. own gives the daemon's own listeners.
func newUpstream(cfg *configs.Config, own func() []netip.AddrPort) *proxy.Upstream {
	at := vaultAuthority(cfg)
	return proxy.NewUpstream(proxy.UpstreamOptions{
		AllowNetworks: cfg.Proxy.AllowNetworks, Own: own, Proxy: cfg.Proxy.UpstreamProxy, Timeout: cfg.Proxy.UpstreamTimeout,
		VaultAuthority: at.name, VaultOwned: func() bool { return len(cfg.Table.Owners(at.Authority)) > 0 },
	})
}

type namedAuthority struct {
	provider.Authority
	name string // host:port; empty: none
}

func vaultAuthority(cfg *configs.Config) namedAuthority {
	u, err := url.Parse(cfg.Vault.Address)
	if err != nil || cfg.Vault.Address == "" {
		return namedAuthority{}
	}
	port := 443
	if u.Scheme == "http" {
		port = 80
	}
	a, err := provider.ParseAuthority(u.Host, port)
	if err != nil {
		return namedAuthority{}
	}
	return namedAuthority{a, a.String()}
}

// proxyConfig is what the configuration says to the proxy.
func proxyConfig(cfg *configs.Config, callers []proxy.Caller, up *proxy.Upstream) proxy.Config {
	c := proxy.Config{
		Callers: callers, Providers: cfg.Table, Upstream: up, Deny: cfg.Proxy.Unmatched == "deny",
		TunnelPorts: cfg.Proxy.TunnelPorts, Hosts: cfg.Proxy.Hosts, ReplayLimit: cfg.Proxy.ReplayLimit, Limits: cfg.Limits,
		Retry:    proxy.Retry{Attempts: cfg.Retry.Attempts, Base: cfg.Retry.Base, Max: cfg.Retry.Max, Budget: cfg.Retry.Budget},
		CacheTTL: fileTTL,
	}
	if cfg.Proxy.Auth == "none" {
		c.Anonymous = cfg.Proxy.AnonymousCaller
	}
	if cfg.Store.Backend == "vault" {
		c.CacheTTL, c.MaxStale = cfg.Vault.CacheTTL, cfg.Vault.MaxStale
	}
	return c
}

// allows turns a caller's policy into the proxy's. The configuration has judged
// the host patterns already.
func allows(in []configs.Allow) []proxy.Allow {
	var out []proxy.Allow
	for _, a := range in {
		p := proxy.Allow{Credentials: a.Credentials, Methods: a.Methods, Paths: a.Paths}
		for _, h := range a.Hosts {
			if pat, err := provider.ParsePattern(h); err == nil {
				p.Hosts = append(p.Hosts, pat)
			}
		}
		out = append(out, p)
	}
	return out
}

// adminToken reads the admin API's token, made on first start.
func adminToken(cfg *configs.Config, stateDir string) (secret.Value, error) {
	if path := cfg.Admin.TokenFile; path != "" {
		b, _, err := file.ReadOperator(path)
		if err != nil {
			return secret.Value{}, fmt.Errorf("admin.token_file: %w", err)
		}
		return headerToken(path, string(b))
	}
	path := filepath.Join(stateDir, "admin.token")
	b, err := file.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		v := newToken()
		return v, file.Write(path, []byte(reveal(v)+"\n"), file.Private)
	}
	if err != nil {
		return secret.Value{}, err
	}
	return headerToken(path, string(b))
}

// headerToken refuses what could not stand behind Bearer.
func headerToken(from, s string) (secret.Value, error) {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return secret.Value{}, fmt.Errorf("%s: holds no token; it is one word of ASCII characters", from)
	}
	return secret.New(s), nil
}
