package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

func newProviderCommand(c *cli) *cobra.Command {
	return group("provider", "The APIs that Sallyport knows: list, show, import",
		&cobra.Command{Use: "list", Short: "All providers", Args: cobra.NoArgs, RunE: noArgs(c.providerList)},
		&cobra.Command{
			Use: "show NAME", Short: "One provider: its hosts and what its credentials look like", Args: arg("provider's name"),
			RunE: action(func(ctx context.Context, args []string) error { return c.providerShow(ctx, args[0]) }),
		},
		newProviderImport(c),
	)
}

// providerView is a provider as the API shows it.
type providerView struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`
	Types       []string `json:"types"`
	Hosts       []string `json:"hosts"`
	Paths       []string `json:"paths"`
	BaseURL     string   `json:"base_url"`
	TokenURL    string   `json:"token_url"`
	ClientAuth  string   `json:"client_auth"`
	LoginFields []string `json:"login_fields"`
	PlaceFields []string `json:"place_fields"`
	GrantFields []string `json:"grant_fields"`
	Verify      string   `json:"verify"`
	Scopes      []string `json:"scopes"`
	OAuthScopes []string `json:"oauth_scopes"`
	Permissions []string `json:"permissions"`
	Limits      struct {
		Rate []struct {
			Count   int     `json:"count"`
			Seconds float64 `json:"seconds"`
		} `json:"rate"`
		Concurrency int `json:"concurrency"`
	} `json:"limits"`
	Unverified  bool   `json:"unverified"`
	Note        string `json:"note"`
	Credentials int    `json:"credentials"`

	raw json.RawMessage
}

// templateFields are the fields of a record that fill the {field}s of the provider.
func (p *providerView) templateFields() []string {
	var names []string
	for _, s := range append(slices.Clone(p.Hosts), p.BaseURL, p.TokenURL, p.Verify) {
		for _, name := range provider.TemplateFields(s) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// needs are the fields of a record of that type. A url takes the place of the
// provider's hosts.
func (p *providerView) needs(kind auth.Kind) []string {
	names := kind.Needs(&provider.Provider{OAuth2: provider.OAuth2{ClientAuth: p.ClientAuth}})
	if kind.Name == "two_step" {
		names = append(names, p.LoginFields...)
	}
	if kind.Name == auth.ClientCredentialsType {
		names = append(names, p.GrantFields...)
	}
	templates := p.templateFields()
	if slices.Contains(kind.Required, "url") {
		templates = provider.TemplateFields(p.Verify)
	}
	for _, name := range append(templates, p.ownFields()...) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// ownFields are those that the provider's places fill in and no type has.
func (p *providerView) ownFields() []string {
	return slices.DeleteFunc(slices.Clone(p.PlaceFields), func(name string) bool {
		return slices.ContainsFunc(auth.Kinds(), func(k auth.Kind) bool {
			return slices.Contains(k.Fields(), name) || slices.Contains(credential.TokenFields, name)
		})
	})
}

// where tells the hosts, the first few of them if some is not 0.
func (p *providerView) where(some int) string {
	kind, _ := auth.Lookup(p.Type)
	switch {
	case len(p.Hosts) == 0 && slices.Contains(kind.Required, "url"):
		return "url of the credential"
	case some > 0 && len(p.Hosts) > some:
		return strings.Join(p.Hosts[:some], ", ") + ", ..."
	}
	return orDash(strings.Join(p.Hosts, ", "))
}

// public reports whether a field of that name may stand on the command line.
func (p *providerView) public(name string) bool {
	return credential.Public(name) || slices.Contains(p.templateFields(), name)
}

// providers reads them all.
func (cl *client) providers(ctx context.Context) ([]providerView, error) {
	items, err := list[json.RawMessage](ctx, cl, "/api/v1/providers", nil)
	if err != nil {
		return nil, err
	}
	views := make([]providerView, len(items))
	for i, raw := range items {
		if err := json.Unmarshal(raw, &views[i]); err != nil {
			return nil, fmt.Errorf("providers: the answer is not the admin API's: %w", err)
		}
		views[i].raw = raw
	}
	return views, nil
}

// provider finds one by its name.
func (cl *client) provider(ctx context.Context, name string) (*providerView, error) {
	views, err := cl.providers(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for i, v := range views {
		if v.Name == name {
			return &views[i], nil
		}
		names = append(names, v.Name)
	}
	return nil, try(unknown("provider", name, names), "sallyport provider list")
}

func (c *cli) providerList(ctx context.Context) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	views, err := cl.providers(ctx)
	if err != nil {
		return err
	}
	if c.json {
		raw := make([]json.RawMessage, len(views))
		for i, v := range views {
			raw[i] = v.raw
		}
		return c.printJSON(raw)
	}
	t := c.table()
	t.row("NAME", "TYPE", "HOSTS", "CREDENTIALS")
	for _, v := range views {
		t.row(v.Name, v.Type, v.where(2), strconv.Itoa(v.Credentials))
	}
	return t.flush()
}

func (c *cli) providerShow(ctx context.Context, name string) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	v, err := cl.provider(ctx, name)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(v.raw)
	}
	t := c.table()
	v.show(t)
	return t.flush()
}

// show writes what there is to know of the provider.
func (p *providerView) show(t *table) {
	t.row("name", p.Name)
	t.row("hosts", p.where(0))
	t.row("paths", orDash(strings.Join(p.Paths, ", ")))
	t.row("base url", orDash(p.BaseURL))
	t.row("type", p.Type)
	t.row("other types", orDash(strings.Join(p.Types, ", ")))
	t.row("fields", orDash(strings.Join(p.fieldsOf(p.Type), ", ")))
	for _, typ := range p.Types {
		t.row("fields of "+typ, orDash(strings.Join(p.fieldsOf(typ), ", ")))
	}
	t.row("verify", orDash(p.Verify))
	for _, needed := range []struct {
		what  string
		names []string
	}{{"scopes", p.Scopes}, {"scopes of oauth tokens", p.OAuthScopes}, {"permissions", p.Permissions}} {
		if len(needed.names) > 0 {
			t.row("needed "+needed.what, strings.Join(needed.names, ", "))
		}
	}
	t.row("limits of a credential", orDash(p.limits()))
	t.row("credentials", strconv.Itoa(p.Credentials))
	if p.Unverified {
		t.row("unverified", "yes; what is known here of this provider was not checked against it")
	}
	if p.Note != "" {
		t.row("note", p.Note)
	}
}

// fieldsOf are those that a credential of a type needs.
func (p *providerView) fieldsOf(typ string) []string {
	kind, err := lookupKind(typ)
	if err != nil {
		return nil
	}
	return p.needs(kind)
}

func (p *providerView) limits() string {
	var parts []string
	for _, r := range p.Limits.Rate {
		parts = append(parts, provider.Rate{Count: r.Count, Window: time.Duration(r.Seconds * float64(time.Second))}.String())
	}
	if n := p.Limits.Concurrency; n > 0 {
		parts = append(parts, strconv.Itoa(n)+" at once")
	}
	return strings.Join(parts, ", ")
}
