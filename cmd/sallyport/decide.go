package main

import (
	"context"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/admin"
)

func newDecideCommand(c *cli) *cobra.Command {
	var caller, credential string
	cmd := &cobra.Command{
		Use:   "decide METHOD URL",
		Short: "What the proxy would do with a request, and why; sends nothing",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("decide takes METHOD and URL, for example: sallyport decide GET https://api.github.com/user")
			}
			return nil
		},
		RunE: action(func(ctx context.Context, args []string) error {
			return c.decide(ctx, caller, credential, args[0], args[1])
		}),
	}
	cmd.Flags().StringVar(&caller, "caller", "", "the `CALLER` that sends it (default the only one, or the one named default)")
	cmd.Flags().StringVar(&credential, "credential", "", "the `NAME` it sends as Sallyport-Credential")
	return cmd
}

func (c *cli) decide(ctx context.Context, caller, credential, method, target string) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	query := url.Values{"method": {strings.ToUpper(method)}, "url": {target}}
	if caller != "" {
		query.Set("caller", caller)
	}
	if credential != "" {
		query.Set("credential", credential)
	}
	var d admin.Decision
	if err := cl.get(ctx, "/api/v1/decision", query, &d); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(d)
	}
	t := c.table()
	t.row("action", d.Action)
	t.row("provider", orDash(d.Provider))
	t.row("credential", orDash(d.Credential))
	t.row("code", orDash(string(d.Code)))
	for i, why := range d.Why {
		t.row(firstOnly("why", i), why)
	}
	return t.flush()
}
