package checker_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// recordedScopes is the X-OAuth-Scopes of @octokit/fixtures' get-organization.
const recordedScopes = "admin:gpg_key, admin:org, admin:org_hook, admin:public_key, admin:repo_hook, delete_repo, gist, notifications, repo, user, workflow"

// played is one answer of a played API.
type played struct {
	status int // 0: 200
	header []string
	body   string
}

// player answers by path, whatever the query, and writes down what it was asked.
type player struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // METHOD /path?query
}

// play starts an API that plays answers, JSON ones unless they say something else;
// to other paths it answers 404 as GitHub and GitLab do.
func play(t *testing.T, answers map[string]played) *player {
	t.Helper()
	p := &player{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.Method+" "+r.URL.RequestURI())
		p.mu.Unlock()
		a, ok := answers[r.URL.Path+"?"+r.URL.RawQuery]
		if !ok {
			a, ok = answers[r.URL.Path]
		}
		if !ok {
			a = played{status: http.StatusNotFound, body: `{"message":"Not Found"}`}
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		for i := 0; i < len(a.header); i += 2 {
			w.Header().Set(a.header[i], a.header[i+1])
		}
		w.WriteHeader(max(a.status, 0) + map[bool]int{true: 200}[a.status == 0])
		_, _ = w.Write([]byte(a.body))
	}))
	t.Cleanup(p.Close)
	return p
}

// requests that were made, each a GET.
func (p *player) requests(t *testing.T, most int) []string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.asked {
		if !strings.HasPrefix(r, "GET ") {
			t.Errorf("%s: a check only reads", r)
		}
	}
	if len(p.asked) > most {
		t.Errorf("%d requests, want %d at most: %v", len(p.asked), most, p.asked)
	}
	return slices.Clone(p.asked)
}

// github is the built-in provider, with its API at base.
func github(base string) *provider.Provider {
	p := api(base)
	p.Name = "github"
	p.Needs = provider.Needs{
		Scopes:      []string{"repo", "read:org", "admin:repo_hook", "admin:org_hook", "read:user"},
		OAuthScopes: []string{"repo", "user:email", "write:public_key"},
		Permissions: []string{"issues", "pull_requests", "metadata", "contents", "members"},
	}
	return p
}

// user is GET /user as GitHub answers it.
func user(header ...string) played {
	return played{header: header, body: `{"login":"octocat","id":1,"type":"User"}`}
}

// githubList is a list with one on each of so many pages.
func githubList(pages int) played {
	if pages == 0 {
		return played{body: `[]`}
	}
	p := played{body: `[{"full_name":"acme/api","private":true}]`}
	if pages > 1 {
		p.header = []string{"Link", fmt.Sprintf(`<https://api.github.com/user/repos?affiliation=owner,collaborator,organization_member&per_page=1&page=2>; rel="next", <https://api.github.com/user/repos?affiliation=owner,collaborator,organization_member&per_page=1&page=%d>; rel="last"`, pages)}
	}
	return p
}

const (
	classicToken     = "ghp_00000000000000000000000000000000c1as"
	fineGrainedToken = "github_pat_11AAAAAAA0000000000000_f1ne"
)

// check asks the played API for a credential.
func check(t *testing.T, p *provider.Provider, cred *credential.Credential) *checker.Report {
	t.Helper()
	r := newChecker(transport(t)).Check(t.Context(), p, cred)
	wantNoSecret(t, r, "c1as", "f1ne", "0auth", "u5er", "1nst", "n0prefix", "gl4b")
	return r
}

// The decision table of GitHub.
func TestGitHub(t *testing.T) {
	left := func(d time.Duration, layout string) string { return time.Now().Add(d).UTC().Format(layout) }
	const day, classic = 24 * time.Hour, "2006-01-02 15:04:05 UTC"
	forbidden := func(message string, header ...string) played {
		return played{status: 403, header: header, body: fmt.Sprintf(`{"message":%q,"documentation_url":"https://docs.github.com/rest"}`, message)}
	}
	for _, c := range []struct {
		name    string
		user    played
		repos   played
		path    string // of the API
		status  checker.Status
		line    string // that decides
		want    checker.Status
		code    fault.Code
		missing string
		count   int // -1: none
		says    string
	}{
		{name: "200, all scopes by what contains them, some repositories", user: user("X-OAuth-Scopes", recordedScopes), repos: githubList(42),
			status: checker.OK, line: checker.Projects, want: checker.OK, count: 42, says: "42 repositories"},
		{name: "200, one repository, without a Link", user: user("X-OAuth-Scopes", recordedScopes), repos: githubList(1),
			status: checker.OK, line: checker.Projects, want: checker.OK, count: 1, says: "1 repository"},
		{name: "200, scopes are missing", user: user("X-OAuth-Scopes", "repo, write:org, user:email"), repos: githubList(3),
			status: checker.Warning, line: checker.Scopes, want: checker.Warning, code: fault.InsufficientScope, missing: "admin:repo_hook admin:org_hook read:user", count: 3},
		{name: "200, a token without scopes", user: user("X-OAuth-Scopes", ""), repos: githubList(3),
			status: checker.Warning, line: checker.Scopes, want: checker.Warning, code: fault.InsufficientScope, missing: "repo read:org admin:repo_hook admin:org_hook read:user", count: 3},
		{name: "200, single sign-on keeps some back", user: user("X-OAuth-Scopes", recordedScopes),
			repos:  played{header: []string{"X-GitHub-SSO", "partial-results; organizations=21955855,20582480"}, body: `[{}]`},
			status: checker.Warning, line: checker.Projects, want: checker.Warning, code: fault.SSORequired, count: 1, says: "20582480, 21955855"},
		{name: "200, no repository", user: user("X-OAuth-Scopes", recordedScopes), repos: githubList(0),
			status: checker.Warning, line: checker.Projects, want: checker.Warning, code: fault.ResourceNotShared, count: 0},
		{name: "200, ends in 13 days", user: user("X-OAuth-Scopes", recordedScopes, "github-authentication-token-expiration", left(13*day+time.Hour, classic)), repos: githubList(3),
			status: checker.Warning, line: checker.Expiry, want: checker.Warning, code: fault.ExpiresSoon, count: 3, says: "13 days"},
		{name: "200, ends in 60 days", user: user("X-OAuth-Scopes", recordedScopes, "github-authentication-token-expiration", left(60*day+time.Hour, classic)), repos: githubList(3),
			status: checker.OK, line: checker.Expiry, want: checker.OK, count: 3, says: "60 days"},
		{name: "200, does not end", user: user("X-OAuth-Scopes", recordedScopes), repos: githubList(3),
			status: checker.OK, line: checker.Expiry, want: checker.OK, count: 3, says: "does not end"},
		{name: "200, an end in another form", user: user("X-OAuth-Scopes", recordedScopes, "github-authentication-token-expiration", "soon"), repos: githubList(3),
			status: checker.Warning, line: checker.Expiry, want: checker.Unverifiable, count: 3},
		{name: "401", user: played{status: 401, body: `{"message":"Bad credentials","documentation_url":"https://docs.github.com/rest"}`},
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.CredentialsRejected, count: -1, says: "Bad credentials"},
		{name: "403, nothing remains", user: forbidden("API rate limit exceeded for user ID 1.", "X-RateLimit-Remaining", "0"),
			status: checker.Unknown, line: checker.Authorization, want: checker.Unverifiable, code: fault.UpstreamRateLimited, count: -1},
		{name: "403, retry after", user: forbidden("Slow down", "Retry-After", "30"),
			status: checker.Unknown, line: checker.Authorization, want: checker.Unverifiable, code: fault.UpstreamRateLimited, count: -1},
		{name: "403, retry after a date", user: forbidden("Slow down", "Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),
			status: checker.Unknown, line: checker.Authorization, want: checker.Unverifiable, code: fault.UpstreamRateLimited, count: -1},
		{name: "403, the secondary limit", user: forbidden("You have exceeded a secondary rate limit. Please wait a few minutes before you try again."),
			status: checker.Unknown, line: checker.Authorization, want: checker.Unverifiable, code: fault.UpstreamRateLimited, count: -1},
		{name: "403, single sign-on", user: forbidden("Resource protected by organization SAML enforcement. You must grant your Personal Access token access to this organization.", "X-GitHub-SSO", "required; url=https://github.com/orgs/acme/sso?authorization_request=AZSC"),
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.SSORequired, count: -1, says: "https://github.com/orgs/acme/sso?authorization_request=AZSC"},
		{name: "403, not accessible", user: forbidden("Resource not accessible by personal access token", "X-Accepted-GitHub-Permissions", "pull_requests=write,contents=read; issues=read"), repos: githubList(3),
			status: checker.Warning, line: checker.Permissions, want: checker.Warning, code: fault.InsufficientPermission, missing: "pull_requests=write contents=read", count: 3, says: "pull_requests=write,contents=read; issues=read"},
		{name: "403, not accessible, and nothing is named", user: forbidden("Resource not accessible by personal access token"), repos: githubList(3),
			status: checker.Warning, line: checker.Permissions, want: checker.Warning, code: fault.InsufficientPermission, count: 3, says: "Resource not accessible by personal access token"},
		{name: "403, none of the scopes that would do", user: forbidden("Must be an organization member", "X-OAuth-Scopes", "gist", "X-Accepted-OAuth-Scopes", "admin:org, read:org, repo, write:org"), repos: githubList(3),
			status: checker.Warning, line: checker.Scopes, want: checker.Warning, code: fault.InsufficientScope, missing: "admin:org admin:org_hook admin:repo_hook read:org read:user repo write:org", count: 3, says: "it asks for one of: admin:org, read:org, repo, write:org"},
		{name: "403, a token without scopes", user: forbidden("Must have admin rights to Repository.", "X-OAuth-Scopes", "", "X-Accepted-OAuth-Scopes", "repo"), repos: githubList(3),
			status: checker.Warning, line: checker.Scopes, want: checker.Warning, code: fault.InsufficientScope, missing: "admin:org_hook admin:repo_hook read:org read:user repo", count: 3, says: "Must have admin rights to Repository."},
		{name: "403, a scope that contains one that would do", user: forbidden("Must be an organization member", "X-OAuth-Scopes", "admin:org", "X-Accepted-OAuth-Scopes", "read:org"),
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.OrganizationPolicy, count: -1, says: "Must be an organization member"},
		{name: "403, a limit, whatever the scopes", user: forbidden("Slow down", "X-RateLimit-Remaining", "0", "X-OAuth-Scopes", "gist", "X-Accepted-OAuth-Scopes", "repo"),
			status: checker.Unknown, line: checker.Authorization, want: checker.Unverifiable, code: fault.UpstreamRateLimited, count: -1},
		{name: "403, nobody may log in for a while", user: forbidden("Maximum number of login attempts exceeded. Please try again later."),
			status: checker.Unknown, line: checker.Authorization, want: checker.Unverifiable, code: fault.UpstreamRateLimited, count: -1},
		{name: "403, no User-Agent", user: played{status: 403, header: []string{"Content-Type", "text/html"}, body: "Request forbidden by administrative rules. Please make sure your request has a User-Agent header"},
			status: checker.Warning, line: checker.Authorization, want: checker.Unverifiable, count: -1},
		{name: "429, nothing remains", user: played{status: 429, header: []string{"X-RateLimit-Remaining", "0"}, body: `{"message":"API rate limit exceeded for user ID 1."}`},
			status: checker.Unknown, line: checker.Authorization, want: checker.Unverifiable, code: fault.UpstreamRateLimited, count: -1},
		{name: "200, with nothing in it", user: played{body: ""},
			status: checker.Warning, line: checker.Authorization, want: checker.Unverifiable, count: -1, says: "with nothing in it"},
		{name: "200, of something else", user: played{body: `{"hello":1}`},
			status: checker.Warning, line: checker.Authorization, want: checker.Unverifiable, count: -1, says: "without what it tells"},
		{name: "200, single sign-on keeps organizations back already here", user: user("X-OAuth-Scopes", recordedScopes, "X-GitHub-SSO", "partial-results; organizations=7"), repos: githubList(1),
			status: checker.Warning, line: checker.Projects, want: checker.Warning, code: fault.SSORequired, count: 1, says: "the organizations 7 want"},
		{name: "403, an OAuth app that is not approved", user: forbidden("Although you appear to have the correct authorization credentials, the `acme` organization has enabled OAuth App access restrictions"),
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.OrganizationPolicy, count: -1, says: "`acme` organization has enabled OAuth App access restrictions"},
		{name: "403, the list of addresses", user: forbidden("Although you appear to have the correct authorization credentials, the `acme` organization has an IP allow list enabled, and 192.0.2.1 is not permitted to access this resource."),
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.OrganizationPolicy, count: -1, says: "192.0.2.1"},
		{name: "403, the kind of token", user: forbidden("`acme` forbids access via a personal access token (classic). Please use a GitHub App, OAuth App, or a personal access token with fine-grained permissions."),
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.OrganizationPolicy, count: -1, says: "forbids access via a personal access token (classic)"},
		{name: "403, in words that are not known here", user: forbidden("Only on Sundays"),
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.OrganizationPolicy, count: -1, says: "Only on Sundays"},
		{name: "404 without the path of an Enterprise Server", user: played{status: 404, body: "not found"},
			status: checker.Error, line: checker.Authorization, want: checker.Error, code: fault.WrongSurface, count: -1, says: "/api/v3"},
		{name: "a redirect to the login of an Enterprise Server", user: played{status: 302, header: []string{"Location", "/login"}},
			status: checker.Warning, line: checker.Authorization, want: checker.Unverifiable, count: -1, says: "/api/v3"},
		{name: "Enterprise Server, without limits", path: "/api/v3", user: user("X-OAuth-Scopes", recordedScopes, "X-GitHub-Enterprise-Version", "3.19.1"), repos: githubList(7),
			status: checker.OK, line: checker.Authorization, want: checker.OK, count: 7, says: "a classic personal access token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t, map[string]played{c.path + "/user": c.user, c.path + "/user/repos": c.repos})
			r := check(t, github(s.URL+c.path), record("api_key", "api_key", classicToken))
			l := line(r, c.line)
			if r.Status != c.status || l.Status != c.want || strings.Join(l.Missing, " ") != c.missing {
				t.Errorf("%s, %s %+v; want %s, %s, missing %q", r.Status, c.line, l, c.status, c.want, c.missing)
			}
			if c.code == "" && r.Fault != nil || c.code != "" && (r.Fault == nil || r.Fault.Code != c.code) {
				t.Errorf("fault %+v, want %q", r.Fault, c.code)
			}
			if !strings.Contains(l.Detail, c.says) || c.code != "" && r.Fault != nil && r.Status == checker.Error && !strings.Contains(r.Fault.Detail, c.says) {
				t.Errorf("%q, fault %+v; want it to say %q", l.Detail, r.Fault, c.says)
			}
			if n := line(r, checker.Projects).Count; c.count < 0 && n != nil || c.count >= 0 && (n == nil || *n != c.count) {
				t.Errorf("count %v, want %d", n, c.count)
			}
			for _, asked := range s.requests(t, 2)[1:] {
				if asked != "GET "+c.path+"/user/repos?affiliation=owner,collaborator,organization_member&per_page=1" {
					t.Errorf("asked for %s; want all repositories, one on a page", asked)
				}
			}
		})
	}
}

// fineGrained are the answers of GitHub to a fine-grained token that may read all
// that is needed, in a private repository of an organization.
func fineGrained() map[string]played {
	return map[string]played{
		"/user":                   user("github-authentication-token-expiration", "2099-12-31 23:59:59 +0200"),
		"/user/repos":             githubList(12),
		privateList:               {body: `[{"full_name":"octocat/notes","private":true,"has_issues":true,"owner":{"login":"octocat","type":"User"}},{"full_name":"acme/api","private":true,"has_issues":true,"owner":{"login":"acme","type":"Organization"}}]`},
		"/repos/acme/api":         {body: `{"full_name":"acme/api"}`},
		"/repos/acme/api/commits": {body: `[]`},
		"/repos/acme/api/issues":  {body: `[]`},
		"/repos/acme/api/pulls":   {body: `[]`},
		"/orgs/acme/teams":        {body: `[]`},
	}
}

const privateList = "/user/repos?affiliation=owner,collaborator,organization_member&visibility=private&per_page=5"

// Permissions of fine-grained tokens are tried at a private repository.
func TestGitHubPermissions(t *testing.T) {
	inaccessible := played{status: 403, header: []string{"X-Accepted-GitHub-Permissions", "contents=read"}, body: `{"message":"Resource not accessible by personal access token","status":"403"}`}
	for _, c := range []struct {
		name    string
		change  map[string]played
		needs   []string // nil: those of the catalogue
		status  checker.Status
		want    checker.Status
		code    fault.Code
		missing string
		says    string
	}{
		{name: "has all", status: checker.OK, want: checker.OK, says: "tried at acme/api"},
		{name: "an empty repository", change: map[string]played{"/repos/acme/api/commits": {status: 409, body: `{"message":"Git Repository is empty."}`}}, status: checker.OK, want: checker.OK},
		{name: "a renamed repository", change: map[string]played{"/repos/acme/api/issues": {status: 301, body: `{"message":"Moved Permanently"}`}}, status: checker.OK, want: checker.OK},
		{name: "a renamed repository, without a word", change: map[string]played{"/repos/acme/api/issues": {status: 301, header: []string{"Location", "/repositories/1/issues"}}}, status: checker.OK, want: checker.OK},
		{name: "issues that are off", change: map[string]played{"/repos/acme/api/issues": {status: 410, body: `{"message":"Issues are disabled for this repo"}`}}, status: checker.OK, want: checker.OK},
		{name: "issues that are off, without a word", change: map[string]played{"/repos/acme/api/issues": {status: 410}}, status: checker.OK, want: checker.OK},
		{name: "gone, of another list", change: map[string]played{"/repos/acme/api/pulls": {status: 410}}, status: checker.Warning, want: checker.Unverifiable, says: "pull_requests"},
		{name: "a redirect that is none of GitHub's", change: map[string]played{"/repos/acme/api/issues": {status: 301}}, status: checker.Warning, want: checker.Unverifiable, says: "issues"},
		{name: "lacks contents", change: map[string]played{"/repos/acme/api/commits": inaccessible}, status: checker.Warning, want: checker.Warning, code: fault.InsufficientPermission, missing: "contents"},
		{name: "lacks metadata", change: map[string]played{"/repos/acme/api": inaccessible}, status: checker.Warning, want: checker.Warning, code: fault.InsufficientPermission, missing: "metadata"},
		{name: "lacks two, and one cannot be told", change: map[string]played{"/repos/acme/api/issues": inaccessible, "/repos/acme/api/pulls": inaccessible, "/repos/acme/api/commits": {status: 500}},
			status: checker.Warning, want: checker.Warning, code: fault.InsufficientPermission, missing: "issues pull_requests"},
		{name: "lacks members", change: map[string]played{"/orgs/acme/teams": inaccessible}, status: checker.Warning, want: checker.Warning, code: fault.InsufficientPermission, missing: "members"},
		{name: "does not see the organization", change: map[string]played{"/orgs/acme/teams": {status: 404, body: `{"message":"Not Found"}`}}, status: checker.Warning, want: checker.Warning, code: fault.InsufficientPermission, missing: "members"},
		{name: "a user's repository only", change: map[string]played{privateList: {body: `[{"full_name":"acme/api","private":true,"owner":{"login":"acme","type":"User"}}]`}}, status: checker.Warning, want: checker.Unverifiable, says: "members"},
		{name: "another 403 proves nothing", change: map[string]played{"/repos/acme/api/pulls": {status: 403, body: `{"message":"Repository access blocked"}`}}, status: checker.Warning, want: checker.Unverifiable, says: "pull_requests"},
		{name: "public repositories only", change: map[string]played{privateList: {body: `[]`}}, status: checker.Warning, want: checker.Unverifiable, says: "share a private one"},
		{name: "a list of private ones with a public one in it", change: map[string]played{privateList: {body: `[{"full_name":"acme/api","private":false}]`}}, status: checker.Warning, want: checker.Unverifiable, says: "share a private one"},
		{name: "a name that is a path", change: map[string]played{privateList: {body: `[{"full_name":"acme/..","private":true},{"full_name":"acme/api/../../admin","private":true}]`}}, status: checker.Warning, want: checker.Unverifiable, says: "share a private one"},
		{name: "a limit in the middle condemns nothing", change: map[string]played{"/repos/acme/api/commits": inaccessible, "/repos/acme/api/issues": {status: 403, header: []string{"X-RateLimit-Remaining", "0"}, body: `{"message":"API rate limit exceeded"}`}},
			status: checker.Warning, want: checker.Unverifiable, code: fault.UpstreamRateLimited},
		{name: "a page in place of the list", change: map[string]played{privateList: {header: []string{"Content-Type", "text/html"}, body: `<form>`}}, status: checker.Warning, want: checker.Unverifiable},
		{name: "a page in place of an answer", change: map[string]played{"/repos/acme/api/pulls": {header: []string{"Content-Type", "text/html"}, body: `<form>`}}, status: checker.Warning, want: checker.Unverifiable, says: "pull_requests"},
		{name: "to write cannot be tried", needs: []string{"contents:read", "contents:write", "issues=read"}, status: checker.Warning, want: checker.Unverifiable, says: "contents:write"},
		{name: "who may not read may not write", needs: []string{"contents:write"}, change: map[string]played{"/repos/acme/api/commits": inaccessible}, status: checker.Warning, want: checker.Warning, code: fault.InsufficientPermission, missing: "contents:write"},
		{name: "a permission that nothing here tries", needs: []string{"issues", "actions"}, status: checker.Warning, want: checker.Unverifiable, says: "actions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answers := fineGrained()
			for path, a := range c.change {
				answers[path] = a
			}
			s := play(t, answers)
			p := github(s.URL)
			if c.needs != nil {
				p.Needs.Permissions = c.needs
			}
			r := check(t, p, record("api_key", "api_key", fineGrainedToken))
			l := line(r, checker.Permissions)
			if r.Status != c.status || l.Status != c.want || strings.Join(l.Missing, " ") != c.missing || !strings.Contains(l.Detail, c.says) {
				t.Errorf("%s, permissions %+v; want %s, %s, missing %q, saying %q", r.Status, l, c.status, c.want, c.missing, c.says)
			}
			if c.code == "" && r.Fault != nil || c.code != "" && (r.Fault == nil || r.Fault.Code != c.code) {
				t.Errorf("fault %+v, want %q", r.Fault, c.code)
			}
			if c.code == fault.InsufficientPermission && (r.Fault.Actor != fault.User || !strings.Contains(r.Fault.Remedy[0], "Give the key the missing permissions")) {
				t.Errorf("%s is to act: %q; want whoever made the token", r.Fault.Actor, r.Fault.Remedy)
			}
			if l := line(r, checker.Scopes); l.Name != "" {
				t.Errorf("scopes %+v: a fine-grained token has none", l)
			}
			if l := line(r, checker.Expiry); l.Status != checker.OK || r.ExpiresAt == nil || !r.ExpiresAt.Equal(time.Date(2099, 12, 31, 21, 59, 59, 0, time.UTC)) {
				t.Errorf("expiry %+v, %v", l, r.ExpiresAt)
			}
			s.requests(t, 8)
		})
	}
}

// A kind is told by the prefix, else by the type and by whether scopes are named.
func TestGitHubKinds(t *testing.T) {
	const some = "repo, user:email, write:public_key"
	for _, c := range []struct {
		name    string
		cred    *credential.Credential
		scopes  string // "-": the field is absent
		lines   string
		missing string
		says    string
	}{
		{"ghp_", record("api_key", "api_key", classicToken), some, "authorization scopes projects expiry", "read:org admin:repo_hook admin:org_hook read:user", "a classic"},
		{"github_pat_ with the field", record("api_key", "api_key", fineGrainedToken), "", "authorization permissions projects expiry", "", "a fine-grained"},
		{"gho_ as a key", record("bearer", "token", "gho_0auth"), some, "authorization scopes projects expiry", "", "of an OAuth app"},
		{"ghu_", record("bearer", "token", "ghu_u5er"), "-", "authorization permissions projects expiry", "", "a user access token"},
		{"no prefix, scopes", record("bearer", "token", "n0prefix"), some, "authorization scopes projects expiry", "read:org admin:repo_hook admin:org_hook read:user", "a classic"},
		{"no prefix, no scopes", record("bearer", "token", "n0prefix"), "-", "authorization permissions projects expiry", "", "a fine-grained"},
		{"no prefix, of a consent", consented("n0prefix"), some, "authorization scopes projects", "", "of an OAuth app"},
		{"a password", record("basic", "username", "octocat", "password", "n0prefix"), "-", "authorization projects", "", "a password"},
		{"a token as a password", record("basic", "username", "octocat", "password", classicToken), some, "authorization scopes projects expiry", "read:org admin:repo_hook admin:org_hook read:user", "a classic"},
		{"ghp_ behind a gateway that hides the scopes", record("api_key", "api_key", classicToken), "-", "authorization scopes projects expiry", "", "a classic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answers := fineGrained()
			if c.scopes == "-" {
				answers["/user"] = user()
			} else {
				answers["/user"] = user("X-OAuth-Scopes", c.scopes)
			}
			s := play(t, answers)
			r := check(t, github(s.URL), c.cred)
			var names []string
			for _, l := range r.Checks {
				names = append(names, l.Name)
			}
			if got := strings.Join(names, " "); got != c.lines {
				t.Errorf("checks %q, want %q", got, c.lines)
			}
			if got := strings.Join(line(r, checker.Scopes).Missing, " "); got != c.missing {
				t.Errorf("missing %q, want %q", got, c.missing)
			}
			if l := line(r, checker.Authorization); l.Status != checker.OK || !strings.Contains(l.Detail, c.says) {
				t.Errorf("authorization %+v, want ok and %q", l, c.says)
			}
			if r.Account == nil || r.Account.Login != "octocat" || r.Account.Kind != "User" {
				t.Errorf("account %+v", r.Account)
			}
		})
	}
}

// consented is a token of a person's consent that is still valid.
func consented(token string) *credential.Credential {
	return record("oauth2_authorization_code", "client_id", "id-1", "client_secret", canary, "refresh_token", "ghr_0auth", "access_token", token,
		"expires_at", time.Now().Add(6*time.Hour).UTC().Format(time.RFC3339))
}

// An end of a token that is renewed is nobody's business.
func TestGitHubTokenThatIsRenewed(t *testing.T) {
	answers := fineGrained()
	answers["/user"] = user("github-authentication-token-expiration", time.Now().Add(6*time.Hour).UTC().Format("2006-01-02 15:04:05 -0700"))
	r := check(t, github(play(t, answers).URL), consented("ghu_u5er"))
	if l := line(r, checker.Expiry); r.Status != checker.OK || l.Status == checker.Warning {
		t.Errorf("%s, expiry %+v; want ok: the daemon renews it", r.Status, l)
	}
}

// An installation's permissions are known from where its token came; the token
// alone tells how many repositories there are.
func TestGitHubInstallations(t *testing.T) {
	const repos = `{"total_count":17,"repository_selection":"selected","repositories":[{"full_name":"acme/api","private":true,"owner":{"login":"acme","type":"Organization"}}]}`
	all := `{"contents":"write","issues":"read","members":"read","metadata":"read","pull_requests":"admin"}`
	appKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, granted string
		needs         []string
		count         string
		status        checker.Status
		want          checker.Status
		missing       string
	}{
		{"has all", all, nil, repos, checker.OK, checker.OK, ""},
		{"levels contain those below", all, []string{"contents:read", "contents:write", "pull_requests:write", "issues=read"}, repos, checker.OK, checker.OK, ""},
		{"lacks a level", all, []string{"contents:admin", "issues:write", "metadata"}, repos, checker.Warning, checker.Warning, "contents:admin issues:write"},
		{"lacks a permission", `{"metadata":"read","contents":"read"}`, nil, repos, checker.Warning, checker.Warning, "issues pull_requests members"},
		{"a level that is not known", all, []string{"contents:own"}, repos, checker.Warning, checker.Unverifiable, ""},
		{"the endpoint tells no permissions", `{}`, nil, repos, checker.Warning, checker.Unverifiable, ""},
		{"no repository", all, nil, `{"total_count":0,"repositories":[]}`, checker.Warning, checker.OK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch r.Method + " " + r.URL.Path {
				case "POST /app/installations/42/access_tokens":
					w.WriteHeader(http.StatusCreated)
					fmt.Fprintf(w, `{"token":"ghs_1nst","expires_at":%q,"permissions":%s}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), c.granted)
				case "GET /installation/repositories":
					_, _ = w.Write([]byte(c.count))
				default:
					w.WriteHeader(http.StatusForbidden)
					_, _ = w.Write([]byte(`{"message":"Resource not accessible by integration"}`))
				}
			}))
			defer s.Close()
			p := github(s.URL)
			if c.needs != nil {
				p.Needs.Permissions = c.needs
			}
			r := check(t, p, record("github_app", "app_id", "7", "installation_id", "42", "private_key", privateKey(t, appKey)))
			l := line(r, checker.Permissions)
			if r.Status != c.status || l.Status != c.want || strings.Join(l.Missing, " ") != c.missing {
				t.Errorf("%s, permissions %+v; want %s, %s, missing %q", r.Status, l, c.status, c.want, c.missing)
			}
			if n := line(r, checker.Projects).Count; n == nil || !strings.Contains(c.count, fmt.Sprintf(`"total_count":%d,`, *n)) {
				t.Errorf("count %v, want that of %s", n, c.count)
			}
			if len(r.Steps) != 2 || line(r, checker.Scopes).Name != "" {
				t.Errorf("%d steps, checks %+v; want two, and no scopes", len(r.Steps), r.Checks)
			}
		})
	}
}

// An installation's token that was stored as a key may not ask who it is.
func TestGitHubInstallationTokenAsKey(t *testing.T) {
	s := play(t, map[string]played{
		"/user":                      {status: 403, body: `{"message":"Resource not accessible by integration"}`},
		"/installation/repositories": {body: `{"total_count":3,"repositories":[{"full_name":"acme/api","owner":{"login":"acme","type":"Organization"}}]}`},
	})
	r := check(t, github(s.URL), record("bearer", "token", "ghs_1nst"))
	if line(r, checker.Authorization).Status != checker.OK || line(r, checker.Permissions).Status != checker.Unverifiable || line(r, checker.Expiry).Status != checker.Unverifiable {
		t.Errorf("%+v; want it taken, its permissions and its end unverifiable", r.Checks)
	}
	if n := line(r, checker.Projects).Count; n == nil || *n != 3 || r.Account == nil || r.Account.Login != "acme" {
		t.Errorf("count %v, account %+v", n, r.Account)
	}
}

// Whatever befalls the probes, a token that GitHub has taken is not condemned.
func TestGitHubProbesThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		answer played
		code   fault.Code
	}{
		"429":                 {played{status: 429, header: []string{"Retry-After", "60"}, body: `{}`}, fault.UpstreamRateLimited},
		"the secondary limit": {played{status: 403, body: `{"message":"You have exceeded a secondary rate limit"}`}, fault.UpstreamRateLimited},
		"503":                 {played{status: 503, body: `{}`}, ""},
		"a page":              {played{header: []string{"Content-Type", "text/html"}, body: `<h1>hello</h1>`}, ""},
		"nothing":             {played{body: ""}, ""},
		"no list":             {played{body: `{"message":"hello"}`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, map[string]played{"/user": user(), "/user/repos": c.answer})
			r := check(t, github(s.URL), record("api_key", "api_key", fineGrainedToken))
			if r.Status != checker.Warning || line(r, checker.Authorization).Status != checker.OK {
				t.Errorf("%s, %+v; want a warning", r.Status, r.Checks)
			}
			for _, l := range []string{checker.Projects, checker.Permissions} {
				if line(r, l).Status != checker.Unverifiable || line(r, l).Detail == "" {
					t.Errorf("%s: %+v, want unverifiable", l, line(r, l))
				}
			}
			if c.code != "" && (r.Fault == nil || r.Fault.Code != c.code) {
				t.Errorf("fault %+v, want %s", r.Fault, c.code)
			}
		})
	}
}

// RE-08: of answers without end little is read, and a check goes on.
func TestGitHubEndlessAnswers(t *testing.T) {
	var sent int
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/user" {
			_, _ = w.Write([]byte(`{"login":"octocat"}`))
			return
		}
		for chunk := []byte(strings.Repeat("[", 64<<10)); ; {
			n, err := w.Write(chunk)
			mu.Lock()
			sent += n
			over := sent > 1<<30
			mu.Unlock()
			if err != nil || over {
				return
			}
		}
	}))
	defer s.Close()
	r := check(t, github(s.URL), record("api_key", "api_key", fineGrainedToken))
	if r.Status != checker.Warning || line(r, checker.Projects).Status != checker.Unverifiable || line(r, checker.Permissions).Status != checker.Unverifiable {
		t.Errorf("RE-08: %s %+v; want unverifiable", r.Status, r.Checks)
	}
	mu.Lock()
	defer mu.Unlock()
	if sent > 64<<20 {
		t.Errorf("RE-08: %d bytes were taken", sent)
	}
}

// A redirect is not followed, so that its target sees neither request nor credential.
func TestGitHubRedirectElsewhere(t *testing.T) {
	elsewhere := play(t, nil)
	for _, at := range []string{"/user", "/user/repos", "/repos/acme/api", "/orgs/acme/teams"} {
		answers := fineGrained()
		answers[at] = played{status: 302, header: []string{"Location", elsewhere.URL + "/take"}}
		if at == "/user/repos" {
			answers[privateList] = answers[at]
		}
		s := play(t, answers)
		r := check(t, github(s.URL), record("api_key", "api_key", fineGrainedToken))
		if r.Status != checker.Warning {
			t.Errorf("%s: %s, want a warning", at, r.Status)
		}
	}
	if n := len(elsewhere.requests(t, 0)); n > 0 {
		t.Errorf("%d requests were sent elsewhere", n)
	}
}

// What GitHub says is shown without what a terminal obeys.
func TestGitHubWordsArePlain(t *testing.T) {
	s := play(t, map[string]played{"/user": {status: 401, body: `{"message":"Bad\u001b[2J\r\ncredentials\u202e ` + strings.Repeat("x", 5000) + `"}`}})
	r := check(t, github(s.URL), record("api_key", "api_key", classicToken))
	d := line(r, checker.Authorization).Detail
	if strings.ContainsAny(d, "\x1b\r\n\u202e") || len(d) > 1100 || !strings.Contains(d, "Bad") {
		t.Errorf("%q", d)
	}
}

// A check that is given up asks no more.
func TestGitHubGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	r := newChecker(transport(t)).Check(ctx, github(s.URL), record("api_key", "api_key", fineGrainedToken))
	if r.Status != checker.Unknown && r.Status != checker.Error || len(r.Steps) != 1 {
		t.Errorf("%s after %d steps", r.Status, len(r.Steps))
	}
}
