package checker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func atlassian(base string) *provider.Provider {
	p := api(base)
	p.Name, p.Verify = "atlassian", provider.Verify{Path: "/oauth/token/accessible-resources"}
	return p
}

// site is an entry of accessible-resources.
func site(id, host, scopes string) string {
	return fmt.Sprintf(`{"id":%q,"url":"https://%s","name":"Site name","scopes":["%s"],"avatarUrl":"https://example.com/flag.png"}`, id, host, strings.ReplaceAll(scopes, " ", `","`))
}

const (
	jiraScopes = "write:jira-work read:jira-user manage:jira-configuration"
	oneID      = "1324a887-45db-1bf4-1e99-ef0ff456d421"
	twoID      = "11223344-a1b2-3b33-c444-def123456789"
)

// mine is the answer to mypermissions.
func mine(has map[string]bool) http.HandlerFunc {
	var parts []string
	for name, have := range has {
		parts = append(parts, fmt.Sprintf(`%q:{"id":"10","key":%q,"name":"x","type":"PROJECT","description":"x","havePermission":%t}`, name, name, have))
	}
	return says(200, `{"permissions":{`+strings.Join(parts, ",")+`}}`)
}

// The decision table of Atlassian.
func TestAtlassian(t *testing.T) {
	one, both := "["+site(oneID, "acme.atlassian.net", jiraScopes)+"]", "["+site(oneID, "acme.atlassian.net", jiraScopes)+","+site(twoID, "beta.atlassian.net", "read:jira-user")+"]"
	scopes := func(names ...string) provider.Needs { return provider.Needs{Scopes: names} }
	permissions := func(names ...string) provider.Needs { return provider.Needs{Permissions: names} }
	atOne, atTwo := "GET /ex/jira/"+oneID+"/rest/api/3/mypermissions", "GET /ex/jira/"+twoID+"/rest/api/3/mypermissions"
	const good, acme = "authorization:ok scopes:ok projects:ok:1", "acme.atlassian.net (site)"
	for _, c := range []struct {
		probed
		sites http.HandlerFunc
	}{
		{probed{name: "one site", needs: scopes("write:jira-work"), lines: good, overall: checker.OK, account: acme, says: "acme.atlassian.net"}, says(200, one)},
		{probed{name: "two products of one site", needs: scopes("write:jira-work", "read:confluence-content.all"), lines: good, overall: checker.OK, account: acme},
			says(200, "["+site(oneID, "acme.atlassian.net", jiraScopes)+","+site(oneID, "acme.atlassian.net", "read:confluence-content.all")+"]")},
		{probed{name: "a scope is missing", needs: scopes("write:jira-work", "read:jira-work"), lines: "authorization:ok scopes:warning projects:ok:1", overall: checker.Warning, missing: "read:jira-work", code: fault.InsufficientScope, account: acme}, says(200, one)},
		{probed{name: "no scope contains another", needs: scopes("read:jira-configuration"), lines: "authorization:ok scopes:warning projects:ok:1", overall: checker.Warning, missing: "read:jira-configuration", code: fault.InsufficientScope, account: acme}, says(200, one)},
		{probed{name: "two sites that have it", needs: scopes("read:jira-user"), lines: "authorization:ok scopes:ok projects:ok:2", overall: checker.OK, says: "beta.atlassian.net: granted: read:jira-user"}, says(200, both)},
		{probed{name: "a scope is missing at one of two sites", needs: scopes("write:jira-work", "read:jira-user"), lines: "authorization:ok scopes:warning projects:ok:2", overall: checker.Warning, missing: "write:jira-work", code: fault.InsufficientScope, says: "beta.atlassian.net: missing: write:jira-work"}, says(200, both)},
		{probed{name: "scopes of the person are told where the token is made", needs: scopes("read:me", "read:jira-user"), lines: "authorization:ok scopes:unverifiable projects:ok:1", overall: checker.Warning, account: acme, says: "does not tell of read:me"}, says(200, one)},
		{probed{name: "a refresh token is that of offline_access", cred: consented("4tl4ssian"), needs: scopes("offline_access", "read:jira-user"), lines: good, overall: checker.OK, account: acme}, says(200, one)},
		{probed{name: "no site", lines: "authorization:ok projects:warning:0", overall: checker.Warning, code: fault.ResourceNotShared}, says(200, `[]`)},
		{probed{name: "no site, and scopes are needed", needs: scopes("read:jira-user"), lines: "authorization:ok scopes:unverifiable projects:warning:0", overall: checker.Warning, code: fault.ResourceNotShared}, says(200, `[]`)},
		{probed{name: "has the permissions", needs: permissions("BROWSE_PROJECTS", "EDIT_ISSUES"), lines: "authorization:ok scopes:ok permissions:ok projects:ok:1", overall: checker.OK, account: acme,
			answers: map[string]http.HandlerFunc{atOne: mine(map[string]bool{"BROWSE_PROJECTS": true, "EDIT_ISSUES": true})}}, says(200, one)},
		{probed{name: "lacks one at the second site", needs: permissions("BROWSE_PROJECTS", "EDIT_ISSUES"), lines: "authorization:ok scopes:ok permissions:warning projects:ok:2", overall: checker.Warning, missing: "EDIT_ISSUES", code: fault.InsufficientPermission, says: "beta.atlassian.net: missing: EDIT_ISSUES",
			answers: map[string]http.HandlerFunc{atOne: mine(map[string]bool{"BROWSE_PROJECTS": true, "EDIT_ISSUES": true}), atTwo: mine(map[string]bool{"BROWSE_PROJECTS": true, "EDIT_ISSUES": false})}}, says(200, both)},
		{probed{name: "permissions want a scope themselves", needs: permissions("BROWSE_PROJECTS"), lines: "authorization:ok scopes:ok permissions:unverifiable projects:ok:1", overall: checker.Warning, account: acme,
			answers: map[string]http.HandlerFunc{atOne: says(401, `{"code":401,"message":"Unauthorized; scope does not match"}`)}}, says(200, one)},
		{probed{name: "permissions, throttled", needs: permissions("BROWSE_PROJECTS"), lines: "authorization:ok scopes:ok permissions:unverifiable projects:ok:1", overall: checker.Warning, code: fault.UpstreamRateLimited, account: acme,
			answers: map[string]http.HandlerFunc{atOne: throttled}}, says(200, one)},
		{probed{name: "permissions, and no Jira", needs: permissions("BROWSE_PROJECTS"), lines: "authorization:ok scopes:ok permissions:unverifiable projects:ok:1", overall: checker.Warning, account: acme}, says(200, "["+site(oneID, "acme.atlassian.net", "read:confluence-content.all")+"]")},
		{probed{name: "a site whose number is a path", needs: permissions("BROWSE_PROJECTS"), lines: "authorization:ok scopes:ok permissions:unverifiable projects:ok:1", overall: checker.Warning, account: acme}, says(200, "["+site("../../x", "acme.atlassian.net", jiraScopes)+"]")},
		{probed{name: "401 that says scope", lines: "authorization:ok scopes:warning projects:unverifiable", overall: checker.Warning, code: fault.InsufficientScope, says: "scope does not match"}, says(401, `{"code":401,"message":"Unauthorized; scope does not match"}`)},
		{probed{name: "401 whose header says scope", lines: "authorization:ok scopes:warning projects:unverifiable", overall: checker.Warning, code: fault.InsufficientScope}, says(401, `{"code":401,"message":"Unauthorized"}`, "X-Failure-Category", "FAILURE_CLIENT_SCOPE_CHECK")},
		{probed{name: "401", lines: "authorization:error", overall: checker.Error, code: fault.CredentialsRejected}, says(401, `{"code":401,"message":"Unauthorized"}`)},
		{probed{name: "429", lines: "authorization:unverifiable", overall: checker.Unknown, code: fault.UpstreamRateLimited}, throttled},
		{probed{name: "503", lines: "authorization:unverifiable", overall: checker.Unknown}, away},
		{probed{name: "a page", lines: "authorization:unverifiable", overall: checker.Warning}, aPage},
		{probed{name: "nothing", lines: "authorization:unverifiable", overall: checker.Warning, says: "with nothing in it"}, nothing},
		{probed{name: "no list", lines: "authorization:ok projects:unverifiable", overall: checker.Warning, code: fault.UpstreamInvalid}, says(200, `{"sites":[]}`)},
		{probed{name: "200 with an error", lines: "authorization:unverifiable", overall: checker.Warning}, says(200, `{"error":"x"}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.verified("GET /oauth/token/accessible-resources", c.sites).run(t, atlassian, record("bearer", "token", "4tl4ssian"), 3, "4tl4ssian")
		})
	}
}

func jira(base string) *provider.Provider {
	p := api(base)
	p.Name, p.Verify = "jira", provider.Verify{Path: "/rest/api/3/myself"}
	return p
}

// API tokens of a person, at the site itself. An open site answers everybody, but
// not who somebody is.
func TestJira(t *testing.T) {
	const account = "mia@example.com (atlassian)"
	myself := says(200, `{"self":"https://acme.atlassian.net/rest/api/3/user?accountId=5b10","accountId":"5b10","accountType":"atlassian","emailAddress":"mia@example.com","displayName":"Mia Krystof","active":true}`)
	search := func(total int) http.HandlerFunc {
		return says(200, fmt.Sprintf(`{"self":"https://acme.atlassian.net/rest/api/3/project/search","maxResults":1,"startAt":0,"total":%d,"isLast":false,"values":[]}`, total))
	}
	const projects, permissions = "GET /rest/api/3/project/search", "GET /rest/api/3/mypermissions"
	needs := provider.Needs{Scopes: []string{"read:jira-work"}, Permissions: []string{"BROWSE_PROJECTS", "ADMINISTER"}}
	playing := func(count, may http.HandlerFunc) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{projects: count, permissions: may}
	}
	refused := probed{lines: "authorization:error", overall: checker.Error, code: fault.CredentialsRejected}
	for _, c := range []struct {
		probed
		myself http.HandlerFunc
	}{
		{probed{name: "200", answers: playing(search(7), nil), lines: "authorization:ok projects:ok:7", overall: checker.OK, account: account}, myself},
		{probed{name: "an address that nobody sees", answers: playing(search(1), nil), lines: "authorization:ok projects:ok:1", overall: checker.OK, account: "Bot (app)"}, says(200, `{"accountType":"app","displayName":"Bot"}`)},
		{probed{name: "no project", answers: playing(search(0), nil), lines: "authorization:ok projects:warning:0", overall: checker.Warning, code: fault.ResourceNotShared, account: account}, myself},
		{probed{name: "no number", answers: playing(says(200, `{"values":[]}`), nil), lines: "authorization:ok projects:unverifiable", overall: checker.Warning, code: fault.UpstreamInvalid, account: account}, myself},
		{probed{name: "the count is throttled", answers: playing(throttled, nil), lines: "authorization:ok projects:unverifiable", overall: checker.Warning, code: fault.UpstreamRateLimited, account: account}, myself},
		{probed{name: "has the permissions, and no scopes", needs: needs, answers: playing(search(7), mine(map[string]bool{"BROWSE_PROJECTS": true, "ADMINISTER": true})), lines: "authorization:ok permissions:ok projects:ok:7", overall: checker.OK, account: account}, myself},
		{probed{name: "lacks one", needs: needs, answers: playing(search(7), mine(map[string]bool{"BROWSE_PROJECTS": true, "ADMINISTER": false})), lines: "authorization:ok permissions:warning projects:ok:7", overall: checker.Warning, missing: "ADMINISTER", code: fault.InsufficientPermission, account: account}, myself},
		{probed{name: "one is not told of", needs: needs, answers: playing(search(7), mine(map[string]bool{"BROWSE_PROJECTS": true})), lines: "authorization:ok permissions:unverifiable projects:ok:7", overall: checker.Warning, account: account, says: "ADMINISTER"}, myself},
		{probed{name: "a name that Jira does not know", needs: needs, answers: playing(search(7), says(400, `{"errorMessages":["Unrecognized permission: ADMINISTER"],"errors":{}}`)), lines: "authorization:ok permissions:unverifiable projects:ok:7", overall: checker.Warning, account: account, says: "Unrecognized permission: ADMINISTER"}, myself},
		{probed{name: "permissions, a page", needs: needs, answers: playing(search(7), aPage), lines: "authorization:ok permissions:unverifiable projects:ok:7", overall: checker.Warning, account: account}, myself},
		{refused.saying("401", "with scopes is not taken at the site itself"), says(401, `{"message":"Client must be authenticated to access this resource.","status-code":401}`)},
		{probed{name: "401, a token with scopes that lacks one", answers: playing(search(7), nil), lines: "authorization:ok scopes:warning projects:ok:7", overall: checker.Warning, code: fault.InsufficientScope, says: "scope does not match"}, says(401, `{"code":401,"message":"Unauthorized; scope does not match"}`)},
		{refused.saying("401 in words", "mail address"), says(401, `Basic authentication with passwords is deprecated.`, "Content-Type", "text/plain")},
		{refused.saying("403 after failed logins", "CAPTCHA"), says(403, `<html>`, "Content-Type", "text/html", "X-Seraph-LoginReason", "AUTHENTICATION_DENIED", "X-Authentication-Denied-Reason", "CAPTCHA_CHALLENGE; login-url=https://acme.atlassian.net/login.jsp")},
		{refused.saying("403 after failed logins, as JSON", "CAPTCHA"), says(403, `{}`, "X-Seraph-LoginReason", "AUTHENTICATION_DENIED")},
		{refused.saying("200, as to anybody", "the login failed"), says(200, `{"accountType":"atlassian"}`, "X-Seraph-LoginReason", "AUTHENTICATED_FAILED")},
		{probed{name: "404", lines: "authorization:error", overall: checker.Error, code: fault.WrongSurface, says: "Site temporarily unavailable"}, says(404, `{"errorCode":"OTHER","errorMessage":"Site temporarily unavailable","message":"Site temporarily unavailable"}`)},
		{probed{name: "429", lines: "authorization:unverifiable", overall: checker.Unknown, code: fault.UpstreamRateLimited}, throttled},
		{probed{name: "503", lines: "authorization:unverifiable", overall: checker.Unknown}, away},
		{probed{name: "a page", lines: "authorization:unverifiable", overall: checker.Warning}, aPage},
		{probed{name: "200 with an error", lines: "authorization:unverifiable", overall: checker.Warning}, says(200, `{"error":"x"}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, played := c.verified("GET /rest/api/3/myself", c.myself).run(t, jira, record("basic", "username", "mia@example.com", "password", "j1ra-t0ken"), 3, "j1ra-t0ken")
			for _, r := range played.seen {
				if user, password, _ := r.BasicAuth(); r.Method != http.MethodGet || user != "mia@example.com" || password != "j1ra-t0ken" {
					t.Errorf("%s %s as %q", r.Method, r.URL, user)
				}
			}
		})
	}
}

// saying is c with a name and a detail.
func (c probed) saying(name, detail string) probed {
	c.name, c.says = name, detail
	return c
}
