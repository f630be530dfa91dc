package main

import (
	"context"
	"log/slog"
	"net/http"
)

// openLocal gives the admin API of this process, for commands that find no
// daemon: it opens the store itself and does what the daemon would do. Whoever
// gets it calls the function at the end.
func (c *cli) openLocal(ctx context.Context) (http.Handler, func() error, error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, nil, err
	}
	dir, err := c.stateDir()
	if err != nil {
		return nil, nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	a := &app{cli: c, stateDir: dir, life: life, log: c.logger()}
	if err := a.build(cfg); err != nil {
		end()
		return nil, nil, err
	}
	logout := func() {}
	if a.vault != nil {
		if logout, err = vaultLogin(ctx, a.vault); err != nil {
			end()
			return nil, nil, err
		}
	}
	return a.admin.Socket(), func() error { logout(); end(); return nil }, nil
}

// logger is for what runs inside a command that is not the daemon. What a
// command has to say it says itself; a warning about the configuration is for
// config check and for the daemon's log.
func (c *cli) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
