package checker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// userAgent is sent where the provider asks for none: some APIs refuse requests without.
const userAgent = "sallyport"

// trial is one check of one credential.
type trial struct {
	p      *provider.Provider
	cred   *credential.Credential
	client *http.Client // a copy, that records
	rec    *recorder
	now    func() time.Time

	certified func(*provider.Provider, *tls.Certificate) http.RoundTripper // nil: there is none
	dial      Dial                                                         // of a database's login
	classify  func(error) *fault.Fault
}

func newTrial(client *http.Client, p *provider.Provider, cred *credential.Credential, now func() time.Time) *trial {
	rec := &recorder{next: client.Transport}
	rec.begin(stepToken, nil, secrets(p, cred)...)
	copied := *client
	copied.Transport = rec
	if kind, _ := auth.Lookup(auth.TypeOf(p, cred)); p.Verify.Path != "" && kind.Verify.Path != "" {
		q := *p
		q.Verify = kind.Verify
		p = &q
	}
	return &trial{p: p, cred: cred, client: &copied, rec: rec, now: now}
}

// secrets are the values of the record that must not be shown.
func secrets(p *provider.Provider, cred *credential.Credential) []secret.Value {
	templated := templateFields(p)
	var vs []secret.Value
	for name, v := range cred.Fields {
		if !credential.Public(name) && (!templated[name] || secretOf(p, cred, name)) {
			vs = append(vs, v)
		}
	}
	return vs
}

// secretOf reports whether a field is a secret of the record's type, whatever a
// provider's templates make of it.
func secretOf(p *provider.Provider, cred *credential.Credential, field string) bool {
	kind, _ := auth.Lookup(auth.TypeOf(p, cred))
	return !credential.Public(field) && (slices.Contains(kind.Fields(), field) || slices.Contains(credential.TokenFields, field))
}

// templateFields are the fields that a provider's hosts and URLs show to everybody.
func templateFields(p *provider.Provider) map[string]bool {
	m := map[string]bool{}
	for _, s := range append([]string{p.BaseURL, p.OAuth2.TokenURL, p.OAuth2.RefreshURL, p.Verify.Path}, p.Hosts...) {
		for _, f := range provider.TemplateFields(s) {
			m[f] = true
		}
	}
	return m
}

// run tries the credential. Nothing of the verdict holds a secret, whoever
// wrote the words.
func (t *trial) run(ctx context.Context) verdict {
	v := t.try(ctx)
	v.detail = t.rec.redact(v.detail)
	if v.fault != nil && v.fault.Detail != "" {
		f := *v.fault
		f.Detail = t.rec.redact(f.Detail)
		v.fault = &f
	}
	if v.account != nil {
		v.account.Login, v.account.Kind = t.rec.redact(v.account.Login), t.rec.redact(v.account.Kind)
	}
	return v
}

// try mints an injector and sends the verify request with it. A refresh token
// is never spent: whoever keeps it for requests would lose it.
func (t *trial) try(ctx context.Context) verdict {
	if auth.TypeOf(t.p, t.cred) == auth.DatabaseType {
		return t.login(ctx)
	}
	if dead := auth.GrantOf(t.p, t.cred).Dead; dead != nil {
		return verdictOf(dead)
	}
	inj, err := auth.Mint(ctx, auth.Material{
		Credential: t.cred, Provider: t.p, Client: t.client, Now: t.now,
		Renew: t.cred.Field("refresh_token").Empty(), // asked anew, but nothing is spent
	})
	if errors.Is(err, fault.TokenExpired) && !t.cred.Field("refresh_token").Empty() {
		return verdict{status: Unverifiable, detail: "the record holds no valid access token, and its refresh token is not spent to find out"}
	}
	if err != nil {
		return verdictOf(err)
	}
	v := t.verify(ctx, inj)
	if v.expires = inj.Expiry; v.expires.IsZero() {
		v.expires = inj.Ends
	}
	return v
}

// verify sends the provider's verify request. Where it has none, a token that
// was minted over the network is the proof.
func (t *trial) verify(ctx context.Context, inj *auth.Injector) verdict {
	if t.p.Verify.Path == "" {
		if len(t.rec.taken()) > 0 {
			return verdict{status: OK, detail: "the token endpoint gave a token; the provider has no verify request"}
		}
		return verdict{status: Unverifiable, detail: "the provider has no verify request, so nothing was sent"}
	}
	if inj.BodyPlace() && bodiless(t.p.Verify.Method) {
		return verdict{status: Unverifiable, detail: "the credential goes into a body, and the verify request has none"}
	}
	req, err := t.request(ctx, inj)
	if err != nil {
		return verdictOf(err)
	}
	if inj.Certificate != nil {
		if t.certified == nil {
			return verdict{status: Unverifiable, detail: "the credential is a client certificate, which cannot be shown here"}
		}
		t.rec.next = t.certified(t.p, inj.Certificate)
	}
	resp, err := t.client.Do(req)
	if inj.Certificate != nil && alerted(err) {
		return verdict{status: Error, detail: fault.From(err).Detail, fault: fault.New(fault.CredentialsRejected, fault.From(err).Detail, err)}
	}
	if err != nil {
		return verdictOf(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, peekLimit))
	if err != nil && resp.StatusCode < http.StatusBadRequest { // the end might have said no
		return verdictOf(fault.New(reading(err), "the answer broke off", err))
	}
	return judge(t.p, resp, body)
}

// alerted reports whether the other side ended the TLS handshake: it did not take
// the client certificate. What we do not take of it is no alert of its own.
func alerted(err error) bool {
	var op *net.OpError
	return errors.Is(err, fault.TLSCertificate) && errors.As(err, &op) && op.Op == "remote error"
}

// reading gives the code of an error while a body was read.
func reading(err error) fault.Code {
	if c := fault.From(err).Code; c != fault.Internal {
		return c
	}
	return fault.ConnectionReset
}

// request makes the verify request with the credential on it.
func (t *trial) request(ctx context.Context, inj *auth.Injector) (*http.Request, error) {
	u, err := t.target(inj)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, t.p.Verify.Method, u.String(), nil)
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "the provider's verify request is malformed", nil)
	}
	if inj.BodyPlace() {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
		req.Header.Set("Content-Type", "application/json")
	}
	before := req.Clone(ctx)
	if err := inj.Inject(req); err != nil {
		return nil, err
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", userAgent)
	}
	t.rec.begin(stepVerify, inj.Owns, injected(before, req)...)
	return req, nil
}

// bodiless reports whether requests of that method have no body; empty is GET.
func bodiless(method string) bool {
	return method == "" || method == http.MethodGet || method == http.MethodHead
}

// target is the verify request's URL: on the credential's url, else on the
// provider's base URL. Cleartext needs the provider's leave.
func (t *trial) target(inj *auth.Injector) (*url.URL, error) {
	base := inj.Upstream
	if base == nil {
		s, err := provider.Expand(t.p.BaseURL, t.text)
		if err != nil {
			return nil, fault.New(fault.FieldMissing, err.Error(), nil)
		}
		if base, err = url.Parse(s); err != nil {
			return nil, fault.New(fault.Internal, "", fmt.Errorf("base URL of provider %s", t.p.Name))
		}
	}
	if base.Scheme != "https" && !t.p.AllowCleartext {
		return nil, fault.New(fault.CleartextRefused, "", nil)
	}
	path, err := provider.Expand(t.p.Verify.Path, t.text)
	if err != nil {
		return nil, fault.New(fault.FieldMissing, err.Error(), nil)
	}
	ref, err := url.Parse(path)
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "the provider's verify path is malformed", nil)
	}
	u := base.JoinPath(ref.Path)
	u.RawQuery = ref.RawQuery
	return u, nil
}

// text gives a field that may stand in a URL: never a secret.
func (t *trial) text(field string) string {
	if secretOf(t.p, t.cred, field) {
		return ""
	}
	return t.cred.Text(field)
}

// injected gives the values that the injector has put on a request, but for
// those of header fields that it owns.
func injected(before, after *http.Request) []secret.Value {
	var vs []secret.Value
	old := before.URL.Query()
	for name, values := range after.URL.Query() {
		if !old.Has(name) {
			for _, v := range values {
				vs = append(vs, secret.New(v))
			}
		}
	}
	for _, c := range after.Cookies() {
		vs = append(vs, secret.New(c.Value))
	}
	return vs
}
