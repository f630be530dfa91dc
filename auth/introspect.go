package auth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// Introspection is what a server tells of a token (RFC 7662 section 2.2).
type Introspection struct {
	Active  bool
	Scopes  []string  // that it was granted; nil: not told, empty: none
	Ends    time.Time // zero: not told, or it does not end
	Account string    // the name of whose it is, else the subject's identifier; empty: not told
}

// Endpoint is where a server is asked about tokens.
type Endpoint struct {
	URL        string
	ClientAuth string // how the client proves itself there, as in OAuth2.ClientAuth; empty: as at the token endpoint
}

// Introspect asks an authorization server about the token that i carries, as the
// OAuth client of the record (RFC 7662). It changes nothing. Nothing of the answer
// but what an Introspection has is kept. Errors are *fault.Fault: field_missing
// where there is no token or no client; cleartext_refused; invalid_client;
// token_endpoint_unreachable for a server that is away or busy, upstream_invalid
// for an answer that is no introspection.
func Introspect(ctx context.Context, m Material, i *Injector, e Endpoint) (Introspection, error) {
	token := i.Carries()
	if token.Empty() {
		return Introspection{}, unfit("the credential carries no token")
	}
	if m.Credential.Field("client_id").Empty() {
		return Introspection{}, unfit("field client_id is missing")
	}
	r := tokenRequest{params: url.Values{"token": {token.Reveal()}}}
	if m.Provider.OAuth2.Encoding != "json" { // who takes objects only is strict about their members
		r.params.Set("token_type_hint", "access_token")
	}
	var err error
	if r.url, err = m.about(e.URL); err != nil {
		return Introspection{}, err
	}
	if err := r.authenticate(m.provedBy(e.ClientAuth)); err != nil {
		return Introspection{}, err
	}
	req, err := r.plain(ctx)
	if err != nil {
		return Introspection{}, err
	}
	for _, h := range m.Provider.Headers {
		if req.Header.Get(h.Name) == "" {
			req.Header.Set(h.Name, h.Value)
		}
	}
	return m.inspect(req, readIntrospection)
}

// AskAbout asks an API's own endpoint about the token that i carries: the token
// goes as the one member of a JSON object, and as the credential of the request. An
// answer of 2xx tells of a token that is active. Errors are those of Introspect.
func AskAbout(ctx context.Context, m Material, i *Injector, endpoint, member string) (Introspection, error) {
	to, err := m.about(endpoint)
	if err != nil {
		return Introspection{}, err
	}
	body, err := json.Marshal(map[string]string{member: i.Carries().Reveal()})
	if err != nil {
		return Introspection{}, unfit("the token is no text")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return Introspection{}, unfit("the endpoint's URL is malformed")
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"sallyport"}}
	if err := i.Inject(req); err != nil {
		return Introspection{}, err
	}
	told, err := m.inspect(req, readAbout)
	if errors.Is(err, fault.InvalidClient) { // no client was asked for
		err = fault.New(fault.UpstreamInvalid, fault.From(err).Detail, nil)
	}
	told.Active = err == nil
	return told, err
}

// Carries gives the token that the injector carries, or the first key of a record
// that is its own token; empty: it carries neither.
func (i *Injector) Carries() secret.Value {
	if i.token.Empty() && len(i.keys) > 0 {
		return i.keys[0]
	}
	return i.token
}

// Renews reports whether a new token can be had for the record without a person:
// then the end of the one that it holds is the end of nothing.
func (m Material) Renews() bool {
	k, _ := Lookup(TypeOf(m.Provider, m.Credential))
	return k.ask != nil || k.refreshes && !m.Credential.Field("refresh_token").Empty()
}

// TokenURL is where tokens are asked for: the record's own, else the provider's
// with the record's fields in it. The error is a *fault.Fault.
func (m Material) TokenURL() (string, error) {
	k, _ := Lookup(TypeOf(m.Provider, m.Credential))
	return k.tokenURL(m)
}

// about checks the URL of an endpoint that tells of tokens.
func (m Material) about(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil, fitText(endpoint) != "", u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.User != nil, u.Fragment != "":
		return "", unfit("the introspection endpoint is not an absolute https URL")
	case inClear(m, u):
		return "", fault.New(fault.CleartextRefused, "the introspection endpoint is not https", nil)
	}
	return endpoint, nil
}

// provedBy is m with another way for the client to prove itself; empty: its own.
func (m Material) provedBy(clientAuth string) Material {
	if clientAuth == "" {
		return m
	}
	p := *m.Provider
	p.OAuth2.ClientAuth = clientAuth
	m.Provider = &p
	return m
}

// inspect sends a question and has its answer read.
func (m Material) inspect(req *http.Request, read func([]byte, time.Time) (Introspection, bool)) (Introspection, error) {
	if m.Client == nil || m.Client.Transport == nil {
		return Introspection{}, fault.New(fault.Internal, "", errors.New("no client for introspection"))
	}
	host := req.URL.Host
	resp, err := m.Client.Transport.RoundTrip(req)
	if err != nil {
		return Introspection{}, atIntrospection(unreached(host, err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Introspection{}, atIntrospection(unreached(host, err))
	}
	if f := unanswered(host, resp, body); f != nil {
		return Introspection{}, atIntrospection(f)
	}
	told, ok := read(body, m.now())
	if !ok {
		return Introspection{}, fault.New(fault.UpstreamInvalid, "introspection endpoint "+host+" answered with something else", nil)
	}
	return told, nil
}

// unanswered tells what keeps an answer from being one about the token; nil: nothing.
func unanswered(host string, resp *http.Response, body []byte) *fault.Fault {
	status := resp.StatusCode
	a := readAnswer(reply{status, resp.Header.Get("Content-Type"), body, false})
	said := "answered " + strconv.Itoa(status)
	switch {
	case status >= 500 || status == http.StatusTooManyRequests:
		f := noToken(host, said)
		f.RetryAfter = retryAfter(resp.Header, time.Now())
		return f
	case status == http.StatusUnauthorized, codes[a.Error] == fault.InvalidClient && a.Error != "invalid_request":
		return fault.New(fault.InvalidClient, "token endpoint "+host+" "+said, nil)
	case status/100 == 2 && !isHTML(resp.Header):
		return nil
	}
	return fault.New(fault.UpstreamInvalid, "token endpoint "+host+" "+said, nil)
}

// readIntrospection reads the answer of RFC 7662; ok is false for one that does not
// say whether the token is active.
func readIntrospection(body []byte, now time.Time) (told Introspection, ok bool) {
	var m map[string]any
	_ = json.Unmarshal(body, &m) // what is no object tells nothing
	told = toldOf(m, now)
	told.Active, ok = truth(m["active"])
	return told, ok
}

// readAbout reads the answer of an API's own endpoint; ok is false for an object
// that tells nothing of a token.
func readAbout(body []byte, now time.Time) (told Introspection, ok bool) {
	var m map[string]any
	_ = json.Unmarshal(body, &m) // what is no object tells nothing
	told = toldOf(m, now)
	_, ok = truth(m["active"])
	return told, ok || told.Scopes != nil
}

// toldOf reads the members of RFC 7662, and what some servers put in other words:
// a list of scopes, a life in seconds, the user.
func toldOf(m map[string]any, now time.Time) Introspection {
	out := Introspection{
		Scopes: namesOf(first(m, "scope", "scopes")), Ends: TimeOf(m["exp"]),
		Account: cmp.Or(text(m, "username", "user", "email"), text(m, "sub")),
	}
	if s := seconds(m["expires_in"]); out.Ends.IsZero() && s > 0 {
		out.Ends = now.Add(lifeOf(s))
	}
	return out
}

// truth reads a boolean, which some servers write as text; ok is false for what is
// none.
func truth(v any) (is, ok bool) {
	if is, ok := v.(bool); ok {
		return is, true
	}
	return v == "true", v == "true" || v == "false"
}

// namesOf reads a list of names: a text with spaces or commas between, or an
// array; nil: it is neither.
func namesOf(v any) []string {
	switch v := v.(type) {
	case string:
		return append([]string{}, scopeList(v)...)
	case []any:
		names := []string{}
		for _, e := range v {
			if s, ok := e.(string); ok && s != "" {
				names = append(names, s)
			}
		}
		return names
	}
	return nil
}

// atIntrospection names the endpoint that f is of.
func atIntrospection(f *fault.Fault) *fault.Fault { return atEndpoint("introspection", f) }

// atEndpoint names the endpoint that the fault of a token endpoint is really of.
func atEndpoint(name string, f *fault.Fault) *fault.Fault {
	g := *f
	if rest, ok := strings.CutPrefix(f.Detail, "token endpoint "); ok {
		g.Detail = name + " endpoint " + rest
	}
	return &g
}
