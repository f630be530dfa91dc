package secret_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/secret"
)

// echoes are the ways in which servers write a text back.
func echoes(s string) map[string]string {
	asJSON, _ := json.Marshal(s)
	var ascii, entities strings.Builder
	for _, r := range s {
		e := fmt.Sprintf("&#x%x;", r)
		if html.UnescapeString(e) != string(r) { // HTML has none for most control characters
			e = string(r)
		}
		entities.WriteString(e)
	}
	for _, b := range []byte(s) {
		fmt.Fprintf(&ascii, "%%%02x", b)
	}
	forms := map[string]string{
		"raw": s, "lower": strings.ToLower(s), "upper": strings.ToUpper(s),
		"query": url.QueryEscape(s), "path": url.PathEscape(s), "percent": ascii.String(),
		"JSON": string(asJSON[1 : len(asJSON)-1]), "PHP": strings.ReplaceAll(string(asJSON[1:len(asJSON)-1]), "/", `\/`),
		"HTML": html.EscapeString(s), "entities": entities.String(),
		"hex": hex.EncodeToString([]byte(s)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(s))),
	}
	for name, r := range map[string]*strings.Replacer{
		"Python": strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;"),
		"PHP 5":  strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#039;"),
		"XML":    strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;"),
		"text":   strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;"),
	} {
		forms[name] = r.Replace(s)
	}
	for name, enc := range map[string]*base64.Encoding{
		"base64": base64.StdEncoding, "raw base64": base64.RawStdEncoding, "URL": base64.URLEncoding, "raw URL": base64.RawURLEncoding,
	} {
		forms[name] = enc.EncodeToString([]byte(s))
		for before := range 3 {
			for after := range 3 {
				e := enc.EncodeToString([]byte("ab"[:before] + s + "yz"[:after]))
				forms[fmt.Sprintf("%s %d+%d", name, before, after)] = e[(8*before+5)/6 : 8*(before+len(s))/6]
			}
		}
	}
	return forms
}

func TestRedactForms(t *testing.T) {
	for _, s := range []string{`a<'&">/+ ü%41&amp;\n`, "Short/7", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "\xff\xfe0123456789abcdef"} {
		for name, form := range echoes(s) {
			if got := secret.Redact("(("+form+"))", secret.New(s)); got != "(("+secret.Redacted+"))" {
				t.Errorf("%q %s: Redact(%q) = %q, want the secret gone", s, name, form, got)
			}
		}
	}
}

func TestRedactWithinBase64(t *testing.T) {
	const s = "hunter2-and-a-half"
	for _, user := range []string{"", "a", "ab", "flow:", "someone@example.com:"} {
		for _, after := range []string{"", "\n", ", and more of it"} {
			form := base64.StdEncoding.EncodeToString([]byte(user + s + after))
			got := secret.Redact(form, secret.New(s))
			if !strings.Contains(got, secret.Redacted) || len(got) > len(form)-8*len(s)/6+len(secret.Redacted)+1 {
				t.Errorf("within %q %q: %q", user, after, got)
			}
		}
	}
}

func TestRedactBeginning(t *testing.T) {
	const token, hook, key = "4eC39HqLyjWDarjtT1zdp7dc", "https://hooks.example.com/services/T0001/B0002", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ"
	for _, tc := range []struct{ name, secret, in, want string }{
		{"8 bytes", token, "key 4eC39HqL... is wrong", "key [redacted]... is wrong"},
		{"as far as it matches", token, "key 4eC39HqLyjWDabc", "key [redacted]bc"},
		{"7 bytes", token, "key 4eC39Hq...", "key 4eC39Hq..."},
		{"hexadecimal", token, hex.EncodeToString([]byte(token[:12])), "[redacted]"},
		{"base64", token, base64.RawStdEncoding.EncodeToString([]byte(token[:12])), "[redacted]"},
		{"escaped", `"'<4eC39HqLyjWDarjt`, "&quot;&#39;&lt;4eC39...", "[redacted]..."},
		{"of a short secret", "fifteen-letters", "fifteen-letter", "fifteen-letter"},
		{"the host of a URL", hook, "see https://hooks.example.com/service", "see https://hooks.example.com/service"},
		{"a URL", hook, "no https://hooks.example.com/services/T0", "no [redacted]"},
		{"a scheme", "Bearer " + token, "Bearer 4eC39 is missing", "Bearer 4eC39 is missing"},
		{"a key's BEGIN", key, "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----"},
		{"a key", key, `-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg`, "[redacted]"},
		{"a member", `{"type":"service_account"}`, `{"type":"user"}`, `{"type":"user"}`},
	} {
		if got := secret.Redact(tc.in, secret.New(tc.secret)); got != tc.want {
			t.Errorf("%s: Redact(%q) = %q, want %q", tc.name, tc.in, got, tc.want)
		}
	}
}

// A beginning that matches does not hide the secret behind it.
func TestRedactOverlapping(t *testing.T) {
	for _, tc := range []struct {
		in      string
		secrets []string
	}{
		{"xyxyxyxyxyxyQ-and-more", []string{"xyxyxyxyxyQ-and-more"}},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaab", []string{"aaaaaaaaaaaaaaaaab"}},
		{"abcdefgh-the-other-secret", []string{"abcdefghijklmnopq", "gh-the-other-secret"}},
	} {
		var vs []secret.Value
		for _, s := range tc.secrets {
			vs = append(vs, secret.New(s))
		}
		if got := secret.Redact("<"+tc.in+">", vs...); got != "<[redacted]>" {
			t.Errorf("Redact(%q) = %q, want all of it gone", tc.in, got)
		}
	}
}

func TestRedactShort(t *testing.T) {
	const text = "a Test: 74657374 VGVzdHM dGVzdA&#116; TEST 616263 YWJj"
	for _, s := range []string{"test", "tEst", "xyz"} {
		if got, want := secret.Redact(text, secret.New(s)), strings.ReplaceAll(text, base64.RawStdEncoding.EncodeToString([]byte(s)), secret.Redacted); got != want {
			t.Errorf("%s: Redact = %q, want %q", s, got, want)
		}
	}
}

func TestRedactCut(t *testing.T) {
	const s = `p"ss<w>rd-&-ü/😀`
	for name, form := range echoes(s) {
		for n := 1; n <= len(form); n++ {
			if got := secret.RedactCut("((("+form[:n], secret.New(s)); got != "((("+secret.Redacted && got != "(((" {
				t.Errorf("%s: RedactCut(%q) = %q, want no beginning of the secret", name, form[:n], got)
			}
		}
	}
	if got := secret.RedactCut("as it is.", secret.New(s)); got != "as it is." {
		t.Errorf("RedactCut = %q, want the text as it is", got)
	}
}

func TestRedactIsLinear(t *testing.T) {
	var vs []secret.Value
	for i := range 3 {
		vs = append(vs, secret.New(strings.Repeat("a", 4000+i)+"b"), secret.New(strings.Repeat("%", 4000+i)+"b"))
	}
	for _, text := range []string{strings.Repeat("a", 64<<10), strings.Repeat("%", 64<<10), strings.Repeat("&#97;%61\\u0061+", 5<<10), strings.Repeat("&", 64<<10)} {
		start := time.Now()
		_, _ = secret.Redact(text, vs...), secret.RedactCut(text, vs...)
		if took := time.Since(start); took > 20*time.Second { // race detector and a busy computer; squared it is minutes
			t.Errorf("%.10q: Redact took %v", text, took)
		} else {
			t.Logf("%.10q: %v", text, took)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "key: ", " is wrong", uint8(9))
	f.Add(`"'<&>%41\u0061 +/`, "&quot", ";", uint8(3))
	f.Add("aaaaaaaaaaaaaaaaab", "aaaa", "b", uint8(17))
	f.Add("\xff\xfe\xff", "\\", "%", uint8(0))
	f.Fuzz(func(t *testing.T, s, before, after string, cut uint8) {
		v := secret.New(s)
		if len(s) < 24 || len(s) > 4096 || strings.Contains(secret.Redacted, s[:8]) || strings.Contains(before+after, s[:1]) {
			_, _ = secret.Redact(before+s+after, v), secret.RedactCut(before+s, v) // no panic
			return
		}
		for name, form := range echoes(s) {
			if got := secret.Redact(before+" "+form+" "+after, v); strings.Contains(got, form) {
				t.Errorf("%s: %q is left of %q", name, got, form)
			}
		}
		if got := secret.RedactCut(before+s[:min(int(cut), len(s))], v); cut > 0 && strings.Contains(strings.ReplaceAll(got, secret.Redacted, ""), s[:min(int(cut), len(s))]) {
			t.Errorf("cut: %q", got)
		}
	})
}

// A text without the secret stays as it is.
func FuzzRedactNothing(f *testing.F) {
	f.Add("a &amp; b %41 \\u0061 +/=")
	f.Add("QUJD%25&#x41;\\\\")
	v := []secret.Value{secret.New("0f9Zq7Lx2Vb8Tn4Kd6Wm1Rs3Yc5Hp"), secret.New("Kv!8z@Qp#3")}
	f.Fuzz(func(t *testing.T, text string) {
		if got := secret.Redact(text, v...); got != text {
			t.Errorf("Redact(%q) = %q, want the text as it is", text, got)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	var vs []secret.Value
	for i := range 30 {
		vs = append(vs, secret.New(fmt.Sprintf("%d-token-%x", i, secret.New(fmt.Sprint(i)).Sum())))
	}
	for name, text := range map[string]string{
		"field": "text/html; charset=utf-8", "page": strings.Repeat(`{"a":"b \u0026 c &amp; d%20e+f"},`, 2000),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_ = secret.Redact(text, vs...)
			}
		})
	}
}
