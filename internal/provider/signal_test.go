package provider

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
)

// answer makes a response of header pairs.
func answer(status int, pairs ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return &http.Response{StatusCode: status, Header: h}
}

func TestGenericMeaning(t *testing.T) {
	const typ, jsonType = "Content-Type", "application/json; charset=utf-8"
	for _, tt := range []struct {
		name string
		resp *http.Response
		body string
		want Meaning
	}{
		{"200", answer(200), `{"error":"insufficient_scope"}`, OK},
		{"plain 401", answer(401), ``, Expired},
		{"401 invalid_token", answer(401, "WWW-Authenticate", `Bearer realm="x", error="invalid_token"`), `missing scope`, Expired},
		{"401 insufficient_scope", answer(401, "WWW-Authenticate", `Bearer error="insufficient_scope", scope="a b"`), ``, Scope},
		{"400 invalid_request", answer(400, "WWW-Authenticate", `Bearer realm="x", error="invalid_request", error_description="The access token is sent twice"`), ``, OK},
		{"403 invalid_token", answer(403, "WWW-Authenticate", `Bearer error="invalid_token"`), ``, Expired},
		{"401 without an error code", answer(401, "WWW-Authenticate", `Bearer realm="x"`), ``, Expired},
		{"401 second challenge", answer(401, "WWW-Authenticate", `Negotiate`, "WWW-Authenticate", `Basic realm="a, b", Bearer error=insufficient_scope`), ``, Scope},
		{"401 of Atlassian that says scope", answer(401), `{"code":401,"message":"Unauthorized; scope does not match"}`, Scope},
		{"401 of Atlassian that does not", answer(401), `{"code":401,"message":"Unauthorized"}`, Expired},
		{"401 of Zoho that says scope", answer(401), `{"code":"OAUTH_SCOPE_MISMATCH","details":{},"message":"Unauthorized","status":"error"}`, Scope},
		{"401 of Salesforce that says scope", answer(401), `[{"message":"This session is not valid for use with the specified REST API endpoint. One of the following scopes is required: Full access","errorCode":"INVALID_SESSION_ID"}]`, Scope},
		{"401 of Salesforce", answer(401), `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`, Expired},
		{"401 of GitLab, expired", answer(401), `{"error":"invalid_token","error_description":"Token is expired. You can either do re-authorization or token refresh."}`, Expired},
		{"403 of GitLab", answer(403, typ, jsonType), `{"error":"insufficient_scope","error_description":"x","scope":"api read_api"}`, Scope},
		{"403 of HubSpot", answer(403, typ, jsonType), `{"message":"This app hasn't been granted all required scopes","category":"MISSING_SCOPES"}`, Scope},
		{"403 of Gitea", answer(403, typ, jsonType), `{"message":"token does not have at least one of required scope(s), required=[read:user], token scope=read:repository"}`, Scope},
		{"403 of Google", answer(403, typ, jsonType), `{"error":{"details":[{"reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}`, Scope},
		{"403 as JSON", answer(403, typ, jsonType), `{"message":"no"}`, Forbidden},
		{"403 as problem", answer(403, typ, "application/problem+json"), `{}`, Forbidden},
		{"403 of a firewall", answer(403, typ, "text/html"), `<html>Access denied</html>`, OK},
		{"403 without body", answer(403), ``, OK},
		{"403 remaining 0", answer(403, typ, jsonType, "x-ratelimit-remaining", "0"), `{}`, RateLimited},
		{"403 remaining 4999", answer(403, typ, jsonType, "x-ratelimit-remaining", "4999"), `{}`, Forbidden},
		{"403 Retry-After", answer(403, typ, jsonType, "Retry-After", "60"), `{}`, RateLimited},
		{"403 Retry-After as a date", answer(403, typ, jsonType, "Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"), `{}`, RateLimited},
		{"403 insufficient_scope", answer(403, "WWW-Authenticate", `Bearer error="insufficient_scope"`, "Retry-After", "60"), ``, Scope},
		{"400 invalid_token", answer(400, "WWW-Authenticate", `Bearer error="invalid_token"`), ``, Expired},
		{"400 for a missing header", answer(400, typ, jsonType), `{"object":"error","status":400,"code":"missing_version"}`, OK},
		{"400 that says scope", answer(400, typ, jsonType), `{"error":"missing_scope"}`, Scope},
		{"400 of something else than an API", answer(400, typ, "text/html"), `<h1>missing scope</h1>`, OK},
		{"402", answer(402), ``, Unpaid},
		{"429", answer(429), ``, RateLimited},
		{"404", answer(404), ``, OK},
		{"401 of a web server", answer(401, typ, "text/html", "WWW-Authenticate", `Basic realm="x"`), `<h1>401</h1>`, Expired},
		{"502 page of a middlebox", answer(502, typ, "text/html"), `<h1>invalid_token</h1>`, OK},
		{"500", answer(500), ``, OK},
		{"503 Retry-After", answer(503, "Retry-After", "5"), ``, OK},
	} {
		if got := new(Provider).Meaning(tt.resp, []byte(tt.body)); got != tt.want {
			t.Errorf("%s: Meaning = %q; want %q", tt.name, got, tt.want)
		}
	}
}

var signals = &Provider{Signals: []Signal{
	{Status: 200, Body: `"ok":false,"error":"token_expired"`, Means: Expired},
	{Status: 200, Body: `"ok":false,"error":"missing_scope"`, Means: Scope},
	{Status: 403, Header: map[string]string{"X-GitHub-SSO": "required"}, Means: Policy},
	{Status: 403, Header: map[string]string{"X-A": "", "X-B": "b"}, Means: Invalid},
	{Body: "account is locked", Means: Invalid},
}}

func TestSignals(t *testing.T) {
	for _, tt := range []struct {
		name string
		resp *http.Response
		body string
		want Meaning
	}{
		{"body", answer(200), `{"ok":false,"error":"token_expired"}`, Expired},
		{"body with white space", answer(200), "{\n  \"ok\": false,\n  \"error\" : \"token_expired\"\n}", Expired},
		{"white space inside a string counts", answer(200), `{"ok":false,"error":"token _expired"}`, OK},
		{"quoted in a text", answer(200), `{"ok":true,"text":"\"ok\":false,\"error\":\"token_expired\""}`, OK},
		{"second", answer(200), `{"ok":false,"error":"missing_scope"}`, Scope},
		{"other status", answer(201), `{"ok":false,"error":"missing_scope"}`, OK},
		{"header", answer(403, "x-github-sso", "required; url=https://x"), ``, Policy},
		{"other value", answer(403, "x-github-sso", "partial-results"), ``, OK},
		{"all headers", answer(403, "x-a", "anything", "x-b", "abc"), ``, Invalid},
		{"one of two headers", answer(403, "x-b", "abc"), ``, OK},
		{"any status", answer(500), `Your account is locked.`, Invalid},
		{"signals before the generic rules", answer(429), `account is locked`, Invalid},
		{"no signal", answer(401), ``, Expired},
	} {
		if got := signals.Meaning(tt.resp, []byte(tt.body)); got != tt.want {
			t.Errorf("%s: Meaning = %q; want %q", tt.name, got, tt.want)
		}
	}
}

func TestMeaningReadsGzip(t *testing.T) {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	_, _ = zw.Write([]byte(`{"ok":false,"error":"token_expired"}` + string(bytes.Repeat([]byte("padding "), 4000))))
	_ = zw.Flush()
	resp := answer(200, "Content-Encoding", "gzip")
	if got := signals.Meaning(resp, b.Bytes()[:b.Len()-8]); got != Expired {
		t.Errorf("Meaning of a gzip peek = %q; want %q", got, Expired)
	}
	if got := signals.Meaning(resp, []byte("no gzip: account is locked")); got != Invalid {
		t.Errorf("Meaning of what is not gzip = %q; want %q", got, Invalid)
	}
}

func TestPeeks(t *testing.T) {
	anyStatus := &Provider{Signals: []Signal{{Body: "locked", Means: Invalid}}}
	for _, tt := range []struct {
		name string
		p    *Provider
		resp *http.Response
		want bool
	}{
		{"200 without signals", new(Provider), answer(200), false},
		{"200 with a signal", signals, answer(200, "Content-Type", "application/json"), true},
		{"200 of a stream", signals, answer(200, "Content-Type", "text/event-stream"), false},
		{"200 of bytes", signals, answer(200, "Content-Type", "application/octet-stream"), false},
		{"200, signal for any status", anyStatus, answer(200, "Content-Type", "application/json"), false},
		{"500, signal for any status", anyStatus, answer(500), true},
		{"500 without signals", new(Provider), answer(500), false},
		{"400", new(Provider), answer(400), true},
		{"401", new(Provider), answer(401), true},
		{"402", new(Provider), answer(402), false},
		{"200 of Slack", &Provider{Name: "slack"}, answer(200, "Content-Type", "application/json; charset=utf-8"), true},
		{"200 of a file of Slack's", &Provider{Name: "slack"}, answer(200, "Content-Type", "image/png"), false},
		{"201 of Slack", &Provider{Name: "slack"}, answer(201), false},
		{"200 of GitHub", &Provider{Name: "github"}, answer(200), false},
		{"404 of Notion", &Provider{Name: "notion"}, answer(404), true},
		{"404 of Basecamp, whose header says it", &Provider{Name: "basecamp3"}, answer(404, "Reason", "Account Inactive"), false},
		{"403", new(Provider), answer(403), true},
		{"429", new(Provider), answer(429), false},
		{"101", signals, answer(101), false},
	} {
		if got := tt.p.Peeks(tt.resp); got != tt.want {
			t.Errorf("%s: Peeks = %v; want %v", tt.name, got, tt.want)
		}
	}
}

// What is told in Proxy-Status, and what leads to a refresh.
func TestMeaningCodes(t *testing.T) {
	want := map[Meaning]fault.Code{
		OK: "", Expired: "credentials_rejected", Invalid: "credentials_rejected", Scope: "insufficient_scope", Permission: "insufficient_permission",
		RateLimited: "upstream_rate_limited", Quota: "quota_exceeded", Policy: "organization_policy", SSO: "sso_required", Inactive: "account_inactive",
		Unpaid: "account_unpaid", Surface: "wrong_surface", APIDisabled: "api_disabled", NotShared: "resource_not_shared",
		Misplaced: "credential_misplaced", Unapproved: "app_not_verified", Forbidden: "insufficient_permission", SignIn: "reauthorization_required",
	}
	for m := range codes {
		if _, ok := want[m]; !ok {
			t.Errorf("%s is not told of here", m)
		}
	}
	for m, code := range want {
		if m.Rejects() != (m == Expired || m == Invalid || m == SignIn) {
			t.Errorf("%s: Rejects is %v", m, m.Rejects())
		}
		if m.Code() != code || code != "" && !fault.Known(code) {
			t.Errorf("%s: the code is %q, want %q", m, m.Code(), code)
		}
	}
}
