package auth

import (
	"context"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// record makes a stored record; fields are name, value pairs.
func record(typ string, fields ...string) *credential.Credential {
	c := &credential.Credential{
		Ref:  credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "main"},
		Type: typ, Version: 1,
	}
	for i := 0; i+1 < len(fields); i += 2 {
		c.Set(fields[i], secret.New(fields[i+1]))
	}
	return c
}

func crm(places ...provider.Place) *provider.Provider {
	return &provider.Provider{Name: "crm", Places: places, Fingerprint: "1"}
}

func mustMint(t testing.TB, p *provider.Provider, c *credential.Credential) *Injector {
	t.Helper()
	i, err := Mint(context.Background(), Material{Credential: c, Provider: p})
	if err != nil {
		t.Fatalf("Mint(%s): %v", c.Type, err)
	}
	return i
}

// request is one that a runner sent, as the proxy hands it on.
func request(t testing.TB, url string, header ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
	}
	return req
}

func TestStaticKinds(t *testing.T) {
	url := "https://one.example:8443/api"
	for _, tc := range []struct {
		name   string
		places []provider.Place
		c      *credential.Credential
		header string
		want   string
		url    string
	}{
		{name: "bearer", c: record("bearer", "token", "t1"), header: "Authorization", want: "Bearer t1"},
		{name: "api_key", c: record("api_key", "api_key", "k1"), header: "Authorization", want: "Bearer k1"},
		{name: "api_key in the provider's place", c: record("api_key", "api_key", "k1"), header: "X-Api-Key", want: "Key k1",
			places: []provider.Place{{In: provider.InHeader, Name: "x-api-key", Value: "Key {api_key}"}}},
		{name: "api_key_secret", c: record("api_key_secret", "api_key", "k", "api_secret", "s"), header: "Authorization", want: "Basic azpz"},
		{name: "api_key_url", c: record("api_key_url", "api_key", "k1", "url", url+"/"), header: "Authorization", want: "Bearer k1", url: url},
		{name: "basic", c: record("basic", "username", "test", "password", "123£"), header: "Authorization", want: "Basic dGVzdDoxMjPCow=="}, // RFC 7617 section 2.1
		{name: "basic_url", c: record("basic_url", "username", "u", "password", "p", "url", url), header: "Authorization", want: "Basic dTpw", url: url},
		{name: "basic_api_key keeps basic", c: record("basic_api_key", "username", "u", "password", "p", "api_key", "k"), header: "Authorization", want: "Basic dTpw",
			places: []provider.Place{{In: provider.InHeader, Name: "X-Key", Value: "{api_key}"}}},
		{name: "basic_api_key sets the key", c: record("basic_api_key", "username", "u", "password", "p", "api_key", "k", "url", url), header: "X-Key", want: "k", url: url,
			places: []provider.Place{{In: provider.InHeader, Name: "X-Key", Value: "{api_key}"}}},
		{name: "a place of another kind's field is not this one's", c: record("bearer", "token", "t1"), header: "Authorization", want: "Bearer t1",
			places: []provider.Place{{In: provider.InHeader, Name: "X-Key", Value: "{api_key}"}}},
		{name: "a provider's basic place", c: record("api_key", "api_key", "k"), header: "Authorization", want: "Basic azp4",
			places: []provider.Place{{In: provider.InBasic, Username: "{api_key}", Password: "x"}}},
		{name: "a further field beside the type's own place", c: record("bearer", "token", "t1", "org", "o1"), header: "X-Org", want: "o1",
			places: []provider.Place{{In: provider.InHeader, Name: "X-Org", Value: "{org}"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i := mustMint(t, crm(tc.places...), tc.c)
			req := request(t, "https://crm.example/x?a=1")
			if err := i.Inject(req); err != nil {
				t.Fatal(err)
			}
			if got := req.Header[tc.header]; len(got) != 1 || got[0] != tc.want {
				t.Errorf("%s = %q, want exactly %q", tc.header, got, tc.want)
			}
			if got := i.Upstream; tc.url == "" && got != nil || tc.url != "" && (got == nil || got.String() != tc.url) {
				t.Errorf("Upstream = %v, want %q", got, tc.url)
			}
		})
	}
}
