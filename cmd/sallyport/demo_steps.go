package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// demoSteps tell the story. Each run checks what its title claims. {place} is
// where the credentials lie.
var demoSteps = []struct {
	title string
	run   func(*demo, context.Context) error
}{
	{"The daemon runs, its credentials {place}, and has made a caller and a local CA.", (*demo).started},
	{"Credentials are stored once a real request has shown that they work.", (*demo).stored},
	{"Plain HTTP: the runner sends no API key, the API gets it in the header it wants.", (*demo).plain},
	{"HTTPS: the tunnel is intercepted under the local CA, the API gets name and password.", (*demo).intercepted},
	{"OAuth 2.0: the access token is fetched on first use, and used again.", (*demo).oauth},
	{"The API lets the token expire early: it is refreshed and the request sent again.", (*demo).expired},
	{"A limit: what would wait too long is told so, with the time to wait.", (*demo).limited},
	{"A password changes at the provider: its answer passes, with a diagnosis.", (*demo).failing},
	{"The report says which credential it is, why, and what to do.", (*demo).report},
	{"The metrics counted all of it.", (*demo).metrics},
	{"No secret was seen by the runner or written to the log.", (*demo).secrets},
}

func (d *demo) started(ctx context.Context) error {
	if err := d.connect(ctx); err != nil {
		return err
	}
	d.show("proxy %s, admin %s", d.daemon.Proxy, d.daemon.Admin)
	d.show("the runner gets HTTPS_PROXY=http://default:***@%s and trusts %s", d.daemon.Proxy, d.caFile())
	return nil
}

func (d *demo) stored(ctx context.Context) error {
	wrong := map[string]string{"api_key": "not-the-key"}
	if err := d.put(ctx, http.StatusUnprocessableEntity, "orders", "api_key", wrong); err != nil {
		return err
	}
	s := d.up.Secrets
	for _, c := range []struct {
		provider, kind string
		fields         map[string]string
	}{
		{"orders", "api_key", map[string]string{"api_key": s.APIKey}},
		{"crm", "basic", map[string]string{"username": "flow", "password": s.Password}},
		{"ledger", "oauth2_client_credentials", map[string]string{"client_id": "demo", "client_secret": s.ClientSecret}},
		{"parcels", "bearer", map[string]string{"token": s.Bearer}},
	} {
		if err := d.put(ctx, http.StatusCreated, c.provider, c.kind, c.fields); err != nil {
			return err
		}
	}
	return d.inVault(ctx, 4)
}

// inVault checks that Vault, if there is one, holds n credentials of the demo.
func (d *demo) inVault(ctx context.Context, n int) error {
	if d.vault == nil {
		return nil
	}
	refs, err := d.vault.records(ctx)
	if err == nil && len(refs) != n {
		err = fmt.Errorf("%d credentials lie in Vault, want %d", len(refs), n)
	}
	d.show("%d records in Vault under %s", len(refs), d.vault)
	return err
}

func (d *demo) put(ctx context.Context, want int, provider, kind string, fields map[string]string) error {
	ref := "default/production/" + provider + "/default"
	body, status, err := d.daemon.Call(ctx, http.MethodPut, "/api/v1/credentials/"+ref, map[string]any{"type": kind, "fields": fields})
	if err != nil {
		return err
	}
	var answer struct {
		Code   string
		Report struct{ Status string }
	}
	if status != want || json.Unmarshal(body, &answer) != nil {
		return fmt.Errorf("PUT %s: status %d, want %d: %s", ref, status, want, body)
	}
	d.show("%-8s %-26s -> %d, authorization %s %s", provider, kind, status, answer.Report.Status, answer.Code)
	return nil
}

func (d *demo) plain(ctx context.Context) error {
	d.up.Seen()
	if _, err := d.expect(ctx, http.StatusOK, http.MethodGet, "http://"+d.up.Plain+"/orders/42", ""); err != nil {
		return err
	}
	return d.saw("X-Api-Key", d.up.Secrets.APIKey)
}

// saw checks that exactly one request reached the API, with that header value.
func (d *demo) saw(header, value string) error {
	seen := d.up.Seen()
	if len(seen) != 1 {
		return fmt.Errorf("%d requests reached the API, want 1", len(seen))
	}
	h := seen[0].Header
	if got := h.Values(header); len(got) != 1 || got[0] != value {
		return fmt.Errorf("the API got %d values of %s, or a wrong one", len(got), header)
	}
	if h.Get("Proxy-Authorization") != "" {
		return errors.New("the caller's token reached the API")
	}
	d.show("the API got %s: %s", header, masked(value))
	return nil
}

// masked shows that there is a value, and of which kind.
func masked(value string) string {
	if scheme, rest, ok := strings.Cut(value, " "); ok {
		return scheme + " " + masked(rest)
	}
	return "*** (" + strconv.Itoa(len(value)) + " characters)"
}

func (d *demo) intercepted(ctx context.Context) error {
	a, err := d.expect(ctx, http.StatusOK, http.MethodGet, "https://"+d.up.TLS+"/crm/contacts", "")
	if err != nil {
		return err
	}
	issuer := a.TLS.PeerCertificates[0].Issuer
	d.show("%s inside the tunnel, certificate signed by %q", a.Proto, issuer.CommonName)
	want, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return err
	}
	want.SetBasicAuth("flow", d.up.Secrets.Password)
	return d.saw("Authorization", want.Header.Get("Authorization"))
}

func (d *demo) oauth(ctx context.Context) error {
	before := len(d.up.Minted())
	for range 3 {
		if _, err := d.expect(ctx, http.StatusOK, http.MethodGet, "https://"+d.up.TLS+"/ledger/accounts", ""); err != nil {
			return err
		}
	}
	minted := d.up.Minted()
	if len(minted)-before > 1 || len(d.up.Seen()) != 3 {
		return fmt.Errorf("%d tokens were fetched for 3 requests, want 1 at most", len(minted)-before)
	}
	d.show("3 requests with one token")
	return nil
}

func (d *demo) expired(ctx context.Context) error {
	before := len(d.up.Minted())
	d.up.Expire()
	const body = `{"amount":12}`
	if _, err := d.expect(ctx, http.StatusOK, http.MethodPost, "https://"+d.up.TLS+"/ledger/entries", body); err != nil {
		return err
	}
	seen := d.up.Seen()
	if len(seen) != 2 || seen[0].Status != http.StatusUnauthorized || seen[1].Status != http.StatusOK {
		return fmt.Errorf("%d tries reached the API, want one refused and one served", len(seen))
	}
	if seen[0].Body != body || seen[1].Body != body {
		return errors.New("the second try had another body than the first")
	}
	if n := len(d.up.Minted()) - before; n != 1 {
		return fmt.Errorf("%d tokens were fetched, want 1", n)
	}
	d.show("the API saw 401, then 200 with a new token and the same body; the runner saw 200")
	return nil
}

func (d *demo) limited(ctx context.Context) error {
	target := "https://" + d.up.TLS + "/parcels/"
	for i := range 2 {
		if _, err := d.expect(ctx, http.StatusOK, http.MethodGet, target+strconv.Itoa(i+1), ""); err != nil {
			return err
		}
	}
	a, err := d.expect(ctx, http.StatusTooManyRequests, http.MethodGet, target+"3", "")
	if err != nil {
		return err
	}
	wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if err != nil || wait < 1 || wait > 10 {
		return fmt.Errorf("Retry-After is %q, want 1 to 10 seconds at 6 requests a minute", a.Header.Get("Retry-After"))
	}
	if n := len(d.up.Seen()); n != 2 {
		return fmt.Errorf("%d requests reached the API, want 2", n)
	}
	d.show("Retry-After: %d; %s", wait, a.Header.Get("Proxy-Status"))
	return nil
}

func (d *demo) failing(ctx context.Context) error {
	d.up.ChangePassword()
	a, err := d.expect(ctx, http.StatusUnauthorized, http.MethodGet, "https://"+d.up.TLS+"/crm/contacts", "")
	if err != nil {
		return err
	}
	status := a.Header.Get("Proxy-Status")
	if !strings.Contains(status, "received-status=401") || !strings.Contains(status, `details="credentials_rejected"`) {
		return fmt.Errorf("Proxy-Status is %q, want the diagnosis credentials_rejected", status)
	}
	d.show("Proxy-Status: %s", status)
	d.up.Seen()
	return nil
}
