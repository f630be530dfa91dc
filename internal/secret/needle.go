package secret

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
)

// minDerived is from which length on a secret is looked for in forms that look
// unlike it, in bytes: those of shorter ones would be found in words and numbers
// that are none.
const minDerived = 6

// needle is one form of a short secret.
type needle struct {
	text  string
	least int // bytes of text that tell it, 1 to len(text); more are taken as far as they match
}

// needles are the forms of a secret that are no matter of escapes.
func needles(s string) []needle {
	texts := spelled(s)
	if len(s) < minDerived {
		return append(exactly(texts), inBase64(s, 0)...)
	}
	h := hex.EncodeToString([]byte(s))
	all := exactly(append(texts, strings.ToLower(s), strings.ToUpper(s), h, strings.ToUpper(h)))
	for before := range 3 {
		all = append(all, inBase64(s, before)...)
	}
	return all
}

// exactly gives needles that match as a whole, each once.
func exactly(texts []string) []needle {
	slices.Sort(texts)
	var all []needle
	for _, t := range slices.Compact(texts) {
		all = append(all, needle{t, len(t)})
	}
	return all
}

// inBase64 gives s as it stands in base64 after so many bytes (modulo 3) of other
// text: the characters that hold nothing else tell it.
func inBase64(s string, before int) []needle {
	b := append(make([]byte, before, before+len(s)), s...)
	skip, end := (8*before+5)/6, 8*(before+len(s))/6
	if len(s) < minDerived {
		end = base64.RawStdEncoding.EncodedLen(len(b))
	}
	std, url := base64.StdEncoding.EncodeToString(b)[skip:], base64.URLEncoding.EncodeToString(b)[skip:]
	if url == std {
		return []needle{{std, end - skip}}
	}
	return []needle{{std, end - skip}, {url, end - skip}}
}

// find hides the needle wherever it stands in v.
func (n needle) find(v view, c cover) {
	for at := 0; ; at++ {
		i := strings.Index(v.text[at:], n.text[:n.least])
		if i < 0 {
			return
		}
		at += i
		end := at + n.least
		for end < len(v.text) && end-at < len(n.text) && v.text[end] == n.text[end-at] {
			end++
		}
		v.hide(c, at, end)
	}
}

// findBegun hides the beginning of the needle at the end of v.
func (n needle) findBegun(v view, c cover) {
	for k := min(len(n.text), len(v.text)); k > 0; k-- {
		if strings.HasSuffix(v.text, n.text[:k]) {
			v.hide(c, len(v.text)-k, len(v.text))
			return
		}
	}
}
