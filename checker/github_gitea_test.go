package checker_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/testserver"
)

// Gitea has GitHub's paths and answers: what a check asks is understood by a real
// server, of a private repository. Its own refusals are not
// taken for GitHub's.
func TestGitHubRequestsAtGitea(t *testing.T) {
	ca := testserver.NewCA(t)
	g := testserver.StartGitea(t, testserver.GiteaOptions{CA: ca})
	tr := &http.Transport{TLSClientConfig: ca.Config()}
	defer tr.CloseIdleConnections()
	n := 0
	try := func(scopes ...string) *checker.Report {
		t.Helper()
		n++
		token := g.NewToken(t, strconv.Itoa(n), scopes...)
		p := github(g.URL + "/api/v1")
		p.AllowCleartext = false
		p.Needs.Permissions = []string{"issues", "pull_requests", "metadata", "contents"} // Gitea does not tell whose an owner is
		r := newChecker(tr).Check(t.Context(), p, record("api_key", "api_key", token))
		wantNoSecret(t, r, token)
		return r
	}
	all := []string{"read:user", "read:repository", "read:organization", "read:issue"}

	if l := line(try(all...), checker.Projects); l.Status != checker.Warning || l.Count == nil || *l.Count != 0 {
		t.Errorf("no repository: %+v", l)
	}
	g.NewRepository(t, "open", false)
	if r := try(all...); line(r, checker.Permissions).Status != checker.Unverifiable || *line(r, checker.Projects).Count != 1 {
		t.Errorf("a public repository: %+v; want the permissions unverifiable", r.Checks)
	}
	g.NewRepository(t, "notes", true)
	r := try(all...)
	if l := line(r, checker.Permissions); l.Status != checker.OK || !strings.Contains(l.Detail, "alice/notes") || *line(r, checker.Projects).Count != 2 || len(r.Steps) != 7 {
		t.Errorf("a private repository: %+v after %d steps; want all of them", r.Checks, len(r.Steps))
	}
	if r.Account == nil || r.Account.Login != g.User {
		t.Errorf("account %+v", r.Account)
	}
	if l := line(try("read:user", "read:repository", "read:organization"), checker.Permissions); l.Status != checker.Unverifiable || len(l.Missing) > 0 || !strings.Contains(l.Detail, "issues") {
		t.Errorf("a refusal that is none of GitHub's: %+v; want it unverifiable", l)
	}
}
