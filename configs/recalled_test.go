package configs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/provider"
)

// recalledFact is a line of testdata/recalled.txt.
type recalledFact struct{ provider, name, value, page string }

func recalledFacts(t *testing.T) []recalledFact {
	t.Helper()
	text, err := os.ReadFile("testdata/recalled.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []recalledFact
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " = ")
		value, page, _ := strings.Cut(rest, " ; ")
		of, name, ok := strings.Cut(key, " ")
		if !ok || value == "" {
			t.Fatalf("%q is no fact", line)
		}
		all = append(all, recalledFact{of, name, value, page})
	}
	return all
}

// shippedFacts tell what an entry says of itself, by the name of the fact. An
// empty text: it says nothing.
var shippedFacts = map[string]func(*provider.Provider) string{
	"base_url":          func(p *provider.Provider) string { return p.BaseURL },
	"authorization_url": func(p *provider.Provider) string { return p.OAuth2.AuthorizationURL },
	"token_url":         func(p *provider.Provider) string { return p.OAuth2.TokenURL },
	"verify": func(p *provider.Provider) string {
		if p.Verify.Path == "" {
			return ""
		}
		return p.Verify.Method + " " + p.Verify.Path
	},
	"rotates": func(p *provider.Provider) string { // that they do is assumed of everybody: the careful way
		if p.Refresh.Rotates {
			return ""
		}
		return strconv.FormatBool(false)
	},
	"idle": func(p *provider.Provider) string {
		if p.Refresh.Idle == 0 {
			return ""
		}
		return p.Refresh.Idle.String()
	},
	"limits": func(p *provider.Provider) string {
		return told(p.Limits.Rates, func(r provider.Rate) string { return r.String() })
	},
	"place": func(p *provider.Provider) string {
		return told(p.Places, func(l provider.Place) string { return fmt.Sprintln(l.In, l.Name, l.Value, l.Username, l.Password) })
	},
	"signals": func(p *provider.Provider) string {
		return told(p.Signals, func(s provider.Signal) string { return fmt.Sprintln(s.Status, s.Body, s.Means) })
	},
}

// told joins the words of a list.
func told[T any](list []T, words func(T) string) string {
	var b strings.Builder
	for _, v := range list {
		b.WriteString(" " + words(v))
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// What was written from memory ships where a page that says so is named, or in
// an entry that tells that it was not checked.
func TestRecalledFacts(t *testing.T) {
	table := mustLoad(t, "").Table
	for _, f := range recalledFacts(t) {
		p, fact := table.Get(f.provider), shippedFacts[f.name]
		if p == nil || fact == nil {
			t.Errorf("%s %s: there is no such provider or fact", f.provider, f.name)
			continue
		}
		ships := fact(p)
		if ships == "" {
			ships = "-"
		}
		if ships != f.value {
			t.Errorf("%s ships the %s %q in place of %q: look it up, and name the page that says so", f.provider, f.name, ships, f.value)
		}
		if ships != "-" && f.page == "" && !p.Unverified {
			t.Errorf("%s ships the %s %q from memory: name the page that says so, mark the entry unverified, or leave it out", f.provider, f.name, ships)
		}
	}
}
