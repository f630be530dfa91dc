package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
)

// Reload implements admin.Daemon: it reads the configuration anew and swaps it
// in as a whole, or keeps the running one and says why.
func (a *app) Reload(context.Context) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	err := a.reload()
	a.metrics.reloaded(err == nil)
	if err != nil {
		a.log.Error("reload failed; the running configuration stays", "error", err)
		return asFaults(err)
	}
	a.log.Info("configuration reloaded", "file", a.cfg.Load().Path)
	a.warnOfCA()
	return nil
}

func (a *app) reload() error {
	cfg, err := a.cli.loadWhole()
	if err != nil {
		return err
	}
	if fixed := needsRestart(a.cfg.Load(), cfg); len(fixed) > 0 {
		return fixed
	}
	return a.apply(cfg)
}

// apply makes cfg the running configuration. Connections to upstreams are kept
// where nothing that concerns them has changed.
func (a *app) apply(cfg *configs.Config) error {
	callers, err := a.callers.effective(cfg)
	if err != nil {
		return err
	}
	if err := a.judgeNotify(cfg); err != nil {
		return err
	}
	old := a.cfg.Load()
	if a.upstream == nil || !sameRoad(old, cfg) {
		a.upstream = newUpstream(cfg, a.own)
	}
	if a.vault != nil {
		a.vault.Refer(references(cfg))
	}
	a.cfg.Store(cfg)
	setLevel(&a.level, cfg)
	a.proxy.Swap(proxyConfig(cfg, callers, a.upstream))
	for _, ref := range moved(old, cfg) {
		a.proxy.Changed(ref)
	}
	a.wakeChecks()
	for _, w := range cfg.Warnings {
		a.log.Warn(w)
	}
	return nil
}

// moved are the credentials whose secret another configuration says to lie
// elsewhere.
func moved(old, cfg *configs.Config) []credential.Ref {
	if old == nil {
		return nil
	}
	was := map[credential.Ref]configs.Credential{}
	for _, c := range old.Credentials {
		was[c.Ref] = c
	}
	var refs []credential.Ref
	for _, c := range cfg.Credentials {
		if before, ok := was[c.Ref]; !ok || !reflect.DeepEqual(before, c) {
			refs = append(refs, c.Ref)
		}
		delete(was, c.Ref)
	}
	return slices.AppendSeq(refs, maps.Keys(was))
}

func sameRoad(a, b *configs.Config) bool {
	return slices.Equal(a.Proxy.AllowNetworks, b.Proxy.AllowNetworks) && a.Proxy.UpstreamTimeout == b.Proxy.UpstreamTimeout &&
		reflect.DeepEqual(a.Proxy.UpstreamProxy, b.Proxy.UpstreamProxy)
}

// live are the keys that a reload can change, of tables that it cannot.
var live = []string{"admin.in_use_window", "vault.cache_ttl", "vault.max_stale"}

// needsRestart tells the keys that a reload cannot change.
func needsRestart(old, cfg *configs.Config) configs.Faults {
	var keys []string
	for _, k := range []struct {
		key  string
		a, b any
	}{
		{"proxy.listen", old.Proxy.Listen, cfg.Proxy.Listen},
		{"proxy.listener", old.Proxy.Listeners, cfg.Proxy.Listeners},
		{"proxy.max_connections", old.Proxy.MaxConnections, cfg.Proxy.MaxConnections},
		{"proxy.ca", old.Proxy.CA, cfg.Proxy.CA},
		{"admin", old.Admin, cfg.Admin},
		{"log.format", old.Log.Format, cfg.Log.Format},
		{"store", old.Store, cfg.Store},
		{"vault", old.Vault, cfg.Vault},
	} {
		keys = append(keys, changed(k.key, reflect.ValueOf(k.a), reflect.ValueOf(k.b))...)
	}
	if old.UsesVault() != cfg.UsesVault() {
		keys = append(keys, "credential")
	}
	var faults configs.Faults
	for _, key := range keys {
		if !slices.Contains(live, key) {
			faults = append(faults, cfg.FaultAt(key, "has changed, which needs a restart"))
		}
	}
	return faults
}

// changed gives the keys below key whose values differ. A struct is a table.
func changed(key string, a, b reflect.Value) []string {
	if a.Kind() != reflect.Struct {
		if reflect.DeepEqual(a.Interface(), b.Interface()) {
			return nil
		}
		return []string{key}
	}
	var keys []string
	for i := range a.NumField() {
		keys = append(keys, changed(key+"."+a.Type().Field(i).Tag.Get("toml"), a.Field(i), b.Field(i))...)
	}
	return keys
}

// faultsError tells the admin API each fault of a configuration.
type faultsError struct {
	error
	faults []admin.Fault
}

// Faults implements admin.FaultsError.
func (e faultsError) Faults() []admin.Fault { return e.faults }

func asFaults(err error) error {
	var list configs.Faults
	if !errors.As(err, &list) {
		return faultsError{err, []admin.Fault{{Detail: err.Error()}}}
	}
	out := faultsError{error: fmt.Errorf("%d faults", len(list))}
	for _, f := range list {
		out.faults = append(out.faults, admin.Fault{Line: f.Line, Key: f.Key, Detail: f.Detail})
	}
	return out
}
