package checker_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

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
		{"a space inside", "crm", "production", "api_key", "k1 k2", fault.CredentialMisplaced, fault.CredentialMisplaced, "white space"},
		{"in quotes", "crm", "production", "api_key", `"k1"`, fault.CredentialMisplaced, fault.CredentialMisplaced, "quotes"},
		{"test key in production", "stripe", "production", "api_key", stripeTest, fault.WrongSurface, fault.WrongSurface, "test mode"},
		{"test key in staging", "stripe", "staging", "api_key", stripeTest, "", fault.CredentialsRejected, ""},
		{"live key", "stripe", "production", "api_key", stripeLive, "", fault.CredentialsRejected, ""},
		{"publishable key", "stripe", "production", "api_key", "pk_live_4eC39HqLyjWDarjtT1zdp7dc", fault.WrongSurface, fault.WrongSurface, "publishable"},
		{"refresh token", "github", "production", "api_key", "ghr_" + strings.Repeat("a", 36), fault.WrongSurface, fault.WrongSurface, "refresh token"},
		{"app-level token", "slack", "production", "api_key", "xapp-1-A0-1-x", fault.WrongSurface, fault.WrongSurface, "app-level"},
		{"a key of another provider", "slack", "production", "api_key", github, "", fault.WrongSurface, "a key of github"},
		{"another look is no fault by itself", "github", "production", "api_key", "own-token-of-a-server", "", fault.CredentialsRejected, "look otherwise"},
		{"a provider of one's own", "crm", "production", "api_key", stripeTest, "", fault.CredentialsRejected, ""},
		{"a key in PEM", "crm", "production", "api_key", "-----BEGIN KEY-----\nx\n-----END KEY-----", fault.FieldMissing, fault.FieldMissing, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cred := &credential.Credential{Ref: credential.Ref{Workspace: "acme", Environment: c.env, Provider: c.provider, Name: "main"}, Type: "api_key"}
			cred.Set(c.field, secret.New(c.value))
			p := api("https://api.example.com")
			p.Name = c.provider
			for code, said := range map[fault.Code]answering{c.accepted: answer(200, "", ""), c.refused: answer(401, "", "")} {
				r := newChecker(said).Check(t.Context(), p, cred)
				if got := codeOf(r); got != code {
					t.Errorf("answered %d: fault %q (%s); want %q", said.status, got, r.Checks[0].Detail, code)
				}
				if said.status == 401 && !strings.Contains(r.Checks[0].Detail, c.says) {
					t.Errorf("detail %q; want it to say %q", r.Checks[0].Detail, c.says)
				}
				if strings.Contains(r.Checks[0].Detail, c.value) {
					t.Errorf("detail %q quotes the key", r.Checks[0].Detail)
				}
			}
		})
	}
}

func codeOf(r *checker.Report) fault.Code {
	if r.Fault == nil {
		return ""
	}
	return r.Fault.Code
}
