package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
)

func newCredentialCommand(c *cli) *cobra.Command {
	return group("credential", "What the store holds: add, list, show, edit, remove, refresh",
		newCredentialAddCommand(c), newCredentialListCommand(c), newCredentialShowCommand(c),
		newCredentialEditCommand(c), newCredentialRemoveCommand(c),
		newCredentialRefreshCommand(c), newCredentialConnectCommand(c),
	)
}

// credentialView is a credential as the API shows it.
type credentialView struct {
	Workspace     string         `json:"workspace"`
	Environment   string         `json:"environment"`
	Provider      string         `json:"provider"`
	Name          string         `json:"name"`
	Type          string         `json:"type"`
	Description   string         `json:"description"`
	Fields        []string       `json:"fields"`
	Status        string         `json:"status"`
	ExpiresAt     *time.Time     `json:"expires_at"`
	LastUsedAt    *time.Time     `json:"last_used_at"`
	LastRefreshAt *time.Time     `json:"last_refresh_at"`
	NextRefreshAt *time.Time     `json:"next_refresh_at"`
	LastError     *checker.Fault `json:"last_error"`
	UsedBy        []string       `json:"used_by"`
	Version       int            `json:"version"`
}

func (v credentialView) ref() string {
	return credential.Ref{Workspace: v.Workspace, Environment: v.Environment, Provider: v.Provider, Name: v.Name}.String()
}

// parseRef reads the reference of a command line.
func parseRef(s string) (credential.Ref, error) {
	ref, err := credential.ParseRef(s)
	return ref, asUsage(err)
}

func credentialPath(ref credential.Ref) string { return "/api/v1/credentials/" + ref.String() }

func newCredentialListCommand(c *cli) *cobra.Command {
	var workspace, environment, provider string
	cmd := &cobra.Command{
		Use: "list", Short: "The stored credentials and how they are", Args: cobra.NoArgs,
		RunE: noArgs(func(ctx context.Context) error {
			query := url.Values{}
			for name, v := range map[string]string{"workspace": workspace, "environment": environment, "provider": provider} {
				if v != "" {
					query.Set(name, v)
				}
			}
			return c.credentialList(ctx, query)
		}),
	}
	cmd.Flags().StringVar(&workspace, "workspace", "", "only those of the workspace `NAME`")
	cmd.Flags().StringVar(&environment, "environment", "", "only those of the environment `NAME`")
	cmd.Flags().StringVar(&provider, "provider", "", "only those of the provider `NAME`")
	return cmd
}

func (c *cli) credentialList(ctx context.Context, query url.Values) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	if c.json {
		raw, err := list[json.RawMessage](ctx, cl, "/api/v1/credentials", query)
		if err != nil {
			return err
		}
		return c.printJSON(raw)
	}
	views, err := list[credentialView](ctx, cl, "/api/v1/credentials", query)
	if err != nil {
		return err
	}
	t := c.table()
	t.row("CREDENTIAL", "TYPE", "STATUS", "EXPIRES", "LAST USED", "DESCRIPTION")
	for _, v := range views {
		t.row(v.ref(), v.Type, v.Status, when(v.ExpiresAt), when(v.LastUsedAt), v.Description)
	}
	return t.flush()
}

func newCredentialShowCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "show REF", Short: "One credential: names of its fields, status, use; never a secret", Args: arg("reference"),
		RunE: action(func(ctx context.Context, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			return c.credentialShow(ctx, ref)
		}),
	}
}

func (c *cli) credentialShow(ctx context.Context, ref credential.Ref) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	var raw json.RawMessage
	if err := cl.get(ctx, credentialPath(ref), nil, &raw); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(raw)
	}
	var v credentialView
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("%s: the answer is not a credential: %w", ref, err)
	}
	return c.printCredential(v)
}

func (c *cli) printCredential(v credentialView) error {
	t := c.table()
	t.row("credential", v.ref())
	t.row("type", v.Type)
	t.row("description", orDash(v.Description))
	t.row("fields", orDash(strings.Join(v.Fields, ", ")))
	t.row("status", v.Status)
	t.row("expires", when(v.ExpiresAt))
	t.row("last used", when(v.LastUsedAt))
	t.row("last refresh", when(v.LastRefreshAt))
	t.row("next refresh", when(v.NextRefreshAt))
	t.row("used by", orDash(strings.Join(v.UsedBy, ", ")))
	t.row("version", strconv.Itoa(v.Version))
	if f := v.LastError; f != nil {
		t.row("last error", string(f.Code)+": "+f.Cause)
		if f.Detail != "" {
			t.row("detail", f.Detail)
		}
		for i, r := range f.Remedy {
			t.row(firstOnly("remedy", i), r)
		}
	}
	return t.flush()
}

func forced(force bool) url.Values {
	if !force {
		return nil
	}
	return url.Values{"force": {"true"}}
}
