package auth

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
)

// granted is what an answer that was kept unread gives, as far as it can be used;
// the zero granted: nothing.
func (r reply) granted() granted {
	a := readAnswer(r)
	g := a.granted()
	if a.fault("", &http.Response{StatusCode: r.Status, Header: http.Header{}}) != nil {
		return g.refreshOnly()
	}
	return g
}

// unpacked is the reply without the coding that some servers use though they were
// not asked to.
func (r reply) unpacked() reply {
	z, err := gzip.NewReader(bytes.NewReader(r.Body))
	if err != nil {
		return r
	}
	body, err := io.ReadAll(io.LimitReader(z, maxAnswer)) // what was read before an error counts
	r.Body, r.Cut = body, r.Cut || err != nil || len(body) == maxAnswer
	return r
}

// whole is the text of a form, without a last pair that may have been cut.
func (r reply) whole() string {
	body := r.Body
	if r.Cut {
		body = body[:max(bytes.LastIndexByte(body, '&'), 0)]
	}
	return string(body)
}

// maxSalvaged bounds the strings that are looked at in what is left of an answer.
const maxSalvaged = 1000

// salvage gives the whole string members of JSON that was cut; of several of one
// name the first.
func salvage(body []byte) map[string]any {
	found := map[string]any{}
	for range maxSalvaged {
		name, rest, ok := cutString(body)
		if !ok {
			break
		}
		body = rest
		value, isName := bytes.CutPrefix(bytes.TrimSpace(rest), []byte(":"))
		if value = bytes.TrimSpace(value); !isName || !bytes.HasPrefix(value, []byte(`"`)) {
			continue
		}
		s, rest, ok := cutString(value)
		if !ok {
			break
		}
		if body = rest; found[name] == nil {
			found[name] = s
		}
	}
	return found
}

// cutString gives the first whole JSON string of a text, and what is behind it.
func cutString(text []byte) (s string, rest []byte, ok bool) {
	start := bytes.IndexByte(text, '"')
	for i := start + 1; start >= 0 && i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			_ = json.Unmarshal(text[start:i+1], &s) // what is no JSON string is an empty one
			return s, text[i+1:], true
		}
	}
	return "", nil, false
}
