package checker

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// googleProbe asks the token endpoint's neighbour about the token. It knows those
// of service accounts too.
var googleProbe = probe{inspect: inspectGoogle, explain: explainGoogle, contains: googleScopes}

// inspectGoogle asks tokeninfo, in the form in which Google's own libraries do: the
// token in the header, and no body.
func inspectGoogle(ctx context.Context, a *asker) inspection {
	token, err := a.material().TokenURL()
	if err != nil {
		return inspectionOf(auth.Introspection{}, err)
	}
	u, err := url.Parse(token)
	if err != nil || a.sealed(u) != nil || a.inj.BodyPlace() || !a.inj.Owns("Authorization") { // else the token would stand elsewhere
		return inspection{}
	}
	if base, err := a.base(a.inj); !a.issued() && (err != nil || !ofGoogle(base) || !ofGoogle(u)) { // else it is no business of that host's
		return inspection{}
	}
	u.Path, u.RawPath, u.RawQuery = "/tokeninfo", "", ""
	req, err := a.request(ctx, http.MethodPost, u, "")
	if err != nil {
		return inspectionOf(auth.Introspection{}, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a.rec.begin(stepIntrospect, a.inj.Owns)
	return googleToken(a.read(a.client.Do(req))) //nolint:bodyclose // read closes it
}

// ofGoogle reports whether a host is one of Google's APIs.
func ofGoogle(u *url.URL) bool { return strings.HasSuffix(u.Hostname(), ".googleapis.com") }

// googleToken reads what tokeninfo says; its numbers come as texts.
func googleToken(r reply) inspection {
	var info struct {
		Scope, Email, Error string
		Exp                 any
	}
	unread := json.Unmarshal(r.body, &info) != nil
	switch {
	case r.fault != nil:
		return inspection{asked: true, fault: r.fault}
	case r.status == http.StatusBadRequest && info.Error == "invalid_token":
		return inspection{asked: true}
	case r.means == provider.RateLimited || r.means == provider.Quota:
		return inspection{asked: true, fault: fault.New(r.means.Code(), "", nil)}
	case !r.good() || unread || info.Scope == "":
		return inspection{asked: true, fault: fault.New(fault.UpstreamInvalid, "tokeninfo: "+r.String(), nil)}
	}
	t := inspection{asked: true, Introspection: auth.Introspection{Active: true, Scopes: strings.Fields(info.Scope), Account: info.Email}}
	t.Ends = auth.TimeOf(info.Exp)
	return t
}

// googleAliases are the short names of OpenID Connect, and what Google calls them.
var googleAliases = map[string]string{
	"https://www.googleapis.com/auth/userinfo.email": "email", "https://www.googleapis.com/auth/userinfo.profile": "profile",
	"email": "https://www.googleapis.com/auth/userinfo.email", "profile": "https://www.googleapis.com/auth/userinfo.profile",
}

// googleScopes: a scope contains the one of its name that only reads.
func googleScopes(scope string) []string {
	if alias := googleAliases[scope]; alias != "" {
		return []string{alias}
	}
	if strings.HasPrefix(scope, "https://") && !strings.HasSuffix(scope, ".readonly") {
		return []string{scope + ".readonly"}
	}
	return nil
}

// explainGoogle adds Google's words: of an API that is not enabled they hold the
// link that enables it.
func explainGoogle(_ *asker, r reply, v verdict) verdict {
	var body struct {
		Error struct {
			Message string
			Details []struct {
				Metadata struct{ ActivationURL string }
			}
		}
	}
	if r.good() || json.Unmarshal(r.body, &body) != nil {
		return v
	}
	if r.means == provider.APIDisabled {
		v.fault = v.fault.Of(fault.ClientProject)
	}
	v = v.saying(body.Error.Message)
	for _, d := range body.Error.Details {
		if link := d.Metadata.ActivationURL; strings.HasPrefix(link, "https://") && !strings.Contains(body.Error.Message, link) {
			return v.saying("enable it at " + link)
		}
	}
	return v
}
