package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Lives of tokens.
const (
	defaultLife = 55 * time.Minute          // where the answer does not tell
	maxLife     = 10 * 365 * 24 * time.Hour // a longer one is a mistake in the unit
)

// reply is an answer of a token endpoint as it came, up to maxAnswer.
type reply struct {
	Status int
	Type   string // Content-Type
	Body   []byte
	Cut    bool // Body is not whole
}

var errTooLong = errors.New("more than 1 MiB")

// endpoint stands between x/oauth2 and a token endpoint. It bounds the answer,
// turns whatever is no token into a fault, and gives x/oauth2 one plain form of
// the rest: its own reading fails on an expires_in of 3600.0, drops what it does
// not know and takes a missing expires_in for a token without end.
type endpoint struct {
	next  http.RoundTripper
	json  bool               // the request goes as JSON
	stage func(reply)        // told of a 2xx answer before anybody reads it; nil: nobody
	read  func(reply) answer // nil: readAnswer
	out   outcomeOf
}

// outcomeOf is how one exchange ended.
type outcomeOf struct {
	granted
	lost    bool // it was sent, and what came back does not tell whether it was acted on
	refused bool // the endpoint says that the grant itself is no good
}

// RoundTrip implements http.RoundTripper. Its errors are *fault.Fault and quote
// nothing that the endpoint said.
func (e *endpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := atomic.Bool{}
	req = req.Clone(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	}))
	if err := e.encode(req); err != nil {
		return nil, err
	}
	req.Close = true // a connection that the server is about to close is none to spend a grant on
	for name, v := range map[string]string{"Accept": "application/json", "User-Agent": "sallyport"} {
		if req.Header.Get(name) == "" {
			req.Header.Set(name, v)
		}
	}
	resp, err := e.next.RoundTrip(req)
	if err != nil {
		e.out.lost = sent.Load()
		return nil, unreached(req.URL.Host, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	e.out.lost = resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusGatewayTimeout
	if len(body) > maxAnswer {
		body, err = body[:maxAnswer], errTooLong
	}
	if err != nil && resp.StatusCode/100 != 2 {
		return nil, cutAnswer(req.URL.Host, err)
	}
	r := reply{resp.StatusCode, resp.Header.Get("Content-Type"), body, err != nil}
	if e.stage != nil && resp.StatusCode/100 == 2 {
		e.stage(r)
	}
	if err := e.judge(req.URL.Host, resp, r, err); err != nil {
		return nil, err
	}
	return e.out.plain(req), nil
}

// encode writes the request as the server wants it.
func (e *endpoint) encode(req *http.Request) error {
	if !e.json {
		return nil
	}
	return asObject(req)
}

// judge reads an answer; cut is why its body ended early, nil if it did not.
func (e *endpoint) judge(host string, resp *http.Response, r reply, cut error) error {
	read := e.read
	if read == nil {
		read = readAnswer
	}
	a := read(r)
	if r.Status/100 == 2 { // whatever else echoes a token grants none
		e.out.granted = a.granted()
	}
	if cut != nil && a.AccessToken == "" {
		return cutAnswer(host, cut)
	}
	if a.Error != "" && resp.StatusCode < 500 {
		e.out.lost = false
	}
	f := a.fault(host, resp)
	if f == nil {
		e.out.lost = false
		return nil
	}
	e.out.refused = f.Code == fault.InvalidGrant && (resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusUnauthorized)
	return f
}

// answer of a token endpoint, read as leniently as it can be without guessing.
type answer struct {
	AccessToken, RefreshToken, TokenType, Scope string
	ExpiresIn                                   any    // seconds; nil: not told
	ExpiresAt                                   any    // a time, or Unix seconds; nil: not told
	RefreshExpiresIn                            any    // seconds; nil: not told
	Error                                       string // code; "?" for one that is no string
	says                                        string // of the refusal, in the server's words; not to be repeated

	refusal fault.Code // of an answer that is none of OAuth's; empty: it is no refusal
	told    string     // by refusal, quoting nothing
}

// readAnswer reads JSON, a form, or what is left of JSON that was cut.
func readAnswer(r reply) answer {
	var m map[string]any
	r = r.unpacked()
	if json.Unmarshal(r.Body, &m) == nil {
		return answerOf(m)
	}
	t, _, _ := mime.ParseMediaType(r.Type)
	if t == "application/x-www-form-urlencoded" || t == "text/plain" {
		if v, err := url.ParseQuery(strings.TrimSpace(r.whole())); err == nil && len(v["access_token"])+len(v["error"]) > 0 {
			m := map[string]any{}
			for name := range v {
				m[name] = v.Get(name)
			}
			return answerOf(m)
		}
	}
	if r.Status/100 != 2 {
		return answer{}
	}
	return answerOf(salvage(r.Body))
}

// nests are where some endpoints put the token in their answer: Slack the
// person's, others everything.
var nests = []string{"authed_user", "data", "result"}

func answerOf(m map[string]any) answer {
	var a answer
	switch e := m["error"].(type) {
	case nil:
		if status := text(m, "status"); strings.HasPrefix(status, "BAD_") { // HubSpot
			a.Error = status
		}
	case string:
		a.Error = e
	default:
		a.Error = "?"
	}
	for _, nest := range nests {
		if inner, ok := m[nest].(map[string]any); ok && text(m, "access_token", "accessToken") == "" && text(inner, "access_token", "accessToken") != "" {
			m = inner
		}
	}
	a.says = text(m, "error_description", "message")
	a.AccessToken, a.RefreshToken = text(m, "access_token", "accessToken"), text(m, "refresh_token", "refreshToken")
	a.TokenType, a.Scope = text(m, "token_type", "tokenType"), text(m, "scope")
	a.ExpiresIn = first(m, "expires_in", "expiresIn", "ext_expires_in")
	a.ExpiresAt = first(m, "expires_at", "expires_on", "expiresAt")
	a.RefreshExpiresIn = first(m, "refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in")
	return a
}

func first(m map[string]any, names ...string) any {
	for _, n := range names {
		if v := m[n]; v != nil {
			return v
		}
	}
	return nil
}

func text(m map[string]any, names ...string) string {
	s, _ := first(m, names...).(string)
	return s
}

// granted is what the answer gives.
func (a answer) granted() granted {
	g := granted{access: a.AccessToken, refresh: a.RefreshToken, scheme: a.TokenType, scope: a.Scope, life: a.life()}
	if s := seconds(a.RefreshExpiresIn); s > 0 {
		g.refreshLife = lifeOf(s)
	}
	return g
}

// life of the token. A positive number is believed as it stands, in whatever
// form; else the time of its end, told beside it or inside of it, is.
func (a answer) life() time.Duration {
	if s := seconds(a.ExpiresIn); s > 0 {
		return lifeOf(s)
	}
	end := TimeOf(a.ExpiresAt)
	if end.IsZero() {
		end = jwtExpiry(a.AccessToken)
	}
	if d := time.Until(end); d > 0 {
		return lifeOf(d.Seconds())
	}
	return defaultLife
}

func seconds(v any) float64 {
	var s float64
	switch v := v.(type) {
	case float64:
		s = v
	case string:
		s, _ = strconv.ParseFloat(strings.TrimSpace(v), 64)
	}
	if math.IsNaN(s) {
		return 0
	}
	return s
}

func lifeOf(s float64) time.Duration {
	if s >= maxLife.Seconds() {
		return maxLife
	}
	return time.Duration(s * float64(time.Second))
}

// TimeOf reads the end that a provider tells, RFC 3339 or Unix seconds, the latter
// also as text; zero: it is neither, or does not end.
func TimeOf(v any) time.Time {
	if s, ok := v.(string); ok {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return credential.Ending(t)
		}
	}
	if s := seconds(v); s > 0 && s < 1<<40 {
		return credential.Ending(time.Unix(int64(s), 0))
	}
	return time.Time{}
}

// jwtExpiry reads the exp of an access token that is a JWT (RFC 9068); zero: it
// is none. Nothing is verified: it only tells when the token is of no use.
func jwtExpiry(token string) time.Time {
	claims, _ := jwtClaims(token)
	return TimeOf(claims["exp"])
}

// plain is the answer in the form of RFC 6749 section 5.1.
func (g granted) plain(req *http.Request) *http.Response {
	b, _ := json.Marshal(map[string]string{"access_token": g.access, "token_type": g.scheme}) // strings cannot fail
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(b)), ContentLength: int64(len(b)),
	}
}

// schemeOf gives the scheme of the Authorization field for a token_type (RFC
// 6749 section 7.1). Endpoints spell Bearer in many ways; what is no scheme at
// all is Bearer too, as is the N_A of RFC 8693 section 2.2.1.
func schemeOf(tokenType string) string {
	if l := strings.ToLower(tokenType); l == "bearer" || l == "bearertoken" || l == "n_a" || !httpguts.ValidHeaderFieldName(tokenType) {
		return "Bearer"
	}
	return tokenType
}
