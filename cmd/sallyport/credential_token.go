package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

func newCredentialRefreshCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "refresh REF", Short: "Get a new token for a credential, whatever the age of the one it has", Args: arg("reference"),
		RunE: action(func(ctx context.Context, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			return c.credentialRefresh(ctx, ref)
		}),
	}
}

func (c *cli) credentialRefresh(ctx context.Context, ref credential.Ref) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	_, err = cl.call(ctx, http.MethodPost, credentialPath(ref)+"/refresh", nil, nil, &raw)
	if err := errors.Join(err, cl.close()); err != nil { // at its end this process may still have to store the token
		return err
	}
	if c.json {
		return c.printJSON(raw)
	}
	var v credentialView
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("%s: the answer is not a credential: %w", ref, err)
	}
	fmt.Fprintf(c.stdout, "refreshed %s (version %d, its token expires %s)\n", ref, v.Version, when(v.ExpiresAt))
	return nil
}

func newCredentialRemoveCommand(c *cli) *cobra.Command {
	var force, revoke bool
	cmd := &cobra.Command{
		Use: "rm REF", Short: "Remove a credential; one that is in use only with --force", Args: arg("reference"),
		Long: `Remove a credential; one that is in use only with --force. With --revoke its
tokens are ended at the provider first (RFC 7009); if that fails nothing is
removed, unless --force.`,
		RunE: action(func(ctx context.Context, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			return c.credentialRemove(ctx, ref, force, revoke)
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when a caller used it lately or the configuration names it, or its tokens are not revoked")
	cmd.Flags().BoolVar(&revoke, "revoke", false, "first revoke its tokens at the provider")
	return cmd
}

func (c *cli) credentialRemove(ctx context.Context, ref credential.Ref, force, revoke bool) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	query := url.Values{}
	for name, on := range map[string]bool{"force": force, "revoke": revoke} {
		if on {
			query.Set(name, "true")
		}
	}
	told, err := cl.remove(ctx, credentialPath(ref), query)
	switch {
	case errors.Is(err, fault.InUse):
		return try(err, "sallyport credential rm --force "+ref.String())
	case err != nil && revoke && !force && !errors.Is(err, fault.CredentialNotFound):
		return try(err, "add --force to remove it though its tokens are not revoked")
	case err != nil:
		return err
	case told != "":
		c.warn("the tokens of %s are not revoked (%s): end them at the provider", ref, clean(told))
	}
	c.note("removed %s", ref)
	return nil
}

// remove deletes what path names. told is the code of what did not work on the
// way; empty: all did.
func (cl *client) remove(ctx context.Context, path string, query url.Values) (told string, err error) {
	r, err := cl.send(ctx, http.MethodDelete, path, query, nil)
	if err != nil {
		return "", err
	}
	if r.status >= 300 {
		return "", newProblem(r.status, r.body)
	}
	_, told, _ = strings.Cut(r.header.Get("Proxy-Status"), "details=")
	return strings.Trim(told, `"`), nil
}
