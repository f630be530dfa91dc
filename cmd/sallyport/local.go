package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/vault"
)

// openLocal gives the admin API of this process, for commands that find no
// daemon: it opens the store itself and does what the daemon would do. Whoever
// gets it calls the function at the end.
func (c *cli) openLocal(ctx context.Context) (*admin.Server, func() error, error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, nil, err
	}
	dir, err := c.stateDir()
	if err != nil {
		return nil, nil, err
	}
	if err := ownSecretID(cfg); err != nil {
		return nil, nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	a := &app{cli: c, stateDir: dir, local: true, life: life, log: c.logger()}
	if err := a.build(cfg); err != nil {
		end()
		return nil, nil, errors.Join(err, a.close())
	}
	logout := func() error { return nil }
	if a.vault != nil {
		if logout, err = logIn(ctx, a.vault); err != nil {
			end()
			return nil, nil, errors.Join(err, a.close())
		}
	}
	run, stop := context.WithCancel(life)
	kept := make(chan error, 1)
	go func() { kept <- a.keeper.Run(run) }()
	return a.admin, func() error {
		defer end()
		a.drainTokens(nil)
		stop()
		return errors.Join(<-kept, a.close(), logout())
	}, nil
}

// secretIDVariable sets vault.auth.secret_id_file for one command.
const secretIDVariable = "SALLYPORT_VAULT_AUTH_SECRET_ID_FILE"

// spendsSecretID reports whether a login would use up the wrapped secret id that
// the configuration has for the daemon.
func spendsSecretID(cfg *configs.Config) bool {
	return cfg.UsesVault() && cfg.Vault.Auth.Method == "approle" && cfg.Vault.Auth.SecretIDWrapped && !slices.Contains(cfg.EnvUsed, secretIDVariable)
}

// ownSecretID refuses to use it up.
func ownSecretID(cfg *configs.Config) error {
	if !spendsSecretID(cfg) {
		return nil
	}
	return try(errors.New("the wrapped secret id is good for one login, which is the daemon's"),
		"give this command a wrapped secret id of its own: "+secretIDVariable+"=FILE",
		"or another login: SALLYPORT_VAULT_AUTH_METHOD=token VAULT_TOKEN=...")
}

// loginWait is how long a command waits for its login to Vault.
const loginWait = 15 * time.Second

// logIn runs a Vault store until logout is called. It gives why there is no
// login as soon as one has failed.
func logIn(ctx context.Context, v *vault.Vault) (logout func() error, err error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	wait, giveUp := context.WithTimeout(ctx, loginWait)
	defer giveUp()
	ended := make(chan error, 1)
	go func() {
		defer giveUp()
		ended <- v.Run(life)
	}()
	logout = func() error { end(); return <-ended }
	err = v.Ready(wait)
	if err == nil {
		return logout, nil
	}
	if why := logout(); why != nil { // Run knows better: what is there is not a KV engine of version 2
		return nil, why
	}
	return nil, err
}

// logger is for what runs inside a command that is not the daemon. What a
// command has to say it says itself; a warning about the configuration is for
// config check and for the daemon's log.
func (c *cli) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
