package auth

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/sallyport/sallyport/internal/fault"
)

// Lives of tokens.
const (
	defaultLife = 55 * time.Minute          // where the answer does not tell
	maxLife     = 10 * 365 * 24 * time.Hour // a longer one is a mistake in the unit
)

// endpoint stands between x/oauth2 and a token endpoint. It bounds the answer,
// turns whatever is no token into a fault, and gives x/oauth2 one plain form of
// the rest: its own reading fails on an expires_in of 3600.0 and takes a missing
// one for a token without end.
type endpoint struct {
	next http.RoundTripper
	life time.Duration // of the token in the last answer
}

// RoundTrip implements http.RoundTripper. Its errors are *fault.Fault and quote
// nothing that the endpoint said.
func (e *endpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "sallyport")
	resp, err := e.next.RoundTrip(req)
	if err != nil {
		return nil, unreached(req.URL.Host, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, unreached(req.URL.Host, err)
	}
	if len(body) > maxAnswer {
		return nil, noToken(req.URL.Host, "sent more than 1 MiB")
	}
	a := readAnswer(resp.Header, body)
	if f := a.fault(req.URL.Host, resp); f != nil {
		return nil, f
	}
	e.life = a.life()
	return a.plain(req), nil
}

// answer of a token endpoint, read as leniently as it can be without guessing.
type answer struct {
	AccessToken, TokenType string
	ExpiresIn              any    // nil: not told
	Error                  string // code; "?" for one that is no string
}

func readAnswer(h http.Header, body []byte) answer {
	var m map[string]any
	if json.Unmarshal(body, &m) == nil {
		a := answer{ExpiresIn: m["expires_in"]}
		a.AccessToken, _ = m["access_token"].(string)
		a.TokenType, _ = m["token_type"].(string)
		switch e := m["error"].(type) {
		case nil:
		case string:
			a.Error = e
		default:
			a.Error = "?"
		}
		return a
	}
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	if t != "application/x-www-form-urlencoded" && t != "text/plain" {
		return answer{}
	}
	v, err := url.ParseQuery(strings.TrimSpace(string(body)))
	if err != nil {
		return answer{}
	}
	return answer{v.Get("access_token"), v.Get("token_type"), v.Get("expires_in"), v.Get("error")}
}

// life of the token. A positive number is believed as it stands, in whatever
// form; anything else tells nothing.
func (a answer) life() time.Duration {
	var s float64
	switch v := a.ExpiresIn.(type) {
	case float64:
		s = v
	case string:
		s, _ = strconv.ParseFloat(strings.TrimSpace(v), 64)
	}
	switch {
	case math.IsNaN(s) || s <= 0:
		return defaultLife
	case s >= maxLife.Seconds():
		return maxLife
	}
	return time.Duration(s * float64(time.Second))
}

// plain is the answer in the form of RFC 6749 section 5.1.
func (a answer) plain(req *http.Request) *http.Response {
	b, _ := json.Marshal(map[string]string{"access_token": a.AccessToken, "token_type": a.TokenType}) // strings cannot fail
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(b)), ContentLength: int64(len(b)),
	}
}

// schemeOf gives the scheme of the Authorization field for a token_type (RFC
// 6749 section 7.1). Endpoints spell Bearer in many ways; what is no scheme at
// all is Bearer too.
func schemeOf(tokenType string) string {
	if l := strings.ToLower(tokenType); l == "bearer" || l == "bearertoken" || !httpguts.ValidHeaderFieldName(tokenType) {
		return "Bearer"
	}
	return tokenType
}

// codes are the faults of the error codes of RFC 6749 section 5.2 and RFC 8707.
var codes = map[string]fault.Code{
	"invalid_client":          fault.InvalidClient,
	"unauthorized_client":     fault.InvalidClient,
	"invalid_request":         fault.InvalidClient, // the client's parameters, or how it authenticates
	"unsupported_grant_type":  fault.InvalidClient,
	"invalid_grant":           fault.InvalidGrant,
	"access_denied":           fault.AccessDenied,
	"invalid_scope":           fault.InvalidScope,
	"invalid_target":          fault.InvalidScope,
	"server_error":            fault.TokenEndpointUnreachable,
	"temporarily_unavailable": fault.TokenEndpointUnreachable,
	"slow_down":               fault.TokenEndpointUnreachable,
}

// fault tells what keeps the answer from being a token; nil: nothing does. What
// a broken or busy server says about the client is not believed.
func (a answer) fault(host string, resp *http.Response) *fault.Fault {
	status := resp.StatusCode
	switch {
	case status >= 300 && status < 400:
		return noToken(host, "answered with a redirect, which is not followed")
	case status >= 500 || status == http.StatusTooManyRequests:
		f := noToken(host, "answered "+strconv.Itoa(status))
		f.RetryAfter = retryAfter(resp.Header, time.Now())
		return f
	case a.Error != "":
		return a.refused(host, status)
	case status == http.StatusUnauthorized && (resp.Header.Get("WWW-Authenticate") != "" || !isHTML(resp.Header)):
		return fault.New(fault.InvalidClient, "token endpoint "+host+" answered 401", nil)
	case status < 200 || status > 299:
		return noToken(host, "answered "+strconv.Itoa(status))
	case a.AccessToken == "":
		return noToken(host, "answered no access_token")
	}
	if wrong := fitHeader(a.AccessToken); wrong != "" {
		return noToken(host, "answered an access_token that "+wrong)
	}
	return nil
}

// refused: the endpoint named an error. A code that no RFC knows is a refusal of
// the client; its text is not repeated.
func (a answer) refused(host string, status int) *fault.Fault {
	code, ok := codes[a.Error]
	name := a.Error
	if !ok {
		code, name = fault.InvalidClient, "an error code of its own"
	}
	return fault.New(code, "token endpoint "+host+" answered "+strconv.Itoa(status)+" with "+name, nil)
}

func noToken(host, what string) *fault.Fault {
	return fault.New(fault.TokenEndpointUnreachable, "token endpoint "+host+" "+what, nil)
}

// unreached is the fault of an exchange without an answer. Refusals of our own
// stay what they are; of the rest only the code is kept, since a transport's
// error can quote what the other side sent.
func unreached(host string, err error) *fault.Fault {
	f := fault.From(err)
	switch f.Code {
	case fault.PrivateAddress, fault.LoopDetected, fault.CleartextRefused:
		return f
	case fault.Internal:
		return noToken(host, "did not answer")
	}
	g := noToken(host, "did not answer: "+strings.ToLower(f.Diagnosis().Title))
	g.Err = f.Code
	return g
}

func isHTML(h http.Header) bool { return strings.Contains(h.Get("Content-Type"), "html") }

// retryAfter reads the field in both its forms (RFC 9110 section 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil {
		return min(max(time.Duration(n), 0), maxRetry/time.Second) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxRetry)
	}
	return 0
}
