package checker_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// What a failure means across providers that have no table of their own here, and
// who has to act. Those that have one are in its test.
func TestWhatFailuresMean(t *testing.T) {
	const asJSON = "application/json; charset=utf-8"
	j := func(status int, body string, fields ...string) answering {
		return answer(status, asJSON, body, fields...)
	}
	challenge := func(status int, bearer string) answering {
		return j(status, `{}`, "WWW-Authenticate", `Bearer realm="x", `+bearer)
	}
	grant := consented("4ccess")
	rejected := meant{checker.Error, checker.Error, fault.CredentialsRejected, fault.User, ""}
	unsure := meant{checker.Warning, checker.Unverifiable, "", "", ""}
	limited := meant{checker.Unknown, checker.Unverifiable, fault.UpstreamRateLimited, fault.Nobody, ""}
	quota := meant{checker.Unknown, checker.Unverifiable, fault.QuotaExceeded, fault.VendorAdmin, ""}
	inactive := meant{checker.Error, checker.Error, fault.AccountInactive, fault.VendorAdmin, ""}
	unpaid := meant{checker.Warning, checker.Warning, fault.AccountUnpaid, fault.VendorAdmin, "the credential is accepted"}
	scope := meant{checker.Warning, checker.OK, fault.InsufficientScope, fault.User, ""}
	permission := meant{checker.Warning, checker.OK, fault.InsufficientPermission, fault.VendorAdmin, ""}
	for _, c := range []struct {
		provider, name string
		answer         answering
		cred           *credential.Credential // nil: a token that nothing renews
		want           meant
	}{
		{"crm", "401 invalid_token", challenge(401, `error="invalid_token", error_description="The access token expired"`), nil, rejected.saying("The access token expired")},
		{"crm", "401 invalid_token beside a refresh token", challenge(401, `error="invalid_token", error_description="The access token expired"`), grant, unsure.saying("not spent to find out")},
		{"crm", "401", j(401, `{"message":"no"}`), nil, rejected},
		{"crm", "401 without an error code", answer(401, "", "", "WWW-Authenticate", `Bearer realm="x"`), nil, rejected},
		{"crm", "400 invalid_request", challenge(400, `error="invalid_request"`), nil, unsure},
		{"crm", "401 that says scope", j(401, `{"message":"missing scope"}`), nil, scope},
		{"crm", "400 that says scope", j(400, `{"message":"missing scope"}`), nil, scope},
		{"crm", "403 that says scope", j(403, `{"message":"missing scope"}`), nil, scope},
		{"crm", "403 that says that the key is wrong", j(403, `{"message":"Invalid API key"}`), nil, rejected},
		{"crm", "403 that says that the token has expired", j(403, `{"error":"invalid_token","error_description":"Token expired"}`), nil, rejected.saying("Token expired")},
		{"crm", "403 that says that the token has expired, beside a refresh token", j(403, `{"message":"Token expired"}`), grant, unsure.saying("not spent to find out")},
		{"crm", "403 that says nothing", j(403, `{"message":"Forbidden"}`), nil, meant{checker.Warning, checker.Unverifiable, fault.InsufficientPermission, fault.VendorAdmin, "some APIs refuse a key"}},
		{"crm", "403 insufficient_scope", challenge(403, `error="insufficient_scope", scope="orders.read"`), nil, scope.saying("orders.read")},
		{"crm", "403 insufficient_scope beside a refresh token", challenge(403, `error="insufficient_scope", scope="orders.read"`), grant, scope.saying("orders.read")},
		{"crm", "403, nothing remains", j(403, `{}`, "RateLimit-Remaining", "0"), nil, limited},
		{"crm", "403, retry later", j(403, `{}`, "Retry-After", "30"), nil, limited},
		{"crm", "403, retry after a date", j(403, `{}`, "Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"), nil, limited},
		{"mailup", "403 before 2018", j(403, `{"ErrorDescription":"Max:5 calls per second"}`), nil, limited},
		{"mailup", "its words for an expired token", j(401, `{"ErrorCode":"401","ErrorDescription":"Authorization error: Access token is expired"}`), nil, rejected},
		{"constant-contact", "a day's quota", j(429, `{"error_key":"quota_exceeded"}`), nil, quota},

		{"fabric", "403 without a word", answer(403, "", ""), nil, unsure.saying("without a word")},
		{"microsoft", "403 without a word", answer(403, "", ""), nil, unsure.saying("without a word")},
		{"microsoft", "403 without a word, of a token whose time is over", answer(403, "", ""), record("bearer", "token", jwt(time.Now().Add(-time.Hour))), rejected},
		{"microsoft", "403 without a word, of a token that has time", answer(403, "", ""), record("bearer", "token", jwt(time.Now().Add(time.Hour))), unsure.saying("without a word")},
		{"fabric", "403 without a word beside a refresh token", answer(403, "", ""), grant, unsure.saying("not spent to find out")},
		{"halopsa", "400 of an expired token", j(400, `{"error":"Token not found"}`), nil, rejected},
		{"halopsa", "400 of an expired token beside a refresh token", j(400, `{"error":"Token not found"}`), grant, unsure.saying("not spent to find out")},
		{"halopsa", "another 400", j(400, `{"error":"no such field"}`), nil, unsure},

		{"moosend", "200 and a limit", j(200, `{"Code":429,"Error":"RATE-LIMITING","Context":null}`), nil, limited},
		{"moosend", "200 and another code", j(200, `{"Code":104,"Error":"x","Context":null}`), nil, unsure},
		{"moosend", "200 and 0", j(200, `{"Code":0,"Error":null,"Context":{}}`), nil, meant{checker.OK, checker.OK, "", "", ""}},
		{"zoho-campaigns", "200 and 901", j(200, `{"status":"error","code":"901"}`), nil, inactive},
		{"zoho-campaigns", "200 and another code", j(200, `{"status":"error","code":"1004"}`), nil, unsure},
		{"fireflies", "200 of a wrong key", j(200, `{"data":{},"errors":[{"message":"x","code":"auth_failed"}]}`), nil, rejected},
		{"fireflies", "200 and a limit", j(200, `{"data":{},"errors":[{"message":"x","code":"too_many_requests"}]}`), nil, limited},
		{"monday", "200 of who may not", j(200, `{"data":[],"errors":[{"message":"x","extensions":{"code":"UserUnauthorizedException"}}]}`), nil, permission},
		{"monday", "200 and another error", j(200, `{"error_code":"ComplexityException"}`), nil, unsure},
		{"marketo", "200 of an expired token", j(200, `{"requestId":"1","success":false,"errors":[{"code":"602","message":"Access token expired"}]}`), nil, rejected},
		{"marketo", "200 of who may not", j(200, `{"requestId":"1","success":false,"errors":[{"code":"603","message":"Access denied"}]}`), nil, permission},
		{"marketo", "200 and a limit", j(200, `{"requestId":"1","success":false,"errors":[{"code":"606","message":"Max rate limit"}]}`), nil, limited},
		{"marketo", "200 and another error", j(200, `{"requestId":"1","success":false,"errors":[{"code":"610","message":"x"}]}`), nil, unsure},
		{"crm", "200 and an errcode", j(200, `{"errcode":40001,"errmsg":"x"}`), nil, unsure},

		{"fireflies", "500 of a wrong key", j(500, `{"errors":[{"message":"Auth failed","code":"auth_failed"}]}`), nil, rejected},
		{"mailchimp-transactional", "500 of a wrong key", j(500, `{"status":"error","code":-1,"name":"Invalid_Key","message":"Invalid API key"}`), nil, rejected},
		{"mailchimp-transactional", "another 500", j(500, `{"status":"error","code":-1,"name":"GeneralError"}`), nil, meant{checker.Unknown, checker.Unverifiable, "", "", "try again later"}},

		{"instantly", "402", j(402, `{"statusCode":402,"error":"Payment Required"}`), nil, unpaid},
		{"nimble", "402", j(402, `{"code":108}`), nil, unpaid},
		{"demio", "403 of an account that is not active", j(403, `{"message":"Account is not active"}`), nil, inactive},
		{"basecamp3", "404 of an account that is not active", answer(404, "", "", "Reason", "Account Inactive"), nil, inactive},
		{"basecamp3", "404", answer(404, "", ""), nil, meant{checker.Error, checker.Error, fault.WrongSurface, fault.Operator, ""}},
		{"clickup", "401 of a workspace that was not authorized", j(401, `{"err":"Team not authorized","ECODE":"OAUTH_027"}`), nil, meant{checker.Warning, checker.Warning, fault.ResourceNotShared, fault.VendorAdmin, ""}},

		{"basecamp3", "400 without a User-Agent", answer(400, "", ""), nil, unsure},
	} {
		t.Run(c.provider+" "+c.name, func(t *testing.T) {
			p := api("https://api.example.com")
			p.Name = c.provider
			if c.cred == nil {
				c.cred = record("bearer", "token", "4ccess")
			}
			c.want.check(t, newChecker(c.answer).Check(t.Context(), p, c.cred))
		})
	}
}

// meant is what a report says of the authorization. Empty: nothing is wrong.
type meant struct {
	overall, line checker.Status
	code          fault.Code
	actor         fault.Actor
	says          string // in one of the details
}

// saying is m with a detail.
func (m meant) saying(detail string) meant {
	m.says = detail
	return m
}

func (m meant) check(t *testing.T, r *checker.Report) {
	t.Helper()
	var details []string
	for _, l := range r.Checks {
		details = append(details, l.Detail)
	}
	if got := line(r, checker.Authorization).Status; r.Status != m.overall || got != m.line || !strings.Contains(strings.Join(details, "\n"), m.says) {
		t.Errorf("%s, authorization %s, %q; want %s, %s and %q", r.Status, got, details, m.overall, m.line, m.says)
	}
	switch {
	case codeOf(r) != m.code:
		t.Errorf("fault %+v, want %q", r.Fault, m.code)
	case m.code != "" && (r.Fault.Actor != m.actor || len(r.Fault.Remedy) == 0):
		t.Errorf("%s is to act: %q; want %s", r.Fault.Actor, r.Fault.Remedy, m.actor)
	}
}

// A 200 with nothing in it proves nothing: whoever looks at no credential may answer
// so. What has no body to miss is told by its status, or by the method.
func TestNothingInTheAnswer(t *testing.T) {
	const own, shipped, known = "crm", "brevo", "hubspot-eu"
	for _, c := range []struct {
		name, provider, method string
		answer                 answering
		want                   checker.Status
	}{
		{"a shipped entry", shipped, http.MethodGet, answer(200, "", ""), checker.Unverifiable},
		{"a shipped entry, 201", shipped, http.MethodPost, answer(201, "", ""), checker.Unverifiable},
		{"a shipped entry, 204", shipped, http.MethodGet, answer(204, "", ""), checker.OK},
		{"a shipped entry, 205", shipped, http.MethodGet, answer(205, "", ""), checker.OK},
		{"a shipped entry with something in it", shipped, http.MethodGet, answer(200, "text/plain", "PONG!"), checker.OK},
		{"known by its name", known, http.MethodGet, answer(200, "", ""), checker.Unverifiable},
		{"one's own", own, http.MethodGet, answer(200, "", ""), checker.Unverifiable},
		{"one's own, by POST", own, http.MethodPost, answer(201, "", ""), checker.Unverifiable},
		{"one's own, 204", own, http.MethodGet, answer(204, "", ""), checker.OK},
		{"one's own, a line end", own, http.MethodGet, answer(200, "text/plain", "\r\n"), checker.Unverifiable},
		{"one's own, called text", own, http.MethodGet, answer(200, "text/plain", ""), checker.Unverifiable},
		{"one's own, called JSON", own, http.MethodGet, answer(200, "application/json", ""), checker.Unverifiable},
		{"one's own, called JSON, 204", own, http.MethodGet, answer(204, "application/json", ""), checker.OK},
		{"one's own, HEAD", own, http.MethodHead, answer(200, "application/json", ""), checker.OK},
		{"a shipped entry, HEAD", shipped, http.MethodHead, answer(200, "application/json", ""), checker.OK},
	} {
		p := api("https://api.example.com")
		p.Name, p.Builtin, p.Verify.Method = c.provider, c.provider == shipped, c.method
		l := line(newChecker(c.answer).Check(t.Context(), p, record("bearer", "token", "4ccess")), checker.Authorization)
		if l.Status != c.want || c.want == checker.Unverifiable && !strings.Contains(l.Detail, "with nothing in it") {
			t.Errorf("%s: %+v, want %s", c.name, l, c.want)
		}
	}
}
