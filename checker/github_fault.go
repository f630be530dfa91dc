package checker

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// explainGitHub says what a token is, and in GitHub's words why it was refused.
func explainGitHub(a *asker, r reply, v verdict) verdict {
	switch {
	case r.fault != nil:
		return v
	case r.good() && v.status == OK:
		v.detail = "it is " + string(githubKindOf(a, r.header))
		return v
	case r.good():
		return v
	case r.means == provider.Scope:
		a.note(Scopes, ungranted(r, a.lines[Scopes]))
		return v
	case r.means == provider.SSO:
		return v.saying(githubMessage(r)).saying(signOnLink(r.header))
	case inaccessible(r) && githubKindOf(a, r.header) == githubInstallation: // no user, so that nothing is missing
		delete(a.lines, Permissions)
		return v
	case inaccessible(r):
		a.note(Permissions, notAccessible(r))
		return v
	case r.means == provider.Forbidden: // a limit of the organization or of GitHub, whatever it says
		delete(a.lines, Permissions)
		v = verdict{status: Error, detail: r.String(), fault: fault.New(fault.OrganizationPolicy, "", nil)}
	case elsewhere(r) && !githubAPI(a):
		return v.saying("GitHub Enterprise Server has its API at https://HOST/api/v3, and the URL of this one has no such path")
	}
	return v.saying(githubMessage(r))
}

// githubMessage gives what an answer says; empty: it is none of GitHub's API.
func githubMessage(r reply) string {
	var body struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(r.body, &body) // what is no JSON says nothing
	return body.Message
}

// signOnLink gives where a token is authorized for single sign-on.
func signOnLink(h http.Header) string {
	_, link, _ := strings.Cut(h.Get("X-Github-Sso"), "url=")
	if !strings.HasPrefix(link, "https://") {
		return ""
	}
	return "authorize it within an hour at " + link
}

// ungranted names the scopes that the answer accepts, any one of which would do; v
// is what was noted of it.
func ungranted(r reply, v verdict) verdict {
	if accepted := listed(r.header, "X-Accepted-Oauth-Scopes"); len(accepted) > 0 {
		v = lacking(fault.InsufficientScope, accepted, r.String()+"; it asks for one of: "+named(accepted))
	}
	return v.saying(githubMessage(r))
}

// notAccessible names what the answer says would open the resource.
func notAccessible(r reply) verdict {
	const field = "X-Accepted-Github-Permissions"
	wants := r.header.Get(field) // a=read,b=read; c=write: one of those lists
	first, _, _ := strings.Cut(wants, ";")
	v := lacking(fault.InsufficientPermission, listed(http.Header{field: {first}}, field), r.String()).saying(githubMessage(r))
	if wants != "" {
		v = v.saying("it asks for " + wants)
	}
	return v
}

// elsewhere reports whether an answer may be one of another part of a host than
// its API.
func elsewhere(r reply) bool {
	return r.status == http.StatusNotFound || r.status/100 == 3 || r.status < http.StatusInternalServerError && page(r.header, r.body)
}

// githubAPI reports whether the base URL is where GitHub's API can be: a host of
// its own, or that path of an Enterprise Server.
func githubAPI(a *asker) bool {
	u, err := a.base(a.inj)
	return err != nil || strings.HasPrefix(u.Hostname(), "api.") || strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/api/v3")
}
