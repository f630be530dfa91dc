package checker_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// claiming is a token that nobody signed.
func claiming(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none"}`)) + "." + enc([]byte(claims)) + ".c4n4ry"
}

func TestMicrosoft(t *testing.T) {
	const graph, me = `"aud":"00000003-0000-0000-c000-000000000000"`, `{"displayName":"Ann","userPrincipalName":"ann@acme.example","id":"1"}`
	const organization = `{"@odata.context":"x","value":[{"id":"t","displayName":"Acme"}]}`
	failed := func(status int, code, message string, pairs ...string) http.HandlerFunc {
		return says(status, `{"error":{"code":"`+code+`","message":"`+message+`","innerError":{"date":"2026-01-01T00:00:00","request-id":"r"}}}`, pairs...)
	}
	person := func(claims string) *credential.Credential { return web(claiming("{"+claims+"}"), "0.r3fresh") }
	app := func(claims string) *credential.Credential {
		return record("bearer", "token", claiming("{"+claims+"}"))
	}
	scp, roles := graph+`,"scp":"User.Read Mail.Read"`, graph+`,"roles":["Mail.Read","User.Read.All"]`
	good := wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "ann@acme.example", kind: "user"}
	for _, tc := range []struct {
		name   string
		cred   *credential.Credential
		answer http.HandlerFunc
		needs  []string
		path   string
		want   wanted
	}{
		{"delegated", person(scp), says(200, me), []string{"Mail.Read", "https://graph.microsoft.com/User.Read"}, "/me", good.saying("as the token says")},
		{"delegated, a scope is missing", person(scp), says(200, me), []string{"Files.Read"}, "/me", wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "Files.Read", login: "ann@acme.example", kind: "user", code: fault.InsufficientScope}},
		{"an app's own", app(roles), says(200, organization), []string{"Mail.Read"}, "/organization", wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "Acme", kind: "organization"}},
		{"an app's own, which may not read the organization", app(roles), failed(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."), []string{"Mail.Read"}, "/organization", wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK}},
		{"opaque", web("EwB4c4n4ry", "M.r3fresh"), says(200, me), []string{"Mail.Read"}, "/me", wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, login: "ann@acme.example", kind: "user"}},
		{"opaque, and the token endpoint told", web("EwB4c4n4ry", "M.r3fresh", "scope", "https://graph.microsoft.com/Mail.Read openid"), says(200, me), []string{"Mail.Read"}, "/me", good},
		{"made for another", person(`"aud":"api://other","scp":"Mail.Read"`), says(200, me), []string{"Mail.Read"}, "/me", wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, login: "ann@acme.example", kind: "user"}},
		{"InvalidAuthenticationToken, expired", person(scp), failed(401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."), nil, "/me", wanted{overall: checker.Warning, authorization: checker.Unverifiable, detail: "the token is expired"}},
		{"continuous access evaluation", person(scp), failed(401, "InvalidAuthenticationToken", "Continuous access evaluation resulted in challenge", "WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="`), nil, "/me", wanted{overall: checker.Error, authorization: checker.Error, code: fault.ReauthorizationRequired, detail: "new sign-in"}},
		{"Conditional Access", person(scp), failed(403, "Forbidden", "x", "WWW-Authenticate", `Bearer error="insufficient_claims"`), nil, "/me", wanted{overall: checker.Error, authorization: checker.Error, code: fault.OrganizationPolicy, detail: "Conditional Access"}},
		{"Authorization_RequestDenied", person(scp), failed(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."), nil, "/me", wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.OK, code: fault.InsufficientPermission}},
		{"Fabric's 403 without a word", person(scp), says(403, ``), nil, "/me", wanted{overall: checker.Warning, authorization: checker.Unverifiable}},
		{"429", person(scp), failed(429, "TooManyRequests", "x", "Retry-After", "10"), nil, "/me", wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.UpstreamRateLimited}},
		{"HTML", person(scp), says(200, `<html>`, "Content-Type", "text/html"), nil, "/me", wanted{overall: checker.Warning, authorization: checker.Unverifiable}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, played := acted(t, map[string]http.HandlerFunc{"GET /v1.0" + tc.path: tc.answer})
			p := api(base + "/v1.0")
			p.Name, p.Builtin, p.Verify.Path, p.Needs.Scopes = "microsoft", true, "/me", tc.needs
			p.OAuth2 = provider.OAuth2{TokenURL: base + "/common/oauth2/v2.0/token", ClientAuth: "body"}
			r := newChecker(transport(t)).Check(t.Context(), p, tc.cred)
			tc.want.check(t, r, "c4n4ry", "r3fresh", "s3cr3t")
			if len(played.seen) != 1 || strings.HasPrefix(tc.path, "/org") && played.seen[0].URL.RawQuery != "$select=id,displayName" {
				t.Errorf("%d requests, the first %s; want one", len(played.seen), played.seen[0].URL)
			}
		})
	}
}

// An app to which nobody has granted anything has a token all the same.
func TestMicrosoftAppWithoutRoles(t *testing.T) {
	token := claiming(`{"aud":"https://graph.microsoft.com","idtyp":"app"}`)
	base, _ := acted(t, map[string]http.HandlerFunc{
		"POST /acme/oauth2/v2.0/token": says(200, `{"token_type":"Bearer","expires_in":3599,"access_token":"`+token+`"}`),
		"GET /v1.0/organization":       says(403, `{"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges to complete the operation."}}`),
	})
	p := api(base + "/v1.0")
	p.Name, p.Verify.Path, p.Needs.Scopes = "microsoft", "/me", []string{"Mail.Read"}
	p.OAuth2 = provider.OAuth2{TokenURL: base + "/common/oauth2/v2.0/token", ClientAuth: "body"}
	cred := record("oauth2_client_credentials", "client_id", "app", "client_secret", "s3cr3t", "scope", "https://graph.microsoft.com/.default", "token_url", base+"/acme/oauth2/v2.0/token")
	r := newChecker(transport(t)).Check(t.Context(), p, cred)
	wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "Mail.Read", code: fault.InsufficientScope, detail: "none is granted"}.check(t, r, "c4n4ry", "s3cr3t")
}
