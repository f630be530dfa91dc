package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/secret"
)

func newCallerCommand(c *cli) *cobra.Command {
	return group("caller", "Who may use the proxy: add, list, remove",
		newCallerAddCommand(c),
		&cobra.Command{Use: "list", Short: "All callers", Args: cobra.NoArgs, RunE: noArgs(c.callerList)},
		&cobra.Command{
			Use: "rm NAME", Short: "Remove a caller that caller add made", Args: arg("caller's name"),
			RunE: action(func(ctx context.Context, args []string) error { return c.callerRemove(ctx, args[0]) }),
		},
	)
}

func newCallerAddCommand(c *cli) *cobra.Command {
	var workspace, environment string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a caller; its token is printed on standard output, once",
		Args:  arg("caller's name"),
		RunE: action(func(ctx context.Context, args []string) error {
			return c.callerAdd(ctx, args[0], workspace, environment)
		}),
	}
	cmd.Flags().StringVar(&workspace, "workspace", credential.DefaultWorkspace, "the `NAME` of its workspace")
	cmd.Flags().StringVar(&environment, "environment", credential.DefaultEnvironment, "the `NAME` of its environment")
	return cmd
}

func (c *cli) callerAdd(ctx context.Context, name, workspace, environment string) error {
	for _, p := range []struct{ what, s string }{{"caller", name}, {"workspace", workspace}, {"environment", environment}} {
		if !credential.ValidPart(p.s) {
			return usagef("%s %q is not a name; use 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit, without ..", p.what, p.s)
		}
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	var made struct {
		Name  string       `json:"name"`
		Token secret.Value `json:"token"`
	}
	body := map[string]string{"name": name, "workspace": workspace, "environment": environment}
	if _, err := cl.call(ctx, http.MethodPost, "/api/v1/callers", nil, body, &made); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"name": made.Name, "token": reveal(made.Token)})
	}
	c.note("caller %s belongs to %s/%s; its token is shown this once:", name, workspace, environment)
	_, err = fmt.Fprintln(c.stdout, reveal(made.Token))
	return err
}

func (c *cli) callerList(ctx context.Context) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	callers, err := list[admin.CallerInfo](ctx, cl, "/api/v1/callers", nil)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(callers)
	}
	t := c.table()
	t.row("NAME", "WORKSPACE", "ENVIRONMENT", "FROM")
	for _, who := range callers {
		from := "caller add"
		if who.Configured {
			from = "configuration"
		}
		t.row(who.Name, who.Workspace, who.Environment, from)
	}
	return t.flush()
}

func (c *cli) callerRemove(ctx context.Context, name string) error {
	if !credential.ValidPart(name) {
		return usagef("%q is not a caller's name", name)
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	if _, err := cl.call(ctx, http.MethodDelete, "/api/v1/callers/"+url.PathEscape(name), nil, nil, nil); err != nil {
		return err
	}
	c.note("removed caller %s", name)
	return nil
}
