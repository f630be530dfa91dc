package checker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// content is what a check knows of the body of an answer.
type content struct {
	body   []byte // 64 KiB at most; of one that is cut off there no JSON can be read
	page   bool   // it is a web page
	denied bool   // it tells of an error, whatever the status
	broken bool   // it is not the JSON that it says it is
	coded  bool   // it is compressed, which nobody has asked for
	vast   bool   // it does not end where an answer of an API would
}

// Bounds of what is read to judge a good answer: of one, and how many beyond 64 KiB
// are in memory at once.
const (
	bodyLimit = 1 << 20
	maxLarge  = 16
)

// contentOf reads a body. A good answer is judged as a whole, or called vast: the
// end might say no. Of an error its beginning will do. An error that ends the reading
// is a *fault.Fault.
func contentOf(resp *http.Response, large chan struct{}) (content, error) {
	first, err := io.ReadAll(io.LimitReader(resp.Body, peekLimit))
	switch {
	case resp.StatusCode >= http.StatusBadRequest: // what broke off has said enough
		return content{body: first}, nil
	case err != nil:
		return content{}, unread(resp, err)
	case len(first) < peekLimit:
		return judged(resp.Header, first), nil
	case resp.ContentLength > bodyLimit:
		return content{body: first, vast: true}, nil
	}
	select {
	case large <- struct{}{}:
		defer func() { <-large }()
	case <-life(resp).Done():
		return content{}, unread(resp, life(resp).Err())
	}
	whole, err := io.ReadAll(io.MultiReader(bytes.NewReader(first), io.LimitReader(resp.Body, bodyLimit-peekLimit)))
	if err != nil {
		return content{}, unread(resp, err)
	}
	c := content{vast: true}
	if len(whole) < bodyLimit {
		c = judged(resp.Header, whole)
	}
	c.body = first
	return c, nil
}

// judged says what a whole body is.
func judged(h http.Header, body []byte) content {
	c := content{body: body, coded: len(body) > 0 && h.Get("Content-Encoding") != "" && !strings.EqualFold(h.Get("Content-Encoding"), "identity")}
	if c.coded {
		return c
	}
	c.page = page(h, body)
	c.denied = !c.page && denies(body)
	c.broken = isJSON(h) && len(body) > 0 && !json.Valid(body)
	return c
}

// life is the context that bounds an answer.
func life(resp *http.Response) context.Context {
	if resp.Request == nil {
		return context.Background()
	}
	return resp.Request.Context()
}

// unread is the fault of an error while a body was read: the connection of an answer
// whose time is over is closed.
func unread(resp *http.Response, err error) *fault.Fault {
	if errors.Is(life(resp).Err(), context.DeadlineExceeded) {
		return fault.New(fault.Timeout, "the answer did not end in time", err)
	}
	code := fault.From(err).Code
	if code == fault.Internal {
		code = fault.ConnectionReset
	}
	return fault.New(code, "the answer broke off", err)
}

func isJSON(h http.Header) bool { return strings.HasSuffix(mediaType(h), "json") }

func mediaType(h http.Header) string {
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return t
}

// page reports whether an answer is a web page, whatever it says it is. Scripts in
// PHP often call JSON one.
func page(h http.Header, body []byte) bool {
	switch t := mediaType(h); {
	case t == "text/html", t == "application/xhtml+xml":
		return !json.Valid(body)
	case isJSON(h):
		return false
	case strings.HasSuffix(t, "xml"):
		return rootOf(body).Local == "html"
	}
	return strings.HasPrefix(http.DetectContentType(body), "text/html") || rootOf(body).Local == "html"
}
