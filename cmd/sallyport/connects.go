package main

import (
	"context"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// callbackPath is where consent pages redirect to, below the public URL.
const callbackPath = "/oauth/callback"

// apps gives the OAuth clients of providers; every store keeps them.
func (a *app) apps() credential.Apps {
	apps, _ := a.base.(credential.Apps)
	return apps
}

// connector gives the admin API its connects.
type connector struct{ *auth.Connects }

// connector makes the daemon's connects. Their checks are as any.
func (a *app) connector(check *checker.Checker, history *checker.History) connector {
	a.connects = auth.NewConnects(auth.ConnectOptions{
		Store: a.store, Apps: a.apps(), Client: a.client, Redirect: a.redirectURI, Changed: a.Changed, Life: a.life, Log: a.log, Metrics: a.tokens,
		Check: func(ctx context.Context, p *provider.Provider, c *credential.Credential) auth.Checked {
			rep := check.Check(ctx, p, c)
			if c.Version != 0 {
				history.Put(rep)
			}
			return checked(rep)
		},
	})
	return connector{a.connects}
}

// checked is what a connect wants to know of a report.
func checked(rep *checker.Report) auth.Checked {
	var got auth.Checked
	for _, s := range rep.Steps {
		got.Steps = append(got.Steps, auth.Step(s))
	}
	if rep.Status == checker.Error && rep.Fault != nil {
		got.Fault = fault.New(rep.Fault.Code, rep.Fault.Detail, nil)
		return got
	}
	for _, line := range rep.Checks {
		if line.Status != checker.OK {
			got.Warnings = append(got.Warnings, strings.TrimSuffix(line.Name+" is "+string(line.Status)+": "+line.Detail, ": "))
		}
	}
	return got
}

// redirectURI is where consent pages redirect to; empty: nobody listens there.
func (a *app) redirectURI() string {
	cfg := a.cfg.Load()
	switch {
	case a.local && a.cli.redirect != "":
		return a.cli.redirect
	case cfg.Admin.PublicURL != "":
		return strings.TrimRight(cfg.Admin.PublicURL, "/") + callbackPath
	case a.local:
		return callbackAt(cfg.Admin.Listen)
	case a.doors != nil && a.doors.admin != nil:
		return callbackAt(a.doors.admin.Addr().String())
	}
	return ""
}

// callbackAt is the redirect URI at a listener's address on this machine; empty
// for one that has no port.
func callbackAt(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || host == "localhost" || ip != nil && (ip.IsUnspecified() || ip.IsLoopback() && ip.To4() != nil) {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + callbackPath
}

// publicHost is the Host name by which browsers reach the admin listener; nil:
// only loopback.
func publicHost(cfg *configs.Config) []string {
	if u, err := url.Parse(cfg.Admin.PublicURL); err == nil && u.Host != "" {
		return []string{u.Host}
	}
	return nil
}

// Begin implements admin.Connector.
func (c connector) Begin(ctx context.Context, r admin.ConnectRequest) (admin.ConnectBegun, error) {
	got, err := c.Connects.Begin(ctx, auth.ConnectRequest(r))
	return admin.ConnectBegun{
		ID: got.ID, AuthorizationURL: got.AuthorizationURL, ExpiresAt: moment(got.Expires),
		UserCode: got.UserCode, VerificationURI: got.VerificationURI, VerificationURIComplete: got.VerificationURIComplete,
	}, err
}

// Connect implements admin.Connector.
func (c connector) Connect(id string) (admin.Connect, error) { return connectView(c.Get(id)) }

// Callback implements admin.Connector.
func (c connector) Callback(ctx context.Context, query string) (admin.Connect, error) {
	return connectView(c.Connects.Callback(ctx, query))
}

// Paste implements admin.Connector.
func (c connector) Paste(ctx context.Context, id, url string) (admin.Connect, error) {
	return connectView(c.Connects.Paste(ctx, id, url))
}

func connectView(got auth.Connect, err error) (admin.Connect, error) {
	if err != nil {
		return admin.Connect{}, err
	}
	v := admin.Connect{
		ID: got.ID, Credential: got.Ref.String(), Test: got.Test, State: got.State, Fault: checker.NewFault(got.Fault),
		Steps: []checker.Step{}, Warnings: append([]string{}, got.Warnings...),
	}
	for _, s := range got.Steps {
		v.Steps = append(v.Steps, checker.Step(s))
	}
	if got.State == auth.ConnectPending {
		v.ExpiresAt = moment(got.Expires)
	}
	return v, nil
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
