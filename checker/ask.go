package checker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// asker asks a provider, with the credential on each request, and notes what it
// finds. Its requests only read.
type asker struct {
	*trial
	inj   *auth.Injector
	first reply // to the verify request
	needs provider.Needs
	probe probe
	about *inspection // of the token; nil: not asked yet
}

// reply is the answer to one request.
type reply struct {
	status int // 0: there was no answer, fault tells why
	header http.Header
	content
	means provider.Meaning
	place string // where the provider looks for the credential, if a refusal tells; else empty
	named bool   // its words name that place, and none of ours
	fault *fault.Fault
}

// none reports whether nothing was asked yet.
func (r reply) none() bool { return r.status == 0 && r.fault == nil }

// mute reports whether the answer forbids, and does not say what.
func (r reply) mute() bool {
	return r.status == http.StatusForbidden && len(r.body) == 0 && r.header.Get("WWW-Authenticate") == ""
}

// good reports whether the answer is what was asked for.
func (r reply) good() bool {
	return r.status/100 == 2 && r.means == provider.OK && !r.page && !r.denied
}

// decode reads a JSON body of a good answer.
func (r reply) decode(v any) bool { return r.good() && json.Unmarshal(r.body, v) == nil }

// unsure is the verdict where an answer does not tell what was asked.
func (r reply) unsure() verdict {
	v := unverifiable(r.String())
	if v.fault = r.fault; v.fault == nil && (r.means == provider.RateLimited || r.means == provider.Quota) {
		v.fault = fault.New(r.means.Code(), "", nil)
	}
	return v
}

// String says what was answered.
func (r reply) String() string {
	if r.fault != nil {
		return cmp.Or(r.fault.Detail, r.fault.Diagnosis().Title)
	}
	text := "the provider answered " + statusText(r.status)
	if r.status < http.StatusBadRequest && (r.means != provider.OK || r.denied) {
		text += " with an error in it"
	}
	return text
}

// get asks for a path below the base URL of the provider or of the credential;
// it may have a query.
func (a *asker) get(ctx context.Context, path string) reply {
	return a.ask(ctx, provider.Verify{Method: http.MethodGet, Path: path})
}

// root is get for a path of the same host, whatever path the base URL has.
func (a *asker) root(ctx context.Context, path string) reply {
	u, err := a.base(a.inj)
	if err != nil {
		return reply{fault: fault.From(err)}
	}
	u.Path, u.RawPath = "", ""
	return a.send(ctx, http.MethodGet, join(u, path), "")
}

// ask sends a request that only reads; its path and body may have {field}s.
func (a *asker) ask(ctx context.Context, v provider.Verify) reply {
	u, err := a.base(a.inj)
	if err != nil {
		return reply{fault: fault.From(err)}
	}
	path, err := provider.Expand(v.Path, a.text)
	if err != nil {
		return reply{fault: fault.New(fault.FieldMissing, err.Error(), nil)}
	}
	_, body, err := auth.FillBody(v.Body, v.JSON(), func(field string) secret.Value { return secret.New(a.text(field)) })
	if err != nil {
		return reply{fault: fault.From(err)}
	}
	return a.send(ctx, v.Method, join(u, path), body)
}

// join puts a path with its query below a base URL; nil: it is malformed.
func join(base *url.URL, path string) *url.URL {
	ref, err := url.Parse(path)
	if err != nil {
		return nil
	}
	u := base.JoinPath(ref.EscapedPath())
	u.RawQuery = ref.RawQuery
	return u
}

// send puts the credential on a request and sends it.
func (a *asker) send(ctx context.Context, method string, to *url.URL, body string) reply {
	if to == nil {
		return reply{fault: fault.New(fault.InvalidRequest, "the provider's verify path is malformed", nil)}
	}
	req, err := a.request(ctx, method, to, body)
	if err != nil {
		return reply{fault: fault.From(err)}
	}
	return a.read(a.client.Do(req)) //nolint:bodyclose // read closes it
}

// request makes a request with the credential on it.
func (a *asker) request(ctx context.Context, method string, to *url.URL, body string) (*http.Request, error) {
	if body == "" && a.inj.BodyPlace() {
		body = "{}"
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), nil)
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "the provider's verify request is malformed", nil)
	}
	if body != "" {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		req.Header.Set("Content-Type", contentType(body))
	}
	before := req.Clone(ctx)
	if err := a.inj.Inject(req); err != nil {
		return nil, err
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", userAgent)
	}
	name := stepProbe
	if a.first.none() {
		name = stepVerify
	}
	ours := injected(before, req)
	if kind, _ := auth.Lookup(auth.TypeOf(a.p, a.cred)); kind.Grant != "" {
		ours = append(ours, a.inj.Carries())
	}
	a.rec.begin(name, a.inj.Owns, ours...)
	return req, nil
}

// contentType of a body: JSON or a form.
func contentType(body string) string {
	if (provider.Verify{Body: body}).JSON() {
		return "application/json"
	}
	return "application/x-www-form-urlencoded"
}

// read takes what a request came to.
func (a *asker) read(resp *http.Response, err error) reply {
	if err != nil {
		return reply{fault: fault.From(err)}
	}
	defer func() { _ = resp.Body.Close() }()
	c, err := contentOf(resp, a.large)
	if err != nil {
		return reply{fault: fault.From(err)}
	}
	start := c.body[:min(len(c.body), provider.PeekSize)]
	r := reply{status: resp.StatusCode, header: resp.Header, content: c, means: a.p.Meaning(resp, start)}
	r.place, r.named = a.p.PlaceHint(resp, start)
	return r
}

// base is where the API of the credential is: its url, else the provider's base
// URL. Cleartext needs the provider's leave.
func (t *trial) base(inj *auth.Injector) (*url.URL, error) {
	if inj.Upstream != nil {
		u := *inj.Upstream
		return &u, t.sealed(&u)
	}
	s, err := provider.Expand(t.p.BaseURL, t.text)
	if err != nil {
		return nil, fault.New(fault.FieldMissing, err.Error(), nil)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fault.New(fault.Internal, "", errors.New("base URL of provider "+t.p.Name))
	}
	return u, t.sealed(u)
}

// sealed refuses cleartext.
func (t *trial) sealed(u *url.URL) error {
	if u.Scheme != "https" && !t.p.AllowCleartext {
		return fault.New(fault.CleartextRefused, "", nil)
	}
	return nil
}

// text gives a field that may stand in a URL: never a secret.
func (t *trial) text(field string) string {
	if secretOf(t.p, t.cred, field) {
		return ""
	}
	return t.cred.Text(field)
}

// note keeps the verdict of a check.
func (t *trial) note(name string, v verdict) { t.lines[name] = v }

// without says that the credential has no such thing: no line tells of it.
func (t *trial) without(names ...string) {
	for _, n := range names {
		t.left[n] = true
		delete(t.lines, n)
	}
}

// belongs notes whose the credential is.
func (t *trial) belongs(login, kind string) {
	if login != "" && len(login) <= maxAccount && len(kind) <= maxAccount {
		t.account = &Account{Login: login, Kind: kind}
	}
}

// ends notes when somebody must renew the credential; zero: it does not end.
func (t *trial) ends(at time.Time) { t.end = &at }

// begins gives the first of the prefixes that the key or token has; empty: none.
func (a *asker) begins(prefixes ...string) string {
	for _, p := range prefixes {
		if a.inj.Begins(p) {
			return p
		}
	}
	return ""
}

// injected gives the values that the injector has put on a request, but for
// those of header fields that it owns.
func injected(before, after *http.Request) []secret.Value {
	var vs []secret.Value
	old := before.URL.Query()
	for name, values := range after.URL.Query() {
		if !old.Has(name) {
			for _, v := range values {
				vs = append(vs, secret.New(v))
			}
		}
	}
	for _, c := range after.Cookies() {
		vs = append(vs, secret.New(c.Value))
	}
	return vs
}
