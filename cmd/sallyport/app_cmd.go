package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Fields of an app.
const (
	clientID     = "client_id"
	clientSecret = "client_secret"
)

func newAppCommand(c *cli) *cobra.Command {
	return group("app", "OAuth clients of providers, shared or a workspace's own: add, list, remove",
		newAppAddCommand(c), newAppListCommand(c), newAppRemoveCommand(c))
}

// appView is an OAuth client as the API shows it.
type appView struct {
	Provider  string `json:"provider"`
	Workspace string `json:"workspace"`
	Shared    bool   `json:"shared"`
	ClientID  string `json:"client_id"`
	Public    bool   `json:"public"`
	Version   int    `json:"version"`
}

// appFlags are the flags of app add.
type appFlags struct {
	recordFlags
	connectFlags

	workspace    string
	public, test bool
}

func newAppAddCommand(c *cli) *cobra.Command {
	var in appFlags
	cmd := &cobra.Command{
		Use:   "add PROVIDER",
		Short: "Store an OAuth client that is registered at a provider",
		Long: `Store an OAuth client that is registered at a provider: a workspace's own, or
without --workspace one that all workspaces share. Its client_id and client_secret
are asked for at a terminal, else read as a JSON object from standard input, unless
a flag gives them. With --test a person consents first, each step is shown, and the
client is stored only if that works; the grant is not kept.`,
		Args: arg("provider"),
		RunE: action(func(ctx context.Context, args []string) error { return c.appAdd(ctx, args[0], &in) }),
	}
	f := cmd.Flags()
	f.StringVar(&in.workspace, "workspace", "", "it is the own one of the workspace `NAME`")
	f.StringArrayVar(&in.recordFlags.fields, "field", nil, "the client's id, as `client_id=V`")
	f.StringVar(&in.fromFile, "from-file", "", "read client_id and client_secret from the JSON object in `FILE`; - for standard input")
	f.StringArrayVar(&in.fromEnv, "from-env", nil, "read a field from an environment variable, as `F=VAR` (repeatable)")
	f.BoolVar(&in.public, "public", false, "the client has no secret")
	f.BoolVar(&in.force, "force", false, "replace one that is there")
	f.BoolVar(&in.test, "test", false, "let a person consent first, and store the client only if that works")
	in.connectFlags.register(cmd) // recordFlags has another one
	in.described = func() bool { return false }
	return cmd
}

func appPath(provider string) string { return "/api/v1/apps/" + url.PathEscape(provider) }

func ofWorkspace(workspace string) url.Values {
	if workspace == "" {
		return nil
	}
	return url.Values{"workspace": {workspace}}
}

func (c *cli) appAdd(ctx context.Context, provider string, in *appFlags) error {
	name := credential.AppName{Workspace: in.workspace, Provider: provider}
	if err := name.Validate(); err != nil {
		return asUsage(err)
	}
	given, err := c.given(&in.recordFlags)
	if err != nil {
		return err
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	if _, err := cl.provider(ctx, provider); err != nil {
		return err
	}
	if err := cl.freeApp(ctx, name, in.force); err != nil {
		return err
	}
	body, err := c.completeApp(ctx, given, in.public)
	if err != nil {
		return err
	}
	if in.test {
		if err := c.testApp(ctx, cl, name, in, body); err != nil {
			return try(err, "leave --test out to store the client all the same")
		}
	}
	var made json.RawMessage
	if _, err := cl.call(ctx, http.MethodPut, appPath(provider), ofWorkspace(in.workspace), body, &made); err != nil {
		return err
	}
	if c.json && !in.test {
		return c.printJSON(made)
	}
	fmt.Fprintf(c.person(), "stored the %s\n", tellApp(name))
	return nil
}

func tellApp(n credential.AppName) string {
	if n.Workspace == "" {
		return "shared app of " + n.Provider
	}
	return "app of " + n.Provider + " of workspace " + n.Workspace
}

// freeApp refuses a name that is taken.
func (cl *client) freeApp(ctx context.Context, n credential.AppName, force bool) error {
	if force {
		return nil
	}
	err := cl.get(ctx, appPath(n.Provider), ofWorkspace(n.Workspace), nil)
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return try(fmt.Errorf("the %s exists already", tellApp(n)), "add --force to replace it")
}

// completeApp gets what is missing of a client: asked for at a terminal, else
// read from standard input.
func (c *cli) completeApp(ctx context.Context, in *input, public bool) (map[string]*string, error) {
	for _, name := range in.plain {
		if name != clientID {
			return nil, try(usagef("field %s cannot be given with --field", name), fmt.Sprintf(elsewhere, name))
		}
	}
	tty := c.terminal()
	missing := missingOfApp(in, public)
	if len(missing) > 0 && tty == nil {
		if err := c.readStdin(in); err != nil {
			return nil, err
		}
		if missing = missingOfApp(in, public); len(missing) > 0 {
			return nil, try(fmt.Errorf("an app needs %s", strings.Join(missing, ", ")), fmt.Sprintf(elsewhere, missing[0]), "a client without a secret: --public")
		}
	}
	for _, name := range missing {
		value, err := c.ask(ctx, tty, name, name == clientSecret)
		if err != nil {
			return nil, err
		}
		if value == "" {
			return nil, fmt.Errorf("an app needs %s", name)
		}
		if err := c.set(in, name, value); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.fields)) {
		if name != clientID && (name != clientSecret || public) {
			return nil, usagef("%s is not a field of this app", name)
		}
	}
	return revealed(in.fields), nil
}

func missingOfApp(in *input, public bool) []string {
	var missing []string
	for _, name := range []string{clientID, clientSecret} {
		if in.fields[name] == nil && (!public || name == clientID) {
			missing = append(missing, name)
		}
	}
	return missing
}

// testApp runs the flow with the client that is to be stored.
func (c *cli) testApp(ctx context.Context, cl *client, n credential.AppName, in *appFlags, app map[string]*string) error {
	body, err := in.body()
	if err != nil {
		return err
	}
	body["test"] = true
	for name, v := range app {
		body[name] = v
	}
	ref := credential.Ref{Workspace: n.Workspace, Environment: credential.DefaultEnvironment, Provider: n.Provider, Name: credential.DefaultName}
	if ref.Workspace == "" {
		ref.Workspace = credential.DefaultWorkspace
	}
	return c.consent(ctx, cl, ref, &in.connectFlags, body)
}

func newAppListCommand(c *cli) *cobra.Command {
	var workspace string
	cmd := &cobra.Command{
		Use: "list", Short: "The OAuth clients, never their secrets", Args: cobra.NoArgs,
		RunE: noArgs(func(ctx context.Context) error { return c.appList(ctx, ofWorkspace(workspace)) }),
	}
	cmd.Flags().StringVar(&workspace, "workspace", "", "only the own ones of the workspace `NAME`")
	return cmd
}

func (c *cli) appList(ctx context.Context, query url.Values) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	views, err := list[appView](ctx, cl, "/api/v1/apps", query)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(append([]appView{}, views...))
	}
	t := c.table()
	t.row("PROVIDER", "WORKSPACE", "CLIENT ID", "SECRET")
	for _, v := range views {
		whose, key := v.Workspace, "yes"
		if v.Shared {
			whose = "(shared)"
		}
		if v.Public {
			key = "none"
		}
		t.row(v.Provider, whose, orDash(v.ClientID), key)
	}
	return t.flush()
}

func newAppRemoveCommand(c *cli) *cobra.Command {
	var workspace string
	cmd := &cobra.Command{
		Use: "rm PROVIDER", Short: "Remove an OAuth client; grants that were made with it go on with what they remember", Args: arg("provider"),
		RunE: action(func(ctx context.Context, args []string) error { return c.appRemove(ctx, args[0], workspace) }),
	}
	cmd.Flags().StringVar(&workspace, "workspace", "", "the own one of the workspace `NAME`")
	return cmd
}

func (c *cli) appRemove(ctx context.Context, provider, workspace string) error {
	name := credential.AppName{Workspace: workspace, Provider: provider}
	if err := name.Validate(); err != nil {
		return asUsage(err)
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	if _, err := cl.call(ctx, http.MethodDelete, appPath(provider), ofWorkspace(workspace), nil, nil); err != nil {
		return err
	}
	c.note("removed the %s", tellApp(name))
	return nil
}
