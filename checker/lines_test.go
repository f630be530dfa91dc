package checker_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// line gives the check of a report with that name; the zero Line: there is none.
func line(r *checker.Report, name string) checker.Line {
	i := slices.IndexFunc(r.Checks, func(l checker.Line) bool { return l.Name == name })
	if i < 0 {
		return checker.Line{}
	}
	return r.Checks[i]
}

// An answer that asks for a scope has taken the credential, and names what is missing.
func TestMissingScopeIsNamed(t *testing.T) {
	const asJSON = "application/json"
	for name, c := range map[string]struct {
		answer answering
		want   string
	}{
		"RFC 6750 section 3":   {answer(403, asJSON, `{}`, "WWW-Authenticate", `Bearer error="insufficient_scope", scope="repo read:org"`), "repo read:org"},
		"in the body":          {answer(403, asJSON, `{"error":"insufficient_scope","scope":"api read_api"}`), "api read_api"},
		"in the words of some": {answer(403, asJSON, `{"error":"missing_scope","needed":"channels:read,users:read"}`), "channels:read users:read"},
		"not told":             {answer(403, asJSON, `{"error":"insufficient_scope"}`), ""},
		"too long to be one":   {answer(403, asJSON, `{"error":"insufficient_scope","scope":"`+strings.Repeat("x", 500)+`"}`), ""},
	} {
		r := newChecker(c.answer).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", "t"))
		if l := line(r, checker.Scopes); l.Status != checker.Warning || strings.Join(l.Missing, " ") != c.want {
			t.Errorf("%s: scopes %+v; want a warning that names %q", name, l, c.want)
		}
		if l := line(r, checker.Authorization); l.Status != checker.OK || r.Fault == nil || r.Fault.Code != fault.InsufficientScope {
			t.Errorf("%s: authorization %+v, fault %+v; want it taken, and insufficient_scope", name, l, r.Fault)
		}
	}
}

// What a provider does not show is unverifiable, never green, and what nobody
// asks for is left out.
func TestNeedsThatNobodyShows(t *testing.T) {
	p := api("https://api.example.com")
	good := func() *checker.Checker { return newChecker(answer(200, "application/json", `{}`)) }
	if r := good().Check(t.Context(), p, record("bearer", "token", "t")); len(r.Checks) != 1 || r.Status != checker.OK {
		t.Errorf("no needs: %+v; want the authorization alone", r.Checks)
	}
	p.Needs = provider.Needs{Scopes: []string{"repo"}, Permissions: []string{"issues"}}
	r := good().Check(t.Context(), p, record("bearer", "token", "t"))
	if r.Status != checker.Warning || line(r, checker.Scopes).Status != checker.Unverifiable || line(r, checker.Permissions).Status != checker.Unverifiable {
		t.Errorf("needs that nobody shows: %s %+v; want a warning, both unverifiable", r.Status, r.Checks)
	}
}

// The scopes that a token endpoint granted are compared with those that are needed.
func TestGrantedScopes(t *testing.T) {
	p, _ := issuer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"access_token":"` + minted + `","expires_in":3600,"scope":"read write"}`))
	})
	cred := record("oauth2_client_credentials", "client_id", "id-1", "client_secret", canary, "scope", "read write admin")
	p.Needs.Scopes = []string{"read"}
	if r := newChecker(transport(t)).Check(t.Context(), p, cred); r.Status != checker.OK || line(r, checker.Scopes).Status != checker.OK {
		t.Errorf("granted: %s %+v; want ok", r.Status, r.Checks)
	}
	p.Needs.Scopes = []string{"read", "admin"}
	r := newChecker(transport(t)).Check(t.Context(), p, cred)
	if l := line(r, checker.Scopes); r.Status != checker.Warning || !slices.Equal(l.Missing, []string{"admin"}) || r.Fault.Code != fault.InsufficientScope {
		t.Errorf("not granted: %s %+v; want admin missing", r.Status, l)
	}
}

// A token that says when it ends is warned of ahead of that.
func TestTokenThatEnds(t *testing.T) {
	for _, c := range []struct {
		in   time.Duration
		want checker.Status
		code fault.Code
	}{
		{60 * 24 * time.Hour, checker.OK, ""},
		{13 * 24 * time.Hour, checker.Warning, fault.ExpiresSoon},
		{-time.Hour, checker.Warning, fault.ExpiresSoon}, // the provider takes it, whatever it says of itself
	} {
		r := newChecker(answer(200, "", "{}")).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", jwt(time.Now().Add(c.in))))
		if l := line(r, checker.Expiry); l.Status != c.want || r.Status != c.want || r.ExpiresAt == nil || c.code != "" && (r.Fault == nil || r.Fault.Code != c.code) {
			t.Errorf("ends in %s: %+v, fault %+v; want %s %s", c.in, l, r.Fault, c.want, c.code)
		}
	}
}

// jwt is a token that nobody signed and that ends then.
func jwt(end time.Time) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none"}`)) + "." + enc(fmt.Appendf(nil, `{"exp":%d}`, end.Unix())) + ".x"
}
