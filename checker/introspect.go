package checker

import (
	"cmp"
	"context"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// inspection is what a server says of the token itself. The zero inspection: nobody was asked.
type inspection struct {
	auth.Introspection
	asked    bool
	declared bool         // the provider's entry or its probe names who is asked; else its metadata does
	fault    *fault.Fault // why nothing was said; nil: the rest holds
}

// tells gives the scopes of an active token; false: they were not said.
func (t inspection) tells() ([]string, bool) {
	return t.Scopes, t.asked && t.fault == nil && t.Active && t.Scopes != nil
}

// unsure is the verdict where nothing was said.
func (t inspection) unsure() verdict {
	v := unverifiable(cmp.Or(t.fault.Detail, t.fault.Diagnosis().Title))
	v.fault = t.fault
	return v
}

// inspected asks about the token, once in a check.
func (a *asker) inspected(ctx context.Context) inspection {
	if a.about == nil {
		t := a.inspect(ctx)
		a.about = &t
	}
	return *a.about
}

// inspect asks whom the provider's probe asks, else the authorization server (RFC
// 7662), whose endpoint the provider names or its metadata.
func (a *asker) inspect(ctx context.Context) inspection {
	if a.probe.inspect != nil {
		if t := a.probe.inspect(ctx, a); t.asked {
			t.declared = true
			return t
		}
	}
	e, declared, f := a.endpoint(ctx)
	switch {
	case f != nil:
		return inspection{asked: true, fault: f}
	case e.URL == "":
		return inspection{}
	}
	a.rec.begin(stepIntrospect, nil, a.inj.Carries())
	i, err := auth.Introspect(ctx, a.material(), a.inj, e)
	t := inspectionOf(i, err)
	t.declared = declared
	return t
}

// inspectionOf makes one of what an introspection came to.
func inspectionOf(i auth.Introspection, err error) inspection {
	if err != nil {
		return inspection{asked: true, fault: fault.From(err)}
	}
	return inspection{asked: true, Introspection: i}
}

// material is what the token was made of.
func (a *asker) material() auth.Material {
	return auth.Material{Credential: a.cred, Provider: a.p, Client: a.client, Now: a.now}
}

// proved judges the authorization by what is said of the token, where the provider
// has no verify request.
func (a *asker) proved(ctx context.Context) verdict {
	t := a.inspected(ctx)
	switch {
	case !t.asked:
		return unverifiable("the provider has no verify request, so nothing was sent")
	case t.fault != nil:
		v := t.unsure()
		v.unknown = t.fault.Diagnosis().Transient
		return v
	case !t.Active:
		const detail = "the authorization server says that the token is not active: it has ended, or was revoked"
		return verdict{status: Error, detail: detail, fault: fault.New(fault.CredentialsRejected, detail, nil)}
	}
	return ok("the authorization server says that the token is active; the provider has no verify request")
}

// describe notes what is said of a token that the provider takes: whose it is,
// when it ends, and that it would not be active.
func (a *asker) describe(t inspection) {
	switch {
	case !t.asked || t.fault != nil:
		return
	case !t.Active:
		a.note(Authorization, verdict{status: Warning, detail: "the credential is taken, but the authorization server says that its token is not active: it was just revoked, or belongs to another client than the record's"})
		return
	}
	if a.account == nil {
		a.belongs(t.Account, "")
	}
	if t.Ends.IsZero() {
		return
	}
	if a.expires.IsZero() {
		a.expires = t.Ends
	}
	if a.end == nil && !a.material().Renews() {
		a.ends(t.Ends)
	}
}

// scopes that nobody told of yet: those that are told of the token, else those
// that the token endpoint named. An answer that asks for a scope does not tell
// which there are.
func (a *asker) scopes(ctx context.Context) {
	v, noted := a.lines[Scopes]
	if a.left[Scopes] || noted && a.first.means != provider.Scope {
		return
	}
	t := a.inspected(ctx)
	a.describe(t)
	granted, tells := t.tells()
	switch {
	case tells && noted:
		a.note(Scopes, a.among(v, granted))
	case tells:
		a.granted(granted)
	case noted:
	case len(a.inj.Scope) > 0:
		a.granted(a.inj.Scope)
	case t.fault != nil && (len(a.needs.Scopes) > 0 || t.declared && t.fault.Code == fault.InvalidClient):
		a.note(Scopes, t.unsure())
	case len(a.needs.Scopes) > 0:
		a.note(Scopes, unverifiable("the provider does not tell the scopes of this credential"))
	}
}

// among adds to a verdict on scopes that are missing which are granted, and which
// of those that are needed are missing too.
func (a *asker) among(v verdict, granted []string) verdict {
	all := compareScopes(a.needs.Scopes, granted, a.probe.contains)
	v.missing = sortedUnique(append(v.missing, all.missing...))
	v.detail += "; " + all.detail
	return v
}
