package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/vault"
)

func newVaultCheckCommand(c *cli) *cobra.Command {
	var scope vaultScope
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Log in to Vault and tell what the policy lacks",
		Long: `Log in to Vault as the daemon does, and tell for each path that it needs which
capabilities the token lacks. The exit code is 0 if none are missing, else 1.`,
		Args: cobra.NoArgs,
		RunE: noArgs(func(ctx context.Context) error { return c.vaultCheck(ctx, scope) }),
	}
	scope.flags(cmd)
	return cmd
}

func (c *cli) vaultCheck(ctx context.Context, scope vaultScope) error {
	u, err := c.openVault(scope)
	if err != nil {
		return err
	}
	r := newVaultReport(u.cfg)
	err = c.inspect(ctx, u, r)
	if !c.json {
		return errors.Join(r.print(c), err)
	}
	if r.fail(err); err != nil {
		err = &failure{code: 1}
	}
	return errors.Join(c.printJSON(r), err)
}

// inspect goes as far as it gets, and gives what is wrong.
func (c *cli) inspect(ctx context.Context, u *vaultUse, r *vaultReport) error {
	h, err := u.Health(ctx)
	if err != nil {
		return noAnswer(err, u.cfg)
	}
	r.Server = &h
	switch {
	case !h.Initialized:
		return stepFailed("server", nil, "Vault is not initialised", "vault operator init, then vault operator unseal")
	case h.Sealed:
		return stepFailed("server", fault.VaultSealed, "Vault is sealed", "vault operator unseal")
	case !u.given:
		return stepFailed("login", fault.VaultDenied, "there is no token to log in with", "set [vault.auth] token_file, or VAULT_TOKEN")
	}
	if err := ownSecretID(u.cfg); err != nil {
		return err
	}
	logout, err := logIn(ctx, u.Vault)
	if err != nil {
		return notLoggedIn(err, u.cfg)
	}
	defer func() { _ = logout() }()
	return c.inspectToken(ctx, u, r)
}

// inspectToken tells what the token may do. A mount that Vault does not tell is
// kept for the end: the paths show what is to be done.
func (c *cli) inspectToken(ctx context.Context, u *vaultUse, r *vaultReport) error {
	if t, err := u.Token(ctx); err == nil {
		r.Token = &t
	}
	var hidden error
	u.needs.Assume = func(path string, err error) {
		if path == u.cfg.Vault.Mount {
			hidden = noMount(err, r)
			return
		}
		c.noteAssumed(u, path, err)
	}
	grants, err := u.Grants(ctx, u.needs)
	if err != nil {
		return noAnswer(err, u.cfg)
	}
	if hidden == nil && len(u.needs.Folders) > 0 {
		if r.Mount.KVVersion, err = u.KVVersion(ctx); err != nil {
			return noAnswer(err, u.cfg)
		}
	}
	gaps, err := u.Missing(ctx, grants)
	if err != nil {
		return mayNotAsk(err, u.cfg)
	}
	r.Paths = pathReports(grants, gaps)
	if hidden != nil {
		return hidden
	}
	return lacking(gaps, u.cfg)
}

// pathReports sets what is missing beside what is needed.
func pathReports(grants []vault.Grant, gaps []vault.Gap) []vaultPath {
	list := make([]vaultPath, len(grants))
	for i, g := range grants {
		list[i] = vaultPath{Grant: g, Missing: []string{}}
		if j := slices.IndexFunc(gaps, func(gap vault.Gap) bool { return gap.Grant.Path == g.Path }); j >= 0 {
			list[i].Missing = gaps[j].Missing
		}
	}
	return list
}

// stepError says which step of a check has failed.
type stepError struct {
	step  string     // server, login, mount or policy
	code  fault.Code // empty: none fits
	cause string
}

// Error implements error.
func (e *stepError) Error() string { return e.cause }

// stepFailed makes one, with the code of err.
func stepFailed(step string, err error, cause string, remedies ...string) error {
	e := &stepError{step: step, cause: cause}
	if err != nil {
		e.code = fault.From(err).Code
	}
	return try(e, remedies...)
}

// howMany says how many of a thing there are.
func howMany(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
