package checker_test

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func TestZoho(t *testing.T) {
	const (
		user   = `{"users":[{"full_name":"Ann","email":"ann@acme.example","profile":{"name":"Administrator","id":"1"},"role":{"name":"CEO"}}]}`
		active = `{"active":true,"scope":"ZohoCRM.modules.ALL,ZohoCRM.users.ALL","exp":4102444800}`
	)
	failed := func(status int, code, message string) http.HandlerFunc {
		return says(status, `{"code":"`+code+`","details":{},"message":"`+message+`","status":"error"}`)
	}
	good := wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "ann@acme.example", kind: "Administrator"}
	for _, tc := range []struct {
		name               string
		verify, introspect http.HandlerFunc
		needs              []string
		want               wanted
	}{
		{"ALL contains each operation, in either case", says(200, user), says(200, active), []string{"ZohoCRM.modules.READ", "ZohoCRM.users.all", "ZohoCRM.modules.update"}, good},
		{"a scope is missing", says(200, user), says(200, active), []string{"ZohoCRM.settings.READ"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "ZohoCRM.settings.READ", login: "ann@acme.example", kind: "Administrator", code: fault.InsufficientScope}},
		{"READ is not ALL", says(200, user), says(200, `{"active":true,"scope":"ZohoCRM.modules.READ"}`), []string{"ZohoCRM.modules.ALL"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "ZohoCRM.modules.ALL", login: "ann@acme.example", kind: "Administrator", code: fault.InsufficientScope}},
		{"204, nothing there", says(204, ``), says(200, active), nil, wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK}},
		{"Mail's account", says(200, `{"status":{"code":200},"data":[{"primaryEmailAddress":"ann@acme.example","accountId":"1"}]}`), says(200, active), nil, wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "ann@acme.example"}},
		{"Books' organization", says(200, `{"code":0,"message":"success","organizations":[{"organization_id":"10","name":"Acme"}]}`), says(200, active), nil, wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "Acme", kind: "organization"}},
		{"AUTHENTICATION_FAILURE", failed(401, "AUTHENTICATION_FAILURE", "Authentication failed"), nil, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable}.saying("AUTHENTICATION_FAILURE")},
		{"INVALID_TOKEN", failed(401, "INVALID_TOKEN", "invalid oauth token"), nil, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable}.saying("another data centre than eu")},
		{"OAUTH_SCOPE_MISMATCH", failed(401, "OAUTH_SCOPE_MISMATCH", "Unauthorized"), says(200, `{"active":true,"scope":"ZohoCRM.modules.READ"}`), []string{"ZohoCRM.users.READ"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "ZohoCRM.users.READ", code: fault.InsufficientScope, detail: "granted: ZohoCRM.modules.READ"}},
		{"NO_PERMISSION", failed(403, "NO_PERMISSION", "permission denied"), says(200, active), nil, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.OK, code: fault.InsufficientPermission}},
		{"429", says(429, `{}`), nil, nil, wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.UpstreamRateLimited}},
		{"HTML", says(200, `<html>`, "Content-Type", "text/html"), nil, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable}},
		{"introspection refuses the client in Zoho's words", says(200, user), says(200, `{"error":"invalid_client"}`), nil, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, login: "ann@acme.example", kind: "Administrator", code: fault.InvalidClient}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, played := acted(t, map[string]http.HandlerFunc{"GET /crm/v8/users": tc.verify, "POST /oauth/v2/introspect": tc.introspect})
			p := api(base + "/crm/v8")
			p.Name, p.Verify.Path, p.Needs.Scopes = "zoho-crm", "/users?type=CurrentUser", tc.needs
			p.Places = []provider.Place{{In: provider.InHeader, Name: "Authorization", Value: "Zoho-oauthtoken {access_token}"}}
			p.OAuth2 = provider.OAuth2{TokenURL: base + "/oauth/{dc}/token", IntrospectionURL: base + "/oauth/v2/introspect", ClientAuth: "body"}
			r := newChecker(transport(t)).Check(t.Context(), p, web("1000.c4n4ry", "1000.r3fresh", "dc", "eu"))
			tc.want.check(t, r, "c4n4ry", "r3fresh", "s3cr3t")
			for i, req := range played.seen[1:] {
				if id, _, ok := req.BasicAuth(); !ok || id != "web" || played.bodies[i+1] != "token=1000.c4n4ry&token_type_hint=access_token" {
					t.Errorf("introspection was asked with %v %q", req.Header, played.bodies[i+1])
				}
			}
		})
	}
}
