package configs

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/provider"
)

// readOnlyPosts are the verify requests that read with POST, by provider.
var readOnlyPosts = map[string]string{"slack": "/auth.test"}

func TestCatalogue(t *testing.T) {
	entries, err := catalogue()
	if err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, "")
	if len(c.Providers) != len(entries) {
		t.Errorf("%d providers of %d entries", len(c.Providers), len(entries))
	}
	for _, p := range c.Providers {
		t.Run(p.Name, func(t *testing.T) {
			if !p.Builtin || p.Configured {
				t.Errorf("Builtin %v, Configured %v; want built-in only", p.Builtin, p.Configured)
			}
			if len(p.Hosts) == 0 || !strings.HasPrefix(p.BaseURL, "https://") || p.AllowCleartext || p.Anonymous || len(p.AllowNetworks) > 0 {
				t.Errorf("an entry of the catalogue owns hosts over TLS, with credentials, in public: %+v", p)
			}
			if _, built := testTypes(p.Type); !built {
				t.Errorf("the default type %s is not built", p.Type)
			}
			if slices.Contains(p.Types, p.Type) {
				t.Errorf("types repeats the default type %s", p.Type)
			}
			if p.Verify.Method != http.MethodGet && readOnlyPosts[p.Name] != p.Verify.Path || p.Verify.Path == "" {
				t.Errorf("the verify request %s %s is not known to read only", p.Verify.Method, p.Verify.Path)
			}
			if !ownsBase(c.Table, p) {
				t.Errorf("hosts and paths do not own base_url + verify.path, %s%s", p.BaseURL, p.Verify.Path)
			}
		})
	}
}

// ownsBase reports whether the verify request would reach the provider itself.
func ownsBase(table *provider.Table, p *provider.Provider) bool {
	rest, _ := strings.CutPrefix(p.BaseURL, "https://")
	host, path, _ := strings.Cut(rest, "/")
	a, err := provider.ParseAuthority(host, 443)
	return err == nil && provider.PathOwner(table.Owners(a), "/"+path+p.Verify.Path) == p
}

func TestCatalogueTypes(t *testing.T) {
	c := mustLoad(t, "")
	for name, want := range map[string][]string{
		"github":  {"api_key", "bearer", "oauth2_authorization_code", "github_app"},
		"gitlab":  {"api_key", "bearer", "oauth2_authorization_code", "api_key_url"},
		"slack":   {"api_key", "bearer", "oauth2_authorization_code"},
		"hubspot": {"api_key", "bearer", "oauth2_authorization_code"},
		"stripe":  {"api_key", "bearer", "oauth2_authorization_code"},
	} {
		p := c.Table.Get(name)
		for _, typ := range want {
			if p.Type != typ && !slices.Contains(p.Types, typ) {
				t.Errorf("%s does not take %s", name, typ)
			}
		}
	}
}

func TestUnbuiltTypeIsNoDefault(t *testing.T) {
	const crm = "[[provider]]\nname = \"crm\"\nhosts = [\"crm.internal\"]\n"
	if got := faultsOf(t, crm+`type = "github_app"`); got != `sallyport.toml:4: provider.crm.type: "github_app" is not built yet; use another default type and list it in types` {
		t.Error(got)
	}
	mustLoad(t, crm+`types = ["github_app"]`)
	if got := faultsOf(t, "[[provider]]\nname = \"github\"\ntype = \"github_app\""); !strings.Contains(got, "provider.github.type") {
		t.Error(got)
	}
	mustLoad(t, "[[provider]]\nname = \"github\"\nanonymous = true")
}
