package checker

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
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
	needs  provider.Needs // of whoever asks
	client *http.Client   // a copy, that records
	rec    *recorder
	now    func() time.Time
	offers *offers       // of authorization servers
	large  chan struct{} // a place for each answer that is large

	certified func(*provider.Provider, *tls.Certificate) http.RoundTripper // nil: there is none
	dial      Dial                                                         // of a database's login
	classify  func(error) *fault.Fault
	ahead     time.Duration // of an end, to warn

	lines   map[string]verdict // what was found, by the check's name
	left    map[string]bool    // checks that the credential has no notion of
	account *Account
	expires time.Time  // of the token that was tried, or of the credential; zero: not known
	end     *time.Time // when somebody must renew the credential; nil: not known, zero: never
}

func newTrial(client *http.Client, p *provider.Provider, cred *credential.Credential, now func() time.Time) *trial {
	rec := &recorder{next: client.Transport, now: now}
	rec.begin(stepToken, nil, secrets(p, cred)...)
	copied := *client
	copied.Transport, copied.Timeout = rec, 0 // rec bounds each request, but not the wait for its turn
	if kind, _ := auth.Lookup(auth.TypeOf(p, cred)); p.Verify.Path != "" && kind.Verify.Path != "" {
		q := *p
		q.Verify = kind.Verify
		p = &q
	}
	return &trial{p: p, cred: cred, client: &copied, rec: rec, now: now, lines: map[string]verdict{}, left: map[string]bool{}}
}

// secrets are the values of the record that must not be shown. Our own bookkeeping
// holds none, but words of scopes.
func secrets(p *provider.Provider, cred *credential.Credential) []secret.Value {
	templated := templateFields(p)
	var vs []secret.Value
	for name, v := range cred.Fields {
		if name != credential.StateField && !credential.Public(name) && (!templated[name] || secretOf(p, cred, name)) {
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
	for _, s := range append([]string{p.BaseURL, p.OAuth2.TokenURL, p.OAuth2.RefreshURL, p.Verify.Path, p.Verify.Body}, p.Hosts...) {
		for _, f := range provider.TemplateFields(s) {
			m[f] = true
		}
	}
	return m
}

// run tries the credential. Nothing of the verdicts holds a secret, whoever
// wrote the words.
func (t *trial) run(ctx context.Context) {
	t.note(Authorization, t.shaped(t.try(ctx)))
	for name, v := range t.lines {
		t.lines[name] = t.redacted(v)
	}
	if t.account != nil {
		t.account.Login, t.account.Kind = t.rec.redact(t.account.Login), t.rec.redact(t.account.Kind)
	}
}

func (t *trial) redacted(v verdict) verdict {
	v.detail = clipped(t.rec.redact(v.detail))
	for i, s := range v.missing {
		v.missing[i] = t.rec.redact(s)
	}
	if v.fault != nil && v.fault.Detail != "" {
		f := *v.fault
		f.Detail = clipped(t.rec.redact(f.Detail))
		v.fault = &f
	}
	return v
}

// try gives the verdict on the authorization, and notes what else was found.
func (t *trial) try(ctx context.Context) verdict {
	if auth.TypeOf(t.p, t.cred) == auth.DatabaseType {
		return t.login(ctx)
	}
	if t.p.Protocol == provider.FTP {
		return t.ftpLogin(ctx)
	}
	if dead := auth.GrantOf(t.p, t.cred).Dead; dead != nil {
		return verdictOf(dead)
	}
	inj, err := t.mint(ctx)
	if errors.Is(err, fault.TokenExpired) && !t.cred.Field("refresh_token").Empty() {
		return unverifiable("the record holds no valid access token, and its refresh token is not spent to find out")
	}
	if err != nil {
		return verdictOf(err)
	}
	if t.expires = inj.Expiry; t.expires.IsZero() {
		t.expires = inj.Ends
	}
	a := &asker{trial: t, inj: inj, needs: t.needs, probe: probeOf(t.p.Name)}
	v := a.lapsed(a.verify(ctx))
	if accepted := v.status == OK || v.status == Warning; accepted {
		a.explore(ctx)
	}
	if told, ok := a.lines[Authorization]; ok { // by the probe, which knows more
		return told
	}
	return v
}

// lapsed takes the refusal of an access token for what it is where a refresh token
// stands beside it: the token has lived, and whether the grant does is not known. A
// 403 without a word is one only of a token whose time is over.
func (a *asker) lapsed(v verdict) verdict {
	switch {
	case v.fault == nil || v.fault.Code != fault.CredentialsRejected:
		return v
	case !a.cred.Field("refresh_token").Empty() && a.material().Renews():
		return unverifiable(v.detail + "; that is the access token that is held; a refresh token stands beside it, which brings the next and is not spent to find out: sallyport credential refresh " + a.cred.Ref.String())
	case a.first.means == provider.Expired && a.first.mute() && (a.expires.IsZero() || a.expires.After(a.now())):
		return unverifiable(v.detail + " without a word, which may mean that the token has expired, or something else")
	}
	return v
}

// mint makes an injector. A refresh token is never spent: whoever keeps it for
// requests would lose it.
func (t *trial) mint(ctx context.Context) (*auth.Injector, error) {
	return auth.Mint(ctx, auth.Material{
		Credential: t.cred, Provider: t.p, Client: t.client, Now: t.now,
		Renew: t.cred.Field("refresh_token").Empty(), // asked anew, but nothing is spent
	})
}

// verify sends the provider's verify request. Where it has none, a token that
// was minted over the network is the proof.
func (a *asker) verify(ctx context.Context) verdict {
	switch {
	case a.p.Verify.Path == "" && len(a.rec.taken()) > 0:
		return ok("the token endpoint gave a token; the provider has no verify request")
	case a.p.Verify.Path == "":
		return a.proved(ctx)
	case a.inj.BodyPlace() && bodiless(a.p.Verify.Method):
		return unverifiable("the credential goes into a body, and the verify request has none")
	case a.inj.Certificate != nil && a.certified == nil:
		return unverifiable("the credential is a client certificate, which cannot be shown here")
	case a.inj.Certificate != nil:
		a.rec.next = a.certified(a.p, a.inj.Certificate)
	}
	ask := a.p.Verify
	if a.probe.verify != nil {
		ask = a.probe.verify(a, ask)
	}
	a.first = a.ask(ctx, ask)
	if f := a.first.fault; a.inj.Certificate != nil && f != nil && alerted(f) {
		return verdict{status: Error, detail: f.Detail, fault: fault.New(fault.CredentialsRejected, f.Detail, f)}
	}
	return a.judge(a.first)
}

// alerted reports whether the other side ended the TLS handshake: it did not take
// the client certificate. What we do not take of it is no alert of its own.
func alerted(err error) bool {
	var op *net.OpError
	return errors.Is(err, fault.TLSCertificate) && errors.As(err, &op) && op.Op == "remote error"
}

// bodiless reports whether requests of that method have no body; empty is GET.
func bodiless(method string) bool {
	return method == "" || method == http.MethodGet || method == http.MethodHead
}
