package auth

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sallyport/sallyport/internal/fault"
)

// What the redirect says is told by its code, and nothing is sent.
func TestRedirectErrors(t *testing.T) {
	for _, tc := range []struct {
		query url.Values
		want  fault.Code
	}{
		{url.Values{"error": {"access_denied"}, "error_description": {"The user said no"}}, fault.AccessDenied},
		{url.Values{"error": {"invalid_scope"}}, fault.InvalidScope},
		{url.Values{"error": {"unauthorized_client"}}, fault.InvalidClient},
		{url.Values{"error": {"application_suspended"}}, fault.InvalidClient},
		{url.Values{"error": {"redirect_uri_mismatch"}}, fault.RedirectURIMismatch},
		{url.Values{"error": {"invalid_request"}, "error_description": {"AADSTS50011: The redirect URI does not match"}}, fault.RedirectURIMismatch},
		{url.Values{"error": {"invalid_request"}, "error_description": {"redirect_uri is not allowed"}}, fault.RedirectURIMismatch},
		{url.Values{"error": {"server_error"}}, fault.TokenEndpointUnreachable},
		{url.Values{"error": {"admin_policy_enforced"}}, fault.OrganizationPolicy},
		{url.Values{"error": {"org_internal"}}, fault.AppNotVerified},
		{url.Values{"error": {"access_denied"}, "error_description": {"x has not completed the Google verification process. The app is currently being tested, and can only be accessed by developer-approved testers."}}, fault.AppNotVerified},
		{url.Values{"error": {"access_denied"}, "error_description": {"AADSTS65004: User declined to consent to access the app."}}, fault.AccessDenied},
		{url.Values{"error": {"access_denied"}, "error_description": {"AADSTS90094: The grant requires admin permission."}}, fault.OrganizationPolicy},
		{url.Values{"error": {"unauthorized_client"}, "error_description": {"AADSTS700016: Application with identifier 'x' was not found in the directory 'y'."}}, fault.InvalidClient},
		{url.Values{"error": {"login_required"}}, fault.AuthorizationIncomplete},
		{url.Values{"error": {"<script>"}}, fault.AuthorizationIncomplete},
		{url.Values{"error": {"access_denied"}, "code": {"x"}}, fault.AccessDenied},
		{url.Values{}, fault.AuthorizationIncomplete},
		{url.Values{"code": {""}}, fault.AuthorizationIncomplete},
	} {
		f := newFlows(t, nil)
		got := f.done(t, back(t, f.begin(t, ConnectRequest{}), tc.query))
		failsWith(t, got, tc.want, "")
		if n := len(f.server.posts()); n > 0 {
			t.Errorf("%v: %d codes were sent", tc.query, n)
		}
	}
}

// What the token endpoint answers to the code is told by its code.
func TestCodeAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, contentType, body string
		status                  int
		want                    fault.Code // empty: it is a grant
	}{
		{"GitHub's wrong redirect", "application/json", `{"error":"redirect_uri_mismatch","error_description":"The redirect_uri MUST match"}`, 200, fault.RedirectURIMismatch},
		{"GitHub's wrong secret", "application/json", `{"error":"incorrect_client_credentials"}`, 200, fault.InvalidClient},
		{"GitHub's old code", "application/x-www-form-urlencoded", "error=bad_verification_code", 200, fault.InvalidGrant},
		{"Slack's wrong redirect", "application/json", `{"ok":false,"error":"bad_redirect_uri"}`, 200, fault.RedirectURIMismatch},
		{"Entra's expired secret", "application/json", `{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys are expired."}`, 401, fault.InvalidClient},
		{"Salesforce's wrong redirect", "application/json", `{"error":"redirect_uri_mismatch","error_description":"redirect_uri must match configuration"}`, 400, fault.RedirectURIMismatch},
		{"Google's app of another organization", "application/json", `{"error":"org_internal","error_description":"This client is restricted to users within its organization."}`, 403, fault.AppNotVerified},
		{"HubSpot's old code", "application/json", `{"status":"BAD_AUTH_CODE","message":"missing or unknown auth code"}`, 400, fault.InvalidGrant},
		{"Atlassian's wrong secret", "application/json", `{"error":"access_denied","error_description":"Unauthorized"}`, 401, fault.InvalidClient},
		{"the RFC's words", "application/json", `{"error":"invalid_grant","error_description":"The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client."}`, 400, fault.InvalidGrant},
		{"a redirect that does not match", "application/json", `{"error":"invalid_grant","error_description":"redirect_uri mismatch"}`, 400, fault.RedirectURIMismatch},
		{"a wrong scope", "application/json", `{"error":"invalid_scope"}`, 400, fault.InvalidScope},
		{"a page", "text/html", "<html>busy</html>", 503, fault.TokenEndpointUnreachable},
		{"an empty grant", "application/json", `{}`, 200, fault.TokenEndpointUnreachable},
		{"Slack's person", "application/json", `{"ok":true,"authed_user":{"access_token":"at","scope":"x"}}`, 200, ""},
		{"a form", "application/x-www-form-urlencoded", "access_token=at&scope=x&token_type=bearer", 200, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFlows(t, nil)
			f.server.answer = answers(tc.status, tc.contentType, tc.body)
			got := f.done(t, back(t, f.begin(t, ConnectRequest{}), code))
			if tc.want == "" {
				if got.State != ConnectDone {
					t.Errorf("the connect is %s: %v", got.State, got.Fault)
				}
				return
			}
			failsWith(t, got, tc.want, "")
			if n := len(f.server.posts()); n != 1 {
				t.Errorf("the code was sent %d times", n)
			}
		})
	}
}

// A consent page that refuses the client or the redirect URI ends the connect at
// once; any other answer of it, and none, says nothing.
func TestConsentPageIsLookedAt(t *testing.T) {
	respond := func(status int, body string, header ...string) func() *http.Response {
		return func() *http.Response {
			h := http.Header{}
			for i := 0; i+1 < len(header); i += 2 {
				h.Set(header[i], header[i+1])
			}
			return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
		}
	}
	for _, tc := range []struct {
		name string
		page func() *http.Response
		want fault.Code // empty: it goes on
	}{
		{"a login page", respond(200, "redirect_uri invalid_client"), ""},
		{"a wrong redirect URI", respond(400, `{"error":"invalid_request","error_description":"redirect_uri did not match"}`), fault.RedirectURIMismatch},
		{"a wrong redirect URI in words", respond(403, "<p>The redirect URI is not registered"), fault.RedirectURIMismatch},
		{"an unknown client", respond(401, "error=invalid_client"), fault.InvalidClient},
		{"a robot is not wanted", respond(403, "are you human?"), ""},
		{"away", respond(503, "redirect_uri"), ""},
		{"to the login", respond(302, "", "Location", "https://auth.crm.example/login?error=invalid_client"), ""},
		{"back with an invalid scope", respond(302, "", "Location", redirectHere+"?error=invalid_scope&state=x"), fault.InvalidScope},
		{"back without a login", respond(302, "", "Location", redirectHere+"?error=login_required"), ""},
		{"back with a code", respond(302, "", "Location", redirectHere+"?code=x"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlows(t, nil)
				f.server.page = tc.page
				c := f.begin(t, ConnectRequest{})
				synctest.Wait()
				got, err := f.Get(c.ID)
				if err != nil || f.server.looks != 1 {
					t.Fatalf("%d looks, %v", f.server.looks, err)
				}
				if tc.want != "" {
					failsWith(t, got, tc.want, "")
				} else if got := f.done(t, back(t, c, code)); got.State != ConnectDone {
					t.Errorf("the connect is %s: %v", got.State, got.Fault)
				}
				f.end()
				synctest.Wait()
			})
		})
	}
}
