package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/vault"
)

// app is the daemon: its rooms, tied together.
type app struct {
	cli      *cli
	stateDir string
	local    bool            // inside a command: nobody listens
	life     context.Context // of everything that requests start; ends after the drain

	cfg       atomic.Pointer[configs.Config]
	reloading sync.Mutex
	level     slog.LevelVar
	log       *slog.Logger
	registry  *prometheus.Registry
	metrics   *daemonMetrics
	tokens    *auth.Metrics

	base     credential.Store // of our own records
	store    credential.Store // with the secrets of others that the configuration names
	vault    *vault.Vault     // nil: it is not used
	journal  *auth.Journal    // nil: there is none
	keeper   *auth.Keeper     // of tokens, over store
	connects *auth.Connects
	ca       *proxy.CA
	callers  *callers
	upstream *proxy.Upstream
	proxy    *proxy.Server
	history  *checker.History
	rounds   *checker.Rounds   // of background checks
	notifier *checker.Notifier // of [notify]
	admin    *admin.Server
	doors    *listeners

	serving, draining atomic.Bool
}

// build makes the rooms. What it writes is the state directory only.
func (a *app) build(cfg *configs.Config) error {
	a.registry = prometheus.NewRegistry()
	token, err := vaultToken(cfg, a.cli.getenv)
	if err != nil {
		return err
	}
	if a.base, a.vault, err = openStore(cfg, a.stateDir, token, a.log, a.registry); err != nil {
		return err
	}
	if a.store = a.base; a.vault != nil {
		a.store = vault.NewOverlay(a.base, a.vault)
	}
	if a.ca, _, err = loadCA(cfg, a.stateDir); err != nil {
		return err
	}
	if a.callers, err = openCallers(a.stateDir); err != nil {
		return err
	}
	a.metrics = newDaemonMetrics(a.registry, a)
	a.tokens = auth.NewMetrics(a.registry)
	if err := a.buildKeeper(cfg, a.tokens); err != nil {
		return err
	}
	a.history = checker.NewHistory(a.registry)
	a.store = a.history.Over(a.store)
	a.proxy = proxy.New(proxy.Options{
		Store: a.store, Keeper: a.keeper, CA: a.ca, Life: a.life, Log: a.log, Registerer: a.registry,
		AuthMetrics: a.tokens, MaxConnections: maxConnections(cfg),
	})
	if err := a.apply(cfg); err != nil {
		return err
	}
	a.metrics.reloaded(true)
	a.restoreUses()
	return a.buildAdmin(cfg)
}

func (a *app) buildAdmin(cfg *configs.Config) error {
	var token secret.Value
	if !a.local {
		var err error
		if token, err = adminToken(cfg, a.stateDir); err != nil {
			return err
		}
	}
	if !a.local { // the file is the daemon's
		a.history.Restore(filepath.Join(a.stateDir, "reports.json"), a.log)
	}
	a.history.Watch(a.uses)
	check := a.newChecker()
	a.buildChecks(check)
	a.admin = admin.New(admin.Options{
		Store: a.store, Apps: a.apps(), Daemon: a, Connects: a.connector(check, a.history),
		Table: func() *provider.Table { return a.cfg.Load().Table }, Checker: check,
		History: a.history, Gatherer: a.registry, Token: token,
		CAPEM: a.ca.PEM, Referred: a.referred, Hosts: append(publicHost(cfg), cfg.Admin.Hosts...), Log: a.log,
	})
	return nil
}

// client reaches a provider for checks.
func (a *app) client(p *provider.Provider) *http.Client {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	return a.upstream.Client(p)
}

// certified is client's transport with a client certificate.
func (a *app) certified(p *provider.Provider, cert *tls.Certificate) http.RoundTripper {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	return a.upstream.Transport(p, cert)
}

// referred reports whether the configuration says where in Vault a credential lies.
func (a *app) referred(ref credential.Ref) bool {
	return slices.ContainsFunc(a.cfg.Load().Credentials, func(c configs.Credential) bool { return c.Ref == ref })
}

// own gives the daemon's TCP listeners.
func (a *app) own() []netip.AddrPort {
	if a.doors == nil {
		return nil
	}
	return a.doors.addresses()
}

// vaultToken takes $VAULT_TOKEN for the token method where no file is set. None of
// Vault's variables stays in the environment: children and dumps would show the
// token, and Vault's client reads more of them than we do.
func vaultToken(cfg *configs.Config, getenv func(string) string) (secret.Value, error) {
	if err := dropVaultVariables(); err != nil {
		return secret.Value{}, err
	}
	if !cfg.UsesVault() || cfg.Vault.Auth.Method != "token" || cfg.Vault.Auth.TokenFile != "" {
		return secret.Value{}, nil
	}
	return secret.New(getenv("VAULT_TOKEN")), nil
}

func dropVaultVariables() error {
	var errs []error
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "VAULT_") {
			errs = append(errs, os.Unsetenv(name))
		}
	}
	return errors.Join(errs...)
}

// maxConnections leaves two descriptors for each runner's connection, its own
// and its upstream's, and some for the rest of the daemon.
func maxConnections(cfg *configs.Config) int {
	if cfg.Proxy.MaxConnections > 0 {
		return cfg.Proxy.MaxConnections
	}
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil || l.Cur > 1<<24 {
		return 1 << 20
	}
	return max((int(l.Cur)-64)/2, 16)
}
