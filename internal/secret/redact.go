package secret

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Sum is the SHA-256 of the secret: two of them compare in constant time
// whatever the lengths of the secrets are.
func (v Value) Sum() [sha256.Size]byte { return sha256.Sum256([]byte(v.Reveal())) }

// Redact replaces the values in text by Redacted, wherever they stand as they
// are or encoded: base64, percent-encoded, as a JSON or HTML string. Empty
// values are passed over.
func Redact(text string, values ...Value) string {
	if text == "" {
		return ""
	}
	var forms []string
	for _, v := range values {
		if !v.Empty() {
			forms = append(forms, v.forms()...)
		}
	}
	// Longest first: the shorter ones may be parts of longer ones.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(forms))
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, Redacted)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

var percent = regexp.MustCompile(`%[0-9A-F]{2}`)

// forms are the ways in which a server may write the secret back.
func (v Value) forms() []string {
	s := v.Reveal()
	forms := []string{s, url.QueryEscape(s), url.PathEscape(s), quoted(s, true), quoted(s, false), html.EscapeString(s)}
	for _, f := range forms[1:3] {
		forms = append(forms, percent.ReplaceAllStringFunc(f, strings.ToLower))
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		forms = append(forms, enc.EncodeToString([]byte(s)))
	}
	return forms
}

// quoted is s as it stands between the quotes of a JSON string.
func quoted(s string, escapeHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	if e.Encode(s) != nil || b.Len() < 3 { // a string cannot fail; quotes and a newline
		return s
	}
	return b.String()[1 : b.Len()-2]
}
