package auth

import (
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// refusal is what the words of a token endpoint mean where its error code tells
// less: whose fix it is, and which.
type refusal struct {
	code fault.Code
	kind fault.Kind
	told string // behind the detail; it quotes nothing
}

// The refusals that several words mean.
var (
	grantRevoked = refusal{fault.InvalidGrant, "", "the grant was revoked, as a change of the password does: authorize again"}
	grantIdle    = refusal{fault.InvalidGrant, "", "the refresh token has not been used for too long, or its life is over: authorize again"}
	secondFactor = refusal{fault.InvalidGrant, "", "the organization asks for a second factor: authorize again with it"}
	noConsent    = refusal{fault.InvalidGrant, "", "nobody has consented to what the app asks for: authorize again; the organization may want its administrator to do so"}
	conditional  = refusal{fault.OrganizationPolicy, "", "an access policy of the organization blocks it: its administrator must let the app through"}
	adminConsent = refusal{fault.OrganizationPolicy, "", "an administrator of the organization must consent to the app first"}
	notApproved  = refusal{fault.OrganizationPolicy, "", "the user or the administrator has not approved the app: approve it there, for this user"}
	userInactive = refusal{fault.AccountInactive, "", "the user is deactivated or locked"}
	wrongSecret  = refusal{fault.InvalidClient, fault.ClientSecretWrong, "the client secret is wrong"}
	oldSecret    = refusal{fault.InvalidClient, fault.ClientSecretExpired, "the client secret has expired"}
	otherTenant  = refusal{fault.InvalidClient, fault.ClientElsewhere, "the tenant does not know the client, or there is no such tenant"}
	tooOften     = refusal{fault.TokenEndpointUnreachable, "", "it is asked too often, or not ready"}
)

// entraRefusals are the numbers of Microsoft Entra's answers:
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
// Nobody writes it.
var entraRefusals = map[string]refusal{
	"50173": grantRevoked, "50132": grantRevoked, "50133": grantRevoked,
	"700082": grantIdle, "70008": grantIdle, "700084": grantIdle, "50089": grantIdle,
	"70043": {fault.InvalidGrant, "", "the organization's sign-in frequency has ended the grant: authorize again"},
	"50076": secondFactor, "50079": secondFactor, "50078": secondFactor, "50074": secondFactor, "50072": secondFactor,
	"53000": conditional, "53001": conditional, "53003": conditional, "530035": conditional, "50131": conditional,
	"65001": noConsent, "90008": noConsent,
	"65004":   {fault.AccessDenied, "", "the user declined to consent"},
	"90094":   adminConsent,
	"90095":   adminConsent,
	"50105":   {fault.OrganizationPolicy, "", "the user is not assigned to the app: the administrator must assign it"},
	"50057":   userInactive,
	"50053":   userInactive,
	"50055":   {fault.InvalidGrant, "", "the password has expired"},
	"50144":   {fault.InvalidGrant, "", "the password has expired"},
	"7000222": oldSecret, "7000215": wrongSecret, "70002": wrongSecret,
	"700016": otherTenant, "700011": otherTenant, "90002": otherTenant, "50059": otherTenant, "90019": otherTenant, "90038": otherTenant,
	"50194":  {fault.InvalidClient, fault.ClientElsewhere, "the app is of one tenant only: its tenant belongs into token_url in place of common"},
	"70001":  {fault.InvalidClient, "", "the app is disabled there"},
	"700025": {fault.InvalidClient, "", "the client is a public one: set client_auth = \"none\" for the provider"},
	"700027": {fault.InvalidClient, "", "the signature of the client's assertion does not verify: the app has another key or certificate"},
	"500011": {fault.InvalidScope, "", "the tenant does not know the resource that the scope names"},
	"50011":  {fault.RedirectURIMismatch, "", "the redirect URI is not among those of the app"},
	"70004":  {fault.RedirectURIMismatch, "", "the redirect URI is not among those of the app"},
	"90055":  tooOften, "50196": tooOften, "90033": tooOften, "90006": tooOften, "90024": tooOften, "50033": tooOften,
}

// wordRefusals are by words of the description, in lower case, the first that
// stands in it. Nobody writes it.
var wordRefusals = []struct {
	words string
	refusal
}{
	// Salesforce, whose invalid_grant has many causes
	{"user hasn't approved this consumer", notApproved},
	{"not admin approved to access this app", notApproved},
	{"user is locked", userInactive},
	{"inactive user", userInactive},
	{"login rate exceeded", tooOften},
	{"invalid client credentials", wrongSecret},
	{"expired access/refresh token", refusal{fault.InvalidGrant, "", "the refresh token has expired or was revoked: authorize again"}},

	{"token was already used", refusal{fault.InvalidGrant, "", "the refresh token was used before: authorize again"}}, // Gitea, as unauthorized_client
	{"unable to parse refresh token", refusal{fault.InvalidGrant, "", "the refresh token is not one of this server's: authorize again"}},
	{"invalid client secret", wrongSecret},
	{"made too many requests continuously", tooOften}, // Zoho
	{"missing or invalid client secret", wrongSecret}, // Shopify
	// Google
	{"invalid_rapt", refusal{fault.InvalidGrant, "", "the organization's session control has ended the grant: authorize again, or have its administrator exempt the app"}},
	{"token has been expired or revoked", refusal{fault.InvalidGrant, "", "the grant has expired or was revoked; those of an app in testing status end after seven days, so publish it"}},
	{"has not completed the google verification process", refusal{fault.AppNotVerified, "", "the app is in testing status: add the account as a test user, or publish the app"}},
}

var entraNumber = regexp.MustCompile(`AADSTS([0-9]{4,8})\b`)

// explains gives what a description means beyond its error code.
func explains(description string) (refusal, bool) {
	if m := entraNumber.FindStringSubmatch(description); m != nil {
		r, ok := entraRefusals[m[1]]
		return r, ok
	}
	lower := strings.ToLower(description)
	for _, w := range wordRefusals {
		if strings.Contains(lower, w.words) {
			return w.refusal, true
		}
	}
	if aboutRedirect(lower) && strings.Contains(lower, "match") && !strings.Contains(lower, "expired") {
		return refusal{fault.RedirectURIMismatch, "", "the redirect URI does not match the app's"}, true
	}
	return refusal{}, false
}

// on makes a fault more exact.
func (r refusal) on(f *fault.Fault) *fault.Fault {
	g := *f
	g.Code, g.Kind, g.Detail = r.code, r.kind, f.Detail+": "+r.told
	return &g
}
