package provider

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// What failures mean across providers, each as the provider sends it. Only
// Expired and Invalid lead to a refresh.
func TestKnownAnswers(t *testing.T) {
	j := func(status int, pairs ...string) *http.Response {
		return answer(status, append([]string{"Content-Type", "application/json; charset=utf-8"}, pairs...)...)
	}
	const scopes, accepts = "X-OAuth-Scopes", "X-Accepted-OAuth-Scopes"
	for _, tt := range []struct {
		provider, name string
		resp           *http.Response
		body           string
		want           Meaning
	}{
		// a token: refreshed once
		{"github", "bad credentials", j(401), `{"message":"Bad credentials","documentation_url":"https://docs.github.com/rest"}`, Expired},
		{"gitlab", "unknown token", j(401), `{"error":"invalid_token","error_description":"Bad Access Token."}`, Expired},
		{"gitlab", "revoked", j(401), `{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}`, Invalid},
		{"google", "expired", j(401), `{"error":{"code":401,"status":"UNAUTHENTICATED","errors":[{"reason":"authError"}]}}`, Expired},
		{"microsoft", "expired", j(401), `{"error":{"code":"InvalidAuthenticationToken","message":"Lifetime validation failed, the token is expired."}}`, Expired},
		{"salesforce", "expired", j(401), `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`, Expired},
		{"salesforce", "expired, to userinfo", answer(403, "Content-Type", "text/html;charset=UTF-8"), `Bad_OAuth_Token`, Expired},
		{"zoho-crm", "expired", j(401), `{"code":"INVALID_TOKEN","details":{},"message":"invalid oauth token","status":"error"}`, Expired},
		{"zoom", "expired", j(401), `{"code":124,"message":"Invalid access token"}`, Expired},
		{"atlassian", "expired", j(401), `{"code":401,"message":"Unauthorized"}`, Expired},
		{"hubspot", "unknown", j(401), `{"status":"error","message":"The OAuth token used to make this call is invalid","category":"INVALID_AUTHENTICATION"}`, Invalid},
		{"stripe", "unknown", j(401), `{"error":{"type":"invalid_request_error","message":"Invalid API Key provided: sk_test_****key"}}`, Invalid},

		{"gitlab", "no token it knows of", j(401), `{"message":"401 Unauthorized"}`, Expired},
		{"gitlab", "expired", j(401), `{"error":"invalid_token","error_description":"Token is expired. You can either do re-authorization or token refresh."}`, Expired},
		{"microsoft", "access was evaluated anew", j(401, "WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="`), `{"error":{"code":"InvalidAuthenticationToken","message":"Continuous access evaluation resulted in challenge"}}`, SignIn},
		{"microsoft", "Conditional Access", j(403, "WWW-Authenticate", `Bearer realm="", error="insufficient_claims", claims="e30="`), `{"error":{"code":"Forbidden"}}`, Policy},
		{"zoho-crm", "failure", j(401), `{"code":"AUTHENTICATION_FAILURE","details":{},"message":"Authentication failed","status":"error"}`, Expired},
		{"zoom", "its time is over", j(401), `{"code":124,"message":"Access token is expired."}`, Expired},
		{"notion", "unknown", j(401), `{"object":"error","status":401,"code":"unauthorized","message":"API token is invalid."}`, Expired},
		{"hubspot", "expired", j(401), `{"status":"error","message":"The OAuth token used to make this call expired 2 hour(s) ago.","category":"EXPIRED_AUTHENTICATION"}`, Expired},
		{"stripe", "expired", j(401), `{"error":{"code":"api_key_expired","message":"Expired API Key provided: sk_test_****key","type":"invalid_request_error"}}`, Expired},
		{"shopify", "uninstalled", j(401), `{"errors":"[API] Invalid API key or access token (unrecognized login or wrong password)"}`, Expired},
		{"google-maps", "key on 400", j(400), `{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}`, Invalid},
		{"google", "expired key on 400", j(400), `{"error":{"code":400,"message":"API key expired. Please renew the API key.","details":[{"reason":"API_KEY_INVALID"}]}}`, Invalid},

		// none was found where the provider looks: never refreshed
		{"github", "none", j(401), `{"message":"Requires authentication","documentation_url":"https://docs.github.com/rest"}`, Misplaced},
		{"google", "none", j(401), `{"error":{"code":401,"message":"Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential.","status":"UNAUTHENTICATED"}}`, Misplaced},
		{"google", "bad", j(401), `{"error":{"code":401,"message":"Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.","status":"UNAUTHENTICATED"}}`, Expired},
		{"google", "no key", j(403), `{"error":{"code":403,"message":"The request is missing a valid API key.","status":"PERMISSION_DENIED"}}`, Misplaced},
		{"google", "no key, nobody", j(403), `{"error":{"code":403,"message":"Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.","status":"PERMISSION_DENIED"}}`, Misplaced},
		{"microsoft", "none", j(401), `{"error":{"code":"InvalidAuthenticationToken","message":"Access token is empty."}}`, Misplaced},
		{"stripe", "none", j(401, "WWW-Authenticate", `Basic realm="Stripe"`), `{"error":{"message":"You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').","type":"invalid_request_error"}}`, Misplaced},
		{"mailchimp", "none", j(401), `{"type":"https://mailchimp.com/developer/marketing/docs/errors/","title":"API Key Invalid","status":401,"detail":"Your request did not include an API key."}`, Misplaced},
		{"mailchimp", "bad", j(401), `{"title":"API Key Invalid","status":401,"detail":"Your API key may be invalid, or you've attempted to access the wrong datacenter."}`, Expired},
		{"hubspot", "none, or an unknown one", j(401), `{"status":"error","message":"Authentication credentials not found. This API supports OAuth 2.0 authentication","category":"INVALID_AUTHENTICATION"}`, Invalid},

		// a scope: never refreshed
		{"atlassian", "scope in the header", j(401, "X-Failure-Category", "FAILURE_CLIENT_SCOPE_CHECK"), `{"code":401,"message":"Unauthorized"}`, Scope},
		{"zoom", "scope with another code", j(400), `{"code":201,"message":"Invalid access token, does not contain scopes:[user:read]"}`, Scope},
		{"google", "scope in words", j(403), `{"error":{"code":403,"message":"Request had insufficient authentication scopes.","status":"PERMISSION_DENIED"}}`, Scope},
		{"shopify", "scope of REST", j(403), `{"errors":"[API] This action requires merchant approval for read_orders scope."}`, Scope},
		{"atlassian", "scope", j(401), `{"code":401,"message":"Unauthorized; scope does not match"}`, Scope},
		{"zoho-crm", "scope", j(401), `{"code":"OAUTH_SCOPE_MISMATCH","details":{},"message":"Unauthorized","status":"error"}`, Scope},
		{"salesforce", "scope, with the code of an expired session", j(401), `[{"message":"This session is not valid for use with the specified REST API endpoint. One of the following scopes is required: Manage user data via APIs, Full access","errorCode":"INVALID_SESSION_ID"}]`, Scope},
		{"zoom", "scope on 400", answer(400), `{"code":4711,"message":"Invalid access token, does not contain scopes:[meeting:read:meeting:admin]"}`, Scope},
		{"zoom", "scope on 401", answer(401), `{"code":124,"message":"Invalid access token, does not contain scopes:[user:read:admin]"}`, Scope},
		{"zoom", "a token in the query", j(401), `{"code":124,"message":"Invalid access token, this access token is not supported as query parameter string."}`, Misplaced},
		{"zoom", "scope on 403", answer(403), `{"code":4711,"message":"Invalid access token, does not contain scopes:[user:read:admin]"}`, Scope},
		{"slack", "scope", j(200), `{"ok":false,"error":"missing_scope","needed":"channels:read","provided":"chat:write"}`, Scope},
		{"gitlab", "scope", j(403), `{"error":"insufficient_scope","error_description":"x","scope":"api read_api"}`, Scope},
		{"hubspot", "scope", j(403), `{"status":"error","message":"This app hasn't been granted all required scopes","errors":[{"context":{"requiredGranularScopes":["crm.objects.companies.write"]}}],"category":"MISSING_SCOPES"}`, Scope},
		{"google-sheets", "scope", j(403), `{"error":{"status":"PERMISSION_DENIED","details":[{"reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}`, Scope},
		{"zoom", "scope on 401 with its own code", j(401), `{"code":4711,"message":"Invalid access token, does not contain scopes:[meeting:read:meeting:admin]"}`, Scope},
		{"google", "scope in the old dialect's words", j(403), `{"error":{"errors":[{"domain":"global","reason":"forbidden","message":"Request had insufficient authentication scopes."}],"code":403}}`, Scope},
		{"github", "none of the scopes that would do", j(403, scopes, "gist, user", accepts, "admin:org, read:org, repo, write:org"), `{"message":"Must be an organization member"}`, Scope},
		{"github", "a token without scopes", j(403, scopes, "", accepts, "repo"), `{"message":"Must have admin rights to Repository."}`, Scope},
		{"github-enterprise", "a part of what would do", j(403, scopes, "read:org, public_repo", accepts, "admin:org,repo"), `{"message":"Must have admin rights to Repository."}`, Scope},
		{"google", "scope, old dialect", j(403), `{"error":{"errors":[{"domain":"global","reason":"insufficientPermissions"}],"code":403}}`, Scope},
		{"shopify", "scope of GraphQL", j(200), `{"errors":[{"message":"Access denied for orders field.","extensions":{"code":"ACCESS_DENIED"}}],"data":{"orders":null}}`, Scope},

		// a permission, the account, its organization
		{"github", "permission", j(403), `{"message":"Resource not accessible by personal access token"}`, Permission},
		{"stripe", "permission", j(403), `{"error":{"message":"The provided key 'rk_live_****only' does not have the required permissions for this endpoint on account 'acct_1'.","type":"invalid_request_error"}}`, Permission},
		{"zoho-crm", "permission", j(403), `{"code":"NO_PERMISSION"}`, Permission},
		{"notion", "capability", j(403), `{"object":"error","status":403,"code":"restricted_resource"}`, Permission},
		{"monday", "permission", j(200), `{"data":[],"errors":[{"message":"User unauthorized to perform action","path":["me"],"extensions":{"code":"UserUnauthorizedException","status_code":403}}]}`, Permission},
		{"notion", "not shared", j(404), `{"object":"error","status":404,"code":"object_not_found"}`, NotShared},
		{"google", "not shared", j(403), `{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED"}}`, NotShared},
		{"google", "API off", j(403), `{"error":{"status":"PERMISSION_DENIED","details":[{"reason":"SERVICE_DISABLED"}]}}`, APIDisabled},
		{"google", "API off, in words", j(403), `{"error":{"code":403,"message":"Google Sheets API has not been used in project 123 before or it is disabled.","status":"PERMISSION_DENIED"}}`, APIDisabled},
		{"google", "API off, old dialect", j(403), `{"error":{"errors":[{"domain":"usageLimits","reason":"accessNotConfigured"}]}}`, APIDisabled},
		{"salesforce", "API off", j(403), `[{"message":"The REST API is not enabled for this Organization.","errorCode":"API_DISABLED_FOR_ORG"}]`, APIDisabled},
		{"github", "SSO", j(403, "X-GitHub-SSO", "required; url=https://github.com/orgs/x/sso"), `{"message":"Resource protected by organization SAML enforcement."}`, SSO},
		{"github", "part of the answer", j(200, "X-GitHub-SSO", "partial-results; organizations=21955855"), `[]`, OK},
		{"github", "app not approved", j(403), "{\"message\":\"Although you appear to have the correct authorization credentials, the `x` organization has enabled OAuth App access restrictions\"}", Policy},
		{"github", "address not allowed", j(403), "{\"message\":\"Although you appear to have the correct authorization credentials, the `x` organization has an IP allow list enabled\"}", Policy},
		{"hubspot", "app not allowed", j(403), `{"category":"BANNED"}`, Policy},
		{"gitlab", "impersonation off", j(401), `{"error":"invalid_token","error_description":"Token is an impersonation token but impersonation was disabled."}`, Policy},
		{"stripe", "the other mode", j(404), `{"error":{"code":"resource_missing","message":"No such customer: 'cus_1'; a similar object exists in live mode, but a test mode key was used to make this request."}}`, Surface},
		{"clickup", "workspace not authorized", j(401), `{"err":"Team not authorized","ECODE":"OAUTH_027"}`, NotShared},
		{"clickup", "revoked", j(401), `{"err":"Token invalid","ECODE":"OAUTH_025"}`, Expired},

		{"github", "permission of an app", j(403, "X-Accepted-GitHub-Permissions", "contents=read"), `{"message":"Resource not accessible by integration"}`, Permission},
		{"github", "no administrator", j(403), `{"message":"Must have admin rights to Repository."}`, Forbidden},
		{"github", "one of the scopes that would do", j(403, scopes, "repo", accepts, "admin:org, repo"), `{"message":"Must have admin rights to Repository."}`, Forbidden},
		{"github", "a scope that contains one that would do", j(403, scopes, "gist, admin:org", accepts, "read:org"), `{"message":"Must have admin rights to Repository."}`, Forbidden},
		{"github", "no scope would do it", j(403, scopes, "gist", accepts, ""), `{"message":"Must have admin rights to Repository."}`, Forbidden},
		{"github", "scopes that are not told", j(403, accepts, "repo"), `{"message":"Must have admin rights to Repository."}`, Forbidden},
		{"github", "not accessible, whatever the scopes", j(403, scopes, "", accepts, "repo"), `{"message":"Resource not accessible by personal access token"}`, Permission},
		{"github", "SSO, whatever the scopes", j(403, "X-GitHub-SSO", "required; url=https://github.com/orgs/x/sso", scopes, "gist", accepts, "repo"), `{"message":"Resource protected by organization SAML enforcement."}`, SSO},
		{"github", "not there, or not to be seen", j(404, scopes, "gist", accepts, "repo"), `{"message":"Not Found"}`, OK},
		{"crm", "fields of GitHub's", j(403, scopes, "gist", accepts, "repo"), `{"message":"no"}`, Forbidden},
		{"github", "classic tokens forbidden", j(403), "{\"message\":\"`x` forbids access via a personal access token (classic). Please use a GitHub App, OAuth App, or a personal access token with fine-grained permissions.\"}", Policy},
		{"github", "tokens that live too long", j(403), `{"message":"The 'x' organization forbids access via a fine-grained personal access tokens if the token's lifetime is greater than 366 days."}`, Policy},
		{"github", "SSO in words", j(403), `{"message":"Resource protected by organization SAML enforcement. You must grant your Personal Access token access to this organization."}`, SSO},
		{"github", "suspended", j(403), `{"message":"Sorry. Your account was suspended."}`, Inactive},
		{"github", "an Enterprise Server without its path", j(404), `{"message":"Not Found"}`, OK}, // a check knows that its path is there
		{"gitlab", "DPoP", j(401), `{"error":"dpop_error","error_description":"DPoP validation error"}`, Policy},
		{"google", "no apps", j(403), `{"error":{"errors":[{"domain":"global","reason":"domainPolicy"}],"code":403,"message":"The domain administrators have disabled Drive apps."}}`, Policy},
		{"google-ads", "developer token", j(403), `{"error":{"code":403,"status":"PERMISSION_DENIED","details":[{"errors":[{"errorCode":{"authorizationError":"DEVELOPER_TOKEN_NOT_APPROVED"}}]}]}}`, Unapproved},
		{"shopify", "protected data", j(200), `{"errors":[{"message":"This app is not approved to access the Customer object.","extensions":{"code":"ACCESS_DENIED"}}]}`, Unapproved},
		{"shopify", "protected data of REST", j(403), `{"errors":"[API] This app is not approved to access REST endpoints with protected customer data."}`, Unapproved},
		{"salesforce", "permission", j(403), `[{"message":"insufficient access rights on cross-reference id","errorCode":"INSUFFICIENT_ACCESS"}]`, Permission},
		{"salesforce", "API off for now", j(403), `[{"message":"API is currently disabled for this User","errorCode":"API_CURRENTLY_DISABLED"}]`, APIDisabled},
		{"stripe", "a key for browsers", j(403), `{"error":{"code":"secret_key_required","message":"This API call cannot be made with a publishable API key. Please use a secret API key.","type":"invalid_request_error"}}`, Surface},
		{"stripe", "address not allowed", j(403), `{"error":{"message":"The API key provided does not allow requests from your IP address.","type":"invalid_request_error"}}`, Policy},
		{"stripe", "permission of an app's token", j(403), `{"error":{"code":"oauth_not_supported","message":"This application does not have the required permissions for this endpoint on account 'acct_1'.","type":"invalid_request_error"}}`, Permission},
		{"stripe", "permission of an app", j(403), `{"error":{"code":"more_permissions_required_for_application","type":"invalid_request_error"}}`, Permission},

		// limits
		{"github", "nobody may log in", j(403), `{"message":"Maximum number of login attempts exceeded. Please try again later."}`, RateLimited},
		{"google", "a day's quota on 429", j(429), `{"error":{"code":429,"message":"Quota exceeded for quota metric 'Queries' and limit 'Queries per day' of service 'pagespeedonline.googleapis.com'","status":"RESOURCE_EXHAUSTED"}}`, Quota},
		{"google", "a day's quota on 403", j(403), `{"error":{"code":403,"message":"Quota exceeded for quota metric 'Queries' and limit 'Queries per day' of service 'x'","errors":[{"reason":"rateLimitExceeded"}]}}`, Quota},
		{"google", "quota", j(403), `{"error":{"errors":[{"domain":"youtube.quota","reason":"quotaExceeded"}]}}`, Quota},
		{"google", "limit of all", j(403), `{"error":{"errors":[{"domain":"usageLimits","reason":"rateLimitExceeded"}]}}`, RateLimited},
		{"gitlab", "limit", j(429, "RateLimit-Remaining", "0"), `{"message":"429 Too Many Requests"}`, RateLimited},
		{"hubspot", "a day's limit", j(429), `{"status":"error","message":"You have reached your daily limit.","errorType":"RATE_LIMIT","policyName":"DAILY"}`, Quota},
		{"hubspot", "limit by its category", j(429), `{"status":"error","message":"You have reached your ten_secondly_rolling limit.","category":"RATE_LIMITS"}`, RateLimited},
		{"hubspot", "limit", j(429), `{"status":"error","message":"You have reached your secondly limit.","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}`, RateLimited},
		{"notion", "limit", j(429, "Retry-After", "1"), `{"object":"error","status":429,"code":"rate_limited"}`, RateLimited},
		{"stripe", "limit", j(429), `{"error":{"code":"rate_limit"}}`, RateLimited},
		{"shopify", "limit", j(429), `{"errors":"Exceeded 2 calls per second for api client."}`, RateLimited},
		{"zoom", "limit", j(429), `{"code":429,"message":"You have reached the maximum per-second rate limit for this API."}`, RateLimited},
		{"microsoft", "limit", j(429, "Retry-After", "5"), `{"error":{"code":"TooManyRequests"}}`, RateLimited},
		{"github", "primary limit", j(403, "X-RateLimit-Remaining", "0"), `{"message":"API rate limit exceeded for user ID 1."}`, RateLimited},
		{"github", "primary limit on 429", j(429, "X-RateLimit-Remaining", "0"), `{"message":"API rate limit exceeded for user ID 1."}`, RateLimited},
		{"github", "limit, whatever the scopes", j(403, "X-RateLimit-Remaining", "0", scopes, "gist", accepts, "repo"), `{}`, RateLimited},
		{"github", "secondary limit that tells when", j(403, "Retry-After", "60", scopes, "gist", accepts, "repo"), `{"message":"Slow down"}`, RateLimited},
		{"github", "secondary limit", j(403), `{"message":"You have exceeded a secondary rate limit."}`, RateLimited},
		{"google", "limit", j(403), `{"error":{"errors":[{"domain":"usageLimits","reason":"userRateLimitExceeded"}]}}`, RateLimited},
		{"google", "quota", j(403), `{"error":{"errors":[{"domain":"usageLimits","reason":"dailyLimitExceeded"}]}}`, Quota},
		{"google", "429", j(429), `{"error":{"status":"RESOURCE_EXHAUSTED"}}`, RateLimited},
		{"salesforce", "daily limit", j(403), `[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Limit exceeded."}]`, Quota},
		{"constant-contact", "quota", j(429), `{"error_key":"quota_exceeded"}`, Quota},
		{"constant-contact", "limit", j(429), `{"error_key":"throttled"}`, RateLimited},
		{"mailup", "limit before 2018", j(403), `{"ErrorDescription":"Max:5 calls per second"}`, RateLimited},
		{"shopify", "limit of GraphQL", j(200), `{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}`, RateLimited},

		// expiry where the status does not tell
		{"fabric", "403 without a word", &http.Response{StatusCode: 403, Header: http.Header{}, ContentLength: 0}, ``, Expired},
		{"microsoft", "403 with words", j(403), `{"error":{"code":"Authorization_RequestDenied"}}`, Permission},
		{"microsoft-powerbi", "403 of an expired token", j(403), `{"error":{"code":"TokenExpired","message":"Access token has expired, resubmit with a new access token"}}`, Expired},
		{"halopsa", "400 of an expired token", j(400), `{"error":"Token not found"}`, Expired},
		{"mailup", "expired", j(500), `{"ErrorCode":"401","ErrorDescription":"Authorization error: Access token is expired"}`, Expired},
		{"halopsa", "400", j(400), `{"error":"no such field"}`, OK},

		// 200 that is a no
		{"slack", "expired", j(200), `{"ok":false,"error":"token_expired"}`, Expired},
		{"slack", "revoked", j(200), `{"ok": false, "error": "token_revoked"}`, Invalid},
		{"slack", "unknown", j(200), `{"ok":false,"error":"invalid_auth"}`, Invalid},
		{"slack", "inactive", j(200), `{"ok":false,"error":"account_inactive"}`, Inactive},
		{"slack", "a channel that nobody has invited the app to", j(200), `{"ok":false,"error":"channel_not_found"}`, NotShared},
		{"slack", "not in the channel", j(200), `{"ok":false,"error":"not_in_channel","needed":"chat:write.public","provided":"chat:write"}`, NotShared},
		{"slack", "no token", j(200), `{"ok":false,"error":"not_authed"}`, Misplaced},
		{"slack", "a token of another kind", j(200), `{"ok":false,"error":"not_allowed_token_type"}`, Surface},
		{"slack", "no bearer token", j(200), `{"ok":false,"error":"not_bearer_token"}`, Surface},
		{"slack", "limit", j(429, "Retry-After", "30"), `{"ok":false,"error":"ratelimited"}`, RateLimited},
		{"slack", "the organization migrates", j(200), `{"ok":false,"error":"org_login_required"}`, Policy},
		{"slack", "the organization has not let the app in", j(200), `{"ok":false,"error":"team_access_not_granted"}`, Policy},
		{"slack", "the organization keeps its keys", j(200), `{"ok":false,"error":"ekm_access_denied"}`, Policy},
		{"slack", "no permission", j(200), `{"ok":false,"error":"no_permission"}`, Permission},
		{"slack", "what is not the credential's fault", j(200), `{"ok":false,"error":"no_text"}`, OK},
		{"slack", "good", j(200), `{"ok":true}`, OK},
		{"slack", "an error in the data", j(200), `{"ok":true,"metadata":{"ok":false,"error":"token_expired"}}`, OK},
		{"marketo", "expired", j(200), `{"requestId":"e42b#14272d07d78","success":false,"errors":[{"code":"602","message":"Access token expired"}]}`, Expired},
		{"marketo", "permission", j(200), `{"requestId":"1","success":false,"errors":[{"code":"603","message":"Access denied"}]}`, Permission},
		{"marketo", "unknown", j(200), `{"requestId":"1","success":false,"errors":[{"code":"601","message":"Access token invalid"}]}`, Invalid},
		{"marketo", "limit", j(200), `{"requestId":"1","success":false,"errors":[{"code":"606","message":"Max rate limit"}]}`, RateLimited},
		{"marketo", "another error", j(200), `{"requestId":"1","success":false,"errors":[{"code":"610","message":"Requested resource not found"}]}`, OK},
		{"moosend", "limit", j(200), `{"Code":429,"Error":"RATE-LIMITING","Context":null}`, RateLimited},
		{"zoho-campaigns", "inactive", j(200), `{"status":"error","code":"901"}`, Inactive},
		{"zoho-campaigns", "inactive, as a number", j(200), `{"status":"error","code": 901}`, Inactive},
		{"moosend", "good", j(200), `{"Code":0,"Error":null,"Context":{}}`, OK},
		{"fireflies", "a wrong key", j(200), `{"data":{},"errors":[{"message":"x","code":"auth_failed"}]}`, Invalid},
		{"fireflies", "limit", j(200), `{"data":{},"errors":[{"message":"x","code":"too_many_requests"}]}`, RateLimited},

		// 500 that is a no
		{"fireflies", "500 of a wrong key", j(500), `{"errors":[{"message":"Auth failed","code":"auth_failed"}]}`, Invalid},
		{"mailchimp-transactional", "500 of a wrong key", j(500), `{"status":"error","code":-1,"name":"Invalid_Key","message":"Invalid API key"}`, Invalid},
		{"mandrill", "500", j(500), `{"status":"error","code":-1,"name":"ValidationError"}`, OK},

		// the account
		{"instantly", "unpaid", j(402), `{"statusCode":402}`, Unpaid},
		{"nimble", "unpaid", j(402), `{"code":108}`, Unpaid},
		{"shopify", "frozen", j(402), ``, Unpaid},
		{"shopify", "locked", j(423), ``, Inactive},
		{"demio", "inactive", j(403), `{"message":"Account is not active"}`, Inactive},
		{"basecamp3", "inactive", answer(404, "Reason", "Account Inactive"), ``, Inactive},
		{"basecamp3", "not there", answer(404), ``, OK},

		// the request, not the credential
		{"basecamp3", "no User-Agent", answer(400), ``, OK},
		{"notion", "no version", j(400), `{"object":"error","status":400,"code":"missing_version"}`, OK},
		{"github", "no User-Agent", answer(403, "Content-Type", "text/html"), `Request forbidden by administrative rules. Please make sure your request has a User-Agent header`, OK},
		{"notion", "conflict", j(409), `{"code":"conflict_error"}`, OK},
	} {
		p := &Provider{Name: tt.provider}
		if len(tt.body) > 0 && tt.want != OK && tt.resp.StatusCode < 400 && !p.PeeksAtGood() {
			t.Errorf("%s, %s: PeeksAtGood is false", tt.provider, tt.name)
		}
		peek := []byte(tt.body)
		if !p.Peeks(tt.resp) {
			peek = nil
		}
		if got := p.Meaning(tt.resp, peek); got != tt.want {
			t.Errorf("%s, %s: Meaning = %q; want %q", tt.provider, tt.name, got, tt.want)
		}
	}
}

// What the configuration says of a provider comes first.
func TestOwnSignalsBeforeKnownOnes(t *testing.T) {
	p := &Provider{Name: "slack", Signals: []Signal{{Status: 200, Body: `"error":"token_expired"`, Means: Policy}}}
	resp := answer(200, "Content-Type", "application/json")
	if got := p.Meaning(resp, []byte(`{"ok":false,"error":"token_expired"}`)); got != Policy {
		t.Errorf("Meaning = %q; want %q", got, Policy)
	}
	if got := p.Meaning(resp, []byte(`{"ok":false,"error":"invalid_auth"}`)); got != Invalid {
		t.Errorf("Meaning = %q; want %q", got, Invalid)
	}
}

func TestKnownNames(t *testing.T) {
	for name, want := range map[string]bool{"google": true, "google-contacts": true, "googlemaps": false, "crm": false, "": false} {
		if got := len(knownSignals(name)) > 0; got != want {
			t.Errorf("%q is known: %v, want %v", name, got, want)
		}
	}
	for name, signals := range known {
		for _, s := range signals {
			if s.Means.Code() == "" || s.Status == 0 && s.Body == "" && len(s.Header) == 0 {
				t.Errorf("%s: %+v matches everything or means nothing", name, s)
			}
			if s.Status != 0 && s.Status < 400 && s.Body == "" {
				t.Errorf("%s: %+v takes every good answer for an error", name, s)
			}
		}
	}
}

func TestOpensWith(t *testing.T) {
	const s = `{"ok":false,"error":"a b"`
	for b, want := range map[string]bool{
		s: true, s + `}`: true, " {\n \"ok\" :\tfalse , \"error\":\r\n\"a b\"}": true,
		`{"ok":false,"error":"ab"}`: false, `{"ok":false,"error":" a b"}`: false, `{"ok":false`: false, ``: false, `[` + s: false,
	} {
		if got := opensWith([]byte(b), s); got != want {
			t.Errorf("opensWith(%q) = %v; want %v", b, got, want)
		}
	}
}

// A good answer of a provider without signals costs nothing, and one of a
// provider whose errors open the body next to nothing.
func TestGoodAnswersCostNothing(t *testing.T) {
	resp := answer(200, "Content-Type", "application/json")
	body := []byte(`{"ok":true,"members":["` + strings.Repeat("x", PeekSize-40) + `"]}`)
	for _, name := range []string{"crm", "github", "slack"} {
		p := &Provider{Name: name}
		if n := testing.AllocsPerRun(100, func() { p.Peeks(resp); p.Meaning(resp, body) }); n > 0 {
			t.Errorf("%s: %v allocations for a good answer", name, n)
		}
	}
}

func BenchmarkMeaning(b *testing.B) {
	good := answer(200, "Content-Type", "application/json")
	refused := answer(403, "Content-Type", "application/json")
	body := bytes.Repeat([]byte(`{"ok":true, "name":"x"},`), PeekSize/24)
	for _, c := range []struct {
		name, provider string
		resp           *http.Response
	}{{"unknown 200", "crm", good}, {"Slack 200", "slack", good}, {"Shopify 200", "shopify", good}, {"Google 403", "google", refused}} {
		b.Run(c.name, func(b *testing.B) {
			p := &Provider{Name: c.provider}
			b.ReportAllocs()
			for b.Loop() {
				if p.Peeks(c.resp) {
					p.Meaning(c.resp, body)
				}
			}
		})
	}
}
