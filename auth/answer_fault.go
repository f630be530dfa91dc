package auth

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// codes are the faults of the error codes of RFC 6749 section 5.2 and RFC 8707.
var codes = map[string]fault.Code{
	"invalid_client":          fault.InvalidClient,
	"unauthorized_client":     fault.InvalidClient,
	"invalid_request":         fault.InvalidClient, // the client's parameters, or how it authenticates
	"unsupported_grant_type":  fault.InvalidClient,
	"invalid_grant":           fault.InvalidGrant,
	"interaction_required":    fault.InvalidGrant, // a person must be there
	"consent_required":        fault.InvalidGrant,
	"login_required":          fault.InvalidGrant,
	"invalid_scope":           fault.InvalidScope,
	"invalid_target":          fault.InvalidScope,
	"server_error":            fault.TokenEndpointUnreachable,
	"temporarily_unavailable": fault.TokenEndpointUnreachable,
	"slow_down":               fault.TokenEndpointUnreachable,

	// Of single houses.
	"access_denied":                fault.InvalidClient, // Atlassian, of a wrong secret: no person is asked here
	"bad_refresh_token":            fault.InvalidGrant,  // GitHub
	"incorrect_client_credentials": fault.InvalidClient,
	"invalid_refresh_token":        fault.InvalidGrant, // Slack
	"bad_client_secret":            fault.InvalidClient,
	"invalid_client_id":            fault.InvalidClient,
	"refresh_token_reused":         fault.InvalidGrant, // OpenAI
	"invalid_code":                 fault.InvalidGrant, // Zoho, of a refresh token too
	"invalid_client_secret":        fault.InvalidClient,
	"BAD_REFRESH_TOKEN":            fault.InvalidGrant, // HubSpot, as status
	"BAD_AUTH_CODE":                fault.InvalidGrant,
	"BAD_CLIENT_SECRET":            fault.InvalidClient,
	"BAD_CLIENT_ID":                fault.InvalidClient,
	"deleted_client":               fault.InvalidClient, // Google
	"admin_policy_enforced":        fault.OrganizationPolicy,
	"org_internal":                 fault.AppNotVerified,
	"invalid_app_access":           fault.OrganizationPolicy, // Salesforce
	"inactive_user":                fault.AccountInactive,
	"inactive_org":                 fault.AccountInactive,
}

// secretCodes are those that name the secret.
var secretCodes = []string{"bad_client_secret", "invalid_client_secret", "BAD_CLIENT_SECRET"}

// fault tells what keeps the answer from being a token; nil: nothing does. What
// a broken or busy server says about the client is not believed.
func (a answer) fault(host string, resp *http.Response) *fault.Fault {
	status := resp.StatusCode
	switch {
	case status >= 300 && status < 400:
		return noToken(host, "answered with a redirect, which is not followed")
	case status >= 500 || status == http.StatusTooManyRequests:
		f := noToken(host, "answered "+strconv.Itoa(status))
		f.RetryAfter = retryAfter(resp.Header, time.Now())
		return f
	case a.refusal != "":
		f := noToken(host, a.told)
		f.Code, f.RetryAfter = a.refusal, retryAfter(resp.Header, time.Now())
		return f
	case a.Error != "":
		return a.refused(host, status)
	case status == http.StatusUnauthorized && (resp.Header.Get("WWW-Authenticate") != "" || !isHTML(resp.Header)):
		return fault.New(fault.InvalidClient, "token endpoint "+host+" answered 401", nil)
	case status < 200 || status > 299:
		return noToken(host, "answered "+strconv.Itoa(status))
	case a.AccessToken == "":
		return noToken(host, "answered no access_token")
	}
	if wrong := fitHeader(a.AccessToken); wrong != "" {
		return noToken(host, "answered an access_token that "+wrong)
	}
	return nil
}

// refused: the endpoint named an error. A code that is not known is a refusal of
// the client; its text is not repeated. What its description means is told in our
// own words.
func (a answer) refused(host string, status int) *fault.Fault {
	code, ok := codes[a.Error]
	name := a.Error
	if !ok {
		code, name = fault.InvalidClient, "an error code of its own"
	}
	f := fault.New(code, "token endpoint "+host+" answered "+strconv.Itoa(status)+" with "+name, nil)
	if slices.Contains(secretCodes, a.Error) {
		f = f.Of(fault.ClientSecretWrong)
	}
	if r, ok := explains(a.says); ok {
		f = r.on(f)
	}
	return f
}

func noToken(host, what string) *fault.Fault {
	return fault.New(fault.TokenEndpointUnreachable, "token endpoint "+host+" "+what, nil)
}

// unreached is the fault of an exchange without an answer. Refusals of our own
// stay what they are; of the rest only the code is kept, since a transport's
// error can quote what the other side sent, and of a certificate what is wrong
// with it, which no secret is in.
func unreached(host string, err error) *fault.Fault {
	f := fault.From(err)
	switch f.Code {
	case fault.PrivateAddress, fault.LoopDetected, fault.CleartextRefused:
		return f
	case fault.Internal:
		return noToken(host, "did not answer")
	}
	why := strings.ToLower(f.Diagnosis().Title)
	if f.Kind != "" {
		why = f.Detail
	}
	g := noToken(host, "did not answer: "+why).Of(f.Kind)
	g.Err = f.Code
	return g
}

// cutAnswer is the fault of an answer that is not whole.
func cutAnswer(host string, err error) *fault.Fault {
	if errors.Is(err, errTooLong) {
		return noToken(host, "sent more than 1 MiB")
	}
	return unreached(host, err)
}

func isHTML(h http.Header) bool { return strings.Contains(h.Get("Content-Type"), "html") }

// retryAfter reads the field in both its forms (RFC 9110 section 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil {
		return min(max(time.Duration(n), 0), maxRetry/time.Second) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxRetry)
	}
	return 0
}
