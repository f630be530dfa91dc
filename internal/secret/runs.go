package secret

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// minRun is how many bytes of a long secret tell it, wherever they stand in it. A
// part of minOwn bytes or more between what is known tells it with what is beside.
const (
	minRun = 8
	minOwn = 4
)

// known is what stands in many secrets; knownMarks are characters of which each
// of the patterns needs one, and most secrets have none.
const knownMarks = ` ":,`

var known = []*regexp.Regexp{
	regexp.MustCompile(`^(?i:apikey|basic|bearer|bot|digest|hawk|key|oauth|sharedkey|token) +(?:[A-Za-z_]+=")?|^[A-Za-z_]+="`),
	regexp.MustCompile(`, *[A-Za-z_]+="`),
	regexp.MustCompile(`^(?:AWS4-HMAC-SHA256 +)?Credential=[^,]*, *SignedHeaders=[^,]*, *Signature=`),
	regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://(?:[^@/]*(?:/|$))?`),
	regexp.MustCompile(`-----(?:BEGIN|END) [A-Z0-9 ]+-----\s*`),
}

// knownMember is what stands in many keys that are JSON: a Google service
// account's, a JSON Web Key.
var knownMember = regexp.MustCompile(`[{,]?\s*"(?:(?:type|project_id|client_email|client_id|auth_uri|token_uri|auth_provider_x509_cert_url|client_x509_cert_url|universe_domain|` +
	`kty|use|alg|kid|crv|e)"\s*:\s*"[^"]*"|[^"]*"\s*:\s*"?)`)

// runs are the minRun bytes from each place of the long secrets that tell them.
type runs struct{ grams }

func runsOf(secrets []string) runs {
	var texts []string
	n := 0
	for _, s := range secrets {
		for _, t := range spelled(s) {
			if len(t) >= minRun { // letters may take less in another case
				texts, n = append(texts, t), n+len(t)
			}
		}
	}
	if n == 0 {
		return runs{}
	}
	r := runs{gramsFor(n)}
	for _, t := range texts {
		if !r.learn(t, commonOf(t)) { // it is nothing but what is known
			r.learn(t, make([]bool, len(t)))
		}
	}
	return r
}

// commonOf tells for each byte of s whether it stands in many secrets.
func commonOf(s string) []bool {
	common := make([]bool, len(s))
	if !strings.ContainsAny(s, knownMarks) {
		return common
	}
	all := known
	if strings.HasPrefix(s, "{") {
		all = append(slices.Clone(known), knownMember)
	}
	for _, pattern := range all {
		for _, at := range pattern.FindAllStringIndex(s, -1) {
			for i := at[0]; i < at[1]; i++ {
				common[i] = true
			}
		}
	}
	widen(common)
	return common
}

// widen makes parts of minRun bytes of those that are shorter.
func widen(common []bool) {
	for at := 0; at < len(common); at++ {
		own := slices.Index(common[at:], true)
		if own < 0 {
			own = len(common) - at
		}
		if own >= minOwn && own < minRun {
			at, own = min(at, len(common)-minRun), minRun
			clear(common[at : at+minRun])
		}
		at += own
	}
}

// learn adds the runs of s. False: there is none.
func (r runs) learn(s string, common []bool) (found bool) {
	var g uint64
	own := 0 // bytes up to here that are not common
	for i := range len(s) {
		if g, own = g<<8|uint64(s[i]), own+1; common[i] {
			own = 0
		}
		if own >= minRun {
			r.add(fold(g))
			found = true
		}
	}
	return found
}

// spelled gives s as it is, as it stands in a text that must be UTF-8, and in
// other cases where they are not a matter of ASCII.
func spelled(s string) []string {
	all := []string{s}
	if !utf8.ValidString(s) {
		all = append(all, strings.ToValidUTF8(s, "\uFFFD"), string([]rune(s)))
	}
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		all = append(all, strings.ToLower(s), strings.ToUpper(s))
	}
	return all
}

// find hides the runs in v: as they are, in hexadecimal and in base64.
func (r runs) find(v view, c cover) {
	if len(r.slots) == 0 {
		return
	}
	r.findPlain(v, c)
	r.findHex(v, c)
	r.findBase64(v, c)
}

func (r runs) findPlain(v view, c cover) {
	var g uint64
	for i := range len(v.text) {
		g = g<<8 | uint64(v.text[i])
		if i >= minRun-1 && r.has(fold(g)) {
			v.hide(c, i+1-minRun, i+1)
		}
	}
}

// findHex hides the digits around a run too: they may hold a half of a byte.
func (r runs) findHex(v view, c cover) {
	var g uint64
	n := 0 // digits up to here
	for i := range len(v.text) {
		d := hexDigits[v.text[i]]
		if d == none {
			n = 0
			continue
		}
		g, n = g<<4|uint64(d), n+1
		if n >= 2*minRun && r.has(fold(g)) {
			v.hide(c, i+1-min(n, 2*minRun+1), following(v.text, i+1, &hexDigits))
		}
	}
}

// findBase64 hides the characters around a run too: they may hold a part of a
// byte. A byte may end with each character, or two or four bits before its end.
func (r runs) findBase64(v view, c cover) {
	var high, low uint64 // the bits of the last characters
	n := 0               // characters up to here
	for i := range len(v.text) {
		d := base64Digits[v.text[i]]
		if d == none {
			n = 0
			continue
		}
		high, low, n = high<<6|low>>58, low<<6|uint64(d), n+1
		if n >= 11 && (r.has(fold(low)) || r.has(fold(high<<62|low>>2))) || n >= 12 && r.has(fold(high<<60|low>>4)) {
			end := following(v.text, i+1, &base64Digits)
			for end < len(v.text) && v.text[end] == '=' {
				end++
			}
			v.hide(c, i+1-min(n, 13), end)
		}
	}
}

// following gives the place behind the digit at i, or i where there is none.
func following(text string, i int, digits *[256]byte) int {
	if i < len(text) && digits[text[i]] != none {
		return i + 1
	}
	return i
}

// none is the value of what is no digit.
const none = 0xff

// hexDigits and base64Digits give the values of digits, those of base64 in either
// alphabet (RFC 4648 sections 4 and 5).
var (
	hexDigits    = digitsOf("0123456789abcdef", "0123456789ABCDEF")
	base64Digits = digitsOf("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
)

func digitsOf(alphabets ...string) (t [256]byte) {
	for i := range t {
		t[i] = none
	}
	for _, a := range alphabets {
		for i := range len(a) {
			t[a[i]] = byte(i)
		}
	}
	return t
}
