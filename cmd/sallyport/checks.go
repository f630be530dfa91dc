package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/proxy"
)

// newChecker makes what checks credentials, whoever asks for it.
func (a *app) newChecker() *checker.Checker {
	pace := proxy.NewPace(func() provider.Limits { return a.cfg.Load().Limits })
	return checker.New(checker.Options{
		Client: a.client, Certified: a.certified, Dial: a.dial, Classify: proxy.Classify, Pace: pace.Enter,
		Panicked: a.proxy.Panicked, Log: a.log, Registerer: a.registry,
		Ahead: func() time.Duration { return a.cfg.Load().Checks.ExpiryWarning },
	})
}

// buildChecks makes what checks in the background, and tells of what it finds.
func (a *app) buildChecks(check *checker.Checker) {
	a.rounds = checker.NewRounds(checker.RoundsOptions{
		Interval: func() time.Duration { return a.cfg.Load().Checks.Interval },
		Folders:  a.proxy.Folders, Wanted: a.proxy.Wanted, Provider: a.provider,
		Store: a.store, Checker: check, History: a.history, Issued: a.referred, Gone: a.forget, Log: a.log,
	})
	a.notifier = checker.NewNotifier(checker.NotifierOptions{
		File: filepath.Join(a.stateDir, "notified.json"), Target: a.webhook, History: a.history, Used: a.uses,
		Log: a.log, Metrics: a.registry,
	})
}

// startChecks runs them.
func (a *app) startChecks(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { return a.history.Run(ctx) })
	group.Go(func() error { return a.rounds.Run(ctx) })
	group.Go(func() error { return a.notifier.Run(ctx) })
}

// wakeChecks has them look at another configuration.
func (a *app) wakeChecks() {
	if a.rounds == nil { // it is the first one
		return
	}
	a.rounds.Wake()
	a.notifier.Wake()
}

// forget drops what is known of a credential that was removed.
func (a *app) forget(ref credential.Ref) {
	a.proxy.Forget(ref)
	if a.notifier != nil {
		a.notifier.Forget(ref.String())
	}
}

// webhookRoad is the way to the webhook, which the operator has chosen: it may be
// on a private network. Our own listeners and Vault stay out of reach.
var webhookRoad = &provider.Provider{
	Name: "notify", AllowNetworks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
}

// webhook gives the target of [notify]; nil: there is none.
func (a *app) webhook() *checker.Target {
	n := a.cfg.Load().Notify
	if n.URL == "" {
		return nil
	}
	return &checker.Target{
		URL: n.URL, Key: func() (secret.Value, error) { return notifyKey(n) },
		Client: func() *http.Client { return a.client(webhookRoad) },
	}
}

// notifyKey reads the key that signs events, anew for each: it may be changed.
func notifyKey(n configs.Notify) (secret.Value, error) {
	b, _, err := file.ReadOperator(n.SecretFile)
	if err != nil {
		return secret.Value{}, err
	}
	key := secret.New(strings.TrimRight(string(b), "\r\n"))
	if key.Empty() {
		return key, fmt.Errorf("%s: is empty; it holds the key that signs what is sent", n.SecretFile)
	}
	return key, nil
}

// judgeNotify refuses a configuration whose webhook could not be told.
func (a *app) judgeNotify(cfg *configs.Config) error {
	if cfg.Notify.URL == "" || a.local {
		return nil
	}
	if _, err := notifyKey(cfg.Notify); err != nil {
		return configs.Faults{cfg.FaultAt("notify.secret_file", err.Error())}
	}
	return nil
}
