package secret_test

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/secret"
)

var percent = regexp.MustCompile(`%[0-9A-F]{2}`)

func TestRedact(t *testing.T) {
	const s = "ca+na/ry <&> \"q\"\n%"
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range map[string]string{
		"raw":     s,
		"query":   url.QueryEscape(s),
		"path":    url.PathEscape(s),
		"lower":   percent.ReplaceAllStringFunc(url.QueryEscape(s), strings.ToLower),
		"base64":  base64.StdEncoding.EncodeToString([]byte(s)),
		"url64":   base64.RawURLEncoding.EncodeToString([]byte(s)),
		"JSON":    strings.Trim(string(asJSON), `"`),
		"HTML":    html.EscapeString(s),
		"no HTML": `ca+na/ry <&> \"q\"\n%`,
	} {
		got := secret.Redact("a "+form+" b", secret.New("other"), secret.Value{}, secret.New(s))
		if got != "a [redacted] b" {
			t.Errorf("%s: Redact = %q, want the secret gone", name, got)
		}
	}
}

func TestRedactTakesTheLongest(t *testing.T) {
	got := secret.Redact("key-and-more", secret.New("key"), secret.New("key-and-more"))
	if got != secret.Redacted {
		t.Errorf("Redact = %q, want %q", got, secret.Redacted)
	}
}

func TestRedactWithoutSecrets(t *testing.T) {
	if got := secret.Redact("as it is", secret.Value{}); got != "as it is" {
		t.Errorf("Redact = %q, want the text as it is", got)
	}
}

func TestSum(t *testing.T) {
	a, b, again := secret.New("a").Sum(), secret.New("b").Sum(), secret.New("a").Sum()
	if a == b || a != again {
		t.Error("Sum tells not whether two secrets are the same")
	}
}
