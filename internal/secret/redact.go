package secret

import (
	"crypto/sha256"
	"regexp"
	"strings"
)

// Sum is the SHA-256 of the secret: two of them compare in constant time
// whatever the lengths of the secrets are.
func (v Value) Sum() [sha256.Size]byte { return sha256.Sum256([]byte(v.Reveal())) }

// Redact replaces the values in text by Redacted, wherever they stand as they
// are or as a server may write them back: in lower or upper case, in
// hexadecimal, in base64, alone or within other text that is encoded with it,
// and each of these percent-encoded, as a form's value, as a JSON string or in
// HTML, with whatever escapes, up to four times over.
//
//   - Of a value of 16 bytes or more, any 8 bytes or more that follow each other
//     go, from whatever place in it. Words of a text that stand in a value too go
//     with them, and so does what keys of one kind begin with (github_pat_, a
//     JWT's eyJhbGciOi): rather too much than too little. Only what says nothing
//     of the secret counts for nothing: the names of a scheme (Bearer) and of its
//     parameters, a URL's host, the lines that frame a key in PEM, the members'
//     names and the public members of a key in JSON, the parameters of AWS's
//     signatures but the signature.
//   - A shorter value goes as a whole; one of less than 6 bytes as it is, escaped,
//     or alone in base64.
//   - With any values or none, keys of which others show a part go: three stars or
//     more, and what stands around them.
//
// What overlaps or touches in the text is replaced as one. Empty values are passed
// over. Time and memory grow with the length of the text and of the values,
// whatever they hold.
func Redact(text string, values ...Value) string { return redact(text, false, values) }

// RedactCut is Redact for a text whose end was cut off: what may be the beginning
// of a value there, however short, goes too, and an escape that is not whole.
func RedactCut(text string, values ...Value) string {
	return redact(text[:len(text)-len(broken.FindString(text[max(0, len(text)-maxEscape):]))], true, values)
}

// broken is an escape at the end of a text that may go on.
var broken = regexp.MustCompile(`(?:%[0-9A-Fa-f]?|(?:\\u[dD][89ABab][0-9A-Fa-f]{2})?(?:\\(?:u[0-9A-Fa-f]{0,3}|x[0-9A-Fa-f]?)?)?|&[#0-9A-Za-z]*)$`)

// minLong is from which length on a value is looked for in parts, in bytes.
const minLong = 16

func redact(text string, cut bool, values []Value) string {
	var long []string
	var whole, begun []needle
	seen := map[string]bool{"": true}
	for _, v := range values {
		s := v.Reveal()
		switch {
		case seen[s]:
			continue
		case len(s) < minLong:
			whole = append(whole, needles(s)...)
		default:
			long = append(long, s)
		}
		seen[s] = true
		if cut {
			begun = append(begun, needles(s[:min(len(s), minLong-1)])...)
		}
	}
	parts, c := runsOf(long), make(cover, len(text)+1)
	views(text, func(v view) {
		findMasked(v, c)
		parts.find(v, c)
		for _, n := range whole {
			n.find(v, c)
		}
		for _, n := range begun {
			n.findBegun(v, c)
		}
	})
	return c.over(text)
}

// cover tells which bytes of a text are hidden: how many parts to hide begin at
// each byte, less how many end before it.
type cover []int32

// over gives text without what is hidden.
func (c cover) over(text string) string {
	var b strings.Builder
	shown, depth := 0, int32(0) // shown: where the text begins that is not written yet
	for i, d := range c {
		switch was := depth; {
		case was == 0 && d > 0:
			b.WriteString(text[shown:i])
			b.WriteString(Redacted)
		case was > 0 && was+d == 0:
			shown = i
		}
		depth += d
	}
	b.WriteString(text[shown:])
	return b.String()
}
