package checker_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/testserver"
)

// GitHub's recorded traffic as a server: its token's scopes cover what is needed
// by what contains them. What was not recorded is unverifiable.
func TestRecordedGitHub(t *testing.T) {
	ca := testserver.NewCA(t)
	s := testserver.StartOctokit(t, ca)
	p := github(s.Scenario(t, "get-organization"))
	p.AllowCleartext = false
	p.Verify.Path = "/orgs/octokit-fixture-org"
	p.Headers = []provider.Header{{Name: "Accept", Value: "application/vnd.github.v3+json"}}
	p.Places = []provider.Place{{In: provider.InHeader, Name: "Authorization", Value: "token {api_key}"}}
	tr := &http.Transport{TLSClientConfig: ca.Config()}
	defer tr.CloseIdleConnections()
	r := newChecker(tr).Check(t.Context(), p, record("api_key", "api_key", testserver.OctokitToken))
	wantNoSecret(t, r, testserver.OctokitToken)
	if l := line(r, checker.Authorization); l.Status != checker.OK || !strings.Contains(l.Detail, "classic") {
		t.Errorf("authorization %+v", l)
	}
	if l := line(r, checker.Scopes); l.Status != checker.OK || !strings.Contains(l.Detail, "admin:org_hook") {
		t.Errorf("scopes %+v; want those of the record to cover what is needed", l)
	}
	if l := line(r, checker.Expiry); l.Status != checker.OK || r.Account == nil || r.Account.Kind != "Organization" {
		t.Errorf("expiry %+v, account %+v", l, r.Account)
	}
	if l := line(r, checker.Projects); l.Status != checker.Unverifiable || r.Status != checker.Warning {
		t.Errorf("%s, projects %+v; want a warning: they were not recorded", r.Status, l)
	}
	if again := newChecker(tr).Check(t.Context(), p, record("api_key", "api_key", "wrong")); line(again, checker.Authorization).Status == checker.OK {
		t.Errorf("another token: %+v", again.Checks)
	}
}

// recorded gives the nth answer of a scenario.
func recorded(t *testing.T, scenario string, n int) played {
	t.Helper()
	r := testserver.OctokitScenario(t, scenario)[n]
	p := played{status: r.Status, body: string(r.Body)}
	for name, values := range r.Header {
		if !strings.EqualFold(name, "content-length") && !strings.EqualFold(name, "transfer-encoding") {
			p.header = append(p.header, name, values[0])
		}
	}
	return p
}

// without gives an answer without a field.
func without(p played, field string) played {
	var kept []string
	for i := 0; i < len(p.header); i += 2 {
		if !strings.EqualFold(p.header[i], field) {
			kept = append(kept, p.header[i:i+2]...)
		}
	}
	p.header = kept
	return p
}

// Recorded headers and bodies in place of those that a check asks for.
func TestRecordedAnswers(t *testing.T) {
	organization := recorded(t, "get-organization", 0)
	answers := func(changes map[string]played) map[string]played {
		all := fineGrained()
		all["/user"] = without(organization, "X-OAuth-Scopes")
		for path, a := range changes {
			all[path] = a
		}
		return all
	}
	key := func(scenario string) map[string]played {
		return map[string]played{"/user": organization, "/user/repos": recorded(t, scenario, 0)}
	}
	for _, c := range []struct {
		name    string
		token   string
		answers map[string]played
		line    string
		want    checker.Status
		missing string
		count   int // 0: not looked at
	}{
		{name: "both lists of scopes: that of personal tokens", token: classicToken, answers: key("paginate-issues"), line: checker.Scopes, want: checker.OK, count: 5},
		{name: "both lists of scopes: that of OAuth apps", token: "gho_0auth", answers: key("paginate-issues"), line: checker.Scopes, want: checker.OK, count: 5},
		{name: "a Link of many pages", token: classicToken, answers: key("paginate-issues"), line: checker.Projects, want: checker.OK, count: 5},
		{name: "the last of many pages", token: classicToken, answers: map[string]played{"/user": organization, "/user/repos": recorded(t, "paginate-issues", 4)}, line: checker.Projects, want: checker.OK, count: 1},
		{name: "an object where a list is asked for", token: classicToken, answers: key("get-repository"), line: checker.Projects, want: checker.Unverifiable},
		{name: "the answer to bad input", token: classicToken, answers: key("errors"), line: checker.Projects, want: checker.Unverifiable},
		{name: "a public repository", token: fineGrainedToken, answers: answers(map[string]played{privateList: listOf(recorded(t, "get-repository", 0))}), line: checker.Permissions, want: checker.Unverifiable},
		{name: "a private repository", token: fineGrainedToken, answers: answers(nil), line: checker.Permissions, want: checker.OK},
		{name: "issues of a repository with another name now", token: fineGrainedToken, answers: answers(map[string]played{"/repos/acme/api/issues": recorded(t, "rename-repository", 1)}), line: checker.Permissions, want: checker.OK},
		{name: "a 404 of the organization", token: fineGrainedToken, answers: answers(map[string]played{"/orgs/acme/teams": recorded(t, "branch-protection", 0)}), line: checker.Permissions, want: checker.Warning, missing: "members"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t, c.answers)
			r := check(t, github(s.URL), record("api_key", "api_key", c.token))
			l := line(r, c.line)
			if l.Status != c.want || strings.Join(l.Missing, " ") != c.missing || line(r, checker.Authorization).Status != checker.OK {
				t.Errorf("%s %+v; want %s, missing %q", c.line, l, c.want, c.missing)
			}
			if n := line(r, checker.Projects).Count; c.count > 0 && (n == nil || *n != c.count) {
				t.Errorf("count %v, want %d", n, c.count)
			}
			s.requests(t, 8)
		})
	}
}

// listOf is an answer as a list of one.
func listOf(p played) played {
	p.body = "[" + p.body + "]"
	return p
}
