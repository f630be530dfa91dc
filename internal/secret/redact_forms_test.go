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
	"unicode/utf8"

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

// Of a long secret any eight bytes go, from wherever they are.
func TestRedactPart(t *testing.T) {
	const token = "4eC39HqLyjWDarjtT1z/p7+c"
	for _, tc := range []struct{ name, secret, in, want string }{
		{"8 bytes", token, "key 4eC39HqL... is wrong", "key [redacted]... is wrong"},
		{"as far as it matches", token, "key 4eC39HqLyjWDabc", "key [redacted]bc"},
		{"7 bytes", token, "key 4eC39Hq...", "key 4eC39Hq..."},
		{"the end", token, "key ...T1z/p7+c", "key ...[redacted]"},
		{"7 bytes of the end", token, "key ...1z/p7+c", "key ...1z/p7+c"},
		{"the middle", token, "key ...qLyjWDar...", "key ...[redacted]..."},
		{"both ends", token, "4eC39HqL*T1z/p7+c", "[redacted]*[redacted]"},
		{"in lines", token, "4eC39HqLyjWD\narjtT1z/p7+c", "[redacted]\n[redacted]"},
		{"in any case", token, "yjwdARJTt1z", "[redacted]"},
		{"hexadecimal", token, "<" + hex.EncodeToString([]byte(token[3:11])) + ">", "<[redacted]>"},
		{"hexadecimal, halves of bytes around", token, "<f" + hex.EncodeToString([]byte(token[3:11])) + "e>", "<[redacted]>"},
		{"7 bytes, hexadecimal", token, hex.EncodeToString([]byte(token[3:10])), hex.EncodeToString([]byte(token[3:10]))},
		{"base64", token, base64.StdEncoding.EncodeToString([]byte(token[3:11])), "[redacted]"},
		{"percent-encoded twice", token, "T1z%252Fp7%252Bc", "[redacted]"},
		{"percent-encoded three times", token, "T1z%25252fp7%25252Bc", "[redacted]"},
		{"percent-encoded four times", token, "T1z%2525252fp7%2525252Bc", "[redacted]"},
		{"a form in a form", "4eC3 HqL+yjWDarjtT1z", "4eC3%2BHqL%252ByjWD", "[redacted]"},
		{"JSON in JSON", token, `T1z\\\/p7\\u002bc`, "[redacted]"},
		{"HTML in HTML", token, "T1z&amp;#47;p7&amp;plus;c", "[redacted]"},
		{"JSON in a URL", token, "T1z%5C%2fp7%5Cu002bc", "[redacted]"},
		{"HTML in JSON", token, `T1z\u0026#47;p7\u0026plus;c`, "[redacted]"},
		{"escaped", `"'<4eC39HqLyjWDarjt`, "&quot;&#39;&lt;4eC39...", "[redacted]..."},
		{"of a short secret", "fifteen-letters", "fifteen-letter", "fifteen-letter"},
		{"of one with a prefix", "github_pat_" + token, "keys like github_pat_...", "keys like [redacted]..."},
	} {
		if got := secret.Redact(tc.in, secret.New(tc.secret)); got != tc.want {
			t.Errorf("%s: Redact(%q) = %q, want %q", tc.name, tc.in, got, tc.want)
		}
	}
}

// What everybody knows stays, though it stands in a secret too.
func TestRedactKnown(t *testing.T) {
	const (
		hook = "https://hooks.example.com/services/T0001/B0002"
		key  = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n-----END PRIVATE KEY-----\n"
		file = `{"type":"service_account", "project_id": "acme-reports", "private_key":"4eC39HqLyjWD", "pin":"x7Q2", "token_uri":"https://oauth2.googleapis.com/token"}`
		aws  = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261122/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=fe5f80f77d5fa3be"
		one  = `OAuth oauth_consumer_key="4eC39HqLyj", oauth_signature="WDarjtT1zdp7dc"`
	)
	for _, tc := range []struct{ name, secret, in, want string }{
		{"a host", hook, "see https://hooks.example.com/", "see https://hooks.example.com/"},
		{"a URL", hook, "no https://hooks.example.com/services/T0", "no https://hooks.example.com/[redacted]"},
		{"a URL's path in part", hook, "no https://hooks.example.com/service", "no https://hooks.example.com/service"},
		{"a scheme", "Bearer eyJhbGciOiJIUzI1NiJ9", `Bearer error="invalid_token"`, `Bearer error="invalid_token"`},
		{"a key's frame", key, "no -----BEGIN PRIVATE KEY----- and no -----END PRIVATE KEY-----", "no -----BEGIN PRIVATE KEY----- and no -----END PRIVATE KEY-----"},
		{"a key", key, `-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg`, `-----BEGIN PRIVATE KEY-----\n[redacted]`},
		{"public members", file, `service_account of acme-reports at https://oauth2.googleapis.com/token, "private_key":"..."`, `service_account of acme-reports at https://oauth2.googleapis.com/token, "private_key":"..."`},
		{"a member", file, "<4eC39HqL>", "<[redacted]>"},
		{"a short member", file, `"pin":"x7Q2", "to`, `"pin":"[redacted]to`},
		{"AWS's parameters", aws, "AWS4-HMAC-SHA256 in us-east-1/s3, SignedHeaders=host;x-amz-date, Signature=", "AWS4-HMAC-SHA256 in us-east-1/s3, SignedHeaders=host;x-amz-date, Signature="},
		{"AWS's signature", aws, "<5f80f77d>", "<[redacted]>"},
		{"OAuth's parameters", one, `OAuth oauth_consumer_key=, oauth_signature="`, `OAuth oauth_consumer_key=, oauth_signature="`},
		{"OAuth's values", one, "<4eC39HqLyj> <WDarjtT1>", "<[redacted]> <[redacted]>"},
		{"nothing but what is known", `{"type":"service_account"}`, "a service_account", "a [redacted]"},
	} {
		if got := secret.Redact(tc.in, secret.New(tc.secret)); got != tc.want {
			t.Errorf("%s: Redact(%q) = %q, want %q", tc.name, tc.in, got, tc.want)
		}
	}
}

// A key of which a text shows a part goes, whoever's it is.
func TestRedactMasked(t *testing.T) {
	for in, want := range map[string]string{
		"key rk_live_****G/bPx+Rf_i-w.8A== is wrong": "key [redacted] is wrong",
		"key rk_l/i+v.e_-***":                        "key [redacted]",
		"key ****bGA.":                               "key [redacted].",
		"key=****bGA, ****c/A":                       "key=[redacted], [redacted]",
		`{"key":"ab***G\/bPx\u002bRfi\u003d"}`:       `{"key":"[redacted]"}`,
		"?key=ab%2A%2A%2AG%252FbPx":                  "?key=[redacted]",
		"two** and 2*3":                              "two** and 2*3",
	} {
		if got := secret.Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := secret.Redact("no rk_live_***BYBoGA", secret.New("rk_live_51JCanaryBYBoGA")), "no [redacted]"; got != want {
		t.Errorf("Redact = %q, want %q", got, want)
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
	for _, text := range []string{strings.Repeat("a", 64<<10), strings.Repeat("%", 64<<10), strings.Repeat("&#97;%61\\u0061+", 5<<10), strings.Repeat("&", 64<<10), strings.Repeat("%25252525252541+&amp;amp;amp;amp;", 2<<10), strings.Repeat("61", 32<<10)} {
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
	f.Add("'<&>%41\\u0061\\+/=&#47;%252F", "&quot", ";", uint8(3))
	f.Add("aaaaaaaaaaaaaaaaab", "aaaa", "b", uint8(17))
	f.Add("\xff\xfe\xff", "\\", "%", uint8(0))
	f.Add("\u212a\u212a\u212a\u212a\u212a:", "", "", uint8(1)) // shorter in lower case
	f.Add("пароль/Straße+ĲKelvin", "%", "&", uint8(5))
	f.Fuzz(func(t *testing.T, s, before, after string, at uint8) {
		v := secret.New(s)
		if len(s) < 16 || len(s) > 4096 || strings.Contains(before+after, s[:1]) {
			_, _ = secret.Redact(before+s+after, v), secret.RedactCut(before+s, v) // no panic
			return
		}
		for name, form := range echoes(s) {
			if got := secret.Redact(before+" "+form+" "+after, v); len(form) >= 8 && strings.Contains(got, form) {
				t.Errorf("%s: %q is left of %q", name, got, form)
			}
		}
		if n := min(int(at), len(s)); n > 0 {
			if got := secret.RedactCut(before+s[:n], v); strings.Contains(strings.ReplaceAll(got, secret.Redacted, ""), s[:n]) {
				t.Errorf("cut: %q", got)
			}
		}
		if run := runAt(s, int(at)%len(s)); run != "" && !strings.ContainsAny(s, ` ":,`) { // what is known stands beside these
			wantNoRun(t, v, before, after, run)
		}
	})
}

// runAt gives eight bytes of s or a little more, in whole characters, from there on
// or from the end of s; empty: s is no UTF-8.
func runAt(s string, at int) string {
	if !utf8.ValidString(s) {
		return ""
	}
	for at = min(at, len(s)-8); !utf8.RuneStart(s[at]); at-- {
	}
	end := at + 8
	for end < len(s) && !utf8.RuneStart(s[end]) {
		end++
	}
	return s[at:end]
}

// wantNoRun wants nothing left of a run, in any form of at least eight bytes.
func wantNoRun(t *testing.T, v secret.Value, before, after, run string) {
	t.Helper()
	twice := url.QueryEscape(url.QueryEscape(run))
	forms := map[string]string{"twice": twice, "three times": url.QueryEscape(twice), "twice JSON": strings.ReplaceAll(strings.ReplaceAll(run, `\`, `\\\\`), "/", `\\\/`)}
	for name, form := range echoes(run) {
		if !strings.Contains(name, "+") { // base64 within other text follows
			forms[name] = form
		}
	}
	for name, form := range forms {
		if len(form) < 8 || strings.Contains(secret.Redacted, form) {
			continue
		}
		if got := secret.Redact(before+" "+form+" "+after, v); strings.Contains(got, form) {
			t.Errorf("%s: %q is left of the run %q", name, got, form)
		}
	}
	for n := range 9 {
		e := base64.URLEncoding.EncodeToString([]byte("ab"[:n/3] + run + "yz"[:n%3]))
		form := e[(8*(n/3)+5)/6 : 8*(n/3+len(run))/6]
		if got := secret.Redact(before+" "+e+" "+after, v); strings.Contains(got, form) {
			t.Errorf("base64 %d: %q is left of the run %q", n, got, form)
		}
	}
}

// A text without the secret stays as it is.
func FuzzRedactNothing(f *testing.F) {
	f.Add("a &amp; b %41 \\u0061 +/=")
	f.Add("QUJD%25&#x41;\\\\")
	v := []secret.Value{secret.New("0f9Zq7Lx2Vb8Tn4Kd6Wm1Rs3Yc5Hp"), secret.New("Kv!8z@Qp#3")}
	f.Fuzz(func(t *testing.T, text string) {
		for _, star := range []string{"*", "2a", "2A", "42", "52", "ast"} {
			if strings.Contains(text, star) { // it may hide a key that is shown in part
				return
			}
		}
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
		"hostile": strings.Repeat("%25252525252541+&amp;amp;amp;amp;", 2<<10),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_ = secret.Redact(text, vs...)
			}
		})
	}
}
