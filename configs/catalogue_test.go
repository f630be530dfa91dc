package configs

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/provider"
)

// listed gives the lines of testdata/catalogue.txt: the providers that must be
// there, with the types that each takes.
func listed(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/catalogue.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); words[0] != "#" {
			all[words[0]] = words[1:]
		}
	}
	if len(all) != 87 {
		t.Errorf("%d providers in the list", len(all))
	}
	return all
}

// readOnlyPosts are the verify requests that read with POST, by provider.
var readOnlyPosts = map[string]string{
	"slack": "/auth.test", "mailchimp-transactional": "/users/ping", "sendy": "/api/brands/get-brands.php",
	"monday": "/v2", "fireflies": "/graphql", // queries, no mutations
}

// unverifiable are the providers without a verify request, and why.
var unverifiable = map[string]string{
	"google-sheets": "no request is open to every account",
	"moonmail":      "its requests name a list",
	"ftp":           "it is not HTTP",
	"postgresql":    "it is not HTTP",
	"mysql":         "it is not HTTP",
	"mariadb":       "it is not HTTP",
}

func TestCatalogue(t *testing.T) {
	entries, err := catalogue()
	if err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, "")
	if len(c.Providers) != len(entries) || len(c.Warnings) != 0 {
		t.Errorf("%d providers of %d entries, with warnings %q", len(c.Providers), len(entries), c.Warnings)
	}
	for name, types := range listed(t) {
		p := c.Table.Get(name)
		if p == nil {
			t.Errorf("%s has no entry", name)
			continue
		}
		for _, typ := range types {
			if p.Type != typ && !slices.Contains(p.Types, typ) {
				t.Errorf("%s does not take %s", name, typ)
			}
		}
	}
	for _, p := range c.Providers {
		t.Run(p.Name, func(t *testing.T) {
			if !p.Builtin || p.Configured || p.AllowCleartext || p.Anonymous || len(p.AllowNetworks) > 0 {
				t.Errorf("an entry of the catalogue is built-in only, over TLS, with credentials, in public: %+v", p)
			}
			if p.Note == "" || len(p.Note) > 400 {
				t.Errorf("the file does not begin with a short comment: %q", p.Note)
			}
			if slices.Contains(p.Types, p.Type) {
				t.Errorf("types repeats the default type %s", p.Type)
			}
			checkVerify(t, p)
			checkHosts(t, c.Providers, p)
		})
	}
}

func checkVerify(t *testing.T, p *provider.Provider) {
	t.Helper()
	if why := unverifiable[p.Name]; why != "" || p.Verify.Path == "" {
		if why == "" || p.Verify.Path != "" {
			t.Errorf("verify %q, and the reason for none is %q", p.Verify.Path, why)
		}
		return
	}
	if !strings.HasPrefix(p.Verify.Path, "/") {
		t.Errorf("the verify path %s does not begin with /", p.Verify.Path)
	}
	if p.Verify.Method != http.MethodGet && readOnlyPosts[p.Name] != p.Verify.Path {
		t.Errorf("the verify request %s %s is not known to read only", p.Verify.Method, p.Verify.Path)
	}
	if strings.Contains(p.Verify.Body, "mutation") {
		t.Errorf("the verify request writes: %s", p.Verify.Body)
	}
}

// checkHosts holds an entry to hosts that own its verify request, alone, unless
// only records say where its instances are.
func checkHosts(t *testing.T, all []*provider.Provider, p *provider.Provider) {
	t.Helper()
	if len(p.Hosts) == 0 && p.BaseURL == "" && (slices.Contains(urlTypes, p.Type) || p.Type == "database") {
		return
	}
	base, err := provider.Expand(p.BaseURL, sample)
	rest, isTLS := strings.CutPrefix(base, "https://")
	host, path, _ := strings.Cut(rest, "/")
	a, badHost := provider.ParseAuthority(host, 443)
	if err != nil || badHost != nil || !isTLS {
		t.Fatalf("base_url %s: %v, %v", p.BaseURL, err, badHost)
	}
	var owners []*provider.Provider
	for _, q := range all {
		if owns(t, q, a) {
			owners = append(owners, q)
		}
	}
	verify, _, _ := strings.Cut("/"+path+p.Verify.Path, "?")
	if owner := provider.PathOwner(owners, strings.ReplaceAll(verify, "//", "/")); owner != p {
		t.Errorf("%s%s is owned by %v", host, verify, owner)
	}
}

func owns(t *testing.T, p *provider.Provider, a provider.Authority) bool {
	t.Helper()
	return slices.ContainsFunc(p.Hosts, func(h string) bool {
		filled, err := provider.Expand(h, sample)
		pattern, bad := provider.ParsePattern(filled)
		if err != nil || bad != nil {
			t.Fatalf("host %s of %s: %v, %v", h, p.Name, err, bad)
		}
		if pattern.Wildcard && strings.Count(pattern.Host, ".") < 1 {
			t.Errorf("host %s of %s is too wide", h, p.Name)
		}
		return pattern.Match(a)
	})
}

// sample fills the {field}s of hosts and URLs.
func sample(field string) string {
	if field == "dc" {
		return "com"
	}
	return "x" + strings.ReplaceAll(field, "_", "-")
}

// Two providers on one host are told apart by the path, those of one house by
// the host too.
func TestCatalogueSharedHosts(t *testing.T) {
	c := mustLoad(t, "")
	for at, want := range map[string]string{
		"www.zohoapis.com/crm/v8/Leads":       "zoho-crm",
		"www.zohoapis.eu/books/v3/contacts":   "zoho-books",
		"www.zohoapis.com/mail/x":             "",
		"mail.zoho.in/api/accounts":           "zoho-mail",
		"mail.zoho.in/zm":                     "",
		"www.zohoapis.com/books":              "zoho-books",
		"www.zohoapis.com/crmx/v8/Leads":      "",
		"api.customer.io/v1/workspaces":       "customer-io-app",
		"track.customer.io/api/v1/customers":  "customer-io",
		"campaigns.zoho.com/api/v1.1/x":       "zoho-campaigns",
		"people.googleapis.com/v1/people/me":  "google-contacts",
		"sheets.googleapis.com/v4/x":          "google-sheets",
		"www.googleapis.com/oauth2/v1":        "",
		"slack.com/api/auth.test":             "slack",
		"slack.com/signin":                    "",
		"s3.eu-central-1.amazonaws.com/":      "",
		"login.microsoftonline.com/common/x":  "",
		"graph.microsoft.com/v1.0/me":         "microsoft",
		"api.atlassian.com/ex/jira/1/rest":    "atlassian",
		"app.asana.com/-/oauth_token":         "",
		"app.asana.com/api/1.0/users/me":      "asana",
		"api.infusionsoft.com/crm/rest/v1/me": "keap",
	} {
		host, path, _ := strings.Cut(at, "/")
		got := ""
		if p := provider.PathOwner(c.Table.Owners(provider.Authority{Host: host, Port: 443}), "/"+path); p != nil {
			got = p.Name
		}
		if got != want {
			t.Errorf("%s is owned by %q; want %q", at, got, want)
		}
	}
}

func TestLeadingComment(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"a = 1\n# b\n":                    "",
		"# One.\n#   Two,\n# three.\nx=1": "One. Two, three.",
		"#One\n\n# Two\n":                 "One",
	} {
		if got := leadingComment(text); got != want {
			t.Errorf("leadingComment(%q) = %q; want %q", text, got, want)
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

// Every start and every reload reads the whole catalogue.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
