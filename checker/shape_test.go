package checker_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// Where the credential is all of Authorization, its scheme is part of it.
func TestSchemeOfAWholeField(t *testing.T) {
	p := api("https://api.example.com")
	p.Places = []provider.Place{{In: provider.InHeader, Name: "authorization", Value: "{api_key}"}}
	for value, want := range map[string]checker.Status{"Token abcdef0123456789": checker.OK, `"Token abcdef0123456789"`: checker.Warning} {
		r := newChecker(answer(200, "application/json", `{"id":1}`)).Check(t.Context(), p, record("api_key", "api_key", value))
		if r.Status != want {
			t.Errorf("%s: %s, fault %+v; want %s", value, r.Status, r.Fault, want)
		}
	}
}

// What can be seen in a record without asking anybody.
func TestShapes(t *testing.T) {
	const stripeTest, stripeLive = "sk_test_4eC39HqLyjWDarjtT1zdp7dc", "sk_live_4eC39HqLyjWDarjtT1zdp7dc"
	github := "ghp_" + strings.Repeat("a1B2", 9)
	for _, c := range []struct {
		name, provider, env, field, value string
		accepted, refused                 fault.Code // of the report where the provider takes it, and where it does not
		says                              string
	}{
		{"as it should be", "github", "production", "api_key", github, "", fault.CredentialsRejected, ""},
		{"Bearer pasted along", "crm", "production", "api_key", "Bearer k1", fault.CredentialMisplaced, fault.CredentialMisplaced, "pasted along"},
		{"a space behind", "crm", "production", "api_key", "k1 ", fault.FieldMissing, fault.FieldMissing, "white space"},
		{"a line end behind", "crm", "production", "api_key", "k1\n", fault.FieldMissing, fault.FieldMissing, "white space"},
		{"token pasted along", "github", "production", "api_key", "token " + github, fault.CredentialMisplaced, fault.CredentialMisplaced, "pasted along"},
		{"a space inside", "crm", "production", "api_key", "k1 k2", fault.CredentialMisplaced, fault.CredentialMisplaced, "white space"},
		{"in quotes", "crm", "production", "api_key", `"k1"`, fault.CredentialMisplaced, fault.CredentialMisplaced, "quotes"},
		{"test key in production", "stripe", "production", "api_key", stripeTest, fault.WrongSurface, fault.WrongSurface, "test mode"},
		{"test key in staging", "stripe", "staging", "api_key", stripeTest, "", fault.CredentialsRejected, ""},
		{"restricted test key in production", "stripe", "production", "api_key", "rk_test_4eC39HqLyjWDarjtT1zdp7dc", fault.WrongSurface, fault.WrongSurface, "test mode"},
		{"publishable test key", "stripe", "staging", "api_key", "pk_test_4eC39HqLyjWDarjtT1zdp7dc", fault.WrongSurface, fault.WrongSurface, "publishable"},
		{"live key", "stripe", "production", "api_key", stripeLive, "", fault.CredentialsRejected, ""},
		{"publishable key", "stripe", "production", "api_key", "pk_live_4eC39HqLyjWDarjtT1zdp7dc", fault.WrongSurface, fault.WrongSurface, "publishable"},
		{"refresh token", "github", "production", "api_key", "ghr_" + strings.Repeat("a", 36), fault.WrongSurface, fault.WrongSurface, "refresh token"},
		{"app-level token", "slack", "production", "api_key", "xapp-1-A0-1-x", fault.WrongSurface, fault.WrongSurface, "app-level"},
		{"a key of another provider", "slack", "production", "api_key", github, fault.WrongSurface, fault.WrongSurface, "a key of github"},
		{"another look is no fault by itself", "github", "production", "api_key", "own-token-of-a-server", "", fault.CredentialsRejected, "look otherwise"},
		{"a server of one's own is known by its name", "github-enterprise", "production", "api_key", stripeLive, fault.WrongSurface, fault.WrongSurface, "a key of stripe"},
		{"GitLab's at GitHub", "github", "production", "api_key", "glpat-a1B2a1B2a1B2a1B2a1B2", fault.WrongSurface, fault.WrongSurface, "a key of gitlab"},
		{"Slack's at GitHub", "github", "production", "api_key", "xoxb-1234567890-a1B2a1B2", fault.WrongSurface, fault.WrongSurface, "a key of slack"},
		{"GitHub's at GitLab", "gitlab", "production", "api_key", github, fault.WrongSurface, fault.WrongSurface, "a key of github"},
		{"Slack's refresh token", "slack", "production", "api_key", "xoxe-1-a1B2a1B2", fault.WrongSurface, fault.WrongSurface, "a refresh token"},
		{"Slack's token that rotates", "slack", "production", "api_key", "xoxe.xoxb-1-a1B2a1B2", "", fault.CredentialsRejected, ""},
		{"GitLab's runner token", "gitlab", "production", "api_key", "glrt-a1B2a1B2", fault.WrongSurface, fault.WrongSurface, "of a runner"},
		{"a webhook's secret", "stripe", "production", "api_key", "whsec_a1B2a1B2a1B2", fault.WrongSurface, fault.WrongSurface, "webhook"},
		{"a provider of one's own", "crm", "production", "api_key", stripeTest, "", fault.CredentialsRejected, ""},
		{"a key in PEM", "crm", "production", "api_key", "-----BEGIN KEY-----\nx\n-----END KEY-----", fault.FieldMissing, fault.FieldMissing, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cred := &credential.Credential{Ref: credential.Ref{Workspace: "acme", Environment: c.env, Provider: c.provider, Name: "main"}, Type: "api_key"}
			cred.Set(c.field, secret.New(c.value))
			p := api("https://api.example.com")
			p.Name = c.provider
			for status, code := range map[int]fault.Code{200: c.accepted, 401: c.refused} {
				r := newChecker(answer(status, "application/json", `{"ok":true,"id":1,"login":"ann"}`)).Check(t.Context(), p, cred)
				if got := codeOf(r); got != code {
					t.Errorf("answered %d: fault %q (%s); want %q", status, got, r.Checks[0].Detail, code)
				}
				if status == 401 && !strings.Contains(r.Checks[0].Detail, c.says) {
					t.Errorf("detail %q; want it to say %q", r.Checks[0].Detail, c.says)
				}
				if strings.Contains(r.Checks[0].Detail, c.value) {
					t.Errorf("detail %q quotes the key", r.Checks[0].Detail)
				}
			}
		})
	}
}

// What keys of each provider look like. One that looks so is not remarked upon; of
// another it is told, where the provider refuses it, how they begin.
func TestKeyLooks(t *testing.T) {
	hex := func(n int) string { return strings.Repeat("0123456789abcdef", 5)[:n] }
	long := strings.Repeat("a1B2", 9)
	for name, c := range map[string]struct {
		good []string
		hint string
	}{
		"github":                  {[]string{"ghp_" + long, "gho_" + long, "ghu_" + long, "ghs_" + long, "github_pat_" + long, hex(40)}, "ghp_ or github_pat_"},
		"gitlab":                  {[]string{"glpat-" + long}, "glpat-"},
		"slack":                   {[]string{"xoxb-1-2-x", "xoxp-1-2-x", "xoxe.xoxb-1-x"}, "xoxb- or xoxp-"},
		"stripe":                  {[]string{"sk_live_" + long, "rk_live_" + long, "sk_test_" + long, "rk_test_" + long}, "sk_ or rk_"},
		"notion":                  {[]string{"ntn_" + long, "secret_" + long}, "ntn_ or secret_"},
		"mailchimp-transactional": {[]string{"md-" + long}, "md-"},
		"activecampaign":          {[]string{hex(72)}, "72 hexadecimal digits"},
		"mailjet":                 {[]string{hex(32)}, "32 hexadecimal digits"},
		"copper":                  {[]string{hex(32)}, "32 hexadecimal digits"},
		"clickup":                 {[]string{"pk_1_" + long}, "pk_"},
		"brevo":                   {[]string{"xkeysib-" + long}, "xkeysib-"},
		"hubspot":                 {[]string{"pat-na1-" + long, "pat-eu1-" + long}, "pat-"},
		"shopify":                 {[]string{"shpat_" + long}, "shpat_"},
		"zoho-desk":               {[]string{"1000." + long + "." + long}, "1000."},
	} {
		for _, key := range append(c.good, "key-of-another-look") {
			types := map[string][]string{"api_key": {"api_key", key}, "bearer": {"token", key}}
			if name == "mailjet" { // whose keys are two
				types["api_key_secret"] = []string{"api_key", c.good[0], "api_secret", key}
			}
			for typ, fields := range types {
				cred := record(typ, fields...)
				cred.Ref.Environment, cred.Ref.Provider = "staging", name
				p := api("https://api.example.com")
				p.Name = name
				r := newChecker(answer(401, "application/json", `{}`)).Check(t.Context(), p, cred)
				detail := r.Checks[0].Detail
				if bad := key == "key-of-another-look"; bad != strings.Contains(detail, "keys of "+name+" look otherwise ("+c.hint+")") || codeOf(r) != fault.CredentialsRejected {
					t.Errorf("%s, %s %.12s: %q, fault %q", name, typ, key, detail, codeOf(r))
				}
				if strings.Contains(detail, key) {
					t.Errorf("%s: %q quotes the key", name, detail)
				}
			}
		}
	}
}

func codeOf(r *checker.Report) fault.Code {
	if r.Fault == nil {
		return ""
	}
	return r.Fault.Code
}
