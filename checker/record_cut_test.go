package checker_test

import (
	"errors"
	"html"
	"io"
	"net/http"
	"strings"
	"testing"
)

// breaking is a server whose answer breaks off.
type breaking string

// RoundTrip implements http.RoundTripper.
func (b breaking) RoundTrip(req *http.Request) (*http.Response, error) {
	body := io.MultiReader(strings.NewReader(string(b)), failing{})
	return &http.Response{StatusCode: 401, Header: http.Header{}, Body: io.NopCloser(body), Request: req}, nil
}

type failing struct{}

// Read implements io.Reader.
func (failing) Read([]byte) (int, error) { return 0, errors.New("broken off") }

// LK-06: a body that breaks off within a secret shows no beginning of it, escaped
// or not.
func TestBodyBrokenOffInSecret(t *testing.T) {
	const key = `<"c4n4ry&key">`
	for _, form := range []string{key, html.EscapeString(key), strings.ReplaceAll(html.EscapeString(key), "&#34;", "&quot;")} {
		for n := 1; n <= len(form); n++ {
			r := newChecker(breaking("no "+form[:n])).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", key))
			if len(r.Steps) != 1 {
				t.Fatalf("steps %+v, want one", r.Steps)
			}
			if x := r.Steps[0].ResponseExcerpt; x != "no [redacted]" && x != "no " {
				t.Errorf("LK-06: after %q the excerpt is %q", form[:n], x)
			}
		}
	}
}
