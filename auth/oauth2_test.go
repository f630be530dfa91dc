package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func mint(e http.RoundTripper, p *provider.Provider, c *credential.Credential) (*Injector, error) {
	return Mint(context.Background(), Material{Credential: c, Provider: p, Client: &http.Client{Transport: e}})
}

func TestTokenRequest(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    provider.OAuth2
		c    *credential.Credential
		url  string
		auth string // Basic, as user:password
		form url.Values
	}{
		{
			name: "basic is the default", o: provider.OAuth2{TokenURL: tokenURL}, c: clientRecord(), auth: "id:s3cr3t",
			form: url.Values{"grant_type": {"client_credentials"}},
		},
		{
			name: "id and secret are form-urlencoded before Basic (RFC 6749 section 2.3.1)", o: provider.OAuth2{TokenURL: tokenURL, ClientAuth: "basic"},
			c: record("oauth2_client_credentials", "client_id", "a:b", "client_secret", "p@ss/w+rd %"), auth: "a%3Ab:p%40ss%2Fw%2Brd+%25",
			form: url.Values{"grant_type": {"client_credentials"}},
		},
		{
			name: "body", o: provider.OAuth2{TokenURL: tokenURL, ClientAuth: "body"}, c: clientRecord(),
			form: url.Values{"grant_type": {"client_credentials"}, "client_id": {"id"}, "client_secret": {"s3cr3t"}},
		},
		{
			name: "none", o: provider.OAuth2{TokenURL: tokenURL, ClientAuth: "none"}, c: clientRecord(),
			form: url.Values{"grant_type": {"client_credentials"}, "client_id": {"id"}},
		},
		{
			name: "the provider's scopes, by its separator", o: provider.OAuth2{TokenURL: tokenURL, Scopes: []string{"a", "b"}, ScopeSeparator: ","},
			c: clientRecord(), auth: "id:s3cr3t", form: url.Values{"grant_type": {"client_credentials"}, "scope": {"a,b"}},
		},
		{
			name: "the record's scope, audience and token_url win",
			o:    provider.OAuth2{TokenURL: tokenURL, Scopes: []string{"a"}, Params: map[string]string{"audience": "x", "scope": "y", "z": "1"}},
			c:    clientRecord("scope", "b c", "audience", "api", "token_url", "https://other.example/t?v=1"), auth: "id:s3cr3t", url: "https://other.example/t?v=1",
			form: url.Values{"grant_type": {"client_credentials"}, "scope": {"b c"}, "audience": {"api"}, "z": {"1"}},
		},
		{
			name: "templates", o: provider.OAuth2{TokenURL: "https://{tenant}.login.example/{tenant}", Params: map[string]string{"grant_type": "account_credentials", "account_id": "{account}"}},
			c: clientRecord("tenant", "acme-1", "account", "a/b c"), auth: "id:s3cr3t", url: "https://acme-1.login.example/acme-1",
			form: url.Values{"grant_type": {"account_credentials"}, "account_id": {"a/b c"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &tokenEndpoint{}
			if _, err := mint(e, &provider.Provider{Name: "crm", OAuth2: tc.o}, tc.c); err != nil {
				t.Fatal(err)
			}
			if tc.url == "" {
				tc.url = tokenURL
			}
			req, form := e.asked[0], e.forms[0]
			user, pass, ok := req.BasicAuth()
			if got := user + ":" + pass; ok != (tc.auth != "") || ok && got != tc.auth {
				t.Errorf("Basic is %q, want %q", got, tc.auth)
			}
			if req.URL.String() != tc.url || req.Method != http.MethodPost || form.Encode() != tc.form.Encode() {
				t.Errorf("%s %s with %v, want POST %s with %v", req.Method, req.URL, form, tc.url, tc.form)
			}
			if req.Header.Get("Accept") != "application/json" {
				t.Error("it does not ask for JSON")
			}
		})
	}
}

// What is sent in the clear to this machine does not leave it.
func TestCleartextOnLoopback(t *testing.T) {
	for _, at := range []string{"http://127.0.0.1:8080/token", "http://127.8.8.8/token", "http://[::1]:8080/token", "http://localhost/token"} {
		p := &provider.Provider{Name: "crm", OAuth2: provider.OAuth2{TokenURL: tokenURL}}
		e := &tokenEndpoint{}
		if _, err := mint(e, p, clientRecord("token_url", at)); err != nil || len(e.asked) != 1 || e.asked[0].URL.String() != at {
			t.Errorf("token_url %s: %v, asked %d times; want one request", at, err, len(e.asked))
		}
	}
}

func TestTokenRequestThatCannotBe(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    provider.OAuth2
		c    *credential.Credential
		want fault.Code
		says string
	}{
		{"no token_url", provider.OAuth2{}, clientRecord(), fault.FieldMissing, "token_url"},
		{"cleartext", provider.OAuth2{TokenURL: "http://login.example/"}, clientRecord(), fault.CleartextRefused, "token_url"},
		{"cleartext of the record", provider.OAuth2{TokenURL: tokenURL}, clientRecord("token_url", "http://login.example/"), fault.CleartextRefused, "field token_url"},
		{"cleartext to a name that begins like loopback", provider.OAuth2{TokenURL: "http://127.0.0.1.evil.example/"}, clientRecord(), fault.CleartextRefused, "token_url"},
		{"cleartext below localhost", provider.OAuth2{TokenURL: "http://login.localhost/"}, clientRecord(), fault.CleartextRefused, "token_url"},
		{"relative", provider.OAuth2{TokenURL: tokenURL}, clientRecord("token_url", "/token"), fault.FieldMissing, "field token_url"},
		{"userinfo", provider.OAuth2{TokenURL: tokenURL}, clientRecord("token_url", "https://u:p@login.example"), fault.FieldMissing, "field token_url"},
		{"fragment", provider.OAuth2{TokenURL: tokenURL}, clientRecord("token_url", "https://login.example#x"), fault.FieldMissing, "field token_url"},
		{"line break", provider.OAuth2{TokenURL: tokenURL}, clientRecord("token_url", "https://login.example/\r\nX: y"), fault.FieldMissing, "field token_url"},
		{"missing template field", provider.OAuth2{TokenURL: "https://{tenant}.example/"}, clientRecord(), fault.FieldMissing, "tenant"},
		{"a template field that reaches out", provider.OAuth2{TokenURL: "https://{tenant}.example/"}, clientRecord("tenant", "evil.example/#"), fault.FieldMissing, "tenant"},
		{"a secret in the URL", provider.OAuth2{TokenURL: "https://{client_secret}.example/"}, clientRecord(), fault.FieldMissing, "client_secret"},
		{"missing parameter field", provider.OAuth2{TokenURL: tokenURL, Params: map[string]string{"account": "{account}"}}, clientRecord(), fault.FieldMissing, "account"},
		{"control character in the secret", provider.OAuth2{TokenURL: tokenURL}, record("oauth2_client_credentials", "client_id", "id", "client_secret", "s3cr3t\r\n1"), fault.FieldMissing, "client_secret"},
		{"private_key_jwt without a key", provider.OAuth2{TokenURL: tokenURL, ClientAuth: "private_key_jwt"}, clientRecord(), fault.FieldMissing, "field private_key is missing"},
		{"an unknown client_auth", provider.OAuth2{TokenURL: tokenURL, ClientAuth: "magic"}, clientRecord(), fault.FieldMissing, "is not known"},
		{"no secret", provider.OAuth2{TokenURL: tokenURL}, record("oauth2_client_credentials", "client_id", "id"), fault.FieldMissing, "client_secret"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &tokenEndpoint{}
			p := &provider.Provider{Name: "crm", OAuth2: tc.o}
			_, err := mint(e, p, tc.c)
			bad := Validate(p, tc.c)
			if !errors.Is(err, tc.want) || !errors.Is(bad, fault.InvalidRequest) {
				t.Fatalf("got %v and %v, want %s and invalid_request", err, bad, tc.want)
			}
			for _, e := range []error{err, bad} {
				if !strings.Contains(e.Error(), tc.says) || strings.Contains(e.Error(), "s3cr3t") || strings.Contains(e.Error(), "evil") {
					t.Errorf("%q must name %s and quote no value", e, tc.says)
				}
			}
			if e.posts() != 0 {
				t.Error("it asked all the same")
			}
		})
	}
	if err := Validate(oauthProvider(), clientRecord()); err != nil {
		t.Errorf("Validate of a good record, without any I/O: %v", err)
	}
}

// OA-03, OA-04: every way of telling a life.
func TestTokenLife(t *testing.T) {
	for _, tc := range []struct {
		row, member string
		want        time.Duration
	}{
		{"OA-03 missing", ``, defaultLife},
		{"OA-03 null", `,"expires_in":null`, defaultLife},
		{"OA-03 zero", `,"expires_in":0`, defaultLife},
		{"OA-03 zero in a string", `,"expires_in":"0"`, defaultLife},
		{"OA-03 negative", `,"expires_in":-5`, defaultLife},
		{"OA-04 nonsense", `,"expires_in":"abc"`, defaultLife},
		{"OA-04 empty", `,"expires_in":""`, defaultLife},
		{"OA-04 an object", `,"expires_in":{"seconds":5}`, defaultLife},
		{"OA-04 NaN", `,"expires_in":"NaN"`, defaultLife},
		{"OA-04 float", `,"expires_in":3600.9`, 3600900 * time.Millisecond},
		{"OA-04 whole float", `,"expires_in":3600.0`, time.Hour},
		{"OA-04 string", `,"expires_in":"3600"`, time.Hour},
		{"OA-04 float in a string", `,"expires_in":" 7200.5 "`, 7200500 * time.Millisecond},
		{"OA-04 exponent", `,"expires_in":1e3`, 1000 * time.Second},
		{"OA-04 beyond all measure", `,"expires_in":1e300`, maxLife},
		{"OA-04 infinite", `,"expires_in":"+Inf"`, maxLife},
		{"short is believed", `,"expires_in":1`, time.Second},
		{"long is believed", `,"expires_in":315360000`, 10 * 365 * 24 * time.Hour},
	} {
		t.Run(tc.row, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i, err := mint(&tokenEndpoint{answer: says(200, "application/json", `{"access_token":"a"`+tc.member+`}`)}, oauthProvider(), clientRecord())
				if err != nil {
					t.Fatalf("%s: %v", tc.row, err)
				}
				if got := time.Until(i.Expiry); got != tc.want {
					t.Errorf("%s: the token lives %v, want %v", tc.row, got, tc.want)
				}
			})
		})
	}
}

func TestTokenAnswers(t *testing.T) {
	const json, form, text, html = "application/json", "application/x-www-form-urlencoded", "text/plain; charset=utf-8", "text/html"
	const unreachable = fault.TokenEndpointUnreachable
	big := `{"access_token":"` + strings.Repeat("a", maxAnswer) + `"}`
	for _, tc := range []struct {
		name   string
		status int
		typ    string
		body   string
		want   fault.Code
		sends  string
	}{
		{"plain", 200, json, `{"access_token":"a","token_type":"bearer"}`, "", "Bearer a"},
		{"no token_type", 200, json, `{"access_token":"a"}`, "", "Bearer a"},
		{"BEARER", 200, json, `{"access_token":"a","token_type":"BEARER"}`, "", "Bearer a"},
		{"BearerToken", 200, json, `{"access_token":"a","token_type":"BearerToken"}`, "", "Bearer a"},
		{"another scheme", 200, json, `{"access_token":"a","token_type":"token"}`, "", "token a"},
		{"no scheme at all", 200, json, `{"access_token":"a","token_type":"x\r\ny"}`, "", "Bearer a"},
		{"token_type of another kind", 200, json, `{"access_token":"a","token_type":7}`, "", "Bearer a"},
		{"201", 201, json, `{"access_token":"a"}`, "", "Bearer a"},
		{"form", 200, form, `access_token=a%2Bb&token_type=bearer&expires_in=60`, "", "Bearer a+b"},
		{"form called text", 200, text, `access_token=a`, "", "Bearer a"},
		{"JSON called text", 200, text, `{"access_token":"a"}`, "", "Bearer a"},
		{"JSON called HTML", 200, html, `{"access_token":"a"}`, "", "Bearer a"},
		{"empty error", 200, json, `{"access_token":"a","error":""}`, "", "Bearer a"},
		{"invalid_client", 401, json, `{"error":"invalid_client"}`, fault.InvalidClient, ""},
		{"invalid_client in 400", 400, json, `{"error":"invalid_client"}`, fault.InvalidClient, ""},
		{"unauthorized_client", 400, json, `{"error":"unauthorized_client"}`, fault.InvalidClient, ""},
		{"invalid_grant", 400, json, `{"error":"invalid_grant"}`, fault.InvalidGrant, ""},
		{"invalid_scope", 400, json, `{"error":"invalid_scope"}`, fault.InvalidScope, ""},
		{"an error in 200", 200, json, `{"error":"invalid_scope","access_token":"a"}`, fault.InvalidScope, ""},
		{"an error in a form", 200, form, `error=invalid_client`, fault.InvalidClient, ""},
		{"a code of its own", 200, json, `{"error":"incorrect_client_credentials"}`, fault.InvalidClient, ""},
		{"an error object", 400, json, `{"error":{"message":"no"}}`, fault.InvalidClient, ""},
		{"401 without a code", 401, json, `{"message":"bad"}`, fault.InvalidClient, ""},
		{"401 page of a middlebox", 401, html, `<html>`, unreachable, ""},
		{"temporarily_unavailable", 400, json, `{"error":"temporarily_unavailable"}`, unreachable, ""},
		{"invalid_client in a 500", 500, json, `{"error":"invalid_client"}`, unreachable, ""},
		{"503", 503, html, `<html>`, unreachable, ""},
		{"429", 429, json, `{"error":"invalid_client"}`, unreachable, ""},
		{"404", 404, html, `<html>`, unreachable, ""},
		{"403 page", 403, html, `<html>`, unreachable, ""},
		{"redirect", 302, html, ``, unreachable, ""},
		{"HTML in 200", 200, html, `<html>access_token=a</html>`, unreachable, ""},
		{"nothing in 200", 200, json, ``, unreachable, ""},
		{"JSON that is cut in the token", 200, json, `{"access_token":"a`, unreachable, ""},
		{"JSON that is cut behind the token", 200, json, `{"access_token":"a","expir`, "", "Bearer a"},
		{"an array", 200, json, `[]`, unreachable, ""},
		{"no access_token", 200, json, `{"token":"a"}`, unreachable, ""},
		{"access_token of another kind", 200, json, `{"access_token":{}}`, unreachable, ""},
		{"line break in the token", 200, json, `{"access_token":"a\r\nX: y"}`, unreachable, ""},
		{"OA-07 too large", 200, json, big, unreachable, ""},
		{"no answer", 0, "", "", unreachable, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i, err := mint(&tokenEndpoint{answer: says(tc.status, tc.typ, tc.body)}, oauthProvider(), clientRecord())
			if tc.want != "" {
				if !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %s", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := sent(t, i); got != tc.sends {
				t.Errorf("it sends %q, want %q", got, tc.sends)
			}
		})
	}
}

// OA-01: an endpoint that drops the reply is asked once, whatever the client authentication.
func TestOneTryPerMint(t *testing.T) {
	for _, style := range []string{"", "basic", "body", "none"} {
		var posts atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			posts.Add(1)
			panic(http.ErrAbortHandler) // the connection closes without an answer
		}))
		p := &provider.Provider{Name: "crm", AllowCleartext: true, OAuth2: provider.OAuth2{TokenURL: server.URL, ClientAuth: style}}
		_, err := Mint(context.Background(), Material{Credential: clientRecord(), Provider: p, Client: plainClient(t)})
		if !errors.Is(err, fault.TokenEndpointUnreachable) || posts.Load() != 1 {
			t.Errorf("OA-01: client_auth %q: %d posts, %v; want one", style, posts.Load(), err)
		}
		server.Close()
	}
}

// OA-02: a token endpoint that redirects is not followed, even where the client handed in would.
func TestRedirectIsNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var reached atomic.Bool
		evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			reached.Store(true)
			_, _ = w.Write([]byte(`{"access_token":"evil"}`))
		}))
		server := httptest.NewServer(http.RedirectHandler(evil.URL, status))
		p := &provider.Provider{Name: "crm", AllowCleartext: true, OAuth2: provider.OAuth2{TokenURL: server.URL, ClientAuth: "body"}}
		_, err := Mint(context.Background(), Material{Credential: clientRecord(), Provider: p, Client: plainClient(t)})
		if !errors.Is(err, fault.TokenEndpointUnreachable) || reached.Load() {
			t.Errorf("OA-02: %d: %v, followed: %v", status, err, reached.Load())
		}
		server.Close()
		evil.Close()
	}
}

// OA-07: an endpoint that never answers costs ten seconds, not more.
func TestExchangeIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := time.Now()
		_, err := mint(&tokenEndpoint{took: time.Hour}, oauthProvider(), clientRecord())
		if took := time.Since(before); !errors.Is(err, fault.TokenEndpointUnreachable) || took != maxExchange {
			t.Errorf("OA-07: %v after %v", err, took)
		}
	})
}

// Refusals of our own keep their code; the rest is the endpoint not being reached.
func TestUnreachedEndpoint(t *testing.T) {
	for err, want := range map[error]fault.Code{
		fault.New(fault.PrivateAddress, "", nil):                   fault.PrivateAddress,
		fault.New(fault.LoopDetected, "", nil):                     fault.LoopDetected,
		fault.New(fault.DNSFailure, "", errors.New("CNRY")):        fault.TokenEndpointUnreachable,
		fault.New(fault.TLSCertificate, "CNRY", nil):               fault.TokenEndpointUnreachable,
		errors.New("malformed HTTP response \"CNRY\""):             fault.TokenEndpointUnreachable,
		fault.New(fault.UpstreamInvalid, "", errors.New("a CNRY")): fault.TokenEndpointUnreachable,
	} {
		_, got := mint(failing{err}, oauthProvider(), clientRecord())
		if !errors.Is(got, want) || strings.Contains(got.Error(), "CNRY") {
			t.Errorf("%v gives %v, want %s", err, got, want)
		}
	}
	_, err := Mint(context.Background(), Material{Credential: clientRecord(), Provider: oauthProvider(), Client: &http.Client{}})
	if !errors.Is(err, fault.Internal) {
		t.Errorf("a client without a transport would be the default one: %v", err)
	}
}

type failing struct{ err error }

// RoundTrip implements http.RoundTripper.
func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

// A token goes where the provider wants it.
func TestTokenInProvidersPlace(t *testing.T) {
	p := oauthProvider()
	p.Places = []provider.Place{header("X-Access-Token", "{access_token}"), header("X-Api-Key", "{api_key}")}
	i, err := mint(&tokenEndpoint{}, p, clientRecord())
	if err != nil {
		t.Fatal(err)
	}
	req := request(t, "https://api.example/")
	if err := i.Inject(req); err != nil || len(req.Header) != 1 || req.Header.Get("X-Access-Token") != "at-1" {
		t.Errorf("the header is %v, %v", req.Header, err)
	}
}
