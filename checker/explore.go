package checker

import (
	"context"

	"github.com/sallyport/sallyport/auth"
)

// grantedByConsent are the types whose tokens a person's consent gave: other
// scopes are asked of them where the provider says so.
var grantedByConsent = map[string]bool{"oauth2_authorization_code": true, "oauth2_refresh_token": true}

// explore asks what a credential may do that the provider has taken.
func (a *asker) explore(ctx context.Context) {
	if grantedByConsent[auth.TypeOf(a.p, a.cred)] {
		a.consented()
	}
	if a.probe.ask != nil {
		a.probe.ask(ctx, a, a.first)
	}
	a.scopes(ctx)
	if len(a.needs.Permissions) > 0 {
		a.otherwise(Permissions, unverifiable("the provider does not tell the permissions of this credential"))
	}
	a.expiry()
}

// consented has the scopes compared that tokens of a consent need.
func (a *asker) consented() {
	if a.needs.OAuthScopes != nil {
		a.needs.Scopes = a.needs.OAuthScopes
	}
}

// otherwise notes a verdict where there is none yet, and a place for one.
func (t *trial) otherwise(name string, v verdict) {
	if _, ok := t.lines[name]; !ok && !t.left[name] {
		t.lines[name] = v
	}
}

// granted judges scopes that somebody told.
func (a *asker) granted(scopes []string) {
	a.note(Scopes, compareScopes(a.needs.Scopes, scopes, a.probe.contains))
}

// expiry judges the end that the probe told, else that of the credential itself,
// else that of its grant. A refresh token that each refresh replaces ends when
// nobody uses it any more, which is no matter of a date.
func (a *asker) expiry() {
	end := a.inj.Ends
	if g := auth.GrantOf(a.p, a.cred).Ends; end.IsZero() && !a.p.Refresh.Rotates {
		end = g
	}
	if a.end != nil {
		end = *a.end
		a.expires = end
	}
	switch {
	case !end.IsZero():
		a.otherwise(Expiry, judgeExpiry(end, a.now(), a.ahead))
	case a.end != nil:
		a.otherwise(Expiry, ok("it does not end by itself"))
	}
}
