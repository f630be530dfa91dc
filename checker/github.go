package checker

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// githubProbe asks GitHub.com and GitHub Enterprise Server. A check takes eight
// requests at most.
var githubProbe = probe{ask: askGitHub, explain: explainGitHub, contains: provider.GitHubScopes, shows: []string{"login", "id", "total_count"}}

// githubKind is what a credential is to GitHub, in its words.
type githubKind string

// The kinds.
const (
	githubClassic      githubKind = "a classic personal access token"
	githubFineGrained  githubKind = "a fine-grained personal access token"
	githubOAuth        githubKind = "a token of an OAuth app"
	githubUser         githubKind = "a user access token of a GitHub App"
	githubInstallation githubKind = "an installation access token of a GitHub App"
	githubPassword     githubKind = "a password"
)

var githubPrefixes = map[string]githubKind{
	"ghp_": githubClassic, "github_pat_": githubFineGrained, "gho_": githubOAuth, "ghu_": githubUser, "ghs_": githubInstallation,
}

// githubKindOf tells a kind by the prefix, else by the type, else by whether
// GitHub names scopes: tokens without a prefix are old, or of an Enterprise Server.
func githubKindOf(a *asker, h http.Header) githubKind {
	if k, ok := githubPrefixes[a.begins("ghp_", "github_pat_", "gho_", "ghu_", "ghs_")]; ok {
		return k
	}
	_, scoped := h["X-Oauth-Scopes"]
	switch typ := auth.TypeOf(a.p, a.cred); {
	case typ == "github_app":
		return githubInstallation
	case scoped && grantedByConsent[typ]:
		return githubOAuth
	case scoped:
		return githubClassic
	case typ == "basic" || typ == "basic_url":
		return githubPassword
	}
	return githubFineGrained
}

func askGitHub(ctx context.Context, a *asker, first reply) {
	kind := githubKindOf(a, first.header)
	switch kind {
	case githubInstallation:
		a.without(Scopes)
		askInstallation(ctx, a, first)
	case githubFineGrained, githubUser:
		a.without(Scopes)
		githubProjects(a, a.get(ctx, githubRepos+"&per_page=1"))
		probeGitHub(ctx, a)
		if v, noted := a.lines[Permissions]; noted && kind == githubFineGrained {
			a.note(Permissions, v.ofKey())
		}
	case githubPassword:
		a.without(Scopes, Permissions)
		githubProjects(a, a.get(ctx, githubRepos+"&per_page=1"))
	default:
		askScoped(ctx, a, first, kind)
	}
	if first.good() || kind == githubInstallation {
		githubExpiry(a, kind, first.header)
	}
}

// githubRepos are the repositories that an account reaches, whoever owns them.
const githubRepos = "/user/repos?affiliation=owner,collaborator,organization_member"

// askScoped is for tokens with scopes: they have no permissions of their own.
func askScoped(ctx context.Context, a *asker, first reply, kind githubKind) {
	if first.means != provider.Permission {
		a.without(Permissions)
	}
	if kind == githubOAuth {
		a.consented()
	}
	has := listed(first.header, "X-Oauth-Scopes")
	switch _, told := first.header["X-Oauth-Scopes"]; {
	case !told:
	case first.means == provider.Scope:
		a.note(Scopes, a.among(a.lines[Scopes], has))
	default:
		a.granted(has)
	}
	githubProjects(a, a.get(ctx, githubRepos+"&per_page=1"))
}

// listed gives the names that a field lists.
func listed(h http.Header, field string) []string { return short(provider.Listed(h, field)) }

// githubProjects judges how many repositories there are by a list with one on a
// page. What single sign-on keeps back is not among them.
func githubProjects(a *asker, r reply) {
	var page []struct{}
	if !r.decode(&page) {
		a.note(Projects, r.unsure())
		return
	}
	n := len(page)
	if last := lastPage(r.header); last > 0 {
		n = last
	}
	a.note(Projects, repositories(n, append(keptBack(a.first.header), keptBack(r.header)...)))
}

// repositories is the verdict on so many of them. kept are the organizations whose
// single sign-on keeps theirs back.
func repositories(n int, kept []string) verdict {
	reaches := several(n, "repository", "repositories")
	switch {
	case len(kept) > 0:
		return warning(fault.SSORequired, fmt.Sprintf("it reaches %s; the organizations %s want it authorized for single sign-on and show it none of theirs", reaches, named(sortedUnique(kept)))).counted(n)
	case n == 0:
		return warning(fault.ResourceNotShared, "it reaches no repository: share some with its account, or have the organization approve it").counted(0)
	}
	return ok("it reaches " + reaches).counted(n)
}

// keptBack gives the ids of the organizations that an answer was made without.
func keptBack(h http.Header) []string {
	kind, ids, _ := strings.Cut(h.Get("X-Github-Sso"), "organizations=")
	if !strings.Contains(kind, "partial-results") {
		return nil
	}
	return short(strings.FieldsFunc(ids, func(c rune) bool { return c < '0' || c > '9' }))
}

var lastLink = regexp.MustCompile(`<([^<>]*)>[^<]*rel="last"`)

// lastPage gives the number of the page that Link (RFC 8288) calls the last; 0:
// there is no other page.
func lastPage(h http.Header) int {
	m := lastLink.FindStringSubmatch(h.Get("Link"))
	if m == nil {
		return 0
	}
	u, err := url.Parse(m[1])
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(u.Query().Get("page"))
	return max(0, n)
}

// Layouts of the field that tells when a token ends: of classic tokens, and of
// the others.
var githubEnds = []string{"2006-01-02 15:04:05 UTC", "2006-01-02 15:04:05 -0700"}

// githubExpiry notes when a token ends that nobody renews. GitHub tells no end of
// one that has none.
func githubExpiry(a *asker, kind githubKind, h http.Header) {
	renewed, _ := auth.Lookup(auth.TypeOf(a.p, a.cred))
	if renewed.Grant != "" || kind == githubPassword {
		return
	}
	text := h.Get("Github-Authentication-Token-Expiration")
	if text == "" {
		endless(a, kind)
		return
	}
	for _, layout := range githubEnds {
		if at, err := time.Parse(layout, text); err == nil {
			a.ends(credential.Ending(at))
			return
		}
	}
	a.note(Expiry, unverifiable("GitHub tells its end in a form that is not known here"))
}

func endless(a *asker, kind githubKind) {
	switch kind {
	case githubInstallation:
		a.note(Expiry, unverifiable("it is "+string(kind)+": it ends an hour after it was made; store the App as type github_app"))
	case githubUser:
		a.note(Expiry, unverifiable("it is "+string(kind)+", which may end 8 hours after it was made, and GitHub does not tell"))
	default:
		a.ends(time.Time{})
	}
}
