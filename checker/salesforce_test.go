package checker_test

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func TestSalesforce(t *testing.T) {
	const active = `{"active":true,"scope":"id api web refresh_token","client_id":"3MVG9","username":"ann@acme.example","sub":"https://login.salesforce.com/id/00D/005","token_type":"access_token","exp":4102444800,"iat":1,"nbf":1}`
	who := `{"sub":"https://login.salesforce.com/id/00D/005","user_id":"005","organization_id":"00D","preferred_username":"ann@acme.example","name":"Ann","user_type":"STANDARD"}`
	failed := func(status int, code, message string) http.HandlerFunc {
		return says(status, `[{"message":"`+message+`","errorCode":"`+code+`"}]`)
	}
	good := wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "ann@acme.example", kind: "standard"}
	for _, tc := range []struct {
		name               string
		verify, introspect http.HandlerFunc
		needs              []string
		want               wanted
	}{
		{"all that is needed", says(200, who), says(200, active), []string{"api", "chatter_api", "refresh_token"}, good},
		{"how much of the day's calls is used", says(200, who, "Sforce-Limit-Info", "api-usage=10018/100000; api-bursts=1/750"), says(200, active), nil, good.saying("calls of the day: 10018/100000")},
		{"full contains others", says(200, who), says(200, `{"active":true,"scope":"full"}`), []string{"api", "visualforce", "email"}, good},
		{"full gives no refresh token", says(200, who), says(200, `{"active":true,"scope":"full"}`), []string{"refresh_token"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "refresh_token", login: "ann@acme.example", kind: "standard", code: fault.InsufficientScope}},
		{"a scope is missing", says(200, who), says(200, active), []string{"api", "pardot_api"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "pardot_api", login: "ann@acme.example", kind: "standard", code: fault.InsufficientScope}},
		{"session expired", failed(401, "INVALID_SESSION_ID", "Session expired or invalid"), nil, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable}.saying("Session expired or invalid")},
		{"the identity service's word for it", says(403, "Bad_OAuth_Token", "Content-Type", "text/html;charset=UTF-8"), nil, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable}.saying("Bad_OAuth_Token")},
		{"the same code for a scope", failed(401, "INVALID_SESSION_ID", "This session is not valid for use with the specified REST API endpoint. One of the following scopes is required: Manage user data via APIs, Full access"), says(200, `{"active":true,"scope":"id"}`), []string{"api"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "api", code: fault.InsufficientScope, detail: "Manage user data via APIs, Full access"}},
		{"REQUEST_LIMIT_EXCEEDED", failed(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), nil, nil, wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.QuotaExceeded, detail: "TotalRequests Limit exceeded."}},
		{"INSUFFICIENT_ACCESS", failed(403, "INSUFFICIENT_ACCESS", "insufficient access rights"), says(200, active), nil, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.OK, login: "ann@acme.example", code: fault.InsufficientPermission}},
		{"API_DISABLED_FOR_ORG", failed(403, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization."), says(200, active), nil, wanted{overall: checker.Warning, authorization: checker.Warning, scopes: checker.OK, login: "ann@acme.example", code: fault.APIDisabled, detail: "not enabled for this Organization"}},
		{"API_CURRENTLY_DISABLED", failed(403, "API_CURRENTLY_DISABLED", "API is currently disabled"), says(200, active), nil, wanted{overall: checker.Warning, authorization: checker.Warning, scopes: checker.OK, login: "ann@acme.example", code: fault.APIDisabled}},
		{"HTML", says(200, `<html>`, "Content-Type", "text/html"), nil, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable}},
		{"429", says(429, `{}`), nil, nil, wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.UpstreamRateLimited}},
		{"introspection is throttled", says(200, who), says(429, `{}`), []string{"api"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, login: "ann@acme.example", kind: "standard", code: fault.TokenEndpointUnreachable}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, played := acted(t, map[string]http.HandlerFunc{"GET /services/oauth2/userinfo": tc.verify, "POST /services/oauth2/introspect": tc.introspect})
			p := api(base)
			p.Name, p.Verify.Path, p.Needs.Scopes = "salesforce", "/services/oauth2/userinfo", tc.needs
			p.OAuth2 = provider.OAuth2{TokenURL: base + "/services/oauth2/token", IntrospectionURL: base + "/services/oauth2/introspect", ClientAuth: "body"}
			r := newChecker(transport(t)).Check(t.Context(), p, web("00D!c4n4ry", "5Aep.r3fresh"))
			tc.want.check(t, r, "c4n4ry", "r3fresh", "s3cr3t")
			if tc.introspect == nil && len(played.seen) != 1 {
				t.Errorf("%d requests, want one", len(played.seen))
			}
		})
	}
}
