package checker

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// gitlabProbe asks GitLab.com and self-managed GitLab.
var gitlabProbe = probe{ask: askGitLab, explain: explainGitLab, shows: []string{"id", "username"}, contains: provider.Contains(map[string][]string{
	"api":      {"read_api"},
	"read_api": {"read_user"},
})}

// askGitLab tells a token's kind by which question about itself it may ask: an
// instance chooses its own prefixes.
func askGitLab(ctx context.Context, a *asker, _ reply) {
	asks := []func(context.Context, *asker) reply{askAccessToken, askOAuthToken}
	if grantedByConsent[auth.TypeOf(a.p, a.cred)] {
		asks = []func(context.Context, *asker) reply{askOAuthToken, askAccessToken}
	}
	r := asks[0](ctx, a)
	if r.status >= http.StatusBadRequest && r.status < http.StatusInternalServerError && r.means != provider.RateLimited {
		r = asks[1](ctx, a)
	}
	if !r.good() && len(a.needs.Scopes) > 0 && len(a.inj.Scope) == 0 {
		a.otherwise(Scopes, gitlabSilent(r))
	}
	gitlabProjects(a, a.get(ctx, "/projects?membership=true&per_page=1"))
}

// gitlabSilent is the verdict where neither question about the token was answered.
func gitlabSilent(r reply) verdict {
	v := r.unsure()
	if v.fault == nil && r.status >= http.StatusBadRequest && r.status < http.StatusInternalServerError {
		v.detail = "GitLab tells the scopes of this token to nobody: it is older than 15.5, or the token is of another kind"
	}
	return v
}

// askAccessToken asks as a personal, project or group access token may since
// GitLab 15.5, whatever its scopes.
func askAccessToken(ctx context.Context, a *asker) reply {
	r := a.get(ctx, "/personal_access_tokens/self")
	var self struct {
		Scopes    []string `json:"scopes"`
		Revoked   bool     `json:"revoked"`
		Active    *bool    `json:"active"`
		ExpiresAt string   `json:"expires_at"` // a date; empty: none
	}
	if !r.decode(&self) || self.Scopes == nil {
		return r.unanswered()
	}
	a.granted(short(self.Scopes))
	if self.Revoked || self.Active != nil && !*self.Active {
		const text = "GitLab says that the token is revoked or no longer active"
		a.note(Authorization, verdict{status: Error, detail: text, fault: fault.New(fault.CredentialsRejected, text, nil)})
	}
	end, err := time.Parse(time.DateOnly, self.ExpiresAt) // at 00:00 UTC of that day it has ended
	switch {
	case self.ExpiresAt == "":
		a.ends(time.Time{})
	case err != nil:
		a.note(Expiry, unverifiable("GitLab tells its end in a form that is not known here"))
	default:
		a.ends(credential.Ending(end))
	}
	return r
}

// askOAuthToken asks as an OAuth token may, beside the API and below the same path.
func askOAuthToken(ctx context.Context, a *asker) reply {
	u, err := a.base(a.inj)
	if err != nil {
		return reply{fault: fault.From(err)}
	}
	r := a.root(ctx, strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/api/v4")+"/oauth/token/info")
	var info struct {
		Scope     []string `json:"scope"`
		Scopes    []string `json:"scopes"` // its name before
		ExpiresIn *int64   `json:"expires_in"`
		Before    *int64   `json:"expires_in_seconds"` // its name before
		CreatedAt int64    `json:"created_at"`
	}
	if !r.decode(&info) || info.CreatedAt == 0 {
		return r.unanswered()
	}
	a.consented()
	if info.Scope == nil {
		info.Scope = info.Scopes
	}
	a.granted(short(info.Scope))
	if k, _ := auth.Lookup(auth.TypeOf(a.p, a.cred)); k.Grant != "" {
		return r // the daemon renews it
	}
	switch left := cmp.Or(info.ExpiresIn, info.Before); {
	case left == nil:
		a.ends(time.Time{})
	case *left > 0 && *left < int64(maxLife/time.Second):
		a.ends(a.now().Add(time.Duration(*left) * time.Second))
	}
	return r
}

// unanswered is r as one that does not tell what was asked, whatever its status.
func (r reply) unanswered() reply {
	if r.good() {
		r.fault = fault.New(fault.UpstreamInvalid, "the provider answered "+statusText(r.status)+" with something else than was asked for", nil)
		r.status = 0
	}
	return r
}

// gitlabProjects judges how many projects there are whose member the account is.
func gitlabProjects(a *asker, r reply) {
	var page []struct{}
	if !r.decode(&page) {
		a.note(Projects, r.unsure())
		return
	}
	n, err := strconv.Atoi(r.header.Get("X-Total"))
	switch {
	case err == nil:
	case r.header.Get("X-Next-Page") != "": // GitLab does not count beyond 10,000
		a.note(Projects, ok("it reaches more projects than GitLab counts"))
		return
	default:
		n = len(page)
	}
	if n == 0 {
		a.note(Projects, warning(fault.ResourceNotShared, "its account is a member of no project: invite it to some").counted(0))
		return
	}
	a.note(Projects, ok("its account is a member of "+several(n, "project", "projects")).counted(n))
}

// explainGitLab tells in GitLab's words why a token was refused.
func explainGitLab(a *asker, r reply, v verdict) verdict {
	if r.fault != nil || r.good() || r.means == provider.Scope {
		return v
	}
	said := gitlabMessage(r)
	if u, err := a.base(a.inj); r.status == http.StatusNotFound && err == nil && !strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/api/v4") {
		return v.saying("GitLab has its API at https://HOST/api/v4, and the URL of this one has no such path")
	}
	if r.status == http.StatusForbidden && strings.Contains(said, "Your account") { // blocked, deactivated, pending approval
		delete(a.lines, Permissions)
		v = verdict{status: Error, detail: r.String(), fault: fault.New(fault.AccountInactive, "", nil)}
	}
	return v.saying(said)
}

// gitlabMessage gives what an answer says in one of GitLab's two forms; empty: it
// is none of its API.
func gitlabMessage(r reply) string {
	var body struct {
		Message     string `json:"message"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(r.body, &body) // what is no JSON says nothing
	return cmp.Or(body.Description, body.Message)
}
