package checker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// verdictOf gives the verdict of a fault of our own side or of the way there.
func verdictOf(err error) verdict {
	f := fault.From(err)
	v := verdict{status: Error, detail: cmp.Or(f.Detail, f.Diagnosis().Title), fault: f}
	if unreached(f) {
		v.status, v.unknown = Unverifiable, true
	}
	return v
}

// notReached are the codes, besides the transient ones, that say nothing about
// the credential.
var notReached = []fault.Code{
	fault.TLSCertificate, fault.UpstreamInvalid, fault.PrivateAddress, fault.LoopDetected,
	fault.VaultDenied, fault.Internal,
}

func unreached(f *fault.Fault) bool {
	return f.Diagnosis().Transient || slices.Contains(notReached, f.Code)
}

// judge says what the provider's answer to the verify request means for the
// authorization, in the words of the answer where the provider's probe reads them.
func (a *asker) judge(r reply) verdict {
	v := a.judgeMeaning(r)
	if a.probe.explain != nil {
		v = a.probe.explain(a, r, v)
	}
	return v
}

// judgeMeaning judges what the answer means. One that names what the credential
// lacks has taken it.
func (a *asker) judgeMeaning(r reply) verdict {
	if r.fault != nil {
		return verdictOf(r.fault)
	}
	code := r.means.Code()
	switch r.means {
	case provider.OK:
		return a.judgeStatus(r)
	case provider.RateLimited, provider.Quota:
		return verdict{status: Unverifiable, unknown: true, detail: r.String(), fault: fault.New(code, "", nil)}
	case provider.Scope:
		needed := neededScopes(r)
		a.note(Scopes, lacking(code, needed, detailOf(r.String(), needed)))
		return ok("the provider takes the credential, but not for its verify request")
	case provider.Permission:
		a.note(Permissions, lacking(code, nil, r.String()))
		return ok("the provider takes the credential, but not for its verify request")
	case provider.Forbidden:
		a.note(Permissions, lacking(code, nil, r.String()))
		return unverifiable(r.String() + "; some APIs refuse a key that they do not know so, others one that may not")
	case provider.NotShared, provider.APIDisabled, provider.Unpaid: // who lacks a right is known
		return verdict{status: Warning, detail: r.String() + "; the credential is accepted", fault: fault.New(code, "", nil)}
	case provider.Misplaced, provider.Expired, provider.Invalid:
		v := verdict{status: Error, detail: r.String(), fault: fault.New(code, r.place, nil)}
		if r.place != "" {
			v.detail += "; " + r.place
		}
		if a.probe.explain == nil {
			v = v.saying(description(r))
		}
		return v
	default:
		return verdict{status: Error, detail: r.String(), fault: fault.New(code, "", nil)}
	}
}

func detailOf(said string, needed []string) string {
	if len(needed) == 0 {
		return said
	}
	return said + "; it asks for: " + named(needed)
}

// neededScopes reads which scopes an answer asks for: RFC 6750 section 3, else a
// member of its JSON body, which lists them with spaces between; nil: it does not tell.
func neededScopes(r reply) []string {
	for _, c := range provider.ParseChallenges(r.header.Values("WWW-Authenticate")) {
		if s := strings.Fields(c.Params["scope"]); len(s) > 0 {
			return short(s)
		}
	}
	var body struct {
		Scope   string `json:"scope"`
		Needed  string `json:"needed"`
		Message string `json:"message"`
	}
	if json.Unmarshal(r.body, &body) != nil {
		return nil
	}
	_, listed, _ := strings.Cut(body.Message, "required=[") // Gitea and Forgejo
	listed, _, _ = strings.Cut(listed, "]")
	return short(strings.FieldsFunc(cmp.Or(body.Needed, body.Scope, listed), func(c rune) bool { return c == ' ' || c == ',' }))
}

// Bounds of what is told of an answer's list of names.
const (
	maxNames = 50
	maxName  = 200
)

func short(names []string) []string {
	names = slices.DeleteFunc(names, func(s string) bool { return len(s) > maxName })
	return names[:min(len(names), maxNames)]
}

// judgeStatus judges an answer that no signal and no convention explains.
func (a *asker) judgeStatus(r reply) verdict {
	v := unverifiable(r.String())
	switch s := r.status; {
	case s < http.StatusMultipleChoices && page(r.header) && !json.Valid(r.body):
		v.detail = "the provider answered " + statusText(s) + " with a web page where an API would answer"
	case s < http.StatusMultipleChoices && denies(r.header, r.body):
		v.detail = r.String() + " that is not known here"
	case s < http.StatusMultipleChoices && r.vast:
		v.detail = r.String() + " with more than 1 MiB, which is no answer to a verify request"
	case s < http.StatusMultipleChoices && garbled(r):
		v.detail = r.String() + " with something else than the JSON that it says it is"
	case s < http.StatusMultipleChoices && a.blank(r):
		v.detail = r.String() + " with nothing in it, where its API answers with something"
	case s < http.StatusMultipleChoices && !a.probe.proves(r):
		v.detail = r.String() + " without what it tells of a credential that it takes"
	case s < http.StatusMultipleChoices:
		a.account = account(r.header, r.body)
		return ok(r.String())
	case s < http.StatusBadRequest:
		v.detail += ", a redirect; redirects are not followed"
	case s == http.StatusNotFound, s == http.StatusGone:
		v.status, v.fault = Error, fault.New(fault.WrongSurface, "", nil)
	case s == http.StatusProxyAuthRequired:
		v.fault = fault.New(fault.UpstreamInvalid, "", nil)
	case s >= http.StatusInternalServerError:
		v.unknown = true
		v.detail += "; try again later"
	}
	return v
}

// blank reports whether a good answer lacks the body that the verify requests of
// shipped entries, and of providers that are known by name, are answered with. Of
// another API a status may be all that it says, unless it calls nothing JSON.
func (a *asker) blank(r reply) bool {
	known := a.p.Builtin || a.probe.explain != nil || isJSON(r.header)
	return known && len(r.body) == 0 && a.p.Verify.Method != http.MethodHead && r.status != http.StatusNoContent && r.status != http.StatusResetContent
}

// garbled reports whether a body says that it is JSON, and is not.
func garbled(r reply) bool {
	return isJSON(r.header) && len(r.body) > 0 && len(r.body) < peekLimit && !json.Valid(r.body)
}

// description is what an answer says of its error (RFC 6750 section 3); empty: nothing.
func description(r reply) string {
	for _, c := range provider.ParseChallenges(r.header.Values("WWW-Authenticate")) {
		if s := c.Params["error_description"]; s != "" {
			return s
		}
	}
	var body struct {
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(r.body, &body) // what is no JSON says nothing
	return body.Description
}

func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

func isJSON(h http.Header) bool {
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return strings.HasSuffix(t, "json")
}

func page(h http.Header) bool {
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return t == "text/html" || t == "application/xhtml+xml"
}
