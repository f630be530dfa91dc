package auth

import (
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// consentCodes are the faults of the errors that a redirect brings (RFC 6749
// section 4.1.2.1, OpenID Connect Core section 3.1.2.6, and what servers add).
var consentCodes = map[string]fault.Code{
	"access_denied":             fault.AccessDenied,
	"user_cancelled_login":      fault.AccessDenied,
	"user_cancelled_authorize":  fault.AccessDenied,
	"invalid_request":           fault.InvalidClient,
	"unauthorized_client":       fault.InvalidClient,
	"invalid_client":            fault.InvalidClient,
	"application_suspended":     fault.InvalidClient,
	"unsupported_response_type": fault.InvalidClient,
	"invalid_scope":             fault.InvalidScope,
	"invalid_target":            fault.InvalidScope,
	"redirect_uri_mismatch":     fault.RedirectURIMismatch,
	"invalid_redirect_uri":      fault.RedirectURIMismatch,
	"admin_policy_enforced":     fault.OrganizationPolicy, // Google
	"org_internal":              fault.AppNotVerified,
	"server_error":              fault.TokenEndpointUnreachable,
	"temporarily_unavailable":   fault.TokenEndpointUnreachable,
}

// codeCodes are those of the errors that token endpoints answer to a code, as far
// as they differ from those of other grants.
var codeCodes = map[string]fault.Code{
	"redirect_uri_mismatch": fault.RedirectURIMismatch,
	"invalid_redirect_uri":  fault.RedirectURIMismatch,
	"bad_redirect_uri":      fault.RedirectURIMismatch, // Slack
	"bad_verification_code": fault.InvalidGrant,        // GitHub
	"code_already_used":     fault.InvalidGrant,
}

// consentFault is the fault of a redirect that brings an error. Any code that is
// not known leaves the consent unfinished.
func (c *connect) consentFault(code, description string) *fault.Fault {
	what := "the consent page answered " + c.log.words(code) + c.saying(description)
	if aboutRedirect(code + " " + description) {
		return c.redirectMismatch(what)
	}
	k, ok := consentCodes[code]
	if !ok {
		k = fault.AuthorizationIncomplete
	}
	f := fault.New(k, what, nil)
	if r, ok := explains(description); ok {
		return r.on(f)
	}
	return f
}

// tokenFault makes the fault of a code's exchange more exact by what the answer
// says, which is told as far as it holds no secret.
func (c *connect) tokenFault(err error, r reply) error {
	var f *fault.Fault
	if !errors.As(err, &f) || r.Status == 0 {
		return err
	}
	a, description := readAnswer(r), describe(r)
	g := *f
	g.Detail += c.saying(description)
	if code, ok := codeCodes[a.Error]; ok && f.Code != fault.TokenEndpointUnreachable {
		g.Code = code
	}
	if g.Code == fault.RedirectURIMismatch || (g.Code == fault.InvalidGrant || g.Code == fault.InvalidClient) && aboutRedirect(description) {
		return c.redirectMismatch(g.Detail)
	}
	return &g
}

func (c *connect) redirectMismatch(what string) *fault.Fault {
	return fault.New(fault.RedirectURIMismatch, what+"; the redirect URI is "+c.redirect, nil)
}

var redirectURI = regexp.MustCompile(`(?i)redirect(ion)?[ _-]?ur[il]|callback ur[il]`)

// aboutRedirect reports whether a text is about the redirect URI. One that only
// lists all that may be wrong with a grant, in the words of the RFC, is not.
func aboutRedirect(text string) bool {
	return redirectURI.MatchString(text) && !strings.Contains(strings.ToLower(text), "revoked")
}

// describe gives the error_description of an answer.
func describe(r reply) string {
	return text(membersOf(r), "error_description", "error_message", "message")
}

// membersOf gives the members of an answer that is a JSON object or a form.
func membersOf(r reply) map[string]any {
	m := map[string]any{}
	r = r.unpacked()
	if json.Unmarshal(r.Body, &m) == nil {
		return m
	}
	if v, err := url.ParseQuery(strings.TrimSpace(r.whole())); err == nil && !strings.Contains(r.Type, "html") {
		for name := range v {
			m[name] = v.Get(name)
		}
	}
	return m
}

// saying is what a server says in its own words.
func (c *connect) saying(description string) string {
	if description = c.log.words(description); description == "" {
		return ""
	}
	return ": " + description
}
