package provider

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
)

// maxUnzipped bounds what a compressed peek may grow to.
const maxUnzipped = 16 << 10

// generic reads what every HTTP API means alike: RFC 6750 section 3.1, RFC 9110
// section 15.5, RFC 6585 section 4, and the rate limit fields in use.
func generic(resp *http.Response, text *bodyText) Meaning {
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return RateLimited
	case http.StatusPaymentRequired:
		return Unpaid
	case http.StatusBadRequest:
		return badRequest(resp, text)
	case http.StatusUnauthorized:
		return unauthorized(resp, text)
	case http.StatusForbidden:
		return forbidden(resp, text)
	}
	return OK
}

// badRequest is about the request, unless it names the token, a scope, or that
// there was no credential.
func badRequest(resp *http.Response, text *bodyText) Meaning {
	if m := bearerError(resp.Header); m != OK {
		return m
	}
	switch {
	case !isJSON(resp.Header):
	case text.containsAny(scopeTexts...):
		return Scope
	case text.absent():
		return Misplaced
	}
	return OK
}

// unauthorized: a scope that is missing is no reason for a refresh, which
// cannot add it; nor is a credential that was not found, which another one at the
// same place would not be either.
func unauthorized(resp *http.Response, text *bodyText) Meaning {
	if m := bearerError(resp.Header); m != OK {
		return m
	}
	switch {
	case text.containsAny(scopeTexts...):
		return Scope
	case unsigned(resp.Header), text.absent():
		return Misplaced
	}
	return Expired
}

// forbidden: some APIs refuse a bad key so, and say it. Without a reason it is a
// permission only in the form in which an API answers, and only maybe: a page of a
// firewall in front of it says nothing about the credential.
func forbidden(resp *http.Response, text *bodyText) Meaning {
	switch m := bearerError(resp.Header); {
	case m != OK:
		return m
	case throttled(resp.Header):
		return RateLimited
	case text.containsAny(scopeTexts...):
		return Scope
	case unsigned(resp.Header), isJSON(resp.Header) && text.absent():
		return Misplaced
	case isJSON(resp.Header) && text.rejected():
		return Invalid
	case isJSON(resp.Header):
		return Forbidden
	}
	return OK
}

// bearerError reads the error of a WWW-Authenticate challenge.
func bearerError(h http.Header) Meaning {
	for _, c := range ParseChallenges(h.Values("WWW-Authenticate")) {
		switch c.Params["error"] {
		case "insufficient_scope":
			return Scope
		case "invalid_token":
			return Expired
		}
	}
	return OK
}

func throttled(h http.Header) bool {
	if h.Get("Retry-After") != "" {
		return true
	}
	for _, name := range []string{"X-Ratelimit-Remaining", "X-Rate-Limit-Remaining", "Ratelimit-Remaining"} {
		if h.Get(name) == "0" {
			return true
		}
	}
	return false
}

// scopeTexts are how APIs of many houses say that a scope is missing. Words
// that also occur where a token has expired are not among them.
var scopeTexts = [][]byte{
	[]byte("insufficient_scope"), []byte("insufficient scope"), []byte("insufficient authentication scopes"),
	[]byte("scope_insufficient"), []byte("missing_scope"), []byte("missing scope"), []byte("scope_mismatch"),
	[]byte("scope does not match"), []byte("does not contain scopes"), []byte("required scopes"), []byte("required scope(s)"), []byte("following scopes is required"),
}

// wordy are the statuses whose body generic reads.
func wordy(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusUnauthorized || status == http.StatusForbidden
}

func isJSON(h http.Header) bool { return strings.Contains(h.Get("Content-Type"), "json") }

// isText reports whether a body is text that comes at once; without a
// Content-Type it is.
func isText(h http.Header) bool {
	t, _, _ := strings.Cut(strings.ToLower(h.Get("Content-Type")), ";")
	switch t = strings.TrimSpace(t); t {
	case "", "application/json", "application/xml", "application/graphql-response+json", "application/x-www-form-urlencoded":
		return true
	case "text/event-stream":
		return false
	}
	return strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "+xml")
}

// plainText gives what of a gzip peek can be read, and any other as it is.
func plainText(h http.Header, peek []byte) []byte {
	if coding := h.Get("Content-Encoding"); len(peek) == 0 || !strings.EqualFold(coding, "gzip") && !strings.EqualFold(coding, "x-gzip") {
		return peek
	}
	zr, err := gzip.NewReader(bytes.NewReader(peek))
	if err != nil {
		return peek
	}
	text, _ := io.ReadAll(io.LimitReader(zr, maxUnzipped)) // the peek ends where it ends
	return text
}
