package provider

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
)

// PeekSize is how many first bytes of a body Meaning looks at.
const PeekSize = 8 << 10

// Signal says what an answer means where its status does not tell. The first
// that matches wins.
type Signal struct {
	Status int               // 0: any
	Body   string            // contained in the first bytes of the body; empty: any
	Header map[string]string // all contained in the field; nil: any
	Means  Meaning

	opens     bool // Body is how the body begins: no data in it is taken for an error
	empty     bool // there is no body
	ungranted bool // its fields tell of scopes that would do, of which the token has none, and of no limit
}

// Meaning tells what an answer says about the credential: the provider's
// signals in their order, then what is known of the provider, then what holds
// for every HTTP API. peek is the beginning of the body as it came, up to
// PeekSize; it may be empty.
func (p *Provider) Meaning(resp *http.Response, peek []byte) Meaning {
	text := bodyText{raw: peek, header: resp.Header}
	for _, signals := range p.signals() {
		for _, s := range signals {
			if s.applies(resp) && s.says(resp, &text) {
				return s.Means
			}
		}
	}
	return generic(resp, &text)
}

// Peeks reports whether Meaning wants the first bytes of this answer's body. Of
// an answer that is no error it wants them only where a signal names its status
// and the body is text that ends.
func (p *Provider) Peeks(resp *http.Response) bool {
	if wordy(resp.StatusCode) {
		return true
	}
	for _, signals := range p.signals() {
		if slices.ContainsFunc(signals, func(s Signal) bool { return s.peeks(resp) }) {
			return true
		}
	}
	return false
}

// PeeksAtGood reports whether Meaning reads bodies of answers that are no error.
func (p *Provider) PeeksAtGood() bool {
	for _, signals := range p.signals() {
		if slices.ContainsFunc(signals, func(s Signal) bool { return s.Body != "" && s.Status != 0 && s.Status < 400 }) {
			return true
		}
	}
	return false
}

// signals of the provider: its own, and those that are known of it.
func (p *Provider) signals() [2][]Signal { return [2][]Signal{p.Signals, knownSignals(p.Name)} }

func (s Signal) peeks(resp *http.Response) bool {
	if s.Body == "" && !s.empty || !s.applies(resp) {
		return false
	}
	return resp.StatusCode >= 400 || s.Status != 0 && isText(resp.Header)
}

// applies judges what stands before the body.
func (s Signal) applies(resp *http.Response) bool {
	if s.Status != 0 && s.Status != resp.StatusCode {
		return false
	}
	for name, want := range s.Header {
		if !contains(resp.Header.Values(name), want) {
			return false
		}
	}
	return !s.ungranted || ungranted(resp.Header) && !throttled(resp.Header)
}

// contains reports whether a value holds want; an empty one asks for presence.
func contains(values []string, want string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, want) })
}

// says judges the body.
func (s Signal) says(resp *http.Response, text *bodyText) bool {
	switch {
	case s.empty:
		return len(text.raw) == 0 && resp.ContentLength <= 0
	case s.opens:
		return opensWith(text.plain(), s.Body)
	}
	return s.Body == "" || text.contains(s.Body)
}

// bodyText is the beginning of a body, read as far as somebody asks.
type bodyText struct {
	raw    []byte
	header http.Header

	unpacked, dense, lower []byte // nil: not asked for yet
}

// plain is the text without its coding.
func (t *bodyText) plain() []byte {
	if t.unpacked == nil {
		t.unpacked = plainText(t.header, t.raw)
	}
	return t.unpacked
}

// contains looks for s as it stands, and without the white space that JSON
// allows between tokens.
func (t *bodyText) contains(s string) bool {
	if bytes.Contains(t.plain(), []byte(s)) {
		return true
	}
	if t.dense == nil {
		t.dense = compact(t.plain())
	}
	return bytes.Contains(t.dense, []byte(s))
}

// containsAny looks for one of the texts, which are in lower case, in any case.
func (t *bodyText) containsAny(texts ...[]byte) bool {
	if t.lower == nil {
		t.lower = bytes.ToLower(t.plain())
	}
	return slices.ContainsFunc(texts, func(s []byte) bool { return bytes.Contains(t.lower, s) })
}

// opensWith reports whether b begins with s; white space between the tokens of b
// does not count. It allocates nothing.
func opensWith(b []byte, s string) bool {
	quoted := false
	for len(s) > 0 {
		if len(b) == 0 {
			return false
		}
		c := b[0]
		b = b[1:]
		if !quoted && isSpace(c) {
			continue
		}
		if c != s[0] {
			return false
		}
		quoted = quoted != (c == '"')
		s = s[1:]
	}
	return true
}

// compact drops white space outside of double-quoted strings.
func compact(b []byte) []byte {
	out := make([]byte, 0, len(b))
	quoted := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\' && i+1 < len(b):
			out = append(out, c, b[i+1])
			i++
			continue
		case c == '"':
			quoted = !quoted
		case !quoted && isSpace(c):
			continue
		}
		out = append(out, b[i])
	}
	return out
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
