package checker

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

// githubRepo is a repository as lists show it.
type githubRepo struct {
	FullName  string `json:"full_name"`
	Private   bool   `json:"private"`
	HasIssues bool   `json:"has_issues"`
	Owner     struct {
		Login string `json:"login"`
		Type  string `json:"type"` // User or Organization
	} `json:"owner"`
}

// askInstallation asks for what an installation reaches. Its permissions are known
// from where its token came.
func askInstallation(ctx context.Context, a *asker, first reply) {
	r := first
	if !r.good() { // GET /user is for users
		r = a.get(ctx, "/installation/repositories?per_page=1")
	}
	var page struct {
		TotalCount   *int         `json:"total_count"`
		Repositories []githubRepo `json:"repositories"`
	}
	switch {
	case !r.decode(&page) || page.TotalCount == nil:
		a.note(Projects, r.unsure())
	default:
		a.note(Projects, repositories(*page.TotalCount, nil))
	}
	if len(page.Repositories) > 0 {
		a.belongs(page.Repositories[0].Owner.Login, page.Repositories[0].Owner.Type)
	}
	switch {
	case len(a.needs.Permissions) == 0:
	case len(a.inj.Scope) == 0:
		a.note(Permissions, unverifiable("GitHub tells the permissions of an installation only where its token is made: store the App as type github_app"))
	default:
		a.note(Permissions, compareLevels(a.needs.Permissions, a.inj.Scope))
	}
}

// githubLevels in their order; each contains those before it.
var githubLevels = []string{"read", "write", "admin"}

// permission reads NAME, NAME:LEVEL or NAME=LEVEL; a name alone asks to read.
func permission(s string) (name, level string) {
	i := strings.IndexAny(s, ":=")
	if i < 0 {
		return s, "read"
	}
	return s[:i], s[i+1:]
}

// compareLevels judges permissions that are all known.
func compareLevels(want, granted []string) verdict {
	levels := map[string]int{}
	for _, g := range granted {
		name, level := permission(g)
		levels[name] = slices.Index(githubLevels, level) + 1
	}
	var has, unsure []string
	for _, w := range want {
		name, level := permission(w)
		switch l := slices.Index(githubLevels, level) + 1; {
		case l == 0:
			unsure = append(unsure, w)
		case levels[name] >= l:
			has = append(has, w)
		}
	}
	return comparePermissions(want, has, unsure)
}

// githubTries are requests that a permission to read opens, for a private
// repository or for the organization that owns it.
var githubTries = map[string]struct {
	path string
	of   func(githubRepo) string // empty: it cannot be tried here
	also []int                   // statuses, besides 200, of an account that has it
}{
	"metadata":      {path: "/repos/%s", of: fullName},
	"contents":      {path: "/repos/%s/commits?per_page=1", of: fullName, also: []int{http.StatusConflict}},                         // the repository is empty
	"issues":        {path: "/repos/%s/issues?per_page=1", of: fullName, also: []int{http.StatusMovedPermanently, http.StatusGone}}, // it has another name now, or no issues
	"pull_requests": {path: "/repos/%s/pulls?per_page=1", of: fullName},
	"members":       {path: "/orgs/%s/teams?per_page=1", of: organization}, // the list of members shows public ones to everybody
}

func fullName(r githubRepo) string { return r.FullName }

func organization(r githubRepo) string {
	if r.Owner.Type != "Organization" {
		return ""
	}
	owner, _, _ := strings.Cut(r.FullName, "/")
	return owner
}

// probeGitHub finds out permissions that GitHub does not list, by trying them. At
// a public repository everybody has them, so that only a private one proves
// something. Whether something may be written cannot be tried without writing.
func probeGitHub(ctx context.Context, a *asker) {
	if len(a.needs.Permissions) == 0 {
		return
	}
	r := a.get(ctx, githubRepos+"&visibility=private&per_page=5")
	var page []githubRepo
	if !r.decode(&page) {
		a.note(Permissions, r.unsure())
		return
	}
	repo, found := privateOf(page)
	if !found {
		a.note(Permissions, unverifiable("it reaches no private repository, and public ones open without a permission: share a private one with it to have its permissions checked"))
		return
	}
	a.note(Permissions, tryPermissions(ctx, a, repo))
}

// githubName is how an owner and a repository are called.
var githubName = regexp.MustCompile(`^[A-Za-z0-9_-]+/[A-Za-z0-9._-]+$`)

// privateOf chooses a private repository, if it can be an organization's with issues.
func privateOf(page []githubRepo) (githubRepo, bool) {
	page = slices.DeleteFunc(slices.Clone(page), func(r githubRepo) bool {
		return !r.Private || !githubName.MatchString(r.FullName) || strings.HasSuffix(r.FullName, "/.") || strings.HasSuffix(r.FullName, "/..")
	})
	if len(page) == 0 {
		return githubRepo{}, false
	}
	return slices.MaxFunc(page, func(a, b githubRepo) int { return a.worth() - b.worth() }), true
}

// worth is how much can be tried at r.
func (r githubRepo) worth() int {
	n := 0
	if r.Owner.Type == "Organization" {
		n += 2
	}
	if r.HasIssues {
		n++
	}
	return n
}

// tryPermissions tries what is needed, each name once.
func tryPermissions(ctx context.Context, a *asker, repo githubRepo) verdict {
	var has, unsure []string
	found := map[string]outcome{}
	for _, want := range a.needs.Permissions {
		name, level := permission(want)
		if _, tried := found[name]; !tried {
			o, r := tryPermission(ctx, a, repo, name)
			if r.fault != nil || r.means == provider.RateLimited {
				return r.unsure()
			}
			found[name] = o
		}
		switch {
		case found[name] == outcomeUnsure, found[name] == outcomeHas && level != "read":
			unsure = append(unsure, want)
		case found[name] == outcomeHas:
			has = append(has, want)
		}
	}
	v := comparePermissions(a.needs.Permissions, has, unsure)
	v.detail += "; tried at " + repo.FullName
	return v
}

// outcome of trying a permission.
type outcome int

// The outcomes.
const (
	outcomeUnsure outcome = iota
	outcomeHas
	outcomeLacks
)

// tryPermission also gives the answer; the zero reply where nothing was asked.
func tryPermission(ctx context.Context, a *asker, repo githubRepo, name string) (outcome, reply) {
	t, known := githubTries[name]
	if !known || t.of(repo) == "" {
		return outcomeUnsure, reply{}
	}
	r := a.get(ctx, fmt.Sprintf(t.path, t.of(repo)))
	switch {
	case r.good(), slices.Contains(t.also, r.status) && ofGitHub(r):
		return outcomeHas, r
	case inaccessible(r), name == "members" && r.status == http.StatusNotFound && githubMessage(r) != "":
		return outcomeLacks, r
	}
	return outcomeUnsure, r
}

// ofGitHub reports whether an answer that is neither good nor a refusal is one of the
// API: it says something, or where the repository is now.
func ofGitHub(r reply) bool {
	return githubMessage(r) != "" || r.header.Get("Location") != "" && !page(r.header, r.body) || r.status == http.StatusGone
}

// inaccessible reports whether GitHub says that the token lacks a permission.
func inaccessible(r reply) bool {
	return r.status == http.StatusForbidden && bytes.Contains(r.body, []byte("Resource not accessible by"))
}
