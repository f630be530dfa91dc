package checker_test

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func TestHubSpot(t *testing.T) {
	const (
		details  = `{"portalId":62515,"timeZone":"US/Eastern","accountType":"DEVELOPER_TEST","uiDomain":"app.hubspot.com"}`
		active   = `{"token_use":"access_token","active":true,"token":"C4n4ryT0ken","hub_id":62515,"user_id":1,"client_id":"web","app_id":3,"scopes":["oauth","crm.objects.contacts.read"],"signed_access_token":{"signature":"x"},"expires_in":1754,"token_type":"bearer","user":"ann@acme.example"}`
		info     = `{"userId":1,"hubId":62515,"appId":3,"scopes":["crm.objects.contacts.read","crm.objects.companies.read"]}`
		missing  = `{"status":"error","message":"This app hasn't been granted all required scopes","correlationId":"c","errors":[{"message":"One or more of the following scopes are required.","context":{"requiredGranularScopes":["crm.objects.companies.write"]}}],"category":"MISSING_SCOPES"}`
		infoPath = "POST /oauth/v2/private-apps/get/access-token-info"
		introsp  = "POST /oauth/2026-03/token/introspect"
	)
	failed := func(status int, category, message string) http.HandlerFunc {
		return says(status, `{"status":"error","message":"`+message+`","correlationId":"c","category":"`+category+`"}`)
	}
	oauth, private := web("C4n4ryT0ken", "na1-r3fresh"), record("api_key", "api_key", "pat-na1-C4n4ryT0ken")
	good := wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "account 62515", kind: "DEVELOPER_TEST"}
	warns := func(missing string) wanted {
		return wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: missing, login: "account 62515", kind: "DEVELOPER_TEST", code: fault.InsufficientScope}
	}
	for _, tc := range []struct {
		name   string
		cred   *credential.Credential
		verify http.HandlerFunc
		tells  http.HandlerFunc
		needs  []string
		want   wanted
	}{
		{"OAuth", oauth, says(200, details), says(200, active), []string{"crm.objects.contacts.read"}, good},
		{"OAuth, a scope is missing", oauth, says(200, details), says(200, active), []string{"tickets"}, warns("tickets")},
		{"OAuth, introspection does not know the token", oauth, says(200, details), says(400, `{"category":"VALIDATION_ERROR","context":{"token":["Token is invalid"]}}`), []string{"tickets"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, login: "account 62515", kind: "DEVELOPER_TEST", code: fault.UpstreamInvalid}},
		{"private app", private, says(200, details), says(200, info), []string{"crm.objects.contacts.read"}, good},
		{"private app, a scope is missing", private, says(200, details), says(200, info), []string{"crm.objects.contacts.read", "tickets"}, warns("tickets")},
		{"private app, nobody tells its scopes", private, says(200, details), says(404, `{}`), []string{"tickets"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, login: "account 62515", kind: "DEVELOPER_TEST", code: fault.UpstreamInvalid}},
		{"private app, throttled", private, says(200, details), says(429, `{}`), []string{"tickets"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, login: "account 62515", kind: "DEVELOPER_TEST", code: fault.TokenEndpointUnreachable}},
		{"another kind of key is not asked about", record("api_key", "api_key", "C4n4ryT0ken"), says(200, details), nil, []string{"tickets"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, login: "account 62515", kind: "DEVELOPER_TEST"}},
		{"MISSING_SCOPES", private, says(403, missing), says(200, info), nil, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "crm.objects.companies.write", code: fault.InsufficientScope, detail: "granted: crm.objects.companies.read"}},
		{"INVALID_AUTHENTICATION", private, failed(401, "INVALID_AUTHENTICATION", "Authentication credentials not found."), nil, nil, wanted{overall: checker.Error, authorization: checker.Error, code: fault.CredentialsRejected, detail: "credentials not found"}},
		{"BANNED", private, failed(403, "BANNED", "This app is not allowed in this account."), nil, nil, wanted{overall: checker.Error, authorization: checker.Error, code: fault.OrganizationPolicy, detail: "not allowed in this account"}},
		{"RATE_LIMITS", private, failed(429, "RATE_LIMITS", "You have reached your ten_secondly_rolling limit."), nil, nil, wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.UpstreamRateLimited}},
		{"HTML", private, says(200, `<html>`, "Content-Type", "text/html"), nil, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, played := acted(t, map[string]http.HandlerFunc{"GET /account-info/v3/details": tc.verify, infoPath: tc.tells, introsp: tc.tells})
			p := api(base)
			p.Name, p.Verify.Path, p.Needs.Scopes = "hubspot", "/account-info/v3/details", tc.needs
			p.OAuth2 = provider.OAuth2{TokenURL: base + "/oauth/v1/token", IntrospectionURL: base + "/oauth/2026-03/token/introspect", ClientAuth: "body"}
			r := newChecker(transport(t)).Check(t.Context(), p, tc.cred)
			tc.want.check(t, r, "C4n4ryT0ken", "r3fresh", "s3cr3t")
			want := 1
			if tc.tells != nil {
				want = 2
			}
			if len(played.seen) != want {
				t.Errorf("%d requests, want %d", len(played.seen), want)
			}
		})
	}
}
