package main

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/proxy"
)

// Refresh implements admin.Tokens. A source of the credential serves the new
// token from its next request on.
func (a *app) Refresh(ctx context.Context, ref credential.Ref) error {
	d, err := a.demand(ctx, ref)
	if err != nil {
		return err
	}
	got, err := a.keeper.Renew(ctx, d)
	if err != nil {
		return fault.From(err).On(ref.String(), ref.Provider)
	}
	a.proxy.Renewed(ref, got)
	return nil
}

// Revoke implements admin.Tokens.
func (a *app) Revoke(ctx context.Context, ref credential.Ref) error {
	d, err := a.demand(ctx, ref)
	if err == nil {
		err = a.keeper.Revoke(ctx, d)
	}
	if err != nil {
		return fault.From(err).On(ref.String(), ref.Provider)
	}
	return nil
}

// demand is for a token of a stored credential.
func (a *app) demand(ctx context.Context, ref credential.Ref) (auth.Demand, error) {
	p := a.cfg.Load().Table.Get(ref.Provider)
	if p == nil {
		return auth.Demand{}, fault.New(fault.InvalidRequest, "provider: "+ref.Provider+" is not known here", nil)
	}
	c, err := a.store.Get(ctx, ref)
	return auth.Demand{Provider: p, Client: a.client(p), Record: c}, err
}

// Identify implements admin.Identity.
func (a *app) Identify(authorization []string) (admin.Rights, bool) {
	c, ok := a.proxy.Identify(authorization)
	return a.rights(&c), ok
}

// Rights implements admin.Identity.
func (a *app) Rights(caller string) (admin.Rights, bool) {
	c, ok := a.proxy.Caller(caller)
	return a.rights(&c), ok
}

func (a *app) rights(c *proxy.Caller) admin.Rights {
	return admin.Rights{Workspace: c.Workspace, Environment: c.Environment, MayUse: c.MayUse, Needs: needsOf(a.cfg.Load(), c.Name)}
}

// Status implements admin.Daemon. What the record tells of its grant counts,
// whichever daemon has written it; a source in use knows more.
func (a *app) Status(c *credential.Credential) admin.Status {
	var out admin.Status
	if p := a.cfg.Load().Table.Get(c.Ref.Provider); p != nil {
		g := auth.GrantOf(p, c)
		out.LastRefresh, out.LastError = g.Made, g.Dead
	}
	s, _ := a.proxy.Status(c.Ref)
	out.ExpiresAt, out.NextRefresh = s.ExpiresAt, s.NextRefresh
	if s.LastRefresh.After(out.LastRefresh) {
		out.LastRefresh = s.LastRefresh
	}
	if reauthorized(s, c) {
		s.LastError = nil
	}
	if out.LastError == nil {
		out.LastError = a.use(c.Ref, s).Stands(a.history.Last(c.Ref.String()))
	}
	out.LastGood = a.proxy.LastGood(c.Ref)
	for _, u := range a.proxy.Uses(c.Ref) {
		if u.Last.After(out.LastUsed) {
			out.LastUsed = u.Last
		}
	}
	return out
}

// reauthorized reports whether a source's verdict on its grant is about another
// record than the one that was read now: somebody has authorized it again.
func reauthorized(s auth.SourceStatus, c *credential.Credential) bool {
	return s.LastError != nil && errors.Is(s.LastError, fault.ReauthorizationRequired) && s.Version != c.Version
}

// rejection gives the fault of a credential that its provider has refused and not
// taken since, in a request or in a check, and when it did last; nil: there is none.
func (a *app) rejection(ref credential.Ref) (*fault.Fault, time.Time) {
	r, ok := a.proxy.Rejection(ref)
	if !ok {
		return nil, time.Time{}
	}
	if last := a.history.Last(ref.String()); last != nil && last.Taken() && last.CheckedAt.After(r.Last) {
		return nil, time.Time{}
	}
	return r.Fault, r.Last
}

// uses gives what the use of credentials has shown, besides their checks.
func (a *app) uses() map[string]checker.Use {
	all := map[string]checker.Use{}
	for ref, s := range a.proxy.Statuses() {
		all[ref.String()] = a.use(ref, s)
	}
	return all
}

// use gives what the use of a credential has shown. s is of its source; the zero one
// where there is none.
func (a *app) use(ref credential.Ref, s auth.SourceStatus) checker.Use {
	u := checker.Use{Fault: s.LastError, At: s.FailedAt, Ends: s.GrantEnds, Type: s.Type, Version: s.Version, Good: a.proxy.LastGood(ref)}
	if u.Fault == nil {
		u.Fault, u.At = a.rejection(ref)
	}
	return u
}
