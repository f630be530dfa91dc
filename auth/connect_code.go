package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// Bounds of a redirect that comes in, in bytes.
const (
	maxRedirect = 16 << 10
	maxParam    = 8 << 10
)

// outcomeWait is how long who brings a redirect waits for what comes of it.
const outcomeWait = time.Minute

// probeTimeout bounds the look at the consent page.
const probeTimeout = 5 * time.Second

// beginCode gives the address of the consent page (RFC 6749 section 4.1.1), with
// a challenge (RFC 7636) and a state that is good once.
func (cs *Connects) beginCode(c *connect) (Connect, error) {
	if c.redirect = cs.o.Redirect(); c.redirect == "" {
		return Connect{}, cannot("there is no address that a consent page could redirect to: set [admin] public_url, or a TCP address in [admin] listen")
	}
	m := Material{Credential: c.record, Provider: c.Provider}
	consent, err := c.kind.endpointURL(m, "authorization_url", c.Provider.OAuth2.AuthorizationURL)
	if err != nil {
		return Connect{}, err
	}
	tokens, err := c.kind.tokenURL(m)
	if err != nil {
		return Connect{}, err
	}
	half := make([]byte, 32)
	_, _ = rand.Read(half) // it never fails
	key := base64.RawURLEncoding.EncodeToString(half)
	c.state, c.verifier, c.issuers = sha256.Sum256([]byte(key)), secret.New(oauth2.GenerateVerifier()), []string{origin(consent), origin(tokens)}
	c.log.hide(secret.New(key), c.verifier)
	address, err := c.consentURL(m, consent, c.id+"."+key)
	if err != nil {
		return Connect{}, err
	}
	cs.mu.Lock()
	v := c.view()
	cs.mu.Unlock()
	v.AuthorizationURL = address
	if probe, err := c.consentURL(m, consent, rand.Text()); err == nil {
		go cs.probe(c, probe)
	}
	return v, nil
}

// consentURL has what the provider's entry says, and then what no entry may change.
func (c *connect) consentURL(m Material, consent, state string) (string, error) {
	opts := []oauth2.AuthCodeOption{}
	for name, t := range c.Provider.OAuth2.Params {
		if isClaim(name) {
			continue
		}
		v, err := fill(t, m.Credential.Field, fitText)
		if err != nil {
			return "", err
		}
		opts = append(opts, oauth2.SetAuthURLParam(name, v))
	}
	if s := c.scope(); s != "" {
		opts = append(opts, oauth2.SetAuthURLParam("scope", s))
	}
	for name, v := range map[string]string{"response_type": "code", "client_id": c.client.id, "redirect_uri": c.redirect, "state": state} {
		opts = append(opts, oauth2.SetAuthURLParam(name, v))
	}
	opts = append(opts, oauth2.S256ChallengeOption(c.verifier.Reveal()))
	conf := oauth2.Config{ClientID: c.client.id, Endpoint: oauth2.Endpoint{AuthURL: consent}, RedirectURL: c.redirect}
	return conf.AuthCodeURL(state, opts...), nil
}

// probe looks at the consent page as a browser would that knows nobody. Most
// servers show a wrong client or redirect URI there, to the person only: so it
// is told here. A page that cannot be reached from this machine tells nothing.
func (cs *Connects) probe(c *connect, address string) {
	ctx, cancel := context.WithTimeout(c.life, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("User-Agent", "sallyport")
	w := c.log.through("authorization", cs.o.Client(c.Provider).Transport)
	resp, err := w.RoundTrip(req)
	if err != nil {
		return
	}
	_ = resp.Body.Close()
	if f := c.probed(w.last, resp.Header.Get("Location")); f != nil && cs.claim(c) {
		cs.end(c, f)
	}
}

// probed judges the answer of the consent page; nil: nothing speaks against it.
func (c *connect) probed(r reply, location string) *fault.Fault {
	if u, err := url.Parse(location); err == nil && r.Status/100 == 3 && strings.HasPrefix(location, c.redirect+"?") {
		code := u.Query().Get("error")
		switch consentCodes[code] {
		case fault.InvalidClient, fault.InvalidScope, fault.RedirectURIMismatch:
			return c.consentFault(code, u.Query().Get("error_description"))
		}
		return nil
	}
	if r.Status < 400 || r.Status > 499 {
		return nil
	}
	said := string(r.unpacked().Body)
	switch {
	case aboutRedirect(said):
		return c.redirectMismatch("the consent page refuses it")
	case strings.Contains(said, "invalid_client") || strings.Contains(said, "unauthorized_client"):
		return fault.New(fault.InvalidClient, "the consent page does not know the client", nil)
	}
	return nil
}

// origin of a URL, as scheme://host:port; empty: it is none.
func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// Callback takes the query of a redirect, and waits for what becomes of it. An
// error says that the redirect belongs to nothing here, and why; the connect's
// own fault is in the Connect.
func (cs *Connects) Callback(ctx context.Context, query string) (Connect, error) {
	return cs.redirected(ctx, "", query)
}

// Paste takes the whole URL that a browser was redirected to, for one connect.
func (cs *Connects) Paste(ctx context.Context, id, redirected string) (Connect, error) {
	if _, err := cs.Get(id); err != nil {
		return Connect{}, err
	}
	u, err := url.Parse(strings.TrimSpace(redirected))
	if err != nil || len(redirected) > maxRedirect || u.RawQuery == "" {
		return Connect{}, cannot("url: is not the address that the browser was redirected to, with its ?state= and ?code=")
	}
	return cs.redirected(ctx, id, u.RawQuery)
}

func (cs *Connects) redirected(ctx context.Context, id, query string) (Connect, error) {
	q, err := redirectQuery(query)
	if err != nil {
		return Connect{}, err
	}
	c, err := cs.take(id, q.Get("state"))
	if err != nil {
		return Connect{}, err
	}
	go cs.answered(c, q)
	wait := time.NewTimer(outcomeWait)
	defer wait.Stop()
	select {
	case <-c.done:
	case <-wait.C: // it is still pending
	case <-ctx.Done():
	}
	return cs.Get(c.id)
}

// redirectQuery reads what came in: each parameter once (RFC 6749 section 3.1).
func redirectQuery(query string) (url.Values, error) {
	if len(query) > maxRedirect {
		return nil, fault.New(fault.AuthorizationIncomplete, "the redirect is longer than any is", nil)
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, fault.New(fault.AuthorizationIncomplete, "the redirect is malformed", nil)
	}
	for _, name := range []string{"state", "code", "iss", "error", "error_description"} {
		if v := q[name]; len(v) > 1 || len(v) == 1 && (len(v[0]) > maxParam || fitText(v[0]) != "" && name != "error_description") {
			return nil, fault.New(fault.AuthorizationIncomplete, "the redirect is malformed: "+name, nil)
		}
	}
	return q, nil
}

// take finds the connect of a state and takes it: a state is good once.
func (cs *Connects) take(want, state string) (*connect, error) {
	id, key, _ := strings.Cut(state, ".")
	sum := sha256.Sum256([]byte(key))
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.all[id]
	switch {
	case c == nil, c.Flow != FlowCode, want != "" && want != id, subtle.ConstantTimeCompare(sum[:], c.state[:]) != 1:
		return nil, fault.New(fault.AuthorizationIncomplete, "the redirect belongs to no connect of this daemon: begin again", nil)
	case c.taken:
		return nil, fault.New(fault.AuthorizationIncomplete, "the redirect came too late, or a second time: begin again if the credential does not work", nil)
	}
	c.taken = true
	return c, nil
}

// answered does with a redirect what it says.
func (cs *Connects) answered(c *connect, q url.Values) {
	code, failed := q.Get("code"), q.Get("error")
	c.log.hide(secret.New(code), secret.New(q.Get("state")))
	step := Step{Name: "redirect", Detail: "a code came"}
	var err error
	switch iss := q.Get("iss"); {
	case iss != "" && !c.issuedBy(iss):
		step.Detail = "it came from another authorization server, which is named in iss (RFC 9207)"
		err = fault.New(fault.AuthorizationIncomplete, step.Detail, nil)
	case failed != "":
		step.Detail = "error=" + c.log.words(failed) + c.saying(q.Get("error_description"))
		err = c.consentFault(failed, q.Get("error_description"))
	case code == "":
		step.Detail = "neither a code nor an error came"
		err = fault.New(fault.AuthorizationIncomplete, step.Detail, nil)
	}
	c.log.add(step)
	if err == nil {
		err = cs.redeem(c, code)
	}
	cs.end(c, err)
}

// issuedBy: the issuer is not part of a provider's entry, but it has the origin
// of its endpoints.
func (c *connect) issuedBy(iss string) bool {
	o := origin(iss)
	return o != "" && (o == c.issuers[0] || o == c.issuers[1])
}

// redeem changes the code for tokens (RFC 6749 section 4.1.3), once.
func (cs *Connects) redeem(c *connect, code string) error {
	m := Material{Credential: c.record, Provider: c.Provider}
	endpoint, err := c.kind.tokenURL(m)
	if err != nil {
		return err
	}
	r, err := c.kind.newRequest(m, endpoint, "authorization_code")
	if err != nil {
		return err
	}
	for name, v := range map[string]string{"code": code, "redirect_uri": c.redirect, "code_verifier": c.verifier.Reveal()} {
		r.params.Set(name, v)
	}
	ctx, cancel := context.WithTimeout(c.life, maxSpending)
	defer cancel()
	w := c.log.through("token", cs.o.Client(c.Provider).Transport)
	start := time.Now()
	out, err := exchange(ctx, Material{Client: &http.Client{Transport: w}}, r, nil)
	if err != nil {
		err = c.tokenFault(err, w.last)
	}
	cs.o.Metrics.refreshed(c.Provider.Name, "authorization_code", outcomeName(err), time.Since(start))
	if err != nil {
		return err
	}
	return cs.keep(c, out.granted, w.last)
}
