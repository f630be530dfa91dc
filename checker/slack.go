package checker

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// slackProbe reads the answer to auth.test, which needs no scope.
var slackProbe = probe{ask: askSlack, explain: explainSlack, shows: []string{"ok"}}

func askSlack(_ context.Context, a *asker, first reply) {
	if _, told := first.header["X-Oauth-Scopes"]; told && first.good() {
		a.granted(listed(first.header, "X-Oauth-Scopes"))
	}
	slackProvided(a, first)
	var who struct {
		User, Team string
		BotID      string  `json:"bot_id"`
		ExpiresIn  float64 `json:"expires_in"` // seconds, of tokens that rotate
	}
	if !first.decode(&who) {
		return
	}
	kind := "user"
	if who.BotID != "" {
		kind = "bot"
	}
	if who.Team != "" {
		kind += " of " + who.Team
	}
	a.belongs(who.User, kind)
	if who.ExpiresIn > 0 && who.ExpiresIn < maxLife.Seconds() && !a.material().Renews() {
		a.ends(a.now().Add(time.Duration(who.ExpiresIn) * time.Second))
	}
}

// maxLife bounds the life of a token that is believed.
const maxLife = 10 * 365 * 24 * time.Hour

// slackProvided adds to a scope that is missing those that Slack says there are.
func slackProvided(a *asker, first reply) {
	var body struct{ Provided string }
	v, noted := a.lines[Scopes]
	if !noted || first.good() || json.Unmarshal(first.body, &body) != nil || body.Provided == "" {
		return
	}
	a.note(Scopes, a.among(v, listed(http.Header{"": {body.Provided}}, "")))
}

// slackErrors say what Slack's words mean, where the diagnosis of their code does
// not say all: its page on each method lists them.
var slackErrors = map[string]string{
	"invalid_auth":            "the token is not valid, or the workspace takes no requests from this address",
	"token_revoked":           "the app was removed, or its user or workspace deleted",
	"account_inactive":        "the user or the workspace was deleted",
	"not_allowed_token_type":  "Slack takes another kind of token here: a bot's begins with xoxb-, a user's with xoxp-",
	"org_login_required":      "the workspace is being moved to an enterprise organization, and back when that is done",
	"team_added_to_org":       "the workspace is being moved to an enterprise organization, and back when that is done",
	"team_access_not_granted": "the token was not granted access to this workspace",
	"ekm_access_denied":       "administrators of the workspace have suspended it",
	"channel_not_found":       "the channel does not exist, or the app was not invited to it",
	"not_in_channel":          "invite the app to the channel",
}

// explainSlack names the error, which comes with status 200.
func explainSlack(_ *asker, r reply, v verdict) verdict {
	var body struct{ Error string }
	if r.good() || json.Unmarshal(r.body, &body) != nil || body.Error == "" {
		return v
	}
	if r.means == provider.Surface {
		v.fault = v.fault.Of(fault.KeyOfOther)
	}
	return v.saying(body.Error).saying(slackErrors[body.Error])
}
