package checker

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

// salesforceProbe: the scopes are told by the introspection endpoint.
var salesforceProbe = probe{ask: askSalesforce, explain: explainSalesforce, contains: provider.Contains(salesforceScopes)}

// salesforceScopes are those that contain others, as Salesforce's page on tokens
// and scopes tells.
var salesforceScopes = map[string][]string{
	"full": {
		"api", "web", "id", "openid", "custom_permissions", "content", "lightning", "eclair_api", "wave_api", "pardot_api", "chatbot_api",
		"cdp_api", "cdp_ingest_api", "cdp_profile_api", "cdp_query_api", "interaction_api", "sfap_api",
	},
	"api": {"chatter_api"},
	"web": {"visualforce"},
	"id":  {"profile", "email", "address", "phone"},
}

func askSalesforce(_ context.Context, a *asker, first reply) {
	if v, noted := a.lines[Scopes]; noted && first.means == provider.Scope {
		a.note(Scopes, v.saying(salesforceMessage(first)))
	}
	var who struct {
		Name string `json:"preferred_username"`
		Kind string `json:"user_type"`
	}
	if first.decode(&who) {
		a.belongs(who.Name, strings.ToLower(who.Kind))
	}
}

// explainSalesforce adds Salesforce's words, and how much of the organization's
// calls of a day are used, where the answer tells.
func explainSalesforce(_ *asker, r reply, v verdict) verdict {
	if !r.good() {
		v = v.saying(salesforceMessage(r))
	}
	if used, ok := strings.CutPrefix(r.header.Get("Sforce-Limit-Info"), "api-usage="); ok {
		used, _, _ = strings.Cut(used, ";")
		v.detail += "; calls of the day: " + http.Header{"": {used}}.Get("")
	}
	return v
}

// salesforceMessage gives what an error says: an array of errors, or a word.
func salesforceMessage(r reply) string {
	var errs []struct{ Message string }
	if json.Unmarshal(r.body, &errs) == nil && len(errs) > 0 {
		return errs[0].Message
	}
	if word := strings.TrimSpace(string(r.body)); len(word) < 40 && !strings.ContainsAny(word, "<{[ ") {
		return word
	}
	return ""
}
