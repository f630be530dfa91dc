package auth

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// Bounds of a step log.
const (
	maxSteps   = 64
	maxExcerpt = 2 << 10
	maxWords   = 300
)

// Step is one thing that a flow did, redacted: a request, or a redirect that came
// in. Its fields are those of a report's steps.
type Step struct {
	Name            string
	Method          string // empty: it was no request
	URL             string
	Status          int // 0: no answer
	TookMS          int64
	Detail          string
	RequestHeaders  map[string]string // never nil
	RequestBody     string
	ResponseHeaders map[string]string // never nil
	ResponseExcerpt string            // 2 KiB at most
}

// stepLog keeps the steps of one flow. Its methods may be called at once from
// many goroutines.
type stepLog struct {
	mu      sync.Mutex
	steps   []Step
	secrets []secret.Value // never shown
}

// hide keeps values out of the steps from now on.
func (l *stepLog) hide(values ...secret.Value) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = append(l.secrets, values...)
}

// add keeps a step. One that repeats the last one takes its place: a device code
// is asked about many times.
func (l *stepLog) add(s Step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.RequestHeaders == nil {
		s.RequestHeaders = map[string]string{}
	}
	if s.ResponseHeaders == nil {
		s.ResponseHeaders = map[string]string{}
	}
	s.URL, s.Detail = l.cover(s.URL), l.cover(s.Detail)
	if n := len(l.steps); n > 0 && s.repeats(l.steps[n-1]) {
		l.steps[n-1] = s
		return
	}
	if len(l.steps) < maxSteps {
		l.steps = append(l.steps, s)
	}
}

func (s Step) repeats(o Step) bool {
	return s.Method != "" && s.Name == o.Name && s.URL == o.URL && s.Status == o.Status && s.ResponseExcerpt == o.ResponseExcerpt
}

// taken gives a copy of the steps so far.
func (l *stepLog) taken() []Step {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.steps)
}

func (l *stepLog) redact(s string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cover(s)
}

// words keeps what others write short, on one line, harmless to a terminal and
// without secrets.
func (l *stepLog) words(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(l.redact(s), "\uFFFD"))
	return cutText(strings.Join(strings.Fields(s), " "), maxWords)
}

// cover redacts; whoever calls it holds l.mu.
func (l *stepLog) cover(s string) string { return secret.Redact(s, l.secrets...) }

// watched is an http.RoundTripper that keeps what goes through it as steps, and
// the last answer as it came.
type watched struct {
	next http.RoundTripper
	name string
	log  *stepLog
	last reply // zero: there is none
}

// through gives rt with its exchanges kept as steps of that name. It is for one
// exchange after the other.
func (l *stepLog) through(name string, rt http.RoundTripper) *watched {
	return &watched{next: rt, name: name, log: l}
}

// RoundTrip implements http.RoundTripper. It reads the answer's body, up to more
// than anybody wants of it.
func (w *watched) RoundTrip(req *http.Request) (*http.Response, error) {
	s := Step{Name: w.name, Method: req.Method, URL: w.log.address(req.URL), RequestHeaders: w.log.fields(req.Header), RequestBody: w.log.form(req)}
	start := time.Now()
	w.last = reply{}
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		s.TookMS, s.Detail = time.Since(start).Milliseconds(), "no answer: "+string(fault.From(err).Code)
		w.log.add(s)
		return nil, err
	}
	body, cut := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if cut != nil {
		s.Detail, resp.Body = "the answer broke off", io.NopCloser(io.MultiReader(bytes.NewReader(body), brokenOff{cut}))
	}
	w.last = reply{Status: resp.StatusCode, Type: resp.Header.Get("Content-Type"), Body: body, Cut: cut != nil}
	s.Status, s.TookMS = resp.StatusCode, time.Since(start).Milliseconds()
	s.ResponseHeaders, s.ResponseExcerpt = w.log.fields(resp.Header), w.log.excerpt(w.last)
	w.log.add(s)
	return resp, nil
}

// brokenOff is a reader at its error.
type brokenOff struct{ err error }

func (b brokenOff) Read([]byte) (int, error) { return 0, b.err }

// shownHeaders are the fields that tell what happened; the others are left out.
var shownHeaders = []string{"Authorization", "Content-Type", "Date", "Retry-After", "Www-Authenticate"}

func (l *stepLog) fields(h http.Header) map[string]string {
	m := map[string]string{}
	for _, name := range shownHeaders {
		if v := h.Get(name); v != "" {
			m[name] = l.words(v)
		}
	}
	if m["Authorization"] != "" {
		m["Authorization"] = secret.Redacted
	}
	return m
}

// shownMembers of forms and answers hold no secret. All others are redacted.
var shownMembers = []string{
	"access_type", "audience", "client_id", "code_challenge_method", "error", "error_description", "error_uri", "expires_in", "expires_at",
	"grant_type", "interval", "prompt", "redirect_uri", "refresh_token_expires_in", "resource", "response_type", "scope", "token_type",
	"verification_uri", "verification_url",
}

// address gives a URL whose query tells no secret.
func (l *stepLog) address(u *url.URL) string {
	v := *u
	v.User, v.RawQuery, v.Fragment = nil, "", ""
	s := v.String()
	if q := u.Query(); len(q) > 0 {
		s += "?" + shownForm(q)
	}
	return cutText(l.redact(s), maxExcerpt)
}

// shownForm writes a form for a person, without its secrets.
func shownForm(v url.Values) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		text := secret.Redacted
		if slices.Contains(shownMembers, name) {
			text = v.Get(name)
		}
		parts = append(parts, name+"="+text)
	}
	return strings.Join(parts, "&")
}

func (l *stepLog) form(req *http.Request) string {
	if req.GetBody == nil {
		return ""
	}
	body, err := req.GetBody()
	if err != nil {
		return ""
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return ""
	}
	if isJSON(req) {
		return l.excerpt(reply{Body: b})
	}
	v, err := url.ParseQuery(string(b))
	if err != nil {
		return secret.Redacted
	}
	return cutText(l.redact(shownForm(v)), maxExcerpt)
}

// excerpt of an answer: the members of an object or a form, with their values
// where they hold no secret. Nothing else is shown.
func (l *stepLog) excerpt(r reply) string {
	var m map[string]any
	r = r.unpacked()
	if json.Unmarshal(r.Body, &m) == nil {
		b, err := json.Marshal(shownObject(m))
		if err != nil {
			return ""
		}
		return cutText(l.redact(string(b)), maxExcerpt)
	}
	if t, _, _ := mime.ParseMediaType(r.Type); t == "application/x-www-form-urlencoded" {
		if v, err := url.ParseQuery(string(r.Body)); err == nil {
			return cutText(l.redact(shownForm(v)), maxExcerpt)
		}
	}
	return ""
}

func shownObject(m map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range m {
		switch inner := v.(type) {
		case map[string]any:
			out[name] = shownObject(inner)
		case []any:
			out[name] = secret.Redacted
		default:
			if out[name] = any(secret.Redacted); slices.Contains(shownMembers, name) || v == nil || v == true || v == false {
				out[name] = v
			}
		}
	}
	return out
}

// cutText cuts s to n bytes, between characters.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
