package secret

import "strings"

// mask is what stands at least for the most of a key of which a text shows a part.
const mask = "***"

// findMasked hides the keys of which v shows a part.
func findMasked(v view, c cover) {
	for at := 0; ; {
		i := strings.Index(v.text[at:], mask)
		if i < 0 {
			return
		}
		from, to := at+i, at+i+len(mask)
		for from > at && ofKey(v.text[from-1]) {
			from--
		}
		for to < len(v.text) && (ofKey(v.text[to]) || v.text[to] == '=' || v.text[to] == '*') {
			to++
		}
		at = to
		v.hide(c, from, from+len(strings.TrimRight(v.text[from:to], "."))) // the end of a sentence
	}
}

// ofKey reports whether keys are made of such bytes.
func ofKey(b byte) bool { return base64Digits[b] != none || b == '.' }
