package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/vault"
)

func newVaultPolicyCommand(c *cli) *cobra.Command {
	var scope vaultScope
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "The least policy that this configuration needs in Vault, in HCL",
		Long: `The least policy that this configuration needs in Vault, in HCL:

    sallyport vault policy | vault policy write sallyport -

It opens the records of the callers' workspaces and environments: those of the
configuration and those that caller add made in the state directory. Make it
anew when they change. Vault is asked only for what the configuration does not
tell, the version of a KV mount; what could not be asked is assumed, with a note.`,
		Args: cobra.NoArgs,
		RunE: noArgs(func(ctx context.Context) error { return c.vaultPolicy(ctx, scope) }),
	}
	scope.flags(cmd)
	return cmd
}

func (c *cli) vaultPolicy(ctx context.Context, scope vaultScope) error {
	u, err := c.openVault(scope)
	if err != nil {
		return err
	}
	grants, err := c.vaultGrants(ctx, u)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(grants)
	}
	text := "# What sallyport needs of Vault, and no more; made by sallyport vault policy.\n"
	if ns := u.cfg.Vault.Namespace; ns != "" {
		text += "# Its paths are those of the namespace " + ns + ".\n"
	}
	_, err = fmt.Fprint(c.stdout, text, "\n", vault.Policy(grants))
	return err
}

// vaultGrants logs in only if Vault must be asked for something.
func (c *cli) vaultGrants(ctx context.Context, u *vaultUse) ([]vault.Grant, error) {
	assumed := false
	u.needs.Assume = func(string, error) { assumed = true }
	grants, err := u.Grants(ctx, u.needs)
	if err != nil || !assumed {
		return grants, err
	}
	logout, unasked := u.logInOnce(ctx)
	if unasked == nil {
		defer func() { _ = logout() }()
	}
	u.needs.Assume = func(path string, err error) {
		if unasked != nil {
			err = unasked
		}
		c.noteAssumed(u, path, err)
	}
	return u.Grants(ctx, u.needs)
}

// logInOnce is logIn, but for logins that only the daemon should make.
func (u *vaultUse) logInOnce(ctx context.Context) (logout func() error, err error) {
	switch {
	case !u.given:
		return nil, errors.New("there is no token: [vault.auth] token_file and $VAULT_TOKEN are not set")
	case spendsSecretID(u.cfg):
		return nil, errors.New("the wrapped secret id is good for one login, which is the daemon's")
	}
	return logIn(ctx, u.Vault)
}

func (c *cli) noteAssumed(u *vaultUse, path string, err error) {
	why, _ := explained(err)
	if path == u.cfg.Vault.Mount {
		c.note("%s is taken for KV version 2 ([vault] kv_version tells otherwise), since Vault could not be asked: %s", path, why)
		return
	}
	c.note("%s is granted for every engine that may be there, since Vault could not be asked: %s", path, why)
}
