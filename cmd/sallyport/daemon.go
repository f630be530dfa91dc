package main

import (
	"context"
	"slices"
	"time"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/proxy"
)

// UsedBy implements admin.Daemon.
func (a *app) UsedBy(ref credential.Ref) []string {
	cfg := a.cfg.Load()
	var by []string
	for _, u := range a.proxy.Uses(ref) {
		if time.Since(u.Last) <= cfg.Admin.InUseWindow {
			by = append(by, u.Caller)
		}
	}
	slices.Sort(by)
	if named(cfg, ref) {
		by = append(by, "configuration")
	}
	return by
}

// named reports whether the configuration names the credential outright: as a
// secret in Vault, or in a caller's policy.
func named(cfg *configs.Config, ref credential.Ref) bool {
	return slices.ContainsFunc(cfg.Credentials, func(c configs.Credential) bool { return c.Ref == ref }) || slices.ContainsFunc(cfg.Callers, func(c configs.Caller) bool {
		return c.Workspace == ref.Workspace && c.Environment == ref.Environment && slices.ContainsFunc(c.Allow, func(al configs.Allow) bool {
			return slices.Contains(al.Credentials, ref.Provider+"/"+ref.Name)
		})
	})
}

// Changed implements admin.Daemon.
func (a *app) Changed(ref credential.Ref) {
	if _, err := a.store.Get(a.life, ref); fault.From(err).Code == fault.CredentialNotFound && err != nil {
		a.forget(ref)
		return
	}
	a.proxy.Changed(ref)
}

// Decide implements admin.Daemon.
func (a *app) Decide(ctx context.Context, caller, name, method, url string) (admin.Decision, error) {
	if caller == "" {
		var err error
		if caller, err = callerOf(a.cfg.Load(), ""); err != nil {
			return admin.Decision{}, fault.New(fault.InvalidRequest, "say which caller: the configuration has several and none is named default", nil)
		}
	}
	d, err := a.proxy.Decide(ctx, proxy.Question{Caller: caller, Credential: name, Method: method, URL: url})
	return admin.Decision{Action: d.Action, Provider: d.Provider, Credential: d.Credential, Code: d.Code, Why: d.Why}, err
}

// Ready implements admin.Daemon.
func (a *app) Ready() (status string, degraded []string, ok bool) {
	if a.draining.Load() {
		return "draining", nil, false
	}
	if !a.serving.Load() {
		return "starting", nil, false
	}
	if d, ok := a.base.(*deferred); ok && !d.Opened() {
		return "the store is not open yet", nil, false
	}
	if !a.readsVault() {
		return "ok", nil, true
	}
	s := a.vault.Status()
	switch {
	case s.LastSuccess.IsZero():
		return "starting", nil, false
	case s.LoggedIn && s.Up:
		return "ok", nil, true
	case time.Since(s.LastSuccess) > a.cfg.Load().Vault.MaxStale:
		return "vault is away for longer than max_stale", nil, false
	}
	return "degraded", []string{"vault"}, true
}

// readsVault reports whether credentials lie in Vault.
func (a *app) readsVault() bool {
	cfg := a.cfg.Load()
	return cfg.Store.Backend == "vault" || len(cfg.Credentials) > 0
}

// openBase opens a store whose key lies in Vault, as soon as that answers.
func (a *app) openBase(ctx context.Context) error {
	d, ok := a.base.(*deferred)
	if !ok {
		return nil
	}
	for told := ""; ; {
		err := d.Open(ctx)
		if err == nil {
			a.log.Info("the store is open")
			return nil
		}
		if f := fault.From(err); told != string(f.Code)+f.Detail { // one line for each reason
			a.log.Warn("the store is not open yet", "error", err)
			told = string(f.Code) + f.Detail
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(openPause):
		}
	}
}

// Requests implements admin.Daemon.
func (a *app) Requests() []admin.Request {
	var out []admin.Request
	for _, r := range a.proxy.Requests() {
		out = append(out, admin.Request(r))
	}
	return out
}

// Callers implements admin.Daemon.
func (a *app) Callers() []admin.CallerInfo {
	list, err := a.callers.list(a.cfg.Load())
	if err != nil {
		a.log.Error("callers", "error", err)
	}
	return list
}

// AddCaller implements admin.Daemon.
func (a *app) AddCaller(name, workspace, environment string) (secret.Value, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	token, err := a.callers.add(a.cfg.Load(), callerRecord{name, workspace, environment})
	if err != nil {
		return token, err
	}
	return token, a.apply(a.cfg.Load())
}

// RemoveCaller implements admin.Daemon.
func (a *app) RemoveCaller(name string) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	if err := a.callers.remove(a.cfg.Load(), name); err != nil {
		return err
	}
	return a.apply(a.cfg.Load())
}
