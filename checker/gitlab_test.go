package checker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

const gitlabToken = "glpat-gl4b0000000000000000"

// gitlab is the built-in provider, with its API at base.
func gitlab(base string) *provider.Provider {
	p := api(base)
	p.Name = "gitlab"
	p.Needs = provider.Needs{Scopes: []string{"read_api", "read_user"}}
	return p
}

// self is what GitLab says of an access token.
func self(scopes, ends string) played {
	if ends != "null" {
		ends = `"` + ends + `"`
	}
	return played{body: fmt.Sprintf(`{"id":4,"name":"flow","revoked":false,"created_at":"2026-07-23T14:31:47.729Z","description":"","scopes":[%s],"user_id":3,"last_used_at":"2026-10-06T17:58:37.550Z","active":true,"expires_at":%s}`, scopes, ends)}
}

// notAccessToken is what GitLab answers to an OAuth token that asks as an access token.
var notAccessToken = played{status: 400, body: `{"message":"400 Bad request - This endpoint requires token type to be a personal access token"}`}

// notOAuthToken is the reverse.
var notOAuthToken = played{status: 401, header: []string{"WWW-Authenticate", `Bearer realm="GitLab", error="invalid_token", error_description="The access token is invalid"`}, body: `{"error":"invalid_token","error_description":"The access token is invalid","state":"unauthorized"}`}

// projects is a list of so many projects, one on a page.
func projects(n int) played {
	body := `[{"id":1}]`
	if n == 0 {
		body = `[]`
	}
	return played{header: []string{"X-Total", fmt.Sprint(n)}, body: body}
}

var gitlabUser = played{body: `{"id":3,"username":"flow-bot","state":"active"}`}

// The decision table of GitLab.
func TestGitLab(t *testing.T) {
	const day = 24 * time.Hour
	date := func(d time.Duration) string { return time.Now().UTC().Add(d).Format(time.DateOnly) }
	key := record("api_key", "api_key", gitlabToken)
	refused := func(status int, description string) map[string]played {
		return map[string]played{"/api/v4/user": {status: status, body: fmt.Sprintf(`{"error":"invalid_token","error_description":%q}`, description)}}
	}
	asking := func(changes ...any) map[string]played { // path, answer, ...
		all := map[string]played{"/api/v4/user": gitlabUser, "/api/v4/personal_access_tokens/self": self(`"api"`, date(90*day)), "/api/v4/projects": projects(5), "/oauth/token/info": notOAuthToken}
		for i := 0; i < len(changes); i += 2 {
			all["/api/v4"+changes[i].(string)] = changes[i+1].(played)
		}
		return all
	}
	for _, c := range []struct {
		name    string
		answers map[string]played
		path    string
		status  checker.Status
		line    string // that decides
		want    checker.Status
		code    fault.Code
		missing string
		count   int // -1: none
		says    string
	}{
		{name: "api covers all", answers: asking(), status: checker.OK, line: checker.Scopes, want: checker.OK, count: 5, says: "api"},
		{name: "read_api covers read_user", answers: asking("/personal_access_tokens/self", self(`"read_api"`, date(90*day))), status: checker.OK, line: checker.Scopes, want: checker.OK, count: 5},
		{name: "scopes are missing", answers: asking("/personal_access_tokens/self", self(`"read_user","read_repository"`, date(90*day))),
			status: checker.Warning, line: checker.Scopes, want: checker.Warning, code: fault.InsufficientScope, missing: "read_api", count: 5},
		{name: "a good key that may not ask who it is", answers: asking(
			"/user", played{status: 403, body: `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api read_api read_user"}`},
			"/personal_access_tokens/self", self(`"read_repository"`, date(90*day)),
			"/projects", played{status: 403, body: `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api read_api"}`}),
			status: checker.Warning, line: checker.Scopes, want: checker.Warning, code: fault.InsufficientScope, missing: "read_api read_user", count: -1},
		{name: "ends in 13 days", answers: asking("/personal_access_tokens/self", self(`"api"`, date(13*day+day/2))), status: checker.Warning, line: checker.Expiry, want: checker.Warning, code: fault.ExpiresSoon, count: 5},
		{name: "ends at the beginning of that day", answers: asking("/personal_access_tokens/self", self(`"api"`, date(0))), status: checker.Warning, line: checker.Expiry, want: checker.Warning, code: fault.ExpiresSoon, count: 5},
		{name: "does not end", answers: asking("/personal_access_tokens/self", self(`"api"`, "null")), status: checker.OK, line: checker.Expiry, want: checker.OK, count: 5, says: "does not end"},
		{name: "an end in another form", answers: asking("/personal_access_tokens/self", self(`"api"`, "tomorrow")), status: checker.Warning, line: checker.Expiry, want: checker.Unverifiable, count: 5},
		{name: "revoked", answers: asking("/personal_access_tokens/self", played{body: `{"revoked":true,"scopes":["api"],"active":false,"expires_at":null}`}),
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.CredentialsRejected, count: 5, says: "revoked"},
		{name: "not active", answers: asking("/personal_access_tokens/self", played{body: `{"revoked":false,"scopes":["api"],"active":false,"expires_at":null}`}),
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.CredentialsRejected, count: 5},
		{name: "no project", answers: asking("/projects", projects(0)), status: checker.Warning, line: checker.Projects, want: checker.Warning, code: fault.ResourceNotShared, count: 0},
		{name: "one project", answers: asking("/projects", projects(1)), status: checker.OK, line: checker.Projects, want: checker.OK, count: 1, says: "1 project"},
		{name: "more than GitLab counts", answers: asking("/projects", played{header: []string{"X-Next-Page", "2"}, body: `[{"id":1}]`}), status: checker.OK, line: checker.Projects, want: checker.OK, count: -1, says: "more"},
		{name: "a list without a total", answers: asking("/projects", played{body: `[{"id":1}]`}), status: checker.OK, line: checker.Projects, want: checker.OK, count: 1},
		{name: "404: older than 15.5", answers: asking("/personal_access_tokens/self", played{status: 404, body: `{"error":"404 Not Found"}`}),
			status: checker.Warning, line: checker.Scopes, want: checker.Unverifiable, count: 5, says: "15.5"},
		{name: "401: unknown", answers: refused(401, "Bad Access Token."), status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.CredentialsRejected, count: -1, says: "Bad Access Token."},
		{name: "401: not even that", answers: map[string]played{"/api/v4/user": {status: 401, body: `{"message":"401 Unauthorized"}`}}, status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.CredentialsRejected, count: -1},
		{name: "401: expired", answers: refused(401, "Token is expired. You can either do re-authorization or token refresh."), status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.CredentialsRejected, count: -1, says: "Token is expired."},
		{name: "401: revoked", answers: refused(401, "Token was revoked. You have to re-authorize from the user."), status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.CredentialsRejected, count: -1, says: "Token was revoked."},
		{name: "401: impersonation off", answers: refused(401, "Token is an impersonation token but impersonation was disabled."), status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.OrganizationPolicy, count: -1, says: "impersonation was disabled"},
		{name: "401: tokens must be bound to a key", answers: map[string]played{"/api/v4/user": {status: 401, body: `{"error":"dpop_error","error_description":"DPoP validation error: DPoP header is missing"}`}}, status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.OrganizationPolicy, count: -1, says: "DPoP header is missing"},
		{name: "403: blocked", answers: map[string]played{"/api/v4/user": {status: 403, body: `{"message":"403 Forbidden - Your account has been blocked."}`}}, status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.AccountInactive, count: -1, says: "has been blocked"},
		{name: "429", answers: map[string]played{"/api/v4/user": {status: 429, header: []string{"Retry-After", "30", "RateLimit-Remaining", "0"}, body: `Retry later`}}, status: checker.Unknown, line: checker.Authorization, want: checker.Unverifiable, code: fault.UpstreamRateLimited, count: -1},
		{name: "404 without the path of the API", path: "/", answers: nil, status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.WrongSurface, count: -1, says: "/api/v4"},
		{name: "200 with nothing in it", answers: map[string]played{"/api/v4/user": {}}, status: checker.Warning, line: checker.Authorization, want: checker.Unverifiable, count: -1, says: "with nothing in it"},
		{name: "the sign-in page", answers: map[string]played{"/api/v4/user": {header: []string{"Content-Type", "text/html; charset=utf-8"}, body: `<form>`}}, status: checker.Warning, line: checker.Authorization, want: checker.Unverifiable, count: -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t, c.answers)
			if c.path == "" {
				c.path = "/api/v4"
			}
			r := check(t, gitlab(strings.TrimSuffix(s.URL+c.path, "/")), key)
			l := line(r, c.line)
			if r.Status != c.status || l.Status != c.want || strings.Join(l.Missing, " ") != c.missing || !strings.Contains(l.Detail, c.says) {
				t.Errorf("%s, %s %+v; want %s, %s, missing %q, saying %q", r.Status, c.line, l, c.status, c.want, c.missing, c.says)
			}
			if c.code != "" && (r.Fault == nil || r.Fault.Code != c.code) {
				t.Errorf("fault %+v, want %q", r.Fault, c.code)
			}
			if n := line(r, checker.Projects).Count; c.count < 0 && n != nil || c.count >= 0 && (n == nil || *n != c.count) {
				t.Errorf("count %v, want %d", n, c.count)
			}
			s.requests(t, 4)
		})
	}
}

// A token's kind is what it may ask about itself, whatever it begins with.
func TestGitLabKinds(t *testing.T) {
	oauth := played{body: `{"resource_owner_id":1,"scope":["read_api"],"expires_in":7200,"application":{"uid":"1cb2"},"created_at":1575890427}`}
	life := func(seconds string) played {
		return played{body: `{"resource_owner_id":1,"scope":["api"],"expires_in":` + seconds + `,"application":{"uid":"1cb2"},"created_at":1575890427}`}
	}
	older := played{body: `{"resource_owner_id":1,"scopes":["api"],"expires_in_seconds":null,"application":{"uid":"1cb2"},"created_at":1575890427}`}
	for _, c := range []struct {
		name   string
		cred   *credential.Credential
		self   played
		info   played
		scopes checker.Status
		expiry checker.Status
		asked  string // about the token, in their order
	}{
		{"an access token with a prefix of the instance", record("api_key", "api_key", "acme-gl4b"), self(`"api"`, "null"), notOAuthToken, checker.OK, checker.OK, "self"},
		{"an OAuth token as a key", record("bearer", "token", "gl4b"), notAccessToken, oauth, checker.OK, checker.Warning, "self info"},
		{"an OAuth token that does not end, of an older GitLab", record("bearer", "token", "gl4b"), played{status: 404, body: `{"error":"404 Not Found"}`}, older, checker.OK, checker.OK, "self info"},
		{"a life that nobody believes", record("bearer", "token", "gl4b"), notAccessToken, life("9223372036854775807"), checker.OK, "", "self info"},
		{"a life that is over", record("bearer", "token", "gl4b"), notAccessToken, life("0"), checker.OK, "", "self info"},
		{"a life below zero", record("bearer", "token", "gl4b"), notAccessToken, life("-9223372036"), checker.OK, "", "self info"},
		{"a consent", consented("gl4b"), notAccessToken, oauth, checker.OK, "", "info"},
		{"a consent, and an access token after all", consented("gl4b"), self(`"api"`, "2099-01-01"), notOAuthToken, checker.OK, checker.OK, "info self"},
		{"another kind", record("bearer", "token", "gl4b"), notAccessToken, notOAuthToken, checker.Unverifiable, "", "self info"},
		{"a limit", record("bearer", "token", "gl4b"), played{status: 429, body: `Retry later`}, oauth, checker.Unverifiable, "", "self"},
		{"an error", record("bearer", "token", "gl4b"), played{status: 502, body: `{}`}, oauth, checker.Unverifiable, "", "self"},
		{"a page", record("bearer", "token", "gl4b"), played{header: []string{"Content-Type", "text/html"}, body: "<p>"}, oauth, checker.Unverifiable, "", "self"},
		{"something else", record("bearer", "token", "gl4b"), played{body: `{"hello":1}`}, oauth, checker.Unverifiable, "", "self"},
		{"something else in place of the OAuth token", record("bearer", "token", "gl4b"), notAccessToken, played{body: `[]`}, checker.Unverifiable, "", "self info"},
	} {
		for _, prefix := range []string{"", "/gitlab"} { // an instance may live below a path
			t.Run(c.name+prefix, func(t *testing.T) {
				s := play(t, map[string]played{
					prefix + "/api/v4/user": gitlabUser, prefix + "/api/v4/projects": projects(2),
					prefix + "/api/v4/personal_access_tokens/self": c.self, prefix + "/oauth/token/info": c.info,
				})
				r := check(t, gitlab(s.URL+prefix+"/api/v4"), c.cred)
				if l := line(r, checker.Scopes); l.Status != c.scopes || line(r, checker.Authorization).Status != checker.OK {
					t.Errorf("%+v; want the scopes %s, and the token taken", r.Checks, c.scopes)
				}
				if l := line(r, checker.Expiry); l.Status != c.expiry {
					t.Errorf("expiry %+v, want %q", l, c.expiry)
				}
				var asked []string
				for _, a := range s.requests(t, 4) {
					if _, what, about := strings.Cut(a, "token"); about {
						asked = append(asked, what[strings.LastIndex(what, "/")+1:])
					}
				}
				if got := strings.Join(asked, " "); got != c.asked {
					t.Errorf("asked %q, want %q", got, c.asked)
				}
				if n := line(r, checker.Projects).Count; n == nil || *n != 2 || r.Account == nil || r.Account.Login != "flow-bot" {
					t.Errorf("count %v, account %+v", n, r.Account)
				}
			})
		}
	}
}

// Needs of nobody are no reason to warn of a GitLab that does not tell scopes.
func TestGitLabWithoutNeeds(t *testing.T) {
	s := play(t, map[string]played{"/api/v4/user": gitlabUser, "/api/v4/projects": projects(2)})
	p := gitlab(s.URL + "/api/v4")
	p.Needs = provider.Needs{}
	if r := check(t, p, record("api_key", "api_key", gitlabToken)); r.Status != checker.OK || line(r, checker.Scopes).Name != "" {
		t.Errorf("%s %+v; want ok, and no scopes", r.Status, r.Checks)
	}
}

// What befalls the count says nothing of the token, and no redirect is followed.
func TestGitLabCountThatFails(t *testing.T) {
	elsewhere := play(t, nil)
	for name, a := range map[string]played{
		"429":        {status: 429, body: `{}`},
		"a redirect": {status: http.StatusFound, header: []string{"Location", elsewhere.URL + "/take"}},
		"a page":     {header: []string{"Content-Type", "text/html"}, body: "<p>"},
		"nothing":    {},
		"too much":   {body: strings.Repeat("[", 1<<20)},
	} {
		s := play(t, map[string]played{"/api/v4/user": gitlabUser, "/api/v4/personal_access_tokens/self": self(`"api"`, "null"), "/api/v4/projects": a})
		r := check(t, gitlab(s.URL+"/api/v4"), record("api_key", "api_key", gitlabToken))
		if r.Status != checker.Warning || line(r, checker.Projects).Status != checker.Unverifiable || line(r, checker.Scopes).Status != checker.OK {
			t.Errorf("%s: %s %+v; want a warning, and the rest verified", name, r.Status, r.Checks)
		}
	}
	elsewhere.requests(t, 0)
}
