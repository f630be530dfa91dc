package provider

import (
	"fmt"
	"strings"
)

// knownSignals gives what is known of a provider's answers beyond their status:
// by its name, or by what stands before the first dash of it, so that
// google-sheets is read as google is. They also hold for a configuration's own
// entry of that name; its signals come first.
func knownSignals(name string) []Signal {
	if s, ok := known[name]; ok {
		return s
	}
	family, _, _ := strings.Cut(name, "-")
	return known[family]
}

// known is the central table. Every row was seen in the provider's own pages,
// its code, or a recorded answer; what is only remembered of it is not here, and
// is judged as every HTTP API's answers are. Nobody writes it.
var known = map[string][]Signal{
	"atlassian": {
		{Status: 401, Body: "scope does not match", Means: Scope},
		{Status: 401, Header: map[string]string{"X-Failure-Category": "FAILURE_CLIENT_SCOPE_CHECK"}, Means: Scope},
	},
	"basecamp3": basecamp,
	"basecamp":  basecamp,
	"clickup":   clickup(),
	"constant-contact": { // without Retry-After; the quota is a day's
		{Status: 429, Body: "quota_exceeded", Means: Quota},
	},
	"demio": {
		{Status: 403, Body: "ccount is not active", Means: Inactive},
	},
	"fireflies": {
		{Status: 500, Body: `"code":"auth_failed"`, Means: Invalid},
		{Status: 200, Body: `"code":"auth_failed"`, Means: Invalid},
		{Status: 200, Body: `"code":"too_many_requests"`, Means: RateLimited},
	},
	"github": {
		{Status: 403, Header: map[string]string{"X-GitHub-SSO": "required"}, Means: SSO},
		{Status: 403, Body: "rate limit", Means: RateLimited},                                // the secondary one
		{Status: 403, Body: "Maximum number of login attempts exceeded", Means: RateLimited}, // of good tokens too
		{Status: 403, Body: "Resource not accessible by", Means: Permission},
		{Status: 403, Body: "organization SAML enforcement", Means: SSO},
		{Status: 403, Body: "forbids access via a", Means: Policy}, // of the kind of token, or its life
		{Status: 403, Body: "has enabled OAuth App access restrictions", Means: Policy},
		{Status: 403, Body: "has an IP allow list enabled", Means: Policy},
		{Status: 403, Body: "Your account was suspended", Means: Inactive},
		{Status: 403, ungranted: true, Means: Scope},
		{Status: 401, Body: `"message":"Requires authentication"`, Means: Misplaced}, // another one has bad credentials
	},
	"gitlab": {
		{Status: 401, Body: "Token was revoked", Means: Invalid},
		{Status: 401, Body: "impersonation was disabled", Means: Policy},
		{Status: 401, Body: `"error":"dpop_error"`, Means: Policy},        // tokens must be bound to a key
		{Status: 403, Body: `"error":"insufficient_scope"`, Means: Scope}, // without WWW-Authenticate
	},
	"google": google,
	"halopsa": { // sometimes in place of a 401
		{Status: 400, Body: "Token not found", Means: Expired},
	},
	"hubspot": {
		{Status: 403, Body: `"category":"MISSING_SCOPES"`, Means: Scope},
		{Status: 403, Body: `"category":"BANNED"`, Means: Policy}, // the app is not allowed in this account
		{Status: 401, Body: `"category":"INVALID_AUTHENTICATION"`, Means: Invalid},
		{Status: 429, Body: `"policyName":"DAILY"`, Means: Quota},
	},
	"mailchimp-transactional": mandrill,
	"mailup": {
		{Body: "Access token is expired", Means: Expired},
		{Status: 403, Body: "calls per second", Means: RateLimited}, // before 2018
	},
	"mandrill": mandrill,
	"marketo": {
		{Status: 200, Body: `"success":false,"errors":[{"code":"602"`, Means: Expired},
		{Status: 200, Body: `"success":false,"errors":[{"code":"601"`, Means: Invalid},
		{Status: 200, Body: `"success":false,"errors":[{"code":"603"`, Means: Permission},
		{Status: 200, Body: `"success":false,"errors":[{"code":"606"`, Means: RateLimited},
	},
	"microsoft": microsoft,
	"fabric":    microsoft,
	"monday": {
		{Status: 200, Body: `"extensions":{"code":"UserUnauthorizedException"`, Means: Permission},
	},
	"moosend": {
		{Status: 200, Body: `{"Code":429,`, opens: true, Means: RateLimited},
	},
	"notion": {
		{Status: 403, Body: `"code":"restricted_resource"`, Means: Permission},
		{Status: 404, Body: `"code":"object_not_found"`, Means: NotShared},
	},
	"salesforce": {
		{Status: 401, Body: "scopes is required", Means: Scope}, // the code is that of an expired session
		{Status: 401, Body: `"errorCode":"INVALID_SESSION_ID"`, Means: Expired},
		{Status: 403, Body: "Bad_OAuth_Token", opens: true, Means: Expired}, // all that userinfo says
		{Status: 403, Body: `"errorCode":"REQUEST_LIMIT_EXCEEDED"`, Means: Quota},
		{Status: 403, Body: `"errorCode":"INSUFFICIENT_ACCESS`, Means: Permission}, // or ..._OR_READONLY
		{Status: 403, Body: `"errorCode":"API_DISABLED_FOR_ORG"`, Means: APIDisabled},
		{Status: 403, Body: `"errorCode":"API_CURRENTLY_DISABLED"`, Means: APIDisabled},
	},
	"shopify": {
		{Status: 200, Body: `"message":"This app is not approved to access the`, Means: Unapproved}, // of protected customer data
		{Status: 403, Body: "not approved to access", Means: Unapproved},
		{Status: 200, Body: `"extensions":{"code":"ACCESS_DENIED"`, Means: Scope},
		{Status: 200, Body: `"extensions":{"code":"THROTTLED"`, Means: RateLimited},
		{Status: 403, Body: "merchant approval", Means: Scope},
		{Status: 423, Means: Inactive}, // the shop is locked
	},
	"slack": slack,
	"stripe": {
		{Status: 401, Body: "Invalid API Key provided", Means: Invalid},
		{Body: "does not allow requests from your IP address", Means: Policy},
		{Body: "cannot be made with a publishable API key", Means: Surface},
		{Status: 403, Body: "does not have the required permissions", Means: Permission},
		{Status: 403, Body: "more_permissions_required", Means: Permission},
		{Body: "a similar object exists in live mode", Means: Surface},
		{Body: "a similar object exists in test mode", Means: Surface},
	},
	"zoho": {
		{Status: 401, Body: `"code":"OAUTH_SCOPE_MISMATCH"`, Means: Scope},
		{Status: 403, Body: `"code":"NO_PERMISSION"`, Means: Permission},
	},
	"zoho-campaigns": {
		{Status: 200, Body: `"code":"901"`, Means: Inactive},
		{Status: 200, Body: `"code":901`, Means: Inactive},
	},
	"zoom": { // with 400, 401 and 403, and with the code of an expired token
		{Body: "does not contain scopes", Means: Scope},
		{Status: 401, Body: "not supported as query parameter", Means: Misplaced},
	},
}

var basecamp = []Signal{
	{Status: 404, Header: map[string]string{"Reason": "Account Inactive"}, Means: Inactive},
}

// clickup's 401 also says that a workspace was not authorized, which no refresh
// changes.
func clickup() []Signal {
	s := []Signal{{Status: 401, Body: `"ECODE":"OAUTH_023"`, Means: NotShared}, {Status: 401, Body: `"ECODE":"OAUTH_026"`, Means: NotShared}, {Status: 401, Body: `"ECODE":"OAUTH_027"`, Means: NotShared}}
	for n := 29; n <= 45; n++ {
		s = append(s, Signal{Status: 401, Body: fmt.Sprintf(`"ECODE":"OAUTH_%03d"`, n), Means: NotShared})
	}
	return s
}

// mandrill answers 500 to a wrong key.
var mandrill = []Signal{
	{Body: `"name":"Invalid_Key"`, Means: Invalid},
}

// google answers in two dialects, error.errors[].reason and
// error.details[].reason.
var google = []Signal{
	{Status: 401, Body: "Request is missing required authentication credential", Means: Misplaced},
	{Status: 403, Body: "The request is missing a valid API key", Means: Misplaced},
	{Status: 403, Body: "doesn't allow unregistered callers", Means: Misplaced},
	{Status: 400, Body: `"reason":"API_KEY_INVALID"`, Means: Invalid},
	{Status: 400, Body: "API key not valid. Please pass a valid API key", Means: Invalid},
	{Status: 403, Body: "DEVELOPER_TOKEN_NOT_APPROVED", Means: Unapproved},
	{Status: 403, Body: `"reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"`, Means: Scope},
	{Status: 403, Body: `"reason":"insufficientPermissions"`, Means: Scope},
	{Status: 403, Body: "insufficient authentication scopes", Means: Scope},
	{Status: 403, Body: `"reason":"SERVICE_DISABLED"`, Means: APIDisabled},
	{Status: 403, Body: `"reason":"accessNotConfigured"`, Means: APIDisabled},
	{Status: 403, Body: "has not been used in project", Means: APIDisabled},
	{Body: " per day' of service", Means: Quota}, // with 429, and with 403 and the reason of a short limit
	{Status: 403, Body: `"reason":"rateLimitExceeded"`, Means: RateLimited},
	{Status: 403, Body: `"reason":"userRateLimitExceeded"`, Means: RateLimited},
	{Status: 403, Body: `"reason":"quotaExceeded"`, Means: Quota},
	{Status: 403, Body: `"reason":"dailyLimitExceeded"`, Means: Quota},
	{Status: 403, Body: `"reason":"domainPolicy"`, Means: Policy},
	{Status: 403, Body: `"reason":"insufficientFilePermissions"`, Means: NotShared},
	{Status: 403, Body: `"status":"PERMISSION_DENIED"`, Means: NotShared},
}

// microsoft: Power BI and Fabric answer 403 where others answer 401, Fabric's
// GraphQL without a word.
var microsoft = []Signal{
	{Status: 401, Header: map[string]string{"WWW-Authenticate": "insufficient_claims"}, Means: SignIn}, // access was evaluated anew
	{Status: 403, Header: map[string]string{"WWW-Authenticate": "insufficient_claims"}, Means: Policy}, // Conditional Access
	{Status: 401, Body: "ccess token is empty", Means: Misplaced},
	{Status: 403, Body: `"code":"TokenExpired"`, Means: Expired},
	{Status: 403, Body: `"code":"Authorization_RequestDenied"`, Means: Permission},
	{Status: 403, empty: true, Means: Expired},
}

// slack answers 200 and begins the body with what went wrong. That the app is not
// in a channel is no fault of the credential; somebody has to invite it.
var slack = []Signal{
	slackError("token_expired", Expired), slackError("invalid_auth", Invalid), slackError("token_revoked", Invalid),
	slackError("not_authed", Misplaced), slackError("not_bearer_token", Surface), slackError("not_allowed_token_type", Surface),
	slackError("account_inactive", Inactive), slackError("missing_scope", Scope), slackError("no_permission", Permission),
	slackError("org_login_required", Policy), slackError("team_access_not_granted", Policy), slackError("ekm_access_denied", Policy),
	slackError("channel_not_found", NotShared), slackError("not_in_channel", NotShared), slackError("ratelimited", RateLimited),
}

func slackError(code string, means Meaning) Signal {
	return Signal{Status: 200, Body: `{"ok":false,"error":"` + code + `"`, opens: true, Means: means}
}
