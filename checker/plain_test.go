package checker_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/provider"
)

// steering is what a terminal obeys: a title, a bell, a line of its own, C1 and a
// change of direction.
const steering = "\x1b]0;pwned\a\r\u009b31m\u202e"

// What a provider or a record says steers no terminal, in no format.
func TestNothingSteersTheTerminal(t *testing.T) {
	quoted, err := json.Marshal(steering)
	if err != nil {
		t.Fatal(err)
	}
	q := strings.Trim(string(quoted), `"`)
	for name, c := range map[string]struct {
		answer answering
		typ    string
	}{
		"a scope":       {answer: answer(403, "application/json", `{"error":"insufficient_scope","scope":"a`+q+`"}`)},
		"a description": {answer: answer(401, "application/json", `{"error":"invalid_token","error_description":"no`+q+`"}`)},
		"a challenge":   {answer: answer(401, "", "", "WWW-Authenticate", `Bearer error="invalid_token", error_description="no`+steering+`"`)},
		"an account":    {answer: answer(200, "application/json", `{"login":"ann`+q+`","type":"`+q+`"}`)},
		"a body":        {answer: answer(500, "text/plain", "no\n\t"+steering)},
		"a header":      {answer: answer(200, "application/json", `{}`, "X-Note", "a"+steering)},
		"a type":        {answer: answer(200, "application/json", `{}`), typ: "bearer" + steering},
	} {
		t.Run(name, func(t *testing.T) {
			p := api("https://api.example.com")
			p.Signals = []provider.Signal{{Status: 403, Body: "insufficient_scope", Means: provider.Scope}}
			cred := record("bearer", "token", "key-1")
			if c.typ != "" {
				cred.Type = c.typ
			}
			r := newChecker(c.answer).Check(t.Context(), p, cred)
			r.Steps = append([]checker.Step{}, r.Steps...)
			for i := range r.Steps { // the only place of more than one line
				r.Steps[i].ResponseExcerpt = strings.NewReplacer("\n", "", "\t", "").Replace(r.Steps[i].ResponseExcerpt)
			}
			harmless(t, r)
		})
	}
}

// harmless holds that nothing of a report is for a terminal to obey.
func harmless(t *testing.T, r *checker.Report) {
	t.Helper()
	var table, csv, raw bytes.Buffer
	e := json.NewEncoder(&raw)
	for _, err := range []error{
		checker.WriteTable(&table, []*checker.Report{r}, true), checker.WriteCSV(&csv, []*checker.Report{r}), e.Encode(r),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for format, text := range map[string]string{"table": table.String(), "csv": csv.String(), "json": raw.String()} {
		if i := strings.IndexFunc(text, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }); i >= 0 {
			t.Errorf("%s holds %q", format, text[i:min(len(text), i+20)])
		}
	}
	if text := strings.ReplaceAll(raw.String(), `\\`, ""); strings.Contains(text, `\u00`) || strings.Contains(text, `\r`) {
		t.Errorf("what a terminal obeys stands escaped in json: %s", raw.String())
	}
}
