package checker

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// atlassianProbe asks about tokens of OAuth 2.0, whose scopes each site has its own of.
var atlassianProbe = probe{ask: askAtlassian, explain: explainAtlassian}

// atlassianSite is a site as accessible-resources shows it; a site with several
// products may stand there more than once.
type atlassianSite struct {
	ID, Name, URL string
	Scopes        []string
}

// called gives the host of the site, else its name.
func (s atlassianSite) called() string {
	if host, ok := strings.CutPrefix(s.URL, "https://"); ok {
		return host
	}
	return s.Name
}

func askAtlassian(ctx context.Context, a *asker, first reply) {
	r := first
	if !strings.Contains(a.p.Verify.Path, "accessible-resources") {
		r = a.root(ctx, "/oauth/token/accessible-resources")
	}
	var listed []atlassianSite
	if !r.decode(&listed) || listed == nil {
		a.note(Projects, r.unanswered().unsure())
		return
	}
	sites := oneEach(listed)
	if len(sites) == 0 {
		a.note(Projects, warning(fault.ResourceNotShared, "it reaches no site: its user has to consent for one, and to have access to it").counted(0))
		return
	}
	if len(sites) == 1 {
		a.belongs(sites[0].called(), "site")
	}
	a.note(Projects, ok("it reaches "+several(len(sites), "site", "sites")+": "+few(siteNames(sites))).counted(len(sites)))
	a.note(Scopes, a.atSites(sites))
	if len(a.needs.Permissions) > 0 {
		a.note(Permissions, jiraSites(ctx, a, sites))
	}
}

// oneEach puts together what is told of one site in several places.
func oneEach(listed []atlassianSite) []atlassianSite {
	var sites []atlassianSite
	for _, s := range listed {
		i := slices.IndexFunc(sites, func(t atlassianSite) bool { return t.ID == s.ID })
		if i < 0 {
			sites = append(sites, s)
			continue
		}
		sites[i].Scopes = append(sites[i].Scopes, s.Scopes...)
	}
	return sites
}

func siteNames(sites []atlassianSite) []string {
	var all []string
	for _, s := range sites {
		all = append(all, s.called())
	}
	return all
}

// ofPersons are scopes of a person's account, and of no site.
var ofPersons = []string{"offline_access", "read:me", "read:account"}

// atSites judges the scopes of each site by what is needed. Those of the person's
// account are told where the token is made only.
func (a *asker) atSites(sites []atlassianSite) verdict {
	own := a.inj.Scope
	if !a.cred.Field("refresh_token").Empty() {
		own = append(slices.Clone(own), "offline_access")
	}
	var lacks, untold, said []string
	for _, s := range sites {
		has := slices.Concat(s.Scopes, own)
		here := missing(a.needs.Scopes, has, nil)
		untold = append(untold, slices.DeleteFunc(slices.Clone(here), func(n string) bool { return !slices.Contains(ofPersons, n) })...)
		here = slices.DeleteFunc(here, func(n string) bool { return slices.Contains(ofPersons, n) })
		lacks = append(lacks, here...)
		said = append(said, s.called()+": "+compareScopes(here, s.Scopes, nil).detail)
	}
	if alike(sites) {
		said = []string{strings.TrimPrefix(said[0], sites[0].called()+": ")}
	}
	detail := strings.Join(said[:min(len(said), maxSites)], "; ")
	switch {
	case len(lacks) > 0:
		return lacking(fault.InsufficientScope, sortedUnique(lacks), detail)
	case len(untold) > 0:
		return unverifiable("Atlassian does not tell of " + named(sortedUnique(untold)) + "; " + detail)
	}
	return ok(detail)
}

// maxSites bounds of how many sites a detail tells.
const maxSites = 10

// alike reports whether all sites have the same scopes.
func alike(sites []atlassianSite) bool {
	first := sortedUnique(sites[0].Scopes)
	return !slices.ContainsFunc(sites, func(s atlassianSite) bool { return !slices.Equal(sortedUnique(s.Scopes), first) })
}

// siteID is how sites are numbered.
var siteID = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)

// jiraAsked bounds at how many sites permissions are asked for.
const jiraAsked = 3

// jiraSites asks each Jira what the account may do there, and gives the worst of it.
func jiraSites(ctx context.Context, a *asker, sites []atlassianSite) verdict {
	worst := unverifiable("none of its sites has a Jira that it may ask for permissions")
	asked := 0
	for _, s := range sites {
		jira := slices.ContainsFunc(s.Scopes, func(scope string) bool { return strings.Contains(scope, "jira") })
		if !jira || !siteID.MatchString(s.ID) {
			continue
		}
		if asked++; asked > jiraAsked {
			break
		}
		v := jiraPermissions(a.needs.Permissions, a.root(ctx, "/ex/jira/"+s.ID+jiraMine(a.needs.Permissions)))
		v.detail = s.called() + ": " + v.detail
		if asked == 1 || v.weight() > worst.weight() {
			worst = v
		}
	}
	if asked > jiraAsked && worst.status == OK {
		return unverifiable("asked at " + several(jiraAsked, "site", "sites") + " only; " + worst.detail)
	}
	return worst
}

// explainAtlassian says what a gateway's words do not: which scopes there are is
// none of them.
func explainAtlassian(a *asker, r reply, v verdict) verdict {
	said := atlassianMessage(r)
	if l, noted := a.lines[Scopes]; noted && v.status == OK {
		a.note(Scopes, l.saying(said))
		return v
	}
	if r.fault == nil && !r.good() && r.status != http.StatusOK {
		return v.saying(said)
	}
	return v
}

// atlassianMessage gives what an answer of the gateway or of Jira says.
func atlassianMessage(r reply) string {
	var body struct {
		Message       string   `json:"message"`
		ErrorMessages []string `json:"errorMessages"`
	}
	if json.Unmarshal(r.body, &body) != nil {
		return ""
	}
	return strings.Join(slices.DeleteFunc(append([]string{body.Message}, body.ErrorMessages...), func(s string) bool { return s == "" }), " ")
}
