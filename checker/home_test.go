package checker_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// everywhere answers every host alike, and notes which were asked.
type everywhere struct{ hosts []string }

// RoundTrip implements http.RoundTripper.
func (e *everywhere) RoundTrip(req *http.Request) (*http.Response, error) {
	if !slices.Contains(e.hosts, req.URL.Host) {
		e.hosts = append(e.hosts, req.URL.Host)
	}
	body := io.NopCloser(strings.NewReader(`{"token":"l0gin","access_token":"l0gin","active":true,"scope":"read"}`))
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Request: req}, nil
}

// A credential is shown to no host but those that it is for and that which gave it, whatever the provider is called.
func TestCredentialStaysAtHome(t *testing.T) {
	at := func(name, base, token string) *provider.Provider {
		p := api(base)
		p.Name, p.OAuth2.TokenURL, p.Needs.Scopes = name, token, []string{"read"}
		return p
	}
	const people, tokens = "https://people.googleapis.com/v1", "https://oauth2.googleapis.com/token"
	crm := at("crm", "https://crm.example", "https://tokens.example/token")
	crm.OAuth2.IntrospectionURL, crm.Login = "https://tokens.example/introspect", provider.Login{Path: "/login", Body: `{"key":"{client_secret}"}`, Token: "token"}
	for _, tc := range []struct {
		name  string
		p     *provider.Provider
		cred  *credential.Credential
		hosts string
	}{
		{"Google's own", at("google-contacts", people, tokens), record("bearer", "token", canary), "people.googleapis.com oauth2.googleapis.com"},
		{"a mirror of it", at("google-mirror", "https://mirror.example", tokens), record("bearer", "token", canary), "mirror.example"},
		{"a host that is called alike", at("google-mirror", "https://people.googleapis.com.example", tokens), record("bearer", "token", canary), "people.googleapis.com.example"},
		{"a record with a url", at("google-contacts", people, tokens), record("api_key_url", "api_key", canary, "url", "https://own.example"), "own.example"},
		{"tokens of somebody else", at("google-contacts", people, "https://tokens.example/token"), record("bearer", "token", canary), "people.googleapis.com"},
		{"a token of that server", crm, record("oauth2_client_credentials", "client_id", "i", "client_secret", canary), "tokens.example crm.example"},
		{"a token of a login", crm, record("two_step", "client_id", "i", "client_secret", canary), "crm.example"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &everywhere{}
			r := newChecker(e).Check(t.Context(), tc.p, tc.cred)
			if got := strings.Join(e.hosts, " "); got != tc.hosts {
				t.Errorf("asked %q, want %q; %+v", got, tc.hosts, r.Steps)
			}
		})
	}
}
