package configs

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/provider"
)

// catalogueNames are the providers that must be there. Others may be.
var catalogueNames = strings.Fields(`
	accelo activecampaign activetrail agile-crm aha aircall airtable amazon-ses asana atlassian basecamp3 birdsend
	breezy-hr brevo campaign-monitor capsule-crm chargify cleverreach clickup clicksend cliengo coda constant-contact
	convertkit copper customer-guru customer-io delighted demio drip e-goi elastic-email eventbrite everyaction everhour
	fireflies formstack freshdesk freshworks-crm front ftp getresponse github gitlab google-contacts google-sheets
	gototraining groove help-scout hubspot insightly instantly jotform keap mailchimp-transactional mailjet mailup mautic
	meistertask microsoft monday moonmail moosend nimble notion ontraport pagerduty pipedrive pipeline ringcentral
	salesforce sendpulse sendy servicetitan shopify slack snappy solarwinds stripe surveysparrow teamgate unbounce
	zoho-books zoho-campaigns zoho-crm zoho-mail zoom`)

// readOnlyPosts are the verify requests that read with POST, by provider.
var readOnlyPosts = map[string]string{"slack": "/auth.test", "mailchimp-transactional": "/users/ping"}

// unverifiable are the providers without a verify request, and why.
var unverifiable = map[string]string{
	"customer-io":   "its keys are for different hosts",
	"google-sheets": "no request is open to every account",
	"monday":        "its requests have a body",
	"moonmail":      "its requests name a list",
	"sendy":         "its requests have a form",
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
	for _, name := range catalogueNames {
		if c.Table.Get(name) == nil {
			t.Errorf("%s has no entry", name)
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

func TestCatalogueTypes(t *testing.T) {
	c := mustLoad(t, "")
	for name, want := range map[string][]string{
		"amazon-ses": {"aws_sigv4"},
		"breezy-hr":  {"two_step"},
		"freshdesk":  {"api_key_url", "api_key"},
		"ftp":        {"basic_url"},
		"github":     {"api_key", "bearer", "oauth2_authorization_code", "github_app"},
		"gitlab":     {"api_key", "bearer", "oauth2_authorization_code", "api_key_url"},
		"hubspot":    {"api_key", "bearer", "oauth2_authorization_code"},
		"mailup":     {"oauth2_password", "oauth2_authorization_code"},
		"salesforce": {"oauth2_authorization_code", "oauth2_jwt_bearer", "oauth2_client_credentials", "oauth2_password"},
		"sendpulse":  {"oauth2_client_credentials", "api_key"},
		"slack":      {"api_key", "bearer", "oauth2_authorization_code"},
		"stripe":     {"api_key", "bearer", "oauth2_authorization_code"},
	} {
		p := c.Table.Get(name)
		for _, typ := range want {
			if p.Type != typ && !slices.Contains(p.Types, typ) {
				t.Errorf("%s does not take %s", name, typ)
			}
		}
	}
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
