package checker

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// hubspotProbe: of OAuth tokens the introspection endpoint tells the scopes, of
// tokens of private apps an endpoint of its own.
var hubspotProbe = probe{ask: askHubSpot, explain: explainHubSpot, inspect: inspectHubSpot}

// inspectHubSpot asks about the token of a private app. It takes no OAuth client.
func inspectHubSpot(ctx context.Context, a *asker) inspection {
	kind, _ := auth.Lookup(auth.TypeOf(a.p, a.cred))
	u, err := a.base(a.inj)
	if kind.Grant != "" || a.begins("pat-") == "" || err != nil {
		return inspection{}
	}
	u.Path, u.RawPath = "", ""
	a.rec.begin(stepIntrospect, a.inj.Owns, a.inj.Carries())
	return inspectionOf(auth.AskAbout(ctx, a.material(), a.inj, u.JoinPath("/oauth/v2/private-apps/get/access-token-info").String(), "tokenKey"))
}

func askHubSpot(_ context.Context, a *asker, first reply) {
	if needs := hubspotNeeds(first); first.means == provider.Scope && len(needs) > 0 {
		a.note(Scopes, lacking(fault.InsufficientScope, needs, detailOf(first.String(), needs)))
	}
	var account struct {
		PortalID    int64
		AccountType string
	}
	if first.decode(&account) && account.PortalID > 0 {
		a.belongs("account "+strconv.FormatInt(account.PortalID, 10), account.AccountType)
	}
}

// hubspotNeeds gives the scopes that an answer asks for.
func hubspotNeeds(r reply) []string {
	var body struct {
		Errors []struct {
			Context struct{ RequiredGranularScopes, RequiredScopes []string }
		}
	}
	if json.Unmarshal(r.body, &body) != nil {
		return nil
	}
	var names []string
	for _, e := range body.Errors {
		names = append(append(names, e.Context.RequiredGranularScopes...), e.Context.RequiredScopes...)
	}
	return short(sortedUnique(names))
}

// explainHubSpot adds HubSpot's words.
func explainHubSpot(_ *asker, r reply, v verdict) verdict {
	var body struct{ Message string }
	if r.good() || json.Unmarshal(r.body, &body) != nil {
		return v
	}
	return v.saying(body.Message)
}
