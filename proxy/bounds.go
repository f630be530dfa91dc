package proxy

import (
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// bounds holds a request to the limits that net/http does not know. What follows
// one that breaks them is not read.
func bounds(r *http.Request) error {
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor > 1:
		return fault.New(fault.InvalidRequest, "the protocol version is neither HTTP/1.0 nor HTTP/1.1", nil)
	case !r.ProtoAtLeast(1, 1) && endless(r):
		return fault.New(fault.InvalidRequest, "a body in HTTP/1.0 needs a Content-Length", nil)
	case len(r.RequestURI) > maxURI:
		return fault.New(fault.URITooLong, "", nil)
	case strings.Contains(r.RequestURI, "#"):
		return fault.New(fault.InvalidRequest, "the request target holds a fragment", nil)
	case r.RequestURI == "*":
		return fault.New(fault.InvalidRequest, "the request target * is not served by a proxy", nil)
	}
	fields, size := 0, 0
	for k, vs := range r.Header {
		fields += len(vs)
		for _, v := range vs {
			size += len(k) + len(v) + 4
		}
	}
	if fields > maxHeaderFields || size > maxHeaderBytes {
		return fault.New(fault.HeaderTooLarge, "", nil)
	}
	return nil
}

// endless reports whether a request of HTTP/1.0 must have a body and does not say
// how long it is (RFC 1945 section 8.3). Its Transfer-Encoding means nothing (RFC
// 9112 section 6.1), and net/http would take the body to be empty.
func endless(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return len(r.Header["Content-Length"]) == 0
	}
	return false
}
