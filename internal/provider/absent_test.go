package provider

import (
	"net/http"
	"testing"
)

// What gateways and frameworks say where they found no credential; and what they,
// and those that copy them, say of one that is wrong, which leads to a refresh.
func TestAbsentCredential(t *testing.T) {
	const typ, jsonType = "Content-Type", "application/json; charset=utf-8"
	j := func(status int, pairs ...string) *http.Response {
		return answer(status, append([]string{typ, jsonType}, pairs...)...)
	}
	for _, tt := range []struct {
		name string
		resp *http.Response
		body string
		want Meaning
	}{
		{"Kong", j(401, "WWW-Authenticate", `Key realm="kong"`), `{"message":"No API key found in request"}`, Misplaced},
		{"Kong, a wrong key", j(401), `{"message":"Invalid authentication credentials"}`, Expired},
		{"Supabase", j(401), "{\"message\":\"No API key found in request\",\"hint\":\"No `apikey` request header or url param was found.\"}", Misplaced},
		{"Django REST", j(401, "WWW-Authenticate", "Token"), `{"detail":"Authentication credentials were not provided."}`, Misplaced},
		{"Django REST on 403", j(403), `{"detail":"Authentication credentials were not provided."}`, Misplaced},
		{"Django REST, a wrong token", j(401), `{"detail":"Invalid token."}`, Expired},
		{"Azure API Management", j(401, "WWW-Authenticate", `AzureApiManagementKey realm="https://x.azure-api.net/echo",name="Ocp-Apim-Subscription-Key",type="header"`), `{ "statusCode": 401, "message": "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API." }`, Misplaced},
		{"Azure API Management, a wrong key", j(401), `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`, Expired},
		{"AWS API Gateway", j(403, "X-Amzn-ErrorType", "MissingAuthenticationTokenException"), `{"message":"Missing Authentication Token"}`, Misplaced},
		{"AWS API Gateway, a Bearer", j(403, "X-Amzn-ErrorType", "IncompleteSignatureException"), `{"message":"Authorization header requires 'Credential' parameter."}`, Misplaced},
		{"AWS API Gateway, not allowed", j(403, "X-Amzn-ErrorType", "AccessDeniedException"), `{"Message":"User is not authorized to access this resource"}`, Forbidden},
		{"express-jwt", j(401), `{"error":"UnauthorizedError: No authorization token was found"}`, Misplaced},
		{"express-jwt as a page", answer(401, typ, "text/html; charset=utf-8"), `UnauthorizedError: No authorization token was found<br> &nbsp; at middleware`, Misplaced},
		{"express-jwt, no prefix", j(401), `{"name":"UnauthorizedError","message":"Format is Authorization: Bearer [token]","code":"credentials_bad_scheme"}`, Misplaced},
		{"express-jwt, expired", j(401), `{"name":"UnauthorizedError","message":"jwt expired"}`, Expired},
		{"Flask-JWT-Extended", j(401), `{"msg":"Missing Authorization Header"}`, Misplaced},
		{"Flask-JWT-Extended, no prefix", j(401), `{"msg":"Missing 'Bearer' type in 'Authorization' header. Expected 'Authorization: Bearer <JWT>'"}`, Misplaced},
		{"Flask-JWT-Extended, expired", j(401), `{"msg":"Token has expired"}`, Expired},
		{"FastAPI", j(401, "WWW-Authenticate", "Bearer"), `{"detail":"Not authenticated"}`, Misplaced},
		{"FastAPI on 403", j(403), `{"detail":"Not authenticated"}`, Misplaced},
		{"FastAPI, wrong", j(401, "WWW-Authenticate", "Bearer"), `{"detail":"Could not validate credentials"}`, Expired},
		{"Tyk", j(401), `{"error": "Authorization field missing"}`, Misplaced},
		{"Tyk on 400", j(400), `{"error": "Authorization field missing"}`, Misplaced},
		{"Envoy", answer(401, typ, "text/plain", "WWW-Authenticate", `Bearer realm="http://x/"`), `Jwt is missing`, Misplaced},
		{"Envoy, expired", answer(401, typ, "text/plain", "WWW-Authenticate", `Bearer realm="http://x/", error="invalid_token"`), `Jwt is expired`, Expired},
		{"Apigee", j(401), `{"fault":{"faultstring":"Failed to resolve API Key variable request.queryparam.apikey","detail":{"errorcode":"steps.oauth.v2.FailedToResolveAPIKey"}}}`, Misplaced},
		{"Apigee, a wrong key", j(401), `{"fault":{"faultstring":"Invalid ApiKey","detail":{"errorcode":"oauth.v2.InvalidApiKey"}}}`, Expired},
		{"Passport", answer(401), `No auth token`, Misplaced},
		{"Cloudflare", j(400), `{"success":false,"errors":[{"code":9106,"message":"Missing X-Auth-Key, X-Auth-Email or Authorization headers"}]}`, Misplaced},
		{"OpenAI", j(401), `{"error":{"message":"You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)","type":"invalid_request_error"}}`, Misplaced},
		{"a header", j(401), `{"type":"error","error":{"type":"authentication_error","message":"x-api-key header is required"}}`, Misplaced},
		{"a query parameter", j(401), `{"error":"api_key query parameter is required"}`, Misplaced},
		{"another prefix", j(401), `{"error":"Authorization header must start with 'Token '"}`, Misplaced},

		// words that stand for more than a missing one
		{"how to pass it", j(401), `{"error":"Please pass your api key in the X-API-Token header"}`, Expired},
		{"a valid query parameter", j(401), `{"error":"A valid api_key query parameter is required"}`, Expired},
		{"missing or invalid", j(401), `{"message":"Missing or invalid API key"}`, Expired},
		{"missing api key or invalid", j(401), `{"message":"Missing API key, or it is not valid"}`, Expired},
		{"header missing or invalid", j(401), `{"error":"Authorization header missing or invalid"}`, Expired},
		{"missing or malformed", j(400), `{"error":"Missing or malformed JWT"}`, OK},
		{"a valid one is required", j(401), `{"error":"A valid x-api-key header is required"}`, Expired},
		{"invalid_token in the challenge", j(401, "WWW-Authenticate", `Bearer error="invalid_token"`), `{"detail":"Authentication credentials were not provided."}`, Expired},
		{"invalid_token in the body", j(401), `{"error":"invalid_token","error_description":"No token provided"}`, Expired},
		{"expired beside it", j(401), `{"message":"Missing access token","reason":"session expired"}`, Expired},
		{"of the token, not the token", j(401), `{"message":"Access token is missing the required claim aud"}`, Expired},
		{"a scope of the token", j(403), `{"message":"access token is missing required scope read"}`, Forbidden},
		{"not there any more", j(401), `{"message":"No API key found for this id"}`, Expired},
		{"Spring says it of expired ones too", j(401), `{"error":"Unauthorized","message":"Full authentication is required to access this resource"}`, Expired},

		// where it is nobody's word on the credential
		{"a page on 403", answer(403, typ, "text/html"), `<h1>Missing Authorization header</h1>`, OK},
		{"a page on 400", answer(400, typ, "text/html"), `<h1>Missing API key</h1>`, OK},
		{"200", j(200), `{"message":"Missing API key"}`, OK},
		{"404", j(404), `{"message":"Missing API key"}`, OK},
		{"limited", j(403, "Retry-After", "5"), `{"message":"Missing API key"}`, RateLimited},
	} {
		if got := new(Provider).Meaning(tt.resp, []byte(tt.body)); got != tt.want {
			t.Errorf("%s: Meaning = %q; want %q", tt.name, got, tt.want)
		}
	}
}

func TestQuotedAt(t *testing.T) {
	for _, tt := range []struct {
		text string
		at   int
		want string
	}{
		{`{"a":"bcd","e":"f"}`, 7, "bcd"},
		{`{"a":"b\"c\"d"}`, 9, `b\"c\"d`},
		{`plain`, 2, "plain"},
		{`"`, 0, ""},
		{``, 0, ""},
	} {
		if got := string(quotedAt([]byte(tt.text), tt.at)); got != tt.want {
			t.Errorf("quotedAt(%q, %d) = %q; want %q", tt.text, tt.at, got, tt.want)
		}
	}
}
