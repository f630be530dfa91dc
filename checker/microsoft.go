package checker

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// microsoftProbe: Entra introspects no token. What a token of Graph says of itself
// is what Graph goes by.
var microsoftProbe = probe{ask: askMicrosoft, explain: explainMicrosoft, verify: verifyMicrosoft, contains: microsoftScopes}

// microsoftScopes: Graph's scopes have a long form, which consent pages take.
func microsoftScopes(scope string) []string {
	const graph = "https://graph.microsoft.com/"
	if name, ok := strings.CutPrefix(scope, graph); ok {
		return []string{name}
	}
	return []string{graph + scope}
}

// graphAudiences are the names under which tokens are made for Graph.
var graphAudiences = []string{"https://graph.microsoft.com", "https://graph.microsoft.com/", "00000003-0000-0000-c000-000000000000"}

// appOnly reports whether a token is an app's own, and nobody's: it was asked for
// so, or has roles and no scopes.
func appOnly(a *asker) bool {
	c, ok := a.inj.Claims()
	return auth.TypeOf(a.p, a.cred) == auth.ClientCredentialsType || ok && c.Scopes == nil && c.Roles != nil
}

// verifyMicrosoft asks with an app's own token for its organization: /me is
// somebody's.
func verifyMicrosoft(a *asker, v provider.Verify) provider.Verify {
	if v.Path == "/me" && appOnly(a) {
		v.Path = graphOrganization
	}
	return v
}

const graphOrganization = "/organization?$select=id,displayName"

func askMicrosoft(_ context.Context, a *asker, first reply) {
	if v := a.lines[Permissions]; first.means == provider.Permission && appOnly(a) && len(a.needs.Permissions) == 0 && len(v.missing) == 0 {
		delete(a.lines, Permissions) // to read the organization is a permission that few apps have
	}
	microsoftGranted(a)
	var who struct {
		UserPrincipalName, DisplayName string
		Value                          []struct{ DisplayName string }
	}
	switch {
	case !first.decode(&who):
	case len(who.Value) > 0:
		a.belongs(who.Value[0].DisplayName, "organization")
	default:
		a.belongs(who.UserPrincipalName, "user")
	}
}

// microsoftGranted notes what the token says it was granted, where it was made for
// Graph: others' tokens have scopes of others.
func microsoftGranted(a *asker) {
	c, ok := a.inj.Claims()
	_, noted := a.lines[Scopes]
	if has := slices.Concat(c.Scopes, c.Roles); ok && !noted && slices.ContainsFunc(c.Audience, isGraph) {
		v := compareScopes(a.needs.Scopes, has, a.probe.contains)
		v.detail += ", as the token says"
		a.note(Scopes, v)
	}
}

func isGraph(audience string) bool { return slices.Contains(graphAudiences, audience) }

// explainMicrosoft adds Microsoft's words, and tells a sign-in that is asked for
// anew from a token that has ended.
func explainMicrosoft(_ *asker, r reply, v verdict) verdict {
	var body struct{ Error struct{ Message string } }
	if r.good() {
		return v
	}
	if challenged(r.header) {
		v = verdict{status: Error, detail: r.String(), fault: fault.New(fault.ReauthorizationRequired, "", nil)}
		if r.status == http.StatusForbidden {
			v.fault = fault.New(fault.OrganizationPolicy, "", nil)
		}
		return v.saying("Conditional Access, or a change of the account, asks for a new sign-in")
	}
	_ = json.Unmarshal(r.body, &body) // what is no JSON says nothing
	return v.saying(body.Error.Message)
}

// challenged reports whether an answer asks for further claims.
func challenged(h http.Header) bool {
	return slices.ContainsFunc(provider.ParseChallenges(h.Values("WWW-Authenticate")), func(c provider.Challenge) bool {
		return strings.EqualFold(c.Params["error"], "insufficient_claims")
	})
}
