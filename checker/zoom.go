package checker

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// zoomProbe reads who the user is, or which scopes Zoom asks for. Those that were
// granted the token endpoint tells.
var zoomProbe = probe{ask: askZoom, explain: explainZoom}

func askZoom(_ context.Context, a *asker, first reply) {
	if first.means == provider.Scope {
		a.note(Scopes, zoomLacks(a, first))
		return
	}
	var who struct {
		Email string
		Role  string `json:"role_name"`
	}
	if first.decode(&who) {
		a.belongs(who.Email, who.Role)
	}
}

// zoomScopes is where Zoom's words name the scopes that would do, whatever its
// code and status are.
var zoomScopes = regexp.MustCompile(`does not contain scopes:? ?\[([^\]]*)\]`)

// zoomLacks judges an answer that asks for scopes, by those that were granted
// where they are known.
func zoomLacks(a *asker, r reply) verdict {
	var needed []string
	if m := zoomScopes.FindStringSubmatch(zoomMessage(r)); m != nil {
		needed = listed(http.Header{"": {m[1]}}, "")
	}
	v := lacking(fault.InsufficientScope, needed, detailOf(r.String(), needed))
	if len(a.inj.Scope) > 0 {
		return a.among(v, a.inj.Scope)
	}
	if more := missing(a.needs.Scopes, needed, nil); len(more) > 0 {
		v.detail += "; it does not tell of: " + named(more)
	}
	return v
}

// zoomMessage gives what an error says; empty: it is none of Zoom's API.
func zoomMessage(r reply) string {
	var body struct{ Message string }
	_ = json.Unmarshal(r.body, &body) // what is no JSON says nothing
	return body.Message
}

// explainZoom adds Zoom's words; those on scopes the line of the scopes tells.
func explainZoom(_ *asker, r reply, v verdict) verdict {
	if r.fault != nil || r.good() || r.means == provider.Scope {
		return v
	}
	return v.saying(zoomMessage(r))
}
