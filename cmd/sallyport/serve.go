package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/configs"
)

func newServeCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the daemon", Args: cobra.NoArgs,
		Long: "Run the daemon until SIGTERM or SIGINT, which drains it; a second one ends it at once. SIGHUP reloads the configuration.",
		RunE: noArgs(c.serve),
	}
}

// serve is the daemon's life: hold the state directory, build, listen, run,
// drain.
func (c *cli) serve(ctx context.Context) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	cfg, err := c.loadWhole()
	if err != nil {
		return err
	}
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	held, err := acquireLock(dir)
	if err != nil {
		return err
	}
	defer func() { _ = held.release() }()
	tuneMemory(c.getenv, cgroupLimit)
	tuneThreads(c.getenv)
	out := newLogWriter(c.stderr)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	a := &app{cli: c, stateDir: dir, life: life}
	a.log = newLogger(out, cfg, &a.level)
	logs := make(chan struct{})
	go func() { defer close(logs); _ = out.Run(life) }()
	defer func() { end(); <-logs }()
	defer func() { _ = a.close() }()
	if err := a.build(cfg); err != nil {
		return err
	}
	return a.run(ctx, signals)
}

// run serves until a signal or ctx's end, then drains.
func (a *app) run(ctx context.Context, signals <-chan os.Signal) error {
	cfg := a.cfg.Load()
	if err := a.exportCA(cfg); err != nil {
		return err
	}
	doors, err := openListeners(cfg, a.stateDir)
	if err != nil {
		return err
	}
	defer doors.close()
	a.doors = doors
	group, stopped := errgroup.WithContext(a.life)
	logout := a.keepLogin(stopped, group)
	servers := a.start(stopped, group)
	a.serving.Store(true) // before the file says so
	if err := doors.announce(a.stateDir); err != nil {
		return err
	}
	a.greet(cfg)
	err = a.wait(ctx, stopped, signals)
	if a.drain(cfg, signals) {
		a.drainTokens(signals)
	}
	for _, s := range servers {
		_ = s.Close()
	}
	a.saveUses()
	a.history.Save()
	a.notifier.Save()
	logout()
	return err
}

// start serves every listener and runs every loop. A listener or loop that
// fails ends the daemon.
func (a *app) start(ctx context.Context, group *errgroup.Group) []*http.Server {
	group.Go(func() error { return a.proxy.Run(ctx) })
	group.Go(func() error { return a.keeper.Run(ctx) })
	group.Go(func() error {
		return a.keeper.KeepAlive(ctx, auth.Kept{Folders: a.proxy.Folders, Wanted: a.proxy.Wanted, Changed: a.proxy.Changed})
	})
	group.Go(func() error { return a.proxy.Serve(a.doors.proxy, "") })
	for _, b := range a.doors.bound {
		group.Go(func() error { return a.proxy.Serve(b.Listener, b.caller) })
	}
	if a.vault != nil {
		group.Go(func() error { return a.openBase(ctx) })
	}
	group.Go(func() error { return a.keepUses(ctx) })
	a.startChecks(ctx, group)
	var servers []*http.Server
	serve := func(ln net.Listener, h http.Handler) {
		if ln == nil {
			return
		}
		s := &http.Server{
			Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug), TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		}
		servers = append(servers, s)
		group.Go(func() error {
			if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	serve(a.doors.admin, a.admin.TCP())
	serve(a.doors.socket, a.admin.Socket())
	serve(a.doors.metrics, a.admin.Metrics())
	return servers
}

// keepLogin stays logged in to Vault until logout is called, when nothing needs it any more. logout returns once Vault
// was told, if it is to revoke what it has given.
func (a *app) keepLogin(ctx context.Context, group *errgroup.Group) (logout func()) {
	if a.vault == nil {
		return func() {}
	}
	life, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	group.Go(func() error {
		defer close(ended)
		return a.vault.Run(life)
	})
	return func() { end(); <-ended }
}

// greet writes what a reader of the log looks for.
func (a *app) greet(cfg *configs.Config) {
	a.log.Info("configuration", "file", cfg.Path, "environment", cfg.EnvUsed, "store", cfg.Store.Backend, "state", a.stateDir)
	a.warnOfCA()
	a.log.Info("listening", "proxy", shown(a.doors.proxy), "admin", shown(a.doors.admin))
}

func (a *app) warnOfCA() {
	for _, w := range caWarnings(a.ca) {
		a.log.Warn(w)
	}
}

// wait returns when the daemon is to end: nil on a signal or ctx's end.
func (a *app) wait(ctx, stopped context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGHUP {
				a.log.Info("draining", "signal", s.String())
				return nil
			}
			_ = a.Reload(ctx) // it has said why
		case <-ctx.Done():
			if context.Cause(ctx) != context.Canceled { //nolint:errorlint // the very value; a signal has another cause
				<-signals // the same signal, which came here too
			}
			a.log.Info("draining")
			return nil
		case <-stopped.Done():
			return fmt.Errorf("serving ended: %w", context.Cause(stopped))
		}
	}
}

// drain tells that the daemon is not ready, and lets what is in flight finish.
// A second signal ends that at once: it was not whole then.
func (a *app) drain(cfg *configs.Config, signals <-chan os.Signal) (whole bool) {
	a.draining.Store(true)
	ctx, cancel := context.WithTimeout(a.life, cfg.Proxy.Drain)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.proxy.Drain(ctx); err != nil {
			a.log.Warn("drain: what was left is cut", "error", err)
		}
	}()
	for {
		select {
		case <-done:
			a.log.Info("drained")
			return true
		case s := <-signals:
			if s == syscall.SIGHUP {
				continue
			}
			a.log.Warn("second signal: what is in flight is cut", "signal", s.String())
			a.proxy.Close()
			cancel()
			<-done
			return false
		}
	}
}

// exportCA writes the CA for other containers, before anybody is told that the
// daemon listens.
func (a *app) exportCA(cfg *configs.Config) error {
	if dir := cfg.Proxy.CA.ExportDir; dir != "" {
		if err := a.ca.Export(dir); err != nil {
			return fmt.Errorf("proxy.ca.export_dir: %w", err)
		}
	}
	return nil
}
