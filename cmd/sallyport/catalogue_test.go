package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

func builtin(t *testing.T) []*provider.Provider {
	t.Helper()
	cfg, err := configs.Load(configs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Providers
}

// Each built-in provider takes a record of each type that it names, with the
// fields that the command line asks for and no others.
func TestCatalogueTakesItsTypes(t *testing.T) {
	for _, p := range builtin(t) {
		for _, typ := range append([]string{p.Type}, p.Types...) {
			kind, ok := auth.Lookup(typ)
			if !ok {
				t.Errorf("%s: type %s does not exist", p.Name, typ)
			}
			if err := auth.Validate(p, recordFor(t, p, kind)); err != nil {
				t.Errorf("%s takes no %s: %v", p.Name, typ, err)
			}
		}
	}
}

// What stands in a host, a URL or a path is shown to everybody.
func TestCatalogueTemplatesHoldNoSecret(t *testing.T) {
	for _, p := range builtin(t) {
		o := p.OAuth2
		urls := slices.Concat(p.Hosts, []string{p.BaseURL, p.Verify.Path, p.Verify.Body, p.Login.Path, o.AuthorizationURL, o.TokenURL, o.RefreshURL, o.RevocationURL, o.IntrospectionURL, o.DeviceAuthorizationURL})
		for _, name := range provider.TemplateFields(strings.Join(urls, " ")) {
			secretOf := func(k auth.Kind) bool { return slices.Contains(k.Fields(), name) }
			if !credential.Public(name) && slices.ContainsFunc(auth.Kinds(), secretOf) || slices.Contains(credential.TokenFields, name) {
				t.Errorf("%s puts {%s} into a URL", p.Name, name)
			}
		}
	}
}

// Where the fields of records go, for providers whose place is not the type's own.
func TestCataloguePlaces(t *testing.T) {
	places := map[string]string{
		"activecampaign api_key_url":             "Api-Token: <api_key>",
		"activetrail api_key":                    "Authorization: <api_key>",
		"airtable api_key":                       "Authorization: Bearer <api_key>",
		"breezy-hr two_step":                     "Authorization: <access_token>",
		"brevo api_key":                          "Api-Key: <api_key>",
		"campaign-monitor api_key":               "basic <api_key>:x",
		"chargify api_key_url":                   "basic <api_key>:x",
		"cliengo api_key":                        "?api_key=<api_key>",
		"clickup api_key":                        "Authorization: <api_key>",
		"convertkit api_key":                     "X-Kit-Api-Key: <api_key>",
		"convertkit api_key_secret":              "X-Kit-Api-Key: <api_key> ?api_secret=<api_secret>",
		"copper api_key":                         "X-Pw-Accesstoken: <api_key> X-Pw-Application: developer_api X-Pw-Useremail: <email>",
		"customer-guru api_key_secret":           "?api_secret=<api_secret>&api_token=<api_key>",
		"customer-io-app api_key":                "Authorization: Bearer <api_key>",
		"customer-io api_key_secret":             "basic <api_key>:<api_secret>",
		"delighted api_key":                      "basic <api_key>:",
		"demio api_key_secret":                   "Api-Key: <api_key> Api-Secret: <api_secret>",
		"drip api_key":                           "User-Agent: sallyport basic <api_key>:",
		"e-goi api_key":                          "Apikey: <api_key>",
		"elastic-email api_key":                  "X-Elasticemail-Apikey: <api_key>",
		"everyaction basic_api_key":              "basic <username>:<api_key>|<password>",
		"everhour api_key":                       "X-Api-Key: <api_key>",
		"freshdesk api_key_url":                  "basic <api_key>:X",
		"freshworks-crm api_key_url":             "Authorization: Token token=<api_key>",
		"getresponse api_key":                    "X-Auth-Token: api-key <api_key>",
		"help-scout-docs api_key":                "basic <api_key>:X",
		"insightly api_key_url":                  "basic <api_key>:",
		"jira basic":                             "basic <username>:<password>",
		"jotform api_key":                        "Apikey: <api_key>",
		"keap api_key":                           "X-Keap-Api-Key: <api_key>",
		"mailchimp-transactional api_key":        `{"key":"<api_key>"}`,
		"mailjet api_key_secret":                 "basic <api_key>:<api_secret>",
		"mailup oauth2_password":                 "Authorization: Bearer <access_token>",
		"moonmail api_key":                       "X-Api-Key: <api_key>",
		"moosend api_key":                        "?apikey=<api_key>",
		"ontraport api_key_secret":               "Api-Appid: <api_secret> Api-Key: <api_key>",
		"pagerduty api_key":                      "Accept: application/vnd.pagerduty+json;version=2 Authorization: Token token=<api_key>",
		"pipedrive api_key":                      "X-Api-Token: <api_key>",
		"pipeline api_key_secret":                "?api_key=<api_key>&app_key=<api_secret>",
		"sendy api_key_url":                      `{"api_key":"<api_key>"}`,
		"servicetitan oauth2_client_credentials": "Authorization: Bearer <access_token> St-App-Key: <app_key>",
		"shopify api_key":                        "X-Shopify-Access-Token: <api_key>",
		"shopify oauth2_authorization_code":      "X-Shopify-Access-Token: <access_token>",
		"snappy basic":                           "basic <username>:<password>",
		"solarwinds api_key":                     "Accept: application/vnd.samanage.v2.1+json X-Samanage-Authorization: Bearer <api_key>",
		"teamgate api_key_secret":                "X-App-Key: <api_key> X-Auth-Token: <api_secret>",
		"unbounce api_key":                       "Accept: application/vnd.unbounce.api.v0.4+json basic <api_key>:",
		"zoho-books oauth2_authorization_code":   "Authorization: Zoho-oauthtoken <access_token>",
		"zoho-crm oauth2_authorization_code":     "Authorization: Zoho-oauthtoken <access_token>",
	}
	for _, p := range builtin(t) {
		for _, typ := range append([]string{p.Type}, p.Types...) {
			key := p.Name + " " + typ
			want, ok := places[key]
			if delete(places, key); !ok {
				continue
			}
			kind, _ := auth.Lookup(typ)
			if got := injected(t, p, kind); got != want {
				t.Errorf("%s: %s; want %s", key, got, want)
			}
		}
	}
	for key := range places {
		t.Errorf("%s is not in the catalogue", key)
	}
}

// injected tells what a credential adds to a request.
func injected(t *testing.T, p *provider.Provider, kind auth.Kind) string {
	t.Helper()
	return strings.Join(injectedParts(t, p, kind), " ")
}

func injectedParts(t *testing.T, p *provider.Provider, kind auth.Kind) []string {
	t.Helper()
	c := recordFor(t, p, kind)
	for _, name := range c.Names() {
		if name != "url" && name != "private_key" {
			c.Set(name, secret.New("<"+name+">"))
		}
	}
	if kind.Grant != "" {
		c.Set("access_token", secret.New("<access_token>"))
	}
	i, err := auth.Mint(t.Context(), auth.Material{Credential: c, Provider: p})
	if err != nil {
		t.Fatalf("%s %s: %v", p.Name, kind.Name, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://one.example/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if err := i.Inject(req); err != nil {
		t.Fatalf("%s %s: %v", p.Name, kind.Name, err)
	}
	return parts(t, req)
}

func parts(t *testing.T, req *http.Request) []string {
	t.Helper()
	user, pass, isBasic := req.BasicAuth()
	if isBasic {
		req.Header.Del("Authorization")
	}
	req.Header.Del("Content-Type")
	var all []string
	for name, values := range req.Header {
		all = append(all, name+": "+values[0])
	}
	slices.Sort(all)
	if isBasic {
		all = append(all, "basic "+user+":"+pass)
	}
	if req.URL.RawQuery != "" {
		all = append(all, "?"+strings.NewReplacer("%3C", "<", "%3E", ">").Replace(req.URL.Query().Encode()))
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	if string(body) != "{}" {
		all = append(all, string(body))
	}
	return all
}

// viewOf is what the command line is told of a provider.
func viewOf(p *provider.Provider) *providerView {
	view := &providerView{
		Name: p.Name, Type: p.Type, Types: p.Types, Hosts: p.Hosts, BaseURL: p.BaseURL, TokenURL: p.OAuth2.TokenURL,
		ClientAuth: p.OAuth2.ClientAuth, LoginFields: p.Login.Fields(), GrantFields: p.OAuth2.ClientCredentialsFields(), Verify: p.Verify.Path,
	}
	for _, place := range p.Places {
		view.PlaceFields = append(view.PlaceFields, provider.TemplateFields(place.Value+place.Username+place.Password)...)
	}
	return view
}

// recordFor holds what the command line would ask for.
func recordFor(t *testing.T, p *provider.Provider, kind auth.Kind) *credential.Credential {
	t.Helper()
	view := viewOf(p)
	samples := map[string]string{
		"url": "https://one.example/api", "dc": "com", "driver": "postgres", "port": "5432", "region": "eu-central-1",
		"app_id": "1", "installation_id": "1",
	}
	if p.Protocol == provider.FTP {
		samples["url"] = "ftp://one.example"
	}
	if slices.Contains(kind.Required, "private_key") {
		samples["private_key"] = pemKey(t)
	}
	c := &credential.Credential{Ref: credential.Ref{Workspace: "w", Environment: "e", Provider: p.Name, Name: "n"}, Type: kind.Name}
	for _, name := range view.needs(kind) {
		v := samples[name]
		if v == "" {
			v = "x" + strings.ReplaceAll(name, "_", "-")
		}
		c.Set(name, secret.New(v))
	}
	return c
}

func pemKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}
