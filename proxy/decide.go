package proxy

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Decision is what the proxy would do with a request, and why.
type Decision struct {
	Action     string     // intercept, tunnel or refuse
	Provider   string     // empty: none owns the request
	Credential string     // reference; empty: none would be injected
	Code       fault.Code // of a refusal
	Why        []string
}

// Question is a request to decide on.
type Question struct{ Caller, Credential, Method, URL string }

// Decide tells what would become of a request. It sends nothing. The error is
// invalid_request where the question itself is wrong.
func (s *Server) Decide(ctx context.Context, q Question) (Decision, error) {
	st := s.st.Load()
	c := st.callers[q.Caller]
	if c == nil {
		return Decision{}, fault.New(fault.InvalidRequest, fmt.Sprintf("there is no caller %q", q.Caller), nil)
	}
	u, err := url.Parse(q.URL)
	if err == nil && ftpScheme(u.Scheme) {
		return Decision{}.refused(fault.New(fault.InvalidRequest, notHTTP, nil)), nil
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return Decision{}, fault.New(fault.InvalidRequest, "url must be an absolute http or https URL without a user", nil)
	}
	a, err := provider.ParseAuthority(u.Host, portOf(u.Scheme))
	if err != nil {
		return Decision{}, fault.New(fault.InvalidRequest, "url: the host is not a host with an optional port", err)
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return st.decide(ctx, ask{
		caller: c, authority: a, secure: u.Scheme == "https", method: q.Method, path: path, name: q.Credential, since: time.Now(),
	}), nil
}

// decide tells what would become of a request that is well formed.
func (st *state) decide(ctx context.Context, q ask) Decision {
	c, a := q.caller, q.authority
	d := Decision{Why: []string{fmt.Sprintf("caller %s: workspace %s, environment %s", c.Name, c.Workspace, c.Environment)}}
	rt, err := st.route(ctx, c, a, q.secure, q.since)
	if err != nil {
		return d.refused(err)
	}
	if !rt.intercept {
		if f := st.Upstream.refuses(ctx, nil, a); f != nil {
			return d.refused(f)
		}
		d.Action = "tunnel"
		d.Why = append(d.Why, "no provider owns "+a.String()+": it passes untouched")
		return d
	}
	t, err := st.target(ctx, q)
	if t.provider != nil {
		d.Provider = t.provider.Name
		d.Why = append(d.Why, "provider "+d.Provider+" owns "+a.String()+q.path)
	}
	if err == nil {
		err = st.unreachable(ctx, &t)
	}
	if err != nil {
		return d.refused(err)
	}
	return d.passed(&t)
}

// unreachable tells of a target that the dial guard refuses, as far as that shows
// without dialling; nil: it does not.
func (st *state) unreachable(ctx context.Context, t *target) error {
	a := t.authority
	if t.rebase != nil {
		var err error
		if a, err = provider.ParseAuthority(t.rebase.Host, portOf(t.rebase.Scheme)); err != nil {
			return fault.New(fault.InvalidRequest, "the upstream's host is malformed", nil)
		}
	}
	if f := st.Upstream.refuses(ctx, t.provider, a); f != nil {
		return f
	}
	return nil
}

func (d Decision) refused(err error) Decision {
	f := fault.From(err)
	d.Action, d.Code = "refuse", f.Code
	d.Why = append(d.Why, f.Problem("").Detail)
	return d
}

func (d Decision) passed(t *target) Decision {
	d.Action = "intercept"
	switch {
	case t.entry != nil:
		d.Credential = t.entry.label
		d.Why = append(d.Why, "credential "+t.entry.label+" is injected")
	case t.provider == nil:
		d.Why = append(d.Why, "no provider owns this path: it goes out over verified TLS as it is")
	default:
		d.Why = append(d.Why, "no credential, and the provider is anonymous: it goes out as it is")
	}
	if t.rebase != nil {
		d.Why = append(d.Why, "it goes to "+t.rebase.Redacted()+t.rest)
	}
	return d
}

// Status of a credential as the request path last saw it; ok is false where no
// request has used it yet.
func (s *Server) Status(ref credential.Ref) (auth.SourceStatus, bool) {
	src := s.sources.find(ref)
	if src == nil {
		return auth.SourceStatus{}, false
	}
	return src.Status(), true
}
