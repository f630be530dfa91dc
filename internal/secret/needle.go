package secret

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of what is looked for, in bytes of a secret. Other forms of a secret
// below minDerived would be found in words and numbers that are none.
const (
	minDerived   = 6  // looked for in forms that look unlike it
	minBegun     = 16 // looked for though its end is missing
	minBeginning = 8  // of such a one that tell it
)

// lead is what many secrets begin with: the scheme of an Authorization field and
// the name of its first parameter, the host of a URL, the first line of a key in
// PEM, the first member's name of an object in JSON.
var lead = regexp.MustCompile(`^(?:` +
	`(?i:apikey|basic|bearer|bot|digest|key|oauth|token|aws4-hmac-sha256) +(?:[A-Za-z_]+=)?"?|Credential=|[A-Za-z_]+="` +
	`|[A-Za-z][A-Za-z0-9+.-]*://(?:[^@/]*(?:/|$))?` +
	`|-----BEGIN [A-Z0-9 ]+-----\s*(?:MII[A-Za-z])?` +
	`|\{\s*"[^"]*"\s*:\s*"?)`)

// needle is one form of a secret.
type needle struct {
	text  string
	least int // bytes of text that tell it, 1 to len(text); more are taken as far as they match
}

// needlesOf gives the forms of the values, whichever of them stand there twice.
func needlesOf(values []Value) []needle {
	var all []needle
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		if s := v.Reveal(); s != "" && !seen[s] {
			seen[s] = true
			all = append(all, needles(s)...)
		}
	}
	return all
}

// needles are the forms of a secret that are no matter of escapes.
func needles(s string) []needle {
	least := len(s)
	if least >= minBegun {
		least = min(least, len(lead.FindString(s))+minBeginning)
	}
	all := spelled(s, least)
	if len(s) < minDerived {
		return append(all, inBase64(s, least, 0)...)
	}
	h := hex.EncodeToString([]byte(s))
	all = append(all, needle{h, 2 * least}, needle{strings.ToUpper(h), 2 * least})
	for before := range 3 {
		all = append(all, inBase64(s, least, before)...)
	}
	return all
}

// spelled gives s as it is, as it stands in a text that must be UTF-8, and in
// other cases.
func spelled(s string, least int) []needle {
	texts := []string{s}
	if !utf8.ValidString(s) {
		texts = append(texts, strings.ToValidUTF8(s, "\uFFFD"), string([]rune(s)))
	}
	if len(s) >= minDerived {
		texts = append(texts, strings.ToLower(s), strings.ToUpper(s))
	}
	var all []needle
	for i, t := range texts {
		switch {
		case slices.Contains(texts[:i], t):
		case least == len(s): // nothing less than all of it
			all = append(all, needle{t, len(t)})
		default:
			all = append(all, needle{t, min(least, len(t))})
		}
	}
	return all
}

// inBase64 gives s as it stands in base64 after so many bytes (modulo 3) of other
// text: the characters that hold nothing else tell it.
func inBase64(s string, least, before int) []needle {
	b := append(make([]byte, before, before+len(s)), s...)
	skip, end := (8*before+5)/6, 8*(before+least)/6
	if len(s) < minDerived {
		end = base64.RawStdEncoding.EncodedLen(len(b))
	}
	std, url := base64.StdEncoding.EncodeToString(b)[skip:], base64.URLEncoding.EncodeToString(b)[skip:]
	if url == std {
		return []needle{{std, end - skip}}
	}
	return []needle{{std, end - skip}, {url, end - skip}}
}

// find adds the places in v that hold the needle, in the order of the text. cut:
// the text may go on, and a beginning of the needle at its end counts.
func (n needle) find(v view, cut bool, found []span) []span {
	m := matcher{needle: n.text, text: v.text}
	for at := 0; ; at++ {
		i := strings.Index(v.text[at:], n.text[:n.least])
		if i < 0 {
			break
		}
		at += i
		if m.extend(at, n.least) {
			found = v.add(found, m.from, m.to)
		}
	}
	if !cut {
		return found
	}
	for k := min(n.least-1, len(v.text)); k > 0; k-- {
		if strings.HasSuffix(v.text, n.text[:k]) {
			return v.add(found, len(v.text)-k, len(v.text))
		}
	}
	return found
}

// matcher tells how far a needle matches, in time that grows with the text alone
// where the matches overlap (the Z algorithm).
type matcher struct {
	needle, text string
	from, to     int   // of the match that ends last
	z            []int // of the needle, see zOf; nil: not needed yet
}

// extend takes the match at at, which has least bytes, for the last one. False: it
// ends within the one before.
func (m *matcher) extend(at, least int) bool {
	end := at + least
	if at < m.to {
		if m.z == nil {
			m.z = zOf(m.needle)
		}
		if at+m.z[at-m.from] < m.to {
			return false
		}
		end = m.to
	}
	for end < len(m.text) && end-at < len(m.needle) && m.text[end] == m.needle[end-at] {
		end++
	}
	if end <= m.to {
		return false
	}
	m.from, m.to = at, end
	return true
}

// zOf gives for each place of s how many bytes from there on are those that s
// begins with.
func zOf(s string) []int {
	z := make([]int, len(s))
	from, to := 0, 0
	for i := 1; i < len(s); i++ {
		if i < to {
			z[i] = min(to-i, z[i-from])
		}
		for i+z[i] < len(s) && s[z[i]] == s[i+z[i]] {
			z[i]++
		}
		if i+z[i] > to {
			from, to = i, i+z[i]
		}
	}
	return z
}
