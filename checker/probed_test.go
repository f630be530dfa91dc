package checker_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// probed is a case of a provider's decision table: what its API answers, and
// what the report then says.
type probed struct {
	name    string
	answers map[string]http.HandlerFunc // by method and path; others are 404
	cred    *credential.Credential      // nil: that of the table
	needs   provider.Needs
	lines   string // NAME:STATUS of each check, in the report's order, and :COUNT where one is told
	overall checker.Status
	missing string // of all checks
	code    fault.Code
	account string // LOGIN (KIND)
	says    string // in one of the details
}

// refusal of a verify request, whatever else the API would answer.
func (c probed) verified(path string, answer http.HandlerFunc) probed {
	c.answers = maps.Clone(c.answers)
	if c.answers == nil {
		c.answers = map[string]http.HandlerFunc{}
	}
	c.answers[path] = answer
	return c
}

// run checks the credential with the provider that make gives for the API, and
// holds that most requests were made at most, and that no secret is in the report.
func (c probed) run(t *testing.T, make func(base string) *provider.Provider, cred *credential.Credential, most int, secrets ...string) (*checker.Report, *asPlayed) {
	t.Helper()
	base, played := acted(t, c.answers)
	p := make(base)
	p.Needs = c.needs
	if c.cred != nil {
		cred = c.cred
	}
	r := newChecker(transport(t)).Check(t.Context(), p, cred)
	var lines, missing, details []string
	for _, l := range r.Checks {
		lines = append(lines, l.Name+":"+string(l.Status))
		if l.Count != nil {
			lines[len(lines)-1] += fmt.Sprintf(":%d", *l.Count)
		}
		missing, details = append(missing, l.Missing...), append(details, l.Detail)
	}
	if got := strings.Join(lines, " "); got != c.lines || r.Status != c.overall {
		t.Errorf("%s, %q %q; want %s, %q", r.Status, got, details, c.overall, c.lines)
	}
	if got := strings.Join(missing, " "); got != c.missing {
		t.Errorf("missing %q, want %q", got, c.missing)
	}
	if (r.Fault == nil) != (c.code == "") || r.Fault != nil && r.Fault.Code != c.code {
		t.Errorf("fault %+v, want %q", r.Fault, c.code)
	}
	var account string
	if r.Account != nil {
		account = strings.TrimSuffix(r.Account.Login+" ("+r.Account.Kind+")", " ()")
	}
	if account != c.account {
		t.Errorf("account %q, want %q", account, c.account)
	}
	if !strings.Contains(strings.Join(details, "\n"), c.says) {
		t.Errorf("details %q, want %q in them", details, c.says)
	}
	if len(played.seen) > most {
		t.Errorf("%d requests, want %d at most", len(played.seen), most)
	}
	wantNoSecret(t, r, secrets...)
	return r, played
}

// Answers that say nothing of a credential, whoever gives them.
var (
	aPage     = says(200, `<!doctype html><title>Sign in</title>`, "Content-Type", "text/html; charset=utf-8")
	nothing   = says(200, ``)
	throttled = says(429, `{"message":"slow down"}`, "Retry-After", "30")
	away      = says(503, `{}`)
)
