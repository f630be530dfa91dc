package checker

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// verdict is what a trial of the credential came to.
type verdict struct {
	status  Status // of the check authorization
	detail  string
	fault   *fault.Fault // nil: nothing is wrong, or no code fits
	unknown bool         // the provider was throttling or out of reach
	account *Account
	expires time.Time
}

// verdictOf gives the verdict of a fault of our own side or of the way there.
func verdictOf(err error) verdict {
	f := fault.From(err)
	v := verdict{status: Error, detail: f.Detail, fault: f}
	if v.detail == "" {
		v.detail = f.Diagnosis().Title
	}
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

// judge says what the provider's answer to the verify request means.
func judge(p *provider.Provider, resp *http.Response, body []byte) verdict {
	m := p.Meaning(resp, body[:min(len(body), provider.PeekSize)])
	switch m {
	case provider.OK:
		return judgeStatus(resp, body)
	case provider.RateLimited, provider.Quota:
		return verdict{status: Unverifiable, unknown: true, detail: refused(resp), fault: fault.New(m.Code(), "", nil)}
	case provider.Scope, provider.Permission, provider.NotShared, provider.APIDisabled, provider.Unpaid: // who lacks a right is known
		return verdict{status: Warning, detail: refused(resp) + "; the credential is accepted", fault: fault.New(m.Code(), "", nil)}
	default:
		return verdict{status: Error, detail: refused(resp), fault: fault.New(m.Code(), "", nil)}
	}
}

// judgeStatus judges an answer that no signal and no convention explains.
func judgeStatus(resp *http.Response, body []byte) verdict {
	v := verdict{status: Unverifiable, detail: answered(resp)}
	switch s := resp.StatusCode; {
	case s < http.StatusMultipleChoices && page(resp.Header):
		v.detail += " with a web page where an API would answer"
	case s < http.StatusMultipleChoices && denies(resp.Header, body):
		v.detail += " with an error in it that is not known here"
	case s < http.StatusMultipleChoices:
		v = verdict{status: OK, detail: answered(resp), account: account(resp.Header, body)}
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

func answered(resp *http.Response) string {
	text := http.StatusText(resp.StatusCode)
	if text != "" {
		text = " " + text
	}
	return fmt.Sprintf("the provider answered %d%s", resp.StatusCode, text)
}

// refused is answered for a no, which some providers send with a good status.
func refused(resp *http.Response) string {
	if resp.StatusCode < http.StatusBadRequest {
		return answered(resp) + " with an error in it"
	}
	return answered(resp)
}

func page(h http.Header) bool {
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return t == "text/html" || t == "application/xhtml+xml"
}
