package provider

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
)

// PeekSize is how many first bytes of a body Meaning looks at.
const PeekSize = 4 << 10

// Meaning tells what an answer says about the credential: the provider's
// signals in their order, then what holds for every HTTP API. peek is the
// beginning of the body as it came, up to PeekSize; it may be empty.
func (p *Provider) Meaning(resp *http.Response, peek []byte) Meaning {
	body := plainText(resp.Header, peek)
	var dense []byte
	if len(p.Signals) > 0 {
		dense = compact(body)
	}
	for _, s := range p.Signals {
		if s.applies(resp) && s.says(body, dense) {
			return s.Means
		}
	}
	return generic(resp, body)
}

// Peeks reports whether Meaning wants the first bytes of this answer's body. Of
// an answer that is no error it wants them only where a signal names its status
// and the body is text that ends.
func (p *Provider) Peeks(resp *http.Response) bool {
	if resp.StatusCode >= 400 && wordy(resp.StatusCode) {
		return true
	}
	return slices.ContainsFunc(p.Signals, func(s Signal) bool {
		return s.Body != "" && s.applies(resp) && (resp.StatusCode >= 400 || s.Status != 0 && isText(resp.Header))
	})
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
	return true
}

// contains reports whether a value holds want; an empty one asks for presence.
func contains(values []string, want string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, want) })
}

// says looks for the signal's text as it stands, and without the white space
// that JSON allows between tokens.
func (s Signal) says(body, dense []byte) bool {
	return s.Body == "" || bytes.Contains(body, []byte(s.Body)) || bytes.Contains(dense, []byte(s.Body))
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
		case !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
			continue
		}
		out = append(out, b[i])
	}
	return out
}
