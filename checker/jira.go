package checker

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// jiraProbe asks a site as the person whose API token it is. Such tokens have no
// scopes there: they may do what the person may. One with scopes is told of where a
// refusal asks for one.
var jiraProbe = probe{ask: askJira, explain: explainJira}

func askJira(ctx context.Context, a *asker, first reply) {
	if first.means != provider.Scope {
		a.without(Scopes)
	}
	var who struct{ EmailAddress, DisplayName, AccountType string }
	if first.decode(&who) {
		a.belongs(who.EmailAddress, who.AccountType)
		if who.EmailAddress == "" { // the person shows it to nobody
			a.belongs(who.DisplayName, who.AccountType)
		}
	}
	jiraProjects(a, a.get(ctx, "/rest/api/3/project/search?maxResults=1"))
	if len(a.needs.Permissions) > 0 {
		a.note(Permissions, jiraPermissions(a.needs.Permissions, a.get(ctx, jiraMine(a.needs.Permissions))))
	}
}

// jiraProjects judges how many projects the account sees.
func jiraProjects(a *asker, r reply) {
	var page struct{ Total *int }
	switch {
	case !r.decode(&page) || page.Total == nil:
		a.note(Projects, r.unanswered().unsure())
	case *page.Total == 0:
		a.note(Projects, warning(fault.ResourceNotShared, "its account sees no project: add it to some").counted(0))
	default:
		a.note(Projects, ok("its account sees "+several(*page.Total, "project", "projects")).counted(*page.Total))
	}
}

// jiraMine is the path that tells which of the permissions the account has, in any
// project for those of projects.
func jiraMine(want []string) string {
	return "/rest/api/3/mypermissions?permissions=" + url.QueryEscape(strings.Join(want, ","))
}

// jiraPermissions reads what it tells. A name that Jira does not know makes it
// refuse the question.
func jiraPermissions(want []string, r reply) verdict {
	var mine struct {
		Permissions map[string]struct{ HavePermission *bool }
	}
	if !r.decode(&mine) || mine.Permissions == nil {
		v := r.unanswered().unsure()
		if r.status == http.StatusBadRequest {
			v = v.saying(atlassianMessage(r))
		}
		return v
	}
	var has, unsure []string
	for _, w := range want {
		switch p := mine.Permissions[w]; {
		case p.HavePermission == nil:
			unsure = append(unsure, w)
		case *p.HavePermission:
			has = append(has, w)
		}
	}
	return comparePermissions(want, has, unsure)
}

// explainJira says what the status does not: that Jira looked at no token, or why
// it may know this one not.
func explainJira(a *asker, r reply, v verdict) verdict {
	reason := strings.Join(r.header.Values("X-Seraph-Loginreason"), ",")
	const failed = "AUTHENTICATED_FAILED"
	switch {
	case r.fault != nil:
		return v
	case strings.Contains(reason, "AUTHENTICATION_DENIED"):
		delete(a.lines, Permissions)
		return jiraRefused(r).saying("after failed logins Jira looks at no token until its user has logged in at the site in a browser and solved a CAPTCHA")
	case r.good() && strings.Contains(reason, failed): // an open site lets anybody in
		return jiraRefused(r).saying("Jira answered as it answers anybody, and says that the login failed")
	case r.good():
		return v
	case r.means == provider.Scope:
		return explainAtlassian(a, r, v)
	case r.status == http.StatusUnauthorized:
		return v.saying(atlassianMessage(r)).saying("the user name is the account's e-mail address; a token with scopes is not taken at the site itself, but at https://api.atlassian.com/ex/jira/CLOUDID")
	}
	return v.saying(atlassianMessage(r))
}

func jiraRefused(r reply) verdict {
	return verdict{status: Error, detail: r.String(), fault: fault.New(fault.CredentialsRejected, "", nil)}
}
