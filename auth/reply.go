package auth

import (
	"bytes"
	"compress/gzip"
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
