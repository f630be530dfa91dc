package checker

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// What is read of an answer, and what is shown of it.
const (
	peekLimit    = 64 << 10
	excerptLimit = 2 << 10
	headerLimit  = 1 << 10 // of a header field
	headersLimit = 4 << 10 // of all fields of a request or an answer
	maxSteps     = 24
)

// Names of the steps.
const (
	stepToken      = "token"
	stepVerify     = "verify"
	stepProbe      = "probe" // what is asked of a credential that was taken
	stepIntrospect = "introspection"
	stepDiscover   = "discovery"
)

// recorder is an http.RoundTripper that writes down, redacted, what goes through it.
type recorder struct {
	next http.RoundTripper
	pace func(context.Context) (done func(), err error) // before each request; nil: nothing waits
	now  func() time.Time
	used time.Duration // by all requests, failed ones too, until the first bytes of an answer were read

	waited  time.Duration // for turns, all of them
	mu      sync.Mutex
	name    string         // of the steps from now on
	secrets []secret.Value // never shown
	owned   func(header string) bool
	steps   []Step
}

// begin names the steps from now on. owned tells the header fields whose values
// are not shown; nil: Authorization.
func (r *recorder) begin(name string, owned func(header string) bool, secrets ...secret.Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.name, r.owned = name, owned
	r.secrets = append(r.secrets, secrets...)
}

// RoundTrip implements http.RoundTripper. It waits for its turn, then asks within
// the limits of a check. The first bytes of the answer's body are read before it
// returns; the reader gets them all the same.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	done, err := r.turn(req.Context())
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	left := min(timeLimit, totalLimit-r.used)
	ctx, cancel := context.WithTimeout(req.Context(), left)
	context.AfterFunc(ctx, done) // also where nobody closes the body
	start := r.now()
	defer func() { r.used += r.now().Sub(start) }()
	resp, err := r.next.RoundTrip(req.WithContext(ctx))
	var p *peeked
	if err == nil {
		p = peek(resp.Body)
		p.Closer = closer{resp.Body, cancel}
		resp.Body = p
	} else {
		cancel()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.steps) < maxSteps {
		r.learn(req.Header)
		s := r.request(req)
		s.TookMS = r.now().Sub(start).Milliseconds()
		r.response(&s, resp, p, err)
		r.steps = append(r.steps, s)
	}
	return resp, err
}

// turn waits for the turn of a request, for as long as the waits before have left.
func (r *recorder) turn(ctx context.Context) (done func(), err error) {
	if r.pace == nil || ctx.Value(atOnce{}) != nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, waitLimit-r.waited)
	defer cancel()
	start := r.now()
	defer func() { r.waited += r.now().Sub(start) }()
	return r.pace(ctx)
}

// closer ends what was begun for a body when it is closed.
type closer struct {
	io.Closer
	end context.CancelFunc
}

// Close implements io.Closer.
func (c closer) Close() error {
	defer c.end()
	return c.Closer.Close()
}

// learn makes secrets of the values that are not shown: a server may send them back.
func (r *recorder) learn(h http.Header) {
	for name, values := range h {
		if !r.hides(name) {
			continue
		}
		for _, v := range values {
			_, param, _ := strings.Cut(v, " ") // Bearer TOKEN
			r.secrets = append(r.secrets, secret.New(v), secret.New(param))
		}
	}
}

func (r *recorder) request(req *http.Request) Step {
	return Step{
		Name: r.name, Method: req.Method, URL: r.url(req.URL),
		RequestHeaders: r.headers(req.Header, r.hides), RequestBody: r.form(req),
		ResponseHeaders: map[string]string{},
	}
}

func (r *recorder) response(s *Step, resp *http.Response, p *peeked, err error) {
	if err != nil {
		s.Detail = string(fault.From(err).Code)
		return
	}
	s.Status = resp.StatusCode
	s.ResponseHeaders = r.headers(resp.Header, holding)
	if (r.name == stepToken || r.name == stepIntrospect) && resp.StatusCode < http.StatusMultipleChoices {
		s.Detail = "the answer may hold a token and is not shown"
		return
	}
	if p.err != nil {
		s.Detail = "the body broke off: " + string(unread(resp, p.err).Code)
	}
	s.ResponseExcerpt = r.excerpt(resp.Header, p)
}

// taken gives the steps so far.
func (r *recorder) taken() []Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Step{}, r.steps...)
}

// redact gives s as a report may hold it: without our secrets, and on one line that
// steers no terminal.
func (r *recorder) redact(s string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hide(s)
}

// hide replaces our secrets in s and what is not printable.
func (r *recorder) hide(s string) string {
	return printable(secret.Redact(s, r.secrets...))
}

// url gives u without its user information and our secrets.
func (r *recorder) url(u *url.URL) string {
	v := *u
	v.User = nil
	return printable(secret.Redact(v.String(), r.secrets...))
}

// hides reports whether the values of a request header field are ours.
func (r *recorder) hides(name string) bool {
	return name == "Authorization" || name == "Cookie" || r.owned != nil && r.owned(name)
}

// headers gives the fields of h that may be shown. Where they are too much the longest
// are left out.
func (r *recorder) headers(h http.Header, hidden func(string) bool) map[string]string {
	m := make(map[string]string, len(h))
	for name, values := range h {
		if hidden(name) {
			m[name] = secret.Redacted
			continue
		}
		m[name] = within(r.hide(strings.Join(values, ", ")), headerLimit)
	}
	left := headersLimit
	for _, name := range slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a)+len(m[a]), len(b)+len(m[b])), strings.Compare(a, b))
	}) {
		if left -= len(name) + len(m[name]); left < 0 {
			delete(m, name)
		}
	}
	return m
}

// excerpt redacts before it cuts, so that no half of a secret is left, nor one that
// the end of the peek or of a broken body cut in two.
func (r *recorder) excerpt(h http.Header, p *peeked) string {
	if h.Get("Content-Encoding") != "" || bytes.IndexByte(p.first, 0) >= 0 {
		return "" // no text
	}
	redact := secret.Redact
	if len(p.first) == peekLimit || p.err != nil {
		redact = secret.RedactCut
	}
	s := strings.ToValidUTF8(redact(string(p.first), r.secrets...), "\uFFFD")
	s = readable(s)
	return within(members.ReplaceAllString(s, "${1}"+secret.Redacted+`"`), excerptLimit)
}

// peeked is a body whose first bytes were read.
type peeked struct {
	io.Reader
	io.Closer
	first []byte
	err   error // that ended the reading before the end of the body; nil: none
}

func peek(body io.ReadCloser) *peeked {
	first, err := io.ReadAll(io.LimitReader(body, peekLimit))
	p := &peeked{Closer: body, first: first, err: err}
	p.Reader = io.MultiReader(bytes.NewReader(first), body)
	if err != nil {
		p.Reader = io.MultiReader(bytes.NewReader(first), failed{err})
	}
	return p
}

// failed is a reader at its error.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }
