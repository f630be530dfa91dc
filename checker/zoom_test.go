package checker_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func zoom(base string) *provider.Provider {
	p := api(base + "/v2")
	p.Name, p.Verify, p.OAuth2.TokenURL = "zoom", provider.Verify{Path: "/users/me"}, base+"/oauth/token"
	p.OAuth2.ClientCredentialsParams = map[string]string{"grant_type": "account_credentials", "account_id": "{account_id}"}
	return p
}

const zoomUser = `{"id":"z8dsdsdsdsdCfp8uQ","first_name":"Jill","last_name":"Chill","email":"jchill@example.com","type":2,"role_name":"Owner","verified":1,"account_id":"acc-1","status":"active"}`

// zoomSays is an error in Zoom's form.
func zoomSays(status, code int, message string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`{"code":%d,"message":%q}`, code, message))
}

// The decision table of Zoom.
func TestZoom(t *testing.T) {
	const wants = "Invalid access token, does not contain scopes:[user:read:user, user:read:user:admin]."
	server := record("oauth2_client_credentials", "client_id", "id-1", "client_secret", "z00m-secret", "account_id", "acc-1")
	granted := func(scope string) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{"POST /oauth/token": says(200, fmt.Sprintf(`{"access_token":"z00m","token_type":"bearer","expires_in":3599,"scope":%q,"api_url":"https://api.zoom.us"}`, scope))}
	}
	needs := provider.Needs{Scopes: []string{"meeting:read:meeting:admin"}}
	lacks := probed{lines: "authorization:ok scopes:warning", overall: checker.Warning, missing: "user:read:user user:read:user:admin", code: fault.InsufficientScope, says: "it asks for: user:read:user, user:read:user:admin"}
	named := func(c probed, name string) probed { return c.saying(name, c.says) }
	refused := probed{lines: "authorization:error", overall: checker.Error, code: fault.CredentialsRejected}
	for _, c := range []struct {
		probed
		me http.HandlerFunc
	}{
		{probed{name: "200", lines: "authorization:ok", overall: checker.OK, account: "jchill@example.com (Owner)"}, says(200, zoomUser)},
		{probed{name: "200, scopes are not told", needs: needs, lines: "authorization:ok scopes:unverifiable", overall: checker.Warning, account: "jchill@example.com (Owner)"}, says(200, zoomUser)},
		{probed{name: "a server's app, with its scopes", cred: server, answers: granted("user:read:user:admin meeting:read:meeting:admin"), needs: needs, lines: "authorization:ok scopes:ok", overall: checker.OK, account: "jchill@example.com (Owner)"}, says(200, zoomUser)},
		{probed{name: "a server's app, one is missing", cred: server, answers: granted("user:read:user:admin"), needs: needs, lines: "authorization:ok scopes:warning", overall: checker.Warning, missing: "meeting:read:meeting:admin", code: fault.InsufficientScope, account: "jchill@example.com (Owner)"}, says(200, zoomUser)},
		{named(lacks, "scopes, 400 and 4711"), zoomSays(400, 4711, wants)},
		{named(lacks, "scopes, 401 and 4711"), zoomSays(401, 4711, wants)},
		{named(lacks, "scopes, 403 and 4711"), zoomSays(403, 4711, wants)},
		{named(lacks, "scopes, 400 and 104"), zoomSays(400, 104, wants)},
		{named(lacks, "scopes, 401 and 124, the code of an expired token"), zoomSays(401, 124, wants)},
		{named(lacks, "scopes, 400 and 201"), zoomSays(400, 201, wants)},
		{named(lacks, "scopes, in the words of before"), zoomSays(400, 4711, "Invalid access token, does not contain scopes: [user:read:user,user:read:user:admin].")},
		{probed{name: "scopes, and none is named", lines: "authorization:ok scopes:warning", overall: checker.Warning, code: fault.InsufficientScope}, zoomSays(400, 4711, "Invalid access token, does not contain scopes.")},
		{probed{name: "scopes, and those of flows are not told", needs: needs, lines: lacks.lines, overall: lacks.overall, missing: lacks.missing, code: lacks.code, says: "it does not tell of: meeting:read:meeting:admin"}, zoomSays(400, 4711, wants)},
		{probed{name: "scopes, of a server's app", cred: server, answers: granted("meeting:read:list_meetings:admin"), needs: needs, lines: lacks.lines, overall: lacks.overall, missing: "meeting:read:meeting:admin user:read:user user:read:user:admin", code: lacks.code}, zoomSays(400, 4711, wants)},
		{refused.saying("124", "Invalid access token."), zoomSays(401, 124, "Invalid access token.")},
		{refused.saying("124, expired", "Access token is expired."), zoomSays(401, 124, "Access token is expired.")},
		{probed{name: "124, in the query", lines: "authorization:error", overall: checker.Error, code: fault.CredentialMisplaced, says: "query parameter"}, zoomSays(401, 124, "Invalid access token, this access token is not supported as query parameter string.")},
		{probed{name: "no user", lines: "authorization:error", overall: checker.Error, code: fault.WrongSurface, says: "User does not exist"}, zoomSays(404, 1001, "User does not exist.")},
		{probed{name: "429", lines: "authorization:unverifiable", overall: checker.Unknown, code: fault.UpstreamRateLimited, says: "per-second rate limit"}, zoomSays(429, 429, "You have reached the maximum per-second rate limit for this API.")},
		{probed{name: "503", lines: "authorization:unverifiable", overall: checker.Unknown}, away},
		{probed{name: "a page", lines: "authorization:unverifiable", overall: checker.Warning}, aPage},
		{probed{name: "nothing", lines: "authorization:unverifiable", overall: checker.Warning, says: "with nothing in it"}, nothing},
		{probed{name: "200 with an error", lines: "authorization:unverifiable", overall: checker.Warning}, says(200, `{"status":"error","code":124}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.verified("GET /v2/users/me", c.me).run(t, zoom, record("bearer", "token", "z00m"), 2, "z00m")
		})
	}
}
