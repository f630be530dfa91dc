package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/vault"
)

// demoFolder is where in a Vault the demo's credentials lie.
type demoFolder struct{ Address, Mount, Prefix string }

// folder gives a place of the demo's own; nil stands for the embedded store.
func (o demoOptions) folder() *demoFolder {
	if o.vault == "" {
		return nil
	}
	return &demoFolder{o.vault, o.mount, "sallyport-demo-" + strings.ToLower(rand.Text()[:8])}
}

// String is the folder's path as in `vault kv list`.
func (f *demoFolder) String() string { return strings.Trim(f.Mount, "/") + "/" + f.Prefix }

// demoVault is the demo's own look into Vault, beside the daemon's.
type demoVault struct {
	*demoFolder
	token  secret.Value
	store  *vault.Vault
	logout func() error
}

// openDemoVault takes $VAULT_TOKEN out of the environment and logs in with it, to the Vault that d is configured for.
func (c *cli) openDemoVault(ctx context.Context, f *demoFolder, d *demoDaemon) (*demoVault, error) {
	cfg, err := configs.Load(configs.Options{Path: d.config, Environ: d.environ, Types: credentialType})
	if err != nil {
		return nil, err
	}
	token, err := vaultToken(cfg, c.getenv)
	if err != nil {
		return nil, err
	}
	if token.Empty() {
		return nil, try(errors.New("demo --vault needs a token of that Vault in $VAULT_TOKEN"), "export VAULT_TOKEN=... and run it again")
	}
	store, err := vault.NewVault(vaultOptions(cfg, token, c.logger(), nil))
	if err != nil {
		return nil, err
	}
	logout, err := logIn(ctx, store)
	if err != nil {
		return nil, err
	}
	v := &demoVault{f, token, store, logout}
	if _, err := v.records(ctx); err != nil { // while there is nothing to remove yet
		return nil, errors.Join(err, logout())
	}
	return v, nil
}

// records gives what the demo has stored.
func (v *demoVault) records(ctx context.Context) ([]credential.Ref, error) {
	return v.store.List(ctx, credential.Ref{})
}

// remove deletes the demo's folder, with all versions of what lies there. The daemon must have ended. It does so even
// when ctx is done.
func (v *demoVault) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	refs, err := v.records(ctx)
	for _, ref := range refs {
		err = errors.Join(err, v.store.Delete(ctx, ref))
	}
	if err = errors.Join(err, v.logout()); err == nil {
		return nil
	}
	text, _ := explained(err)
	return fmt.Errorf("what the demo has put into Vault under %s may still be there: %s", v, text)
}
