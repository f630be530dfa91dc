package provider

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
)

// absentTexts, in lower case, are how APIs of many houses say that they found no
// credential where they look, or not behind its prefix: those of gateways (Kong,
// Tyk, Azure API Management, AWS API Gateway, Envoy) and frameworks (Django REST,
// express-jwt, Flask-JWT-Extended, FastAPI, Passport), and what their users write. What is also
// said of a credential that was found and is wrong is not among them.
var absentTexts = [][]byte{
	[]byte("no api key found in request"), []byte("no api key supplied"), []byte("no api key provided"),
	[]byte("no api key was provided"), []byte("no api key was supplied"), []byte("no api key specified"), []byte("no api key given"),
	[]byte("missing api key"), []byte("missing api_key"), []byte("missing_api_key"), []byte("missing api-key"), []byte("missing apikey"),
	[]byte("api key is missing"), []byte("api key missing"), []byte("api_key is missing"), []byte("apikey is missing"),
	[]byte("api key not provided"), []byte("api key was not provided"), []byte("api key is not provided"),
	[]byte("api key is required"), []byte("api key required"), []byte("api_key is required"), []byte("x-api-key header is required"),
	[]byte("did not provide an api key"), []byte("didn't provide an api key"), []byte("did not include an api key"),
	[]byte("missing x-api-key"), []byte("x-api-key header is missing"), []byte("x-api-key header missing"),
	[]byte("missing subscription key"), []byte("failed to resolve api key variable"),

	[]byte("missing authorization header"), []byte("missing 'authorization' header"), []byte("missing x-auth-key"),
	[]byte("authorization header is missing"), []byte("authorization header missing"), []byte("authorization header not found"),
	[]byte("authorization header is required"), []byte("authorization header required"), []byte("no authorization header"),
	[]byte("authorization header not provided"), []byte("authorization header was not provided"), []byte("authorization field missing"),
	[]byte("authentication credentials were not provided"), []byte("no authentication credentials provided"),
	[]byte("credentials were not provided"), []byte("no credentials provided"), []byte("no credentials were provided"),

	[]byte("missing authentication token"), []byte("no authorization token was found"), []byte("no auth token"), []byte("no token provided"),
	[]byte("no token was provided"), []byte("token not provided"), []byte("token was not provided"), []byte("no access token provided"),
	[]byte("missing access token"), []byte("access token is missing"), []byte("missing bearer token"), []byte("no bearer token"),
	[]byte("bearer token is missing"), []byte("bearer token missing"), []byte("jwt is missing"), []byte(`{"detail":"not authenticated"}`),

	[]byte("format is authorization: bearer"), []byte("missing 'bearer' type"), []byte("header must start with bearer"),
	[]byte("header must start with 'bearer"), []byte("missing bearer prefix"),
	[]byte("header must start with token"), []byte("header must start with 'token"), []byte("header must start with basic"), []byte("header must start with 'basic"),
	[]byte("api_key query parameter is required"), []byte("api_key query parameter is missing"), []byte("apikey query parameter is required"), []byte("apikey query parameter is missing"),
}

// presentTexts anywhere in an answer say that a credential was found.
var presentTexts = [][]byte{
	[]byte("expired"), []byte("revoked"), []byte("invalid_token"), []byte("invalid token"), []byte("token is invalid"),
}

// doubts in the same text say that it stands for more than a missing credential:
// "missing or invalid", "a valid one is required"; or that something in it is
// missing.
var doubts = [][]byte{
	[]byte("valid"), []byte("incorrect"), []byte("malformed"), []byte("wrong"), []byte("unknown"), []byte("bad "),
	[]byte("scope"), []byte("claim"), []byte("permission"), []byte("privilege"),
}

// absent reports whether the body says beyond doubt that no credential was found
// where the API looks, or not in its form.
func (t *bodyText) absent() bool {
	i := t.index(absentTexts)
	if i < 0 || t.containsAny(presentTexts...) {
		return false
	}
	said := quotedAt(t.lower, i)
	return !slices.ContainsFunc(doubts, func(d []byte) bool { return bytes.Contains(said, d) })
}

// index is where the first of the texts stands that is in the body, in any case; -1: none is.
func (t *bodyText) index(texts [][]byte) int {
	if !t.containsAny(texts...) {
		return -1
	}
	for _, s := range texts {
		if i := bytes.Index(t.lower, s); i >= 0 {
			return i
		}
	}
	return -1
}

// maxSaid bounds the text around a place that is looked at.
const maxSaid = 400

// quotedAt is the text in double quotes around b[i], or what is around it where
// there are none.
func quotedAt(b []byte, i int) []byte {
	start, end := max(i-maxSaid, 0), min(i+maxSaid, len(b))
	for j := i - 1; j >= start; j-- {
		if isQuote(b, j) {
			start = j + 1
			break
		}
	}
	for j := i; j < end; j++ {
		if isQuote(b, j) {
			end = j
			break
		}
	}
	return b[start:end]
}

// isQuote reports whether b[i] begins or ends a JSON string.
func isQuote(b []byte, i int) bool { return b[i] == '"' && (i == 0 || b[i-1] != '\\') }

// amazonError is the field in which AWS's gateways tell what is wrong.
const amazonError = "X-Amzn-Errortype"

// unsigned reports whether an AWS gateway found no signature, or what it cannot
// take for one.
func unsigned(h http.Header) bool {
	v := h.Get(amazonError)
	return strings.HasPrefix(v, "MissingAuthenticationToken") || strings.HasPrefix(v, "IncompleteSignature")
}
