package checker

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

// probe is what a provider can tell beyond yes and no.
type probe struct {
	// ask is called when the provider has taken the credential, with the answer to
	// the verify request. It notes what it finds: scopes, permissions, projects,
	// when the credential ends, whose it is. Nil: there is nothing to ask.
	ask func(ctx context.Context, a *asker, first reply)
	// explain says more of the verdict on the authorization, from the answer to the
	// verify request: the link, the policy, the path that it tells of. Nil: what
	// was judged says enough.
	explain func(a *asker, r reply, v verdict) verdict
	// inspect asks the provider about the token where its authorization server is not
	// asked (RFC 7662), or not of every token; nil: nobody else is asked.
	inspect func(ctx context.Context, a *asker) inspection
	// verify gives the verify request in place of the provider's, where the kind of
	// token decides; nil: the provider's.
	verify func(a *asker, v provider.Verify) provider.Verify
	// shows are members of a JSON answer to the verify request of which one must be
	// there: without any it is no answer of this API. Nil: any answer will do.
	shows []string
	// contains tells which scopes are contained in one; nil: none.
	contains implied
	// clientAuth is how the client proves itself at the introspection endpoint; empty:
	// as at the token endpoint.
	clientAuth string
}

// proves reports whether a good answer is one that the provider gives to a
// credential that it takes.
func (p probe) proves(r reply) bool {
	var m map[string]json.RawMessage
	_ = json.Unmarshal(r.body, &m) // what is no object shows nothing
	return p.shows == nil || slices.ContainsFunc(p.shows, func(name string) bool { return m[name] != nil })
}

// probes by the provider's name, or by what stands before the first dash of it.
// Nobody writes it.
var probes = map[string]probe{
	"slack":      slackProbe,
	"google":     googleProbe,
	"salesforce": salesforceProbe,
	"hubspot":    hubspotProbe,
	"zoho":       zohoProbe,
	"microsoft":  microsoftProbe,
	"github":     githubProbe,
	"gitlab":     gitlabProbe,
	"stripe":     stripeProbe,
	"atlassian":  atlassianProbe,
	"jira":       jiraProbe,
	"zoom":       zoomProbe,
	"notion":     notionProbe,
	"shopify":    shopifyProbe,
}

// probeOf gives the probe of a provider; the zero probe where it has none.
func probeOf(name string) probe {
	if p, ok := probes[name]; ok {
		return p
	}
	family, _, _ := strings.Cut(name, "-")
	return probes[family]
}
