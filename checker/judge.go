package checker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
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
		if r.named {
			code = fault.CredentialMisplaced
		}
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
	case s < http.StatusMultipleChoices && a.flaw(r) != "":
		v.detail += a.flaw(r) + a.look()
	case s < http.StatusMultipleChoices:
		a.account = account(r.body)
		return ok(r.String())
	case s < http.StatusBadRequest:
		v.detail += ", a redirect; redirects are not followed" + a.look()
	case s == http.StatusNotFound, s == http.StatusGone:
		v.status, v.fault = Error, fault.New(fault.WrongSurface, "", nil)
	case s == http.StatusProxyAuthRequired:
		v.fault = fault.New(fault.UpstreamInvalid, "", nil)
	case s >= http.StatusInternalServerError:
		v.unknown = true
		v.detail += "; try again later"
	default:
		v.detail += a.look()
	}
	return v
}

// flaw says why an answer of a good status proves nothing, behind what was
// answered; empty: it proves that the credential is taken.
func (a *asker) flaw(r reply) string {
	switch {
	case r.page:
		return " with a web page where an API would answer"
	case r.denied:
		return " that is not known here"
	case r.vast:
		return " with more than 1 MiB, which is no answer to a verify request"
	case r.coded:
		return " compressed, which nobody has asked for"
	case r.broken:
		return " with something else than the JSON that it says it is"
	case a.blank(r):
		return " with nothing in it"
	case !a.probe.proves(r):
		return " without what it tells of a credential that it takes"
	}
	return ""
}

// blank reports whether a good answer has nothing in it: a server that looks at no
// credential may answer so. 204, 205 and answers to HEAD have no body to miss.
func (a *asker) blank(r reply) bool {
	return len(bytes.TrimSpace(r.body)) == 0 && a.p.Verify.Method != http.MethodHead && r.status != http.StatusNoContent && r.status != http.StatusResetContent
}

// look tells what to look at where something else than the API may have answered.
func (a *asker) look() string {
	base := "the base URL of the provider"
	if a.inj.Upstream != nil {
		base = "the url of the credential"
	}
	return "; look at " + base + " and at the verify request, " + cmp.Or(a.p.Verify.Method, http.MethodGet) + " " + a.p.Verify.Path
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
