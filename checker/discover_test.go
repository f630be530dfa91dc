package checker_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// network answers for any host, and keeps what was asked: "METHOD HOST PATH".
type network struct {
	answers map[string]http.HandlerFunc // "HOST/PATH"; none: 404
	fails   map[string]error            // by host
	asked   []string
	tokens  []string // hosts that got the token
}

func (n *network) RoundTrip(req *http.Request) (*http.Response, error) {
	n.asked = append(n.asked, req.Method+" "+req.URL.Host+req.URL.Path)
	if req.Body != nil {
		b := make([]byte, 4096)
		if k, _ := req.Body.Read(b); strings.Contains(string(b[:k]), "4ccess") {
			n.tokens = append(n.tokens, req.URL.Host)
		}
	}
	if err := n.fails[req.URL.Host]; err != nil {
		return nil, err
	}
	h := n.answers[req.URL.Host+req.URL.Path]
	if h == nil {
		h = says(404, `{}`)
	}
	rec := httptest.NewRecorder()
	h(rec, req)
	return rec.Result(), nil
}

// offering is the metadata of an issuer with that introspection endpoint.
func offering(issuer, endpoint string, more ...string) http.HandlerFunc {
	return says(200, fmt.Sprintf(`{"issuer":%q,"token_endpoint":"%s/token","introspection_endpoint":%q%s}`, issuer, issuer, endpoint, strings.Join(more, "")))
}

// Metadata is believed of its own issuer only, and sends a token to the hosts of
// the provider and of its token endpoint only.
func TestDiscovery(t *testing.T) {
	const (
		as8414 = "as.example/.well-known/oauth-authorization-server"
		oidc   = "as.example/.well-known/openid-configuration"
		asks   = "GET " + as8414
		asks2  = "GET " + oidc
		found  = "POST as.example/introspect"
	)
	good := says(200, `{"active":true,"scope":"read"}`)
	for _, tc := range []struct {
		name    string
		token   string // endpoint; empty: https://as.example/token
		answers map[string]http.HandlerFunc
		change  func(*provider.Provider, *credential.Credential)
		want    string
	}{
		{name: "RFC 8414", answers: map[string]http.HandlerFunc{as8414: offering("https://as.example", "https://as.example/introspect"), "as.example/introspect": good}, want: asks + ", " + found},
		{name: "OpenID Connect", answers: map[string]http.HandlerFunc{oidc: offering("https://as.example/", "https://as.example/introspect"), "as.example/introspect": good}, want: asks + ", " + asks2 + ", " + found},
		{name: "RFC 8414 without an endpoint, OpenID Connect with one", answers: map[string]http.HandlerFunc{as8414: says(200, `{"issuer":"https://as.example"}`), oidc: offering("https://as.example", "https://as.example/introspect"), "as.example/introspect": good}, want: asks + ", " + asks2 + ", " + found},
		{name: "an issuer with a path, Keycloak's", token: "https://as.example/realms/acme/protocol/openid-connect/token", answers: map[string]http.HandlerFunc{"as.example/realms/acme/.well-known/openid-configuration": offering("https://as.example/realms/acme", "https://as.example/introspect"), "as.example/introspect": good}, want: asks + "/realms/acme, GET as.example/realms/acme/.well-known/openid-configuration, " + found},
		{name: "an issuer with a path, Okta's", token: "https://as.example/oauth2/default/v1/token", answers: map[string]http.HandlerFunc{as8414 + "/oauth2/default": offering("https://as.example/oauth2/default", "https://as.example/introspect"), "as.example/introspect": good}, want: asks + "/oauth2/default, " + found},
		{name: "another issuer", answers: map[string]http.HandlerFunc{as8414: offering("https://evil.example", "https://as.example/introspect"), "as.example/introspect": good}, want: asks + ", " + asks2},
		{name: "an endpoint of another host", answers: map[string]http.HandlerFunc{as8414: offering("https://as.example", "https://evil.example/introspect"), "evil.example/introspect": good}, want: asks},
		{name: "an endpoint of another port", answers: map[string]http.HandlerFunc{as8414: offering("https://as.example", "https://as.example:8443/introspect"), "as.example:8443/introspect": good}, want: asks},
		{name: "an endpoint in the clear", answers: map[string]http.HandlerFunc{as8414: offering("https://as.example", "http://as.example/introspect"), "as.example/introspect": good}, want: asks},
		{name: "an endpoint with a password in its URL", answers: map[string]http.HandlerFunc{as8414: offering("https://as.example", "https://a:b@as.example/introspect"), "as.example/introspect": good}, want: asks},
		{name: "an endpoint of a host of the provider", answers: map[string]http.HandlerFunc{as8414: offering("https://as.example", "https://api.example/introspect"), "api.example/introspect": good}, want: asks + ", POST api.example/introspect"},
		{name: "HTML", answers: map[string]http.HandlerFunc{as8414: says(200, `<form>`, "Content-Type", "text/html"), oidc: says(200, `<form>`, "Content-Type", "text/html")}, want: asks + ", " + asks2},
		{name: "a redirect", answers: map[string]http.HandlerFunc{as8414: says(302, ``, "Location", "https://evil.example/")}, want: asks + ", " + asks2},
		{name: "no way to prove the client", answers: map[string]http.HandlerFunc{as8414: offering("https://as.example", "https://as.example/introspect", `,"introspection_endpoint_auth_methods_supported":["tls_client_auth"]`), "as.example/introspect": good}, want: asks + ", " + asks2},
		{name: "a shipped entry", change: func(p *provider.Provider, _ *credential.Credential) { p.Builtin = true }},
		{name: "a shipped entry that was changed", change: func(p *provider.Provider, _ *credential.Credential) { p.Builtin, p.Configured = true, true }, want: asks + ", " + asks2},
		{name: "a public client", change: func(p *provider.Provider, _ *credential.Credential) { p.OAuth2.ClientAuth = "none" }},
		{name: "the token endpoint told the scopes", change: func(_ *provider.Provider, c *credential.Credential) { c.Set("scope", c.Field("client_id")) }},
		{name: "no scopes are needed", change: func(p *provider.Provider, _ *credential.Credential) { p.Needs.Scopes = nil }},
		{name: "the entry names the endpoint", answers: map[string]http.HandlerFunc{"introspect.example/i": good}, change: func(p *provider.Provider, _ *credential.Credential) {
			p.OAuth2.IntrospectionURL = "https://introspect.example/i"
		}, want: "POST introspect.example/i"},
		{name: "the entry names the endpoint, but the token is another server's", change: func(p *provider.Provider, c *credential.Credential) {
			p.OAuth2.IntrospectionURL = "https://introspect.example/i"
			c.Set("token_url", record("x", "u", "https://other.example/token").Field("u"))
		}},
		{name: "the token is another server's, and the entry names an endpoint of its own host", change: func(p *provider.Provider, c *credential.Credential) {
			p.OAuth2.IntrospectionURL = "https://api.example/i"
			c.Set("token_url", record("x", "u", "https://other.example/token").Field("u"))
		}},
		{name: "the token is renewed by another server, and the entry names an endpoint of its own host", change: func(p *provider.Provider, c *credential.Credential) {
			p.OAuth2.IntrospectionURL = "https://api.example/i"
			c.Set("refresh_url", record("x", "u", "https://other.example/token").Field("u"))
		}},
		{name: "the token is another server's, which is the one that the entry names", answers: map[string]http.HandlerFunc{"as.example/i": good}, change: func(p *provider.Provider, c *credential.Credential) {
			p.OAuth2.IntrospectionURL = "https://as.example/i"
			c.Set("token_url", record("x", "u", "https://as.example/own/token").Field("u"))
		}, want: "POST as.example/i"},
		{name: "the token is of one server and renewed by another", change: func(p *provider.Provider, c *credential.Credential) {
			p.OAuth2.IntrospectionURL = "https://as.example/i"
			c.Set("token_url", record("x", "u", "https://as.example/token").Field("u"))
			c.Set("refresh_url", record("x", "u", "https://other.example/token").Field("u"))
		}},
		{name: "another server's metadata names its own endpoint", answers: map[string]http.HandlerFunc{"other.example/.well-known/oauth-authorization-server": offering("https://other.example", "https://other.example/i"), "other.example/i": good}, change: func(p *provider.Provider, c *credential.Credential) {
			c.Set("token_url", record("x", "u", "https://other.example/token").Field("u"))
		}, want: "GET other.example/.well-known/oauth-authorization-server, POST other.example/i"},
		{name: "another server's metadata names an endpoint of the provider's host", answers: map[string]http.HandlerFunc{"other.example/.well-known/oauth-authorization-server": offering("https://other.example", "https://api.example/i"), "api.example/i": good}, change: func(p *provider.Provider, c *credential.Credential) {
			c.Set("token_url", record("x", "u", "https://other.example/token").Field("u"))
		}, want: "GET other.example/.well-known/oauth-authorization-server"},
		{name: "the entry names the endpoint with a field in it", answers: map[string]http.HandlerFunc{"acme.introspect.example/i": good}, change: func(p *provider.Provider, c *credential.Credential) {
			p.OAuth2.IntrospectionURL = "https://{dc}.introspect.example/i"
			c.Set("dc", record("x", "dc", "acme").Field("dc"))
		}, want: "POST acme.introspect.example/i"},
		{name: "a secret in the endpoint's name", change: func(p *provider.Provider, c *credential.Credential) {
			p.OAuth2.IntrospectionURL = "https://{client_secret}.introspect.example/i"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := &network{answers: map[string]http.HandlerFunc{"api.example/user": says(200, `{}`)}}
			for at, h := range tc.answers {
				n.answers[at] = h
			}
			p, cred := discoverable(tc.token), web("4ccess", "r3fresh")
			if tc.change != nil {
				tc.change(p, cred)
			}
			r := newChecker(n).Check(t.Context(), p, cred)
			if got := strings.Join(n.asked[1:], ", "); got != tc.want {
				t.Errorf("asked %q, want %q", got, tc.want)
			}
			if line(r, checker.Authorization).Status != checker.OK {
				t.Errorf("%+v", r.Checks)
			}
			if l := line(r, checker.Scopes); strings.Contains(tc.want, "POST") && l.Status != checker.OK {
				t.Errorf("scopes %+v", l)
			}
			for _, host := range n.tokens {
				if host == "evil.example" || host == "as.example:8443" {
					t.Errorf("the token went to %s", host)
				}
			}
			wantNoSecret(t, r, "4ccess", "r3fresh", "s3cr3t")
		})
	}
}

// discoverable is a provider whose entry names no introspection endpoint.
func discoverable(token string) *provider.Provider {
	if token == "" {
		token = "https://as.example/token"
	}
	p := api("https://api.example")
	p.AllowCleartext = false
	p.Hosts, p.OAuth2.TokenURL, p.Needs.Scopes = []string{"api.example"}, token, []string{"read"}
	return p
}

// What an issuer offers, and that it offers nothing, is asked for once an hour, and
// that it is away once a minute; a changed entry is asked for at once.
func TestDiscoveryIsRemembered(t *testing.T) {
	const as = "as.example/.well-known/"
	offers := offering("https://as.example", "https://as.example/introspect")
	for name, c := range map[string]struct {
		answers map[string]http.HandlerFunc
		fail    error
		first   int
		life    time.Duration
	}{
		"offered":                   {answers: map[string]http.HandlerFunc{as + "oauth-authorization-server": offers}, first: 1, life: time.Hour},
		"not offered":               {first: 2, life: time.Hour},
		"offered, one document 503": {answers: map[string]http.HandlerFunc{as + "oauth-authorization-server": says(503, `{}`), as + "openid-configuration": offers}, first: 2, life: time.Hour},
		"503":                       {answers: map[string]http.HandlerFunc{as + "oauth-authorization-server": says(503, `{}`)}, first: 2, life: time.Minute},
		"429":                       {answers: map[string]http.HandlerFunc{as + "openid-configuration": says(429, `{}`)}, first: 2, life: time.Minute},
		"away":                      {fail: fault.New(fault.ConnectionRefused, "", nil), first: 1, life: time.Minute},
		"a timeout":                 {fail: fault.New(fault.Timeout, "", nil), first: 1, life: time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{answers: map[string]http.HandlerFunc{"api.example/user": says(200, `{}`), "as.example/introspect": says(200, `{"active":true,"scope":"read"}`)}}
			maps.Copy(n.answers, c.answers)
			if c.fail != nil {
				n.fails = map[string]error{"as.example": c.fail}
			}
			check := newChecker(n)
			documents := func(fingerprint string) int {
				n.asked = nil
				p := discoverable("")
				p.Fingerprint = fingerprint
				check.Check(t.Context(), p, web("4ccess", "r3fresh"))
				return strings.Count(strings.Join(n.asked, " "), ".well-known")
			}
			a, b := documents("1"), documents("1")
			time.Sleep(c.life - time.Second)
			early := documents("1")
			time.Sleep(time.Second)
			if later := documents("1"); a != c.first || b != 0 || early != 0 || later != c.first {
				t.Errorf("%s: asked for %d, %d, %d and after %v %d documents, want %d, 0, 0, %d", name, a, b, early, c.life, later, c.first, c.first)
			}
			if changed := documents("2"); changed != c.first {
				t.Errorf("%s: of a changed entry %d documents were asked for, want %d", name, changed, c.first)
			}
		})
	}
}

// Where the metadata would name the only proof, an authorization server that is away
// makes the report unknown, now and from memory; one without metadata does not.
func TestDiscoveryThatFailsProvesNothing(t *testing.T) {
	const at = "as.example/.well-known/oauth-authorization-server"
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		fail   error
		want   checker.Status
		code   fault.Code
		says   string
	}{
		"503":           {answer: says(503, `{}`), want: checker.Unknown, code: fault.TokenEndpointUnreachable, says: "the metadata of the authorization server https://as.example cannot be read: it answered 503"},
		"429":           {answer: says(429, `{}`), want: checker.Unknown, code: fault.TokenEndpointUnreachable, says: "it answered 429"},
		"away":          {fail: fault.New(fault.ConnectionRefused, "", nil), want: checker.Unknown, code: fault.ConnectionRefused, says: "https://as.example cannot be read: "},
		"no metadata":   {want: checker.Warning, says: "nothing was sent"},
		"a certificate": {fail: fault.New(fault.TLSCertificate, "", nil), want: checker.Warning, code: fault.TLSCertificate, says: "cannot be read"},
	} {
		n := &network{answers: map[string]http.HandlerFunc{at: c.answer}}
		if c.fail != nil {
			n.fails = map[string]error{"as.example": c.fail}
		}
		check, p := newChecker(n), discoverable("")
		p.Verify = provider.Verify{}
		for range 2 {
			r := check.Check(t.Context(), p, web("4ccess", "r3fresh"))
			l := line(r, checker.Authorization)
			if r.Status != c.want || l.Status != checker.Unverifiable || !strings.Contains(l.Detail, c.says) || (r.Fault == nil) != (c.code == "") || r.Fault != nil && r.Fault.Code != c.code {
				t.Errorf("%s: %s %+v, fault %+v; want %s, saying %q", name, r.Status, l, r.Fault, c.want, c.says)
			}
		}
	}
}
