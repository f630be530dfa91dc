package provider

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The answer's own words against the provider's places.
func TestPlaceHint(t *testing.T) {
	const elsewhere = "; the credential goes into Authorization"
	own := &Provider{Type: "api_key"}
	header := func(name, value string) *Provider {
		return &Provider{Places: []Place{{In: InHeader, Name: name, Value: value}}}
	}
	apiKey, inQuery := header("X-Api-Key", "{api_key}"), &Provider{Places: []Place{{In: InQuery, Name: "key", Value: "{api_key}"}}}
	for _, tt := range []struct {
		name string
		p    *Provider
		resp *http.Response
		body string
		want string
	}{
		{"a header by its name", own, answer(401), `{"error":{"message":"x-api-key header is required"}}`, "the provider asks for the header x-api-key" + elsewhere},
		{"a header in quotes", own, answer(401), `{"message":"Missing required header 'X-Api-Key'"}`, "the provider asks for the header X-Api-Key" + elsewhere},
		{"a header in escaped quotes", own, answer(401), `{"message":"The header \"X-Token\" is missing"}`, "the provider asks for the header X-Token" + elsewhere},
		{"Supabase", own, answer(401), "{\"message\":\"No API key found in request\",\"hint\":\"No `apikey` request header or url param was found.\"}", "the provider asks for the header apikey" + elsewhere},
		{"Azure API Management", own, answer(401, "WWW-Authenticate", `AzureApiManagementKey realm="https://x.azure-api.net/echo",name="Ocp-Apim-Subscription-Key",type="header"`), `{}`, "the provider asks for the header Ocp-Apim-Subscription-Key" + elsewhere},
		{"Azure API Management by query", own, answer(401, "WWW-Authenticate", `AzureApiManagementKey realm="x", name="subscription-key", type="query"`), `{}`, "the provider asks for the query parameter subscription-key" + elsewhere},
		{"Apigee by query", own, answer(401), `{"fault":{"faultstring":"Failed to resolve API Key variable request.queryparam.apikey"}}`, "the provider asks for the query parameter apikey" + elsewhere},
		{"Apigee by header", inQuery, answer(401), `{"fault":{"faultstring":"Failed to resolve API Key variable request.header.x-apikey"}}`, "the provider asks for the header x-apikey; the credential goes into the query parameter key"},
		{"a query parameter", apiKey, answer(400), `{"error":"missing api key: query parameter 'api_key'"}`, "the provider asks for the query parameter api_key; the credential goes into X-Api-Key"},
		{"a query parameter without quotes", apiKey, answer(400), `{"error":"api key is missing, use the api_key query parameter"}`, "the provider asks for the query parameter api_key; the credential goes into X-Api-Key"},
		{"the field alone", apiKey, answer(401), `{"msg":"Missing Authorization Header"}`, "the provider asks for the header Authorization; the credential goes into X-Api-Key"},
		{"Stripe", apiKey, answer(401), `{"error":{"message":"You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')"}}`, "the provider asks for the header Authorization with Bearer; the credential goes into X-Api-Key"},
		{"no prefix", header("Authorization", "{api_key}"), answer(401), `{"msg":"Missing 'Bearer' type in 'Authorization' header. Expected 'Authorization: Bearer <JWT>'"}`, "the provider asks for Bearer in Authorization; the credential goes there without a prefix"},
		{"another prefix", header("Authorization", "Token {api_key}"), answer(401), `{"message":"Format is Authorization: Bearer [token]"}`, "the provider asks for Bearer in Authorization; the credential goes there as Token"},
		{"the prefix that is there", own, answer(401), `{"message":"Format is Authorization: Bearer [token]"}`, ""},
		{"Basic to a Bearer", own, answer(401, "WWW-Authenticate", `Basic realm="api"`), ``, "the provider asks for Basic in Authorization; the credential goes there as Bearer"},
		{"Token to a Bearer", own, answer(401, "WWW-Authenticate", "Token"), `{"detail":"Authentication credentials were not provided."}`, "the provider asks for Token in Authorization; the credential goes there as Bearer"},
		{"ApiKey to a Bearer", own, answer(401, "WWW-Authenticate", "ApiKey"), ``, "the provider asks for ApiKey in Authorization; the credential goes there as Bearer"},
		{"Bearer to a Basic", &Provider{Type: "basic"}, answer(401, "WWW-Authenticate", "Bearer"), ``, "the provider asks for Bearer in Authorization; the credential goes there as Basic"},
		{"Bearer to a place of basic", &Provider{Places: []Place{{In: InBasic}}}, answer(401, "WWW-Authenticate", "Bearer"), ``, "the provider asks for Bearer in Authorization; the credential goes there as Basic"},
		{"Basic or Bearer to a Bearer", own, answer(401, "WWW-Authenticate", `Basic realm="api", Bearer`), ``, ""},
		{"Basic as a habit, of a key that was found", own, answer(401, "WWW-Authenticate", `Basic realm="Stripe"`), `{"error":{"message":"Invalid API Key provided: sk_test_****key"}}`, ""},
		{"Basic as a habit, of a token that has expired", own, answer(401, "WWW-Authenticate", `Basic realm="x"`), `{"message":"The token has expired"}`, ""},
		{"OAuth as a habit", &Provider{Type: "basic"}, answer(401, "WWW-Authenticate", `OAuth realm="https%3A%2F%2Fx.atlassian.net"`), `Client must be authenticated to access this resource.`, ""},
		{"Basic to a query", inQuery, answer(401, "WWW-Authenticate", `Basic realm="api"`), ``, "the provider asks for the header Authorization with Basic; the credential goes into the query parameter key"},
		{"several places", &Provider{Places: []Place{{In: InCookie, Name: "session"}, {In: InBody, Name: "token"}}}, answer(401), `{"error":"header 'X-Token' missing"}`, "the provider asks for the header X-Token; the credential goes into the cookie session and the body member token"},
		{"AWS, a path or a signature", own, answer(403, "X-Amzn-ErrorType", "MissingAuthenticationTokenException"), `{"message":"Missing Authentication Token"}`, "an AWS gateway found no signature (type aws_sigv4); it answers so to a path and a method that it does not have, too"},
		{"AWS, no signature", own, answer(403, "X-Amzn-ErrorType", "IncompleteSignatureException"), `{}`, "the provider asks for an AWS signature (type aws_sigv4); it answers so to a path that it does not have, too"},

		{"what is done already", apiKey, answer(401), `{"message":"x-api-key header is required"}`, ""},
		{"no word of a place", own, answer(401), `{"message":"No API key found in request"}`, ""},
		{"a scheme that is no place", own, answer(401, "WWW-Authenticate", `Key realm="kong"`), `{"message":"No API key found in request"}`, ""},
		{"it was found", own, answer(401, "WWW-Authenticate", `Basic realm="x", Bearer error="invalid_token"`), `use the x-api-key header`, ""},
		{"a good answer", own, answer(200), `x-api-key header is required`, ""},
		{"not a name", own, answer(401), `{"message":"header 'a b c' is missing"}`, ""},
		{"the word after it", own, answer(401), `{"message":"the header is missing, query parameter is missing"}`, ""},
	} {
		if got, _ := tt.p.PlaceHint(tt.resp, []byte(tt.body)); got != tt.want {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}

// The scheme that was really sent counts; nothing that was sent is told, however
// the server repeats it.
func TestPlaceHintOfARequest(t *testing.T) {
	p := &Provider{Type: "api_key"}
	sent := func(body string, fields ...string) string {
		resp := answer(401)
		resp.Request = &http.Request{Header: http.Header{}, URL: &url.URL{RawQuery: "key=query-secret-1"}}
		for i := 0; i+1 < len(fields); i += 2 {
			resp.Request.Header.Set(fields[i], fields[i+1])
		}
		hint, _ := p.PlaceHint(resp, []byte(body))
		return hint
	}
	const wantsBearer, wantsHeader = `{"message":"Format is Authorization: Bearer [token]"}`, `{"message":"x-api-key header is required"}`
	for _, tt := range []struct{ got, want string }{
		{sent(wantsBearer, "Authorization", "Basic dTpw"), "the provider asks for Bearer in Authorization; the credential goes there as Basic"},
		{sent(wantsBearer, "Authorization", "Bearer x"), ""},
		{sent(wantsBearer, "Authorization", "canary-without-prefix"), ""},
		{sent(wantsHeader, "Authorization", "canary-without-prefix"), "the provider asks for the header x-api-key; the credential goes into Authorization"},
		{sent(wantsHeader), "the provider asks for the header x-api-key"},
		{sent(`{"message":"no such key as header 'canary-1234'"}`, "Authorization", "Bearer canary-1234"), ""},
		{sent(`{"message":"query parameter 'query-secret-1' is wrong"}`, "Authorization", "Bearer x"), ""},
	} {
		if tt.got != tt.want || strings.Contains(tt.got, "canary") || strings.Contains(tt.got, "secret") {
			t.Errorf("%q; want %q", tt.got, tt.want)
		}
	}
}

// A place is named where the answer's words say so and name none of ours: a challenge
// alone may be a habit, and what was found and has expired was in its place.
func TestPlaceHintNamed(t *testing.T) {
	own := &Provider{Type: "api_key"}
	token := &Provider{Places: []Place{{In: InHeader, Name: "Authorization", Value: "Token {api_key}"}}}
	for _, tt := range []struct {
		p    *Provider
		body string
		resp *http.Response
		want bool
	}{
		{own, `{"error":"api_key query parameter is required"}`, answer(401), true},
		{own, `{"error":"Please pass your api key in the X-API-Token header"}`, answer(401), true},
		{own, `{"error":"Authorization header must start with 'Token '"}`, answer(401), true},
		{own, `{"error":"Invalid API key. Send it as the X-Api-Key header"}`, answer(401), true},
		{own, `{}`, answer(401, "WWW-Authenticate", `AzureApiManagementKey realm="x", name="subscription-key", type="query"`), true},
		{token, `{"message":"Format is Authorization: Bearer [token]"}`, answer(401), true},
		{own, `{}`, answer(401, "WWW-Authenticate", `Basic realm="x"`), false},
		{own, `{"error":"Send it as the X-Api-Key header or as a Bearer token"}`, answer(401), false},
		{own, `{"error":"Send it as the X-Api-Key header or in the header 'Authorization'"}`, answer(401), false},
		{own, `{"error":"The token has expired; send another as the X-Api-Key header"}`, answer(401), false},
		{token, `{"error":"Authorization header must start with 'Token '"}`, answer(401), false},
		{own, `{"error":"Send it as the X-Api-Key header"}`, answer(200), false},
		{own, `{"error":"Bad credentials"}`, answer(401), false},
	} {
		if hint, got := tt.p.PlaceHint(tt.resp, []byte(tt.body)); got != tt.want {
			t.Errorf("%s: named = %v (%s); want %v", tt.body, got, hint, tt.want)
		}
	}
}

func FuzzPlaceHint(f *testing.F) {
	f.Add("header 'X-Api-Key' missing", `Basic realm="x"`)
	f.Add("request.header.canary-secret-value", `Key name="canary-secret-value",type="header"`)
	f.Fuzz(func(t *testing.T, body, challenge string) {
		resp := answer(401, "WWW-Authenticate", challenge)
		resp.Request = &http.Request{Header: http.Header{"Authorization": {"Bearer canary-secret-value"}}}
		if got, _ := new(Provider).PlaceHint(resp, []byte(body)); strings.Contains(got, "canary-secret-value") || len(got) > 300 {
			t.Errorf("%q", got)
		}
	})
}
