package secret

import (
	"cmp"
	"crypto/sha256"
	"regexp"
	"slices"
	"strings"
)

// Sum is the SHA-256 of the secret: two of them compare in constant time
// whatever the lengths of the secrets are.
func (v Value) Sum() [sha256.Size]byte { return sha256.Sum256([]byte(v.Reveal())) }

// Redact replaces the values in text by Redacted, wherever they stand as they
// are or as a server may write them back:
//
//   - percent-encoded, as a form's value, as a JSON string or in HTML, with
//     whatever escapes;
//   - from 6 bytes on also in lower or upper case, in hexadecimal, and in base64,
//     alone or within other text that is encoded with it. Of the characters at
//     both ends that hold bits of that other text too, up to 4 bits stay;
//   - shorter ones in base64 where they are encoded alone;
//   - from 16 bytes on, in each of these forms, also the beginning of a value: 8
//     bytes or more of it, as far as it matches. What many secrets begin with (a
//     URL's host, Bearer, the BEGIN line of a key) counts for nothing there.
//
// Values that overlap in the text are replaced as one. Empty values are passed
// over. The time it takes grows with the length of the text and of the values,
// whatever they hold.
func Redact(text string, values ...Value) string { return redact(text, false, values) }

// RedactCut is Redact for a text whose end was cut off: what may be the beginning
// of a value there, however short, goes too, and an escape that is not whole.
func RedactCut(text string, values ...Value) string {
	return redact(text[:len(text)-len(broken.FindString(text[max(0, len(text)-maxEscape):]))], true, values)
}

// broken is an escape at the end of a text that may go on.
var broken = regexp.MustCompile(`(?:%[0-9A-Fa-f]?|(?:\\u[dD][89ABab][0-9A-Fa-f]{2})?(?:\\(?:u[0-9A-Fa-f]{0,3}|x[0-9A-Fa-f]?)?)?|&[#0-9A-Za-z]*)$`)

func redact(text string, cut bool, values []Value) string {
	if text == "" {
		return ""
	}
	needles := needlesOf(values)
	if len(needles) == 0 {
		return text
	}
	var found []span
	for _, v := range views(text) {
		for _, n := range needles {
			found = n.find(v, cut, found)
		}
	}
	return cover(text, found)
}

// span is a part of a text, from its first byte to behind its last.
type span struct{ from, to int }

// cover replaces the spans of text, those that overlap as one.
func cover(text string, found []span) string {
	slices.SortFunc(found, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	var b strings.Builder
	end := 0
	for _, s := range found {
		if s.from >= end {
			b.WriteString(text[end:s.from])
			b.WriteString(Redacted)
		}
		end = max(end, s.to)
	}
	b.WriteString(text[end:])
	return b.String()
}
