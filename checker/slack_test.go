package checker_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// wanted is what a report of a provider's answers must say. Empty: not there, or
// nothing to say.
type wanted struct {
	overall, authorization, scopes checker.Status
	missing, login, kind           string
	code                           fault.Code
	detail                         string // in one of the lines
}

// check compares a report with it, and holds that no secret is in it.
func (w wanted) check(t *testing.T, r *checker.Report, secrets ...string) {
	t.Helper()
	l := line(r, checker.Scopes)
	if r.Status != w.overall || line(r, checker.Authorization).Status != w.authorization || l.Status != w.scopes || strings.Join(l.Missing, " ") != w.missing {
		t.Errorf("%s %+v, want %+v", r.Status, r.Checks, w)
	}
	if (r.Fault == nil) != (w.code == "") || r.Fault != nil && r.Fault.Code != w.code {
		t.Errorf("fault %+v, want %q", r.Fault, w.code)
	}
	var account checker.Account
	if r.Account != nil {
		account = *r.Account
	}
	if account.Login != w.login || account.Kind != w.kind {
		t.Errorf("account %+v, want %q %q", account, w.login, w.kind)
	}
	var details []string
	for _, l := range r.Checks {
		details = append(details, l.Detail)
	}
	if !strings.Contains(strings.Join(details, "\n"), w.detail) {
		t.Errorf("details %q, want %q in them", details, w.detail)
	}
	for _, s := range r.Steps {
		if s.Method != http.MethodGet && s.Method != http.MethodHead && s.Method != http.MethodPost {
			t.Errorf("%s %s does not only read", s.Method, s.URL)
		}
		for _, secret := range secrets {
			if strings.Contains(s.URL, secret) {
				t.Errorf("a token stands in the URL %s", s.URL)
			}
		}
	}
	wantNoSecret(t, r, secrets...)
}

func TestSlack(t *testing.T) {
	const bot = `{"ok":true,"url":"https://subarachnoid.slack.com/","team":"Subarachnoid Workspace","user":"bot","team_id":"T0G9PQBBK","user_id":"W23456789","bot_id":"BZYBOTHED"}`
	const user = `{"ok":true,"url":"https://subarachnoid.slack.com/","team":"Subarachnoid Workspace","user":"grace","team_id":"T12345678","user_id":"W12345678"}`
	is := func(code string) string { return `{"ok":false,"error":"` + code + `"}` }
	refused := wanted{overall: checker.Error, authorization: checker.Error, code: fault.CredentialsRejected}
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		needs  []string
		want   wanted
	}{
		{"a bot", says(200, bot, "X-OAuth-Scopes", "chat:write,channels:read"), nil, wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "bot", kind: "bot of Subarachnoid Workspace"}},
		{"a user, with all that is needed", says(200, user, "X-OAuth-Scopes", "identify,chat:write"), []string{"chat:write"}, wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "grace", kind: "user of Subarachnoid Workspace"}},
		{"a scope is missing", says(200, bot, "X-OAuth-Scopes", "chat:write"), []string{"chat:write", "channels:read"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "channels:read", login: "bot", kind: "bot of Subarachnoid Workspace", code: fault.InsufficientScope}},
		{"no scopes are told", says(200, user), []string{"chat:write"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, login: "grace", kind: "user of Subarachnoid Workspace"}},
		{"missing_scope", says(200, `{"ok":false,"error":"missing_scope","needed":"channels:read","provided":"chat:write"}`), nil, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "channels:read", code: fault.InsufficientScope, detail: "granted: chat:write"}},
		{"missing_scope, and more is needed", says(200, `{"ok":false,"error":"missing_scope","needed":"channels:read","provided":"chat:write"}`), []string{"users:read", "chat:write"}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: "channels:read users:read", code: fault.InsufficientScope}},
		{"token_expired", says(200, is("token_expired")), nil, refused.saying("token_expired")},
		{"invalid_auth", says(200, is("invalid_auth")), nil, refused.saying("no requests from this address")},
		{"token_revoked", says(200, is("token_revoked")), nil, refused.saying("the app was removed")},
		{"account_inactive", says(200, is("account_inactive")), nil, wanted{overall: checker.Error, authorization: checker.Error, code: fault.AccountInactive, detail: "deleted"}},
		{"not_authed", says(200, is("not_authed")), nil, wanted{overall: checker.Error, authorization: checker.Error, code: fault.CredentialMisplaced}},
		{"not_bearer_token", says(200, is("not_bearer_token")), nil, wanted{overall: checker.Error, authorization: checker.Error, code: fault.WrongSurface}},
		{"not_allowed_token_type", says(200, is("not_allowed_token_type")), nil, wanted{overall: checker.Error, authorization: checker.Error, code: fault.WrongSurface, detail: "xoxb-"}},
		{"200 with nothing in it", says(200, ``), nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable, detail: "with nothing in it"}},
		{"ratelimited", says(429, is("ratelimited"), "Retry-After", "30"), nil, wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.UpstreamRateLimited}},
		{"org_login_required", says(200, is("org_login_required")), nil, wanted{overall: checker.Error, authorization: checker.Error, code: fault.OrganizationPolicy, detail: "enterprise organization"}},
		{"team_access_not_granted", says(200, is("team_access_not_granted")), nil, wanted{overall: checker.Error, authorization: checker.Error, code: fault.OrganizationPolicy, detail: "this workspace"}},
		{"ekm_access_denied", says(200, is("ekm_access_denied")), nil, wanted{overall: checker.Error, authorization: checker.Error, code: fault.OrganizationPolicy, detail: "administrators"}},
		{"channel_not_found", says(200, is("channel_not_found")), nil, wanted{overall: checker.Warning, authorization: checker.Warning, code: fault.ResourceNotShared, detail: "was not invited"}},
		{"not_in_channel", says(200, is("not_in_channel")), nil, wanted{overall: checker.Warning, authorization: checker.Warning, code: fault.ResourceNotShared, detail: "invite the app"}},
		{"an error that is not known", says(200, is("fatal_error")), nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable, detail: "fatal_error"}},
		{"HTML", says(200, `<html>`, "Content-Type", "text/html"), nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable}},
		{"503", says(503, `{}`), nil, wanted{overall: checker.Unknown, authorization: checker.Unverifiable}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, played := acted(t, map[string]http.HandlerFunc{"POST /api/auth.test": tc.answer})
			p := api(base + "/api")
			p.Name, p.Verify, p.Needs.Scopes = "slack", provider.Verify{Method: http.MethodPost, Path: "/auth.test"}, tc.needs
			r := newChecker(transport(t)).Check(t.Context(), p, record("api_key", "api_key", "xoxb-c4n4ry"))
			tc.want.check(t, r, "c4n4ry")
			if len(played.seen) != 1 {
				t.Errorf("%d requests, want one", len(played.seen))
			}
		})
	}
}

// saying is w with a detail.
func (w wanted) saying(detail string) wanted {
	w.detail = detail
	return w
}

// A token that rotates ends soon where nothing refreshes it.
func TestSlackTokenThatRotates(t *testing.T) {
	const body = `{"ok":true,"user":"bot","bot_id":"B1","team":"T","expires_in":36000}`
	for name, tc := range map[string]struct {
		cred *credential.Credential
		want checker.Status
	}{
		"stored as a key":                {record("api_key", "api_key", "xoxe.xoxb-1-c4n4ry"), checker.Warning},
		"a grant with its refresh token": {record("oauth2_authorization_code", "client_id", "1.2", "client_secret", "s3cr3t", "access_token", "xoxe.xoxb-1-c4n4ry", "refresh_token", "xoxe-1-r"), ""},
	} {
		base, _ := acted(t, map[string]http.HandlerFunc{"POST /auth.test": says(200, body)})
		p := api(base)
		p.Name, p.Verify = "slack", provider.Verify{Method: http.MethodPost, Path: "/auth.test"}
		r := newChecker(transport(t)).Check(t.Context(), p, tc.cred)
		if l := line(r, checker.Expiry); l.Status != tc.want || tc.want != "" && (r.ExpiresAt == nil || time.Until(*r.ExpiresAt) < 9*time.Hour) {
			t.Errorf("%s: %+v, %v", name, l, r.ExpiresAt)
		}
	}
}
