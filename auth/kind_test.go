package auth

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func TestRegistry(t *testing.T) {
	want := strings.Fields(`bearer api_key api_key_secret api_key_url basic basic_url basic_api_key oauth2_authorization_code oauth2_client_credentials
		oauth2_password oauth2_refresh_token oauth2_jwt_bearer oauth2_token_exchange oauth1 aws_sigv4 hmac github_app two_step mtls database`)
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
		if k.Doc == "" || k.Mint == nil {
			t.Errorf("%s: no doc, or it makes nothing", k.Name)
		}
		for _, p := range k.Places {
			for _, f := range fieldsOf(p) {
				if !k.has(f) || !slices.Contains(wireFields, f) {
					t.Errorf("%s: its place sends %s, which it does not have or wireFields does not name", k.Name, f)
				}
			}
		}
		if got, ok := Lookup(k.Name); !ok || got.Name != k.Name {
			t.Errorf("Lookup(%s) fails", k.Name)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("the types are %q", names)
	}
	if _, ok := Lookup("magic"); ok {
		t.Error("Lookup finds what is not there")
	}
	if k, _ := Lookup("oauth2_client_credentials"); !k.Verifies() {
		t.Error("a token endpoint's answer proves nothing?")
	}
	if k, _ := Lookup("bearer"); k.Verifies() {
		t.Error("a static kind proves itself?")
	}
}

func TestValidate(t *testing.T) {
	p := &provider.Provider{Name: "crm", Type: "api_key", Types: []string{"basic", "hmac"}}
	for _, tc := range []struct {
		name string
		p    *provider.Provider
		c    *credential.Credential
		says string // empty: it is valid
	}{
		{"the provider's default type", p, record("api_key", "api_key", "k"), ""},
		{"no type is the default type", p, record("", "api_key", "k"), ""},
		{"another type it accepts", p, record("basic", "username", "u", "password", "p"), ""},
		{"a type it does not accept", p, record("bearer", "token", "t"), "does not accept bearer; it accepts api_key, basic, hmac"},
		{"a provider without types accepts all", crm(), record("bearer", "token", "t"), ""},
		{"no type anywhere", crm(), record("", "token", "t"), `"" is not a credential type`},
		{"an unknown type", p, record("magic"), `"magic" is not a credential type`},
		{"a provider without a signing scheme", p, record("hmac", "key", "k"), "provider crm names no signing scheme: its hmac must be one of azure-storage, "},
		{"a missing field", p, record("basic", "username", "u"), "field password is missing"},
		{"no place for the key", crm(header("X-Org", "{org}")), record("basic_api_key", "username", "u", "password", "p", "api_key", "k", "org", "o"), "no place for api_key"},
		{"a user name that is not sent", crm(header("Authorization", "Token {password}")), record("basic", "username", "u", "password", "p"), ""},
	} {
		err := Validate(tc.p, tc.c)
		if tc.says == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		f := fault.From(err)
		if !errors.Is(err, fault.InvalidRequest) || !strings.Contains(f.Detail, tc.says) || f.Provider != "crm" || f.Credential != tokenRef {
			t.Errorf("%s: got %v, want invalid_request with %q", tc.name, err, tc.says)
		}
	}
}
