package auth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// tokenCall is one way to ask for a token: a request that is ready, and the
// reading of its answer. Errors are *fault.Fault.
type tokenCall interface {
	send(ctx context.Context, m Material) (granted, error)
}

// send implements tokenCall by a form of RFC 6749.
func (r tokenRequest) send(ctx context.Context, m Material) (granted, error) {
	out, err := exchange(ctx, m, r, nil)
	return out.granted, err
}

// apiCall asks for a token by a request of the provider's own API.
type apiCall struct {
	method, url   string
	authorization string // empty: none
	contentType   string // of body
	body          string
	read          func(reply) answer
}

// send implements tokenCall. As with a token endpoint, no redirect is followed,
// and the answer is bounded.
func (c apiCall) send(ctx context.Context, m Material) (granted, error) {
	if m.Client == nil || m.Client.Transport == nil {
		return granted{}, fault.New(fault.Internal, "", errors.New("no client for logins"))
	}
	req, err := http.NewRequestWithContext(ctx, c.method, c.url, strings.NewReader(c.body))
	if err != nil { // its text may quote a secret in the URL
		return granted{}, unfit("the login of provider %s is no request", m.Provider.Name)
	}
	for _, h := range m.Provider.Headers {
		req.Header.Set(h.Name, h.Value)
	}
	if c.authorization != "" {
		req.Header.Set("Authorization", c.authorization)
	}
	if c.contentType != "" {
		req.Header.Set("Content-Type", c.contentType)
	}
	e := &endpoint{next: m.Client.Transport, read: c.read}
	resp, err := e.RoundTrip(req)
	if err != nil {
		return granted{}, err
	}
	_ = resp.Body.Close() // it is our own plain form, which x/oauth2 would read
	return e.out.granted, nil
}

// apiURL is where the provider's API is for a record: its url, else the
// provider's base URL. Like a token endpoint it may be in the clear only on this
// machine, unless the provider allows more.
func (k Kind) apiURL(m Material) (string, error) {
	what := "field url"
	u, err := k.upstream(m.Credential.Field)
	if err != nil {
		return "", err
	}
	if u == nil {
		what = "base_url of provider " + m.Provider.Name
		raw, err := provider.Expand(m.Provider.BaseURL, k.publicField(m.Credential))
		if err != nil {
			return "", unfit("%s: %v", what, err)
		}
		if u, err = parseURL(raw); err != nil {
			return "", unfit("%s %v", what, err)
		}
	}
	if !inClear(m, u) {
		return u.String(), nil
	}
	return "", fault.New(fault.CleartextRefused, what+" is not https", nil)
}

// inClear reports whether a secret must not be sent to u because others could read it.
func inClear(m Material, u *url.URL) bool {
	return u.Scheme == "http" && !m.Provider.AllowCleartext && !provider.Loopback(u.Hostname())
}
