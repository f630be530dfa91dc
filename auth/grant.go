package auth

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/secret"
)

// granted is what a token endpoint gave.
type granted struct {
	access, refresh string // refresh: empty: the one that was used goes on
	scheme          string // token_type as it was answered
	scope           string // empty: as asked for
	life            time.Duration
	refreshLife     time.Duration // zero: not told
}

// write puts the grant into the record's token fields. The scope that a record
// asks for is not replaced by what was given.
func (g granted) write(k Kind, c *credential.Credential, now time.Time) {
	now = now.UTC()
	if g.refresh != "" {
		c.Set("refresh_token", secret.New(g.refresh))
	}
	if g.access == "" { // only the refresh token was readable: the token that is there may still be good
		return
	}
	c.Set("access_token", secret.New(g.access))
	c.Set("token_type", secret.New(schemeOf(g.scheme)))
	c.Set("expires_in", secret.New(strconv.FormatFloat(math.Ceil(g.life.Seconds()), 'f', 0, 64)))
	c.Set("expires_at", secret.New(now.Add(g.life).Format(time.RFC3339Nano)))
	c.Set("created_at", secret.New(now.Format(time.RFC3339Nano)))
	if g.scope != "" && !k.asksScope {
		c.Set("scope", secret.New(g.scope))
	}
}

// refreshOnly is what is left of an answer whose access token is of no use.
func (g granted) refreshOnly() granted {
	return granted{refresh: g.refresh, refreshLife: g.refreshLife}
}

// lacks gives the scopes that were asked for and not given (RFC 6749 section
// 5.1); an answer without a scope gave all.
func (g granted) lacks(asked string) []string {
	if g.scope == "" {
		return nil
	}
	return without(asked, g.scope)
}

// exceeds gives the scopes that were given and not asked for.
func (g granted) exceeds(asked string) []string {
	if asked == "" {
		return nil
	}
	return without(g.scope, asked)
}

// maxScopes bounds how many scopes are told.
const maxScopes = 20

// without gives the scopes of one list that are not in the other.
func without(these, those string) []string {
	known := map[string]bool{}
	for _, s := range scopeList(those) {
		known[s] = true
	}
	var list []string
	for _, s := range scopeList(these) {
		if !known[s] && len(list) < maxScopes {
			list = append(list, s)
		}
	}
	return list
}

func scopeList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
}

// token is the access token that a record holds.
type token struct {
	access, scheme string
	made, expiry   time.Time // zero: not known
}

// tokenOf gives the record's access token and when it ends: expires_at, or
// expires_in after created_at. ok is false where there is none.
func tokenOf(c *credential.Credential) (t token, ok bool) {
	get := func(f string) string { return c.Field(f).Reveal() }
	t = token{access: get("access_token"), scheme: get("token_type"), made: TimeOf(get("created_at")), expiry: TimeOf(get("expires_at"))}
	if s := seconds(get("expires_in")); t.expiry.IsZero() && s > 0 && !t.made.IsZero() {
		t.expiry = credential.Ending(t.made.Add(lifeOf(s)))
	}
	return t, t.access != ""
}

// live reports whether the token may still be used, as far as is known.
func (t token) live(now time.Time) bool { return t.expiry.IsZero() || now.Before(t.expiry) }

// ticking gives an end that was read from a record by the clock that nobody sets,
// too.
func ticking(end, now time.Time) time.Time {
	if end.IsZero() {
		return end
	}
	return now.Add(end.Sub(now.Round(0)))
}

// injector puts the token where the places say.
func (t token) injector(k Kind, m Material) (*Injector, error) {
	i, err := newInjector(k, m, func(f string) secret.Value {
		switch f {
		case "access_token":
			return secret.New(t.access)
		case "token_type":
			return secret.New(schemeOf(t.scheme))
		}
		return m.Credential.Field(f)
	})
	if err != nil {
		return nil, err
	}
	i.Expiry, i.token, i.early = ticking(t.expiry, time.Now()), secret.New(t.access), 0.2*rand.Float64()-0.1
	if !t.made.IsZero() && t.made.Before(i.Minted) {
		i.Minted = t.made
	}
	return i, nil
}
