package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/vault"
)

func newVaultCommand(c *cli) *cobra.Command {
	return group("vault", "What the configuration needs of Vault: policy, check",
		newVaultPolicyCommand(c),
		newVaultCheckCommand(c),
	)
}

// vaultScope says how much of Vault a policy is to open.
type vaultScope struct {
	all      bool // every workspace, not the callers' alone
	readOnly bool
}

func (s *vaultScope) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.all, "all", false, "every workspace, for an administrator's daemon; else those of the callers")
	cmd.Flags().BoolVar(&s.readOnly, "read-only", false, "nothing that writes records: tokens that are refreshed are not stored")
}

// vaultUse is Vault as the configuration uses it.
type vaultUse struct {
	*vault.Vault
	cfg   *configs.Config
	needs vault.GrantOptions
	given bool // there is something to log in with
}

// openVault reads the configuration and makes no call.
func (c *cli) openVault(scope vaultScope) (*vaultUse, error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, err
	}
	if !cfg.UsesVault() {
		return nil, try(errors.New(`the configuration does not use Vault: [store] backend is "file", its key is no transit key, and there is no [[credential]]`),
			`set [store] backend = "vault" and [vault] address, or give the right file with --config`)
	}
	u := &vaultUse{cfg: cfg, given: true}
	token, err := vaultToken(cfg, c.getenv)
	if err != nil {
		return nil, err
	}
	if a := cfg.Vault.Auth; a.Method == "token" && a.TokenFile == "" && token.Empty() {
		u.given, token = false, secret.New("none") // of no use, but then it is not used
	}
	if u.Vault, err = vault.NewVault(vaultOptions(cfg, token, c.logger(), nil)); err != nil {
		return nil, err
	}
	u.Refer(references(cfg))
	u.needs, err = c.vaultNeeds(cfg, scope)
	return u, err
}

// vaultNeeds is what the daemon does in Vault, by its configuration and by the
// callers that it knows.
func (c *cli) vaultNeeds(cfg *configs.Config, scope vaultScope) (vault.GrantOptions, error) {
	o := vault.GrantOptions{ReadOnly: scope.readOnly, Transit: strings.TrimPrefix(cfg.Store.Key, "transit:")}
	switch {
	case cfg.Store.Backend != "vault":
	case scope.all:
		o.Folders = []credential.Ref{{}}
	default:
		dir, err := c.stateDir()
		if err != nil {
			return o, err
		}
		known, err := peekCallers(dir)
		if err != nil {
			return o, err
		}
		o.Folders = known.folders(cfg)
	}
	return o, nil
}
