package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
)

// Each no of a token endpoint, as the provider sends it, ends as the fault whose
// remedy mends it. Nothing of the server's text is repeated.
func TestRefusals(t *testing.T) {
	entra := func(number, text string) string {
		return `{"error":"invalid_grant","error_description":"AADSTS` + number + `: ` + text + ` CNRY Trace ID: 0000","error_codes":[` + number + `],"suberror":"x"}`
	}
	said := func(code, text string) string {
		return `{"error":"` + code + `","error_description":"` + text + `"}`
	}
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   fault.Code
		kind   fault.Kind
		told   string
	}{
		{"Salesforce, expired", 400, said("invalid_grant", "expired access/refresh token"), fault.InvalidGrant, "", "authorize again"},
		{"Salesforce, not approved", 400, said("invalid_grant", "user hasn't approved this consumer"), fault.OrganizationPolicy, "", "approve it there"},
		{"Salesforce, not approved by the administrator", 400, said("invalid_app_access", "user is not admin approved to access this app"), fault.OrganizationPolicy, "", "approve it there"},
		{"Salesforce, locked", 400, said("invalid_grant", "user is locked"), fault.AccountInactive, "", "locked"},
		{"Salesforce, inactive", 400, said("inactive_user", "inactive user"), fault.AccountInactive, "", "deactivated"},
		{"Salesforce, redirect", 400, said("invalid_grant", "redirect uri does not match configuration"), fault.RedirectURIMismatch, "", "does not match"},
		{"Salesforce, redirect by its code", 400, said("redirect_uri_mismatch", "redirect_uri must match configuration"), fault.RedirectURIMismatch, "", "does not match"},
		{"Salesforce, secret", 400, said("invalid_client", "invalid client credentials"), fault.InvalidClient, fault.ClientSecretWrong, "secret is wrong"},
		{"Salesforce, secret as a grant", 400, said("invalid_grant", "invalid client credentials"), fault.InvalidClient, fault.ClientSecretWrong, "secret is wrong"},
		{"Salesforce, too often", 400, said("invalid_grant", "login rate exceeded"), fault.TokenEndpointUnreachable, "", "too often"},

		{"Entra, idle", 400, entra("700082", "The refresh token has expired due to inactivity."), fault.InvalidGrant, "", "too long"},
		{"Entra, expired", 400, entra("70008", "The refresh token has expired due to inactivity."), fault.InvalidGrant, "", "too long"},
		{"Entra, sign-in frequency", 400, entra("70043", "The refresh token has expired or is invalid due to sign-in frequency checks by Conditional Access."), fault.InvalidGrant, "", "sign-in frequency"},
		{"Entra, password changed", 400, entra("50173", "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password."), fault.InvalidGrant, "", "password"},
		{"Entra, second factor", 400, strings.Replace(entra("50076", "Due to a configuration change made by your administrator, you must use multi-factor authentication."), "invalid_grant", "interaction_required", 1), fault.InvalidGrant, "", "second factor"},
		{"Entra, second factor is to be set up", 400, entra("50079", "you must enroll in multi-factor authentication"), fault.InvalidGrant, "", "second factor"},
		{"Entra, Conditional Access", 400, entra("53003", "Access has been blocked by Conditional Access policies."), fault.OrganizationPolicy, "", "access policy"},
		{"Entra, no consent", 400, entra("65001", "The user or administrator has not consented to use the application with ID 'x'."), fault.InvalidGrant, "", "consented"},
		{"Entra, wrong secret", 401, said("invalid_client", "AADSTS7000215: Invalid client secret provided."), fault.InvalidClient, fault.ClientSecretWrong, "secret is wrong"},
		{"Entra, expired secret", 401, said("invalid_client", "AADSTS7000222: The provided client secret keys for app 'x' are expired."), fault.InvalidClient, fault.ClientSecretExpired, "secret has expired"},
		{"Entra, no such tenant", 400, said("invalid_request", "AADSTS90002: Tenant 'x' not found."), fault.InvalidClient, fault.ClientElsewhere, "tenant"},
		{"Entra, not in the tenant", 400, said("unauthorized_client", "AADSTS700016: Application with identifier 'x' was not found in the directory 'y'."), fault.InvalidClient, fault.ClientElsewhere, "tenant"},
		{"Entra, user disabled", 400, entra("50057", "The user account is disabled."), fault.AccountInactive, "", "deactivated"},
		{"Entra, a number that is not known", 400, entra("12345678", "x"), fault.InvalidGrant, "", ""},
		{"Entra, a longer number that begins alike", 400, entra("501731", "x"), fault.InvalidGrant, "", ""},

		{"HubSpot, refresh token", 400, `{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token","correlationId":"x"}`, fault.InvalidGrant, "", "BAD_REFRESH_TOKEN"},
		{"HubSpot, secret", 400, `{"status":"BAD_CLIENT_SECRET","message":"missing or invalid client secret"}`, fault.InvalidClient, fault.ClientSecretWrong, "BAD_CLIENT_SECRET"},
		{"HubSpot, client", 400, `{"status":"BAD_CLIENT_ID","message":"missing or unknown client id"}`, fault.InvalidClient, "", "BAD_CLIENT_ID"},
		{"a status that is none", 400, `{"status":"error","message":"x"}`, fault.TokenEndpointUnreachable, "", "answered 400"},
		{"Zoho, refresh token", 200, `{"error":"invalid_code"}`, fault.InvalidGrant, "", "invalid_code"},
		{"Zoho, secret", 200, `{"error":"invalid_client_secret"}`, fault.InvalidClient, fault.ClientSecretWrong, ""},
		{"Zoho, too often", 400, `{"error_description":"You have made too many requests continuously. Please try again after some time.","error":"Access Denied","status":"failure"}`, fault.TokenEndpointUnreachable, "", "too often"},
		{"Gitea, used before", 400, said("unauthorized_client", "token was already used"), fault.InvalidGrant, "", "used before"},
		{"Gitea, refresh token", 400, said("unauthorized_client", "unable to parse refresh token"), fault.InvalidGrant, "", "not one of this server's"},
		{"Gitea, secret", 400, said("invalid_client", "invalid client secret"), fault.InvalidClient, fault.ClientSecretWrong, ""},
		{"unauthorized_client otherwise", 400, said("unauthorized_client", "the client may not use this grant"), fault.InvalidClient, "", ""},
		{"GitHub, refresh token", 200, said("bad_refresh_token", "The refresh token passed is incorrect or expired."), fault.InvalidGrant, "", "bad_refresh_token"},
		{"GitHub, client", 200, said("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect."), fault.InvalidClient, "", "incorrect_client_credentials"},
		{"GitHub, redirect", 200, said("redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application."), fault.RedirectURIMismatch, "", ""},
		{"Atlassian, secret", 401, said("access_denied", "Unauthorized"), fault.InvalidClient, "", "access_denied"},
		{"Slack, refresh token", 200, `{"ok":false,"error":"invalid_refresh_token"}`, fault.InvalidGrant, "", ""},
		{"Slack, secret", 200, `{"ok":false,"error":"bad_client_secret"}`, fault.InvalidClient, fault.ClientSecretWrong, ""},
		{"Google, revoked or a test", 400, said("invalid_grant", "Token has been expired or revoked."), fault.InvalidGrant, "", "seven days"},
		{"Google, session control", 400, said("invalid_grant", "reauth related error (invalid_rapt)"), fault.InvalidGrant, "", "session control"},
		{"Google, client deleted", 401, said("deleted_client", "The OAuth client was deleted."), fault.InvalidClient, "", "deleted_client"},
		{"Shopify, secret", 400, said("invalid_request", "Missing or invalid client secret"), fault.InvalidClient, fault.ClientSecretWrong, ""},

		{"the RFC's words of a grant", 400, said("invalid_grant", "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client."), fault.InvalidGrant, "", ""},
		{"OpenID Connect", 400, said("interaction_required", "x"), fault.InvalidGrant, "", ""},
		{"a code of its own", 400, said("CNRY", "CNRY"), fault.InvalidClient, "", "of its own"},
		{"a broken server says nothing", 500, said("invalid_client", "invalid client credentials"), fault.TokenEndpointUnreachable, "", "answered 500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &tokenEndpoint{answer: func(int) (int, string, string) { return tt.status, "application/json", tt.body }}
			_, err := mint(e, oauthProvider(), clientRecord())
			f := fault.From(err)
			if f.Code != tt.want || f.Kind != tt.kind || !strings.Contains(f.Detail, tt.told) {
				t.Errorf("%s of kind %q: %s; want %s of kind %q, telling %q", f.Code, f.Kind, f.Detail, tt.want, tt.kind, tt.told)
			}
			if strings.Contains(err.Error(), "CNRY") || strings.Contains(err.Error(), "Trace") {
				t.Errorf("the server's words are repeated: %v", err)
			}
			if d := f.Diagnosis(); len(d.Remedy) == 0 || d.Actor == "" {
				t.Errorf("%s has no remedy", f.Code)
			}
		})
	}
}

// Only an answer that is a verdict on the refresh token ends it: one that blocks
// the user, the app or the moment leaves it for later.
func TestRefusalsThatLeaveTheRefreshToken(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		dead bool
	}{
		"expired":        {`{"error":"invalid_grant","error_description":"expired access/refresh token"}`, true},
		"locked":         {`{"error":"invalid_grant","error_description":"user is locked"}`, false},
		"not approved":   {`{"error":"invalid_grant","error_description":"user hasn't approved this consumer"}`, false},
		"too often":      {`{"error":"invalid_grant","error_description":"login rate exceeded"}`, false},
		"a wrong secret": {`{"error":"invalid_grant","error_description":"invalid client credentials"}`, false},
		"a policy":       {`{"error":"invalid_grant","error_description":"AADSTS53003: x"}`, false},
		"revoked":        {`{"error":"invalid_grant","error_description":"AADSTS50173: x"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := newRotating()
			server.before = func(int) (int, string) { return 400, tt.body }
			k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
			_, err := k.obtain("")
			if dead := errors.Is(err, fault.ReauthorizationRequired); dead != tt.dead {
				t.Errorf("%v; want the token dead: %v", err, tt.dead)
			}
			c := k.stored(t)
			cl, failed := claimOf(c)
			if failed != nil || (len(cl.Dead) > 0) != tt.dead || c.Field("refresh_token").Reveal() != "rt-0" {
				t.Errorf("claim %+v, %v", cl, failed)
			}
		})
	}
}
