package auth

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// deviceGrant is the grant type of RFC 8628 section 3.4.
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// Times of a device code.
const (
	deviceInterval = 5 * time.Second // between two questions, where the server does not tell
	slowDown       = 5 * time.Second // what a slow_down adds
	maxInterval    = time.Minute
	maxDeviceLife  = 30 * time.Minute
)

// deviceAnswer is what a device authorization endpoint gives (RFC 8628 section 3.2).
type deviceAnswer struct {
	code               secret.Value
	user, at, complete string
	life, interval     time.Duration
}

// beginDevice asks for a device code, and then for its token until there is one.
func (cs *Connects) beginDevice(ctx context.Context, c *connect) (Connect, error) {
	m := Material{Credential: c.record, Provider: c.Provider}
	if _, err := c.kind.tokenURL(m); err != nil {
		return Connect{}, err
	}
	d, err := cs.askDevice(ctx, c, m)
	if err != nil {
		return Connect{}, err
	}
	c.log.hide(d.code)
	cs.mu.Lock()
	cs.expire(c, d.life)
	v := c.view()
	cs.mu.Unlock()
	v.UserCode, v.VerificationURI, v.VerificationURIComplete = d.user, d.at, d.complete
	go func() { cs.end(c, cs.poll(c, d)) }()
	return v, nil
}

func (cs *Connects) askDevice(ctx context.Context, c *connect, m Material) (deviceAnswer, error) {
	endpoint, err := c.kind.endpointURL(m, "device_authorization_url", c.Provider.OAuth2.DeviceAuthorizationURL)
	if err != nil {
		return deviceAnswer{}, err
	}
	r := tokenRequest{url: endpoint, params: url.Values{"client_id": {c.client.id}}}
	if s := c.scope(); s != "" {
		r.params.Set("scope", s)
	}
	if err := r.authenticate(m); err != nil {
		return deviceAnswer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	req, err := r.plain(ctx)
	if err != nil {
		return deviceAnswer{}, err
	}
	w := c.log.through("device", cs.o.Client(c.Provider).Transport)
	resp, err := w.RoundTrip(req)
	if err != nil {
		return deviceAnswer{}, unreached(req.URL.Host, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body) // w has it
	return c.readDevice(req.URL.Host, resp, w.last)
}

// readDevice reads the answer, as leniently as a token endpoint's.
func (c *connect) readDevice(host string, resp *http.Response, r reply) (deviceAnswer, error) {
	m := membersOf(r)
	d := deviceAnswer{
		code: secret.New(text(m, "device_code")), user: text(m, "user_code"),
		at: text(m, "verification_uri", "verification_url"), complete: text(m, "verification_uri_complete", "verification_url_complete"),
		life: min(lifeOf(seconds(m["expires_in"])), maxDeviceLife), interval: min(lifeOf(seconds(m["interval"])), maxInterval),
	}
	if d.life <= 0 {
		d.life = connectLife
	}
	if d.interval <= 0 {
		d.interval = deviceInterval
	}
	if r.Status/100 != 2 || d.code.Empty() {
		return d, c.tokenFault(atDevice(readAnswer(r).fault(host, resp)), r)
	}
	if d.user == "" || len(d.user) > 64 || c.log.words(d.user) != d.user || !forBrowser(d.at) {
		return d, atDevice(noToken(host, "answered no user_code and verification_uri that could be shown"))
	}
	if !forBrowser(d.complete) {
		d.complete = ""
	}
	return d, nil
}

// atDevice names the endpoint that f is of; nil is an answer without a device code.
func atDevice(f *fault.Fault) error {
	if f == nil {
		return fault.New(fault.TokenEndpointUnreachable, "the device authorization endpoint answered no device_code", nil)
	}
	g := *f
	g.Detail = strings.Replace(f.Detail, "token endpoint ", "device authorization endpoint ", 1)
	return &g
}

// forBrowser reports whether a server's address may be shown and opened.
func forBrowser(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && len(raw) <= 2048 && plainWord(raw) && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil
}

// plainWord reports whether s is of visible ASCII characters only.
func plainWord(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// poll asks for the token until the person has answered (RFC 8628 section 3.5).
func (cs *Connects) poll(c *connect, d deviceAnswer) error {
	interval := d.interval
	for {
		select {
		case <-time.After(interval):
		case <-c.life.Done():
			return fault.New(fault.AuthorizationIncomplete, "it was given up", nil)
		}
		start := time.Now()
		g, r, err := cs.askGranted(c, d)
		if err == nil {
			cs.o.Metrics.refreshed(c.Provider.Name, "device_code", outcomeName(nil), time.Since(start))
			if !cs.claim(c) {
				return fault.New(fault.AuthorizationIncomplete, "it was given up", nil)
			}
			return cs.keep(c, g, r)
		}
		more, final := c.notYet(err, r)
		if final != nil {
			cs.o.Metrics.refreshed(c.Provider.Name, "device_code", outcomeName(final), time.Since(start))
			return final
		}
		interval = min(interval+more, maxInterval)
	}
}

func (cs *Connects) askGranted(c *connect, d deviceAnswer) (granted, reply, error) {
	m := Material{Credential: c.record, Provider: c.Provider}
	endpoint, err := c.kind.tokenURL(m)
	if err != nil {
		return granted{}, reply{}, err
	}
	r, err := c.kind.newRequest(m, endpoint, deviceGrant)
	if err != nil {
		return granted{}, reply{}, err
	}
	r.params.Set("device_code", d.code.Reveal())
	ctx, cancel := context.WithTimeout(c.life, maxSpending)
	defer cancel()
	w := c.log.through("token", cs.o.Client(c.Provider).Transport)
	out, err := exchange(ctx, Material{Client: &http.Client{Transport: w}}, r, nil)
	return out.granted, w.last, err
}

// notYet tells how much longer to wait before the next question, or why there is
// none.
func (c *connect) notYet(err error, r reply) (more time.Duration, final error) {
	a := readAnswer(r)
	switch a.Error {
	case "authorization_pending":
		return 0, nil
	case "slow_down":
		return slowDown, nil
	case "access_denied", "authorization_declined":
		return 0, fault.New(fault.AccessDenied, "the person said no"+c.saying(describe(r)), nil)
	case "expired_token", "code_expired":
		return 0, fault.New(fault.AuthorizationIncomplete, "the code expired before it was typed in", nil)
	}
	f := fault.From(err)
	if f.Code == fault.TokenEndpointUnreachable && r.Status/100 != 2 && r.Status/100 != 3 { // nothing was decided
		return max(slowDown, f.RetryAfter), nil
	}
	return 0, c.tokenFault(err, r)
}
