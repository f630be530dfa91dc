package auth

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// maxRevocations bounds how often a record is looked at again, because another
// daemon refreshed its grant while it was revoked.
const maxRevocations = 3

// Revoke ends the tokens of a record at the provider (RFC 7009): the refresh
// token, then the access token. A record that holds none is done. The record
// stays as it is. Nobody refreshes the grant here meanwhile. Errors are
// *fault.Fault: invalid_request where there is no way to revoke, field_missing,
// token_endpoint_unreachable, invalid_client.
func (k *Keeper) Revoke(ctx context.Context, d Demand) error {
	if err := d.revocable(); err != nil {
		return err
	}
	for {
		var ran bool
		var err error
		ch := k.flight.DoChan(d.Record.Ref.String(), func() (any, error) {
			err, ran = k.revoke(k.o.Life, d), true
			return Obtained{}, errRetry
		})
		select {
		case <-ch:
			if ran { // else it was another's work on the same credential
				return err
			}
		case <-ctx.Done():
			return fault.New(fault.Timeout, "the request ended while the tokens were being revoked", ctx.Err())
		}
	}
}

// revocable tells what keeps the record's tokens from being revoked at all.
func (d Demand) revocable() error {
	typ := TypeOf(d.Provider, d.Record)
	if k, _ := Lookup(typ); k.Grant == "" {
		return fault.New(fault.InvalidRequest, "type: "+typ+" has no token that could be revoked", nil)
	}
	if d.Provider.OAuth2.RevocationURL == "" {
		return fault.New(fault.InvalidRequest, "provider: "+d.Provider.Name+" has no revocation_url, so its tokens cannot be revoked here", nil)
	}
	return nil
}

// revoke goes on until the tokens that it has revoked are the record's.
func (k *Keeper) revoke(ctx context.Context, d Demand) error {
	var done []secret.Value
	for range maxRevocations {
		c, err := k.fresh(ctx, d.Record.Ref)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc([]revocation{
			{"refresh_token", c.Field("refresh_token")}, {"access_token", c.Field("access_token")},
		}, func(r revocation) bool { return r.token.Empty() || slices.ContainsFunc(done, r.token.Equal) })
		if len(left) == 0 {
			return nil
		}
		for _, r := range left {
			if err := k.end(ctx, Demand{Provider: d.Provider, Client: d.Client, Record: k.current(ctx, c)}, r); err != nil {
				return err
			}
			done = append(done, r.token)
		}
	}
	return fault.New(fault.StoreConflict, "somebody else goes on refreshing the grant", nil)
}

// revocation is of one token.
type revocation struct {
	hint  string // token_type_hint
	token secret.Value
}

// end revokes one token.
func (k *Keeper) end(ctx context.Context, d Demand, r revocation) error {
	ctx, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	req, err := r.request(ctx, Material{Credential: d.Record, Provider: d.Provider})
	if err != nil {
		return err
	}
	resp, err := d.Client.Transport.RoundTrip(req)
	if err != nil {
		return atRevocation(unreached(req.URL.Host, err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil && resp.StatusCode/100 != 2 {
		return atRevocation(unreached(req.URL.Host, err))
	}
	what, f := revoked(req.URL.Host, resp, body)
	if f != nil {
		return atRevocation(f)
	}
	k.o.Log.Info("token revoked", "credential", d.Record.Ref.String(), "token", r.hint, "answer", what)
	return nil
}

// request is that of RFC 7009 section 2.1.
func (r revocation) request(ctx context.Context, m Material) (*http.Request, error) {
	kind, _ := Lookup(TypeOf(m.Provider, m.Credential))
	endpoint, err := kind.endpointURL(m, "revocation_url", m.Provider.OAuth2.RevocationURL)
	if err != nil {
		return nil, err
	}
	t := tokenRequest{url: endpoint, params: url.Values{"token": {r.token.Reveal()}, "token_type_hint": {r.hint}}}
	if err := t.authenticate(m); err != nil {
		return nil, err
	}
	return t.plain(ctx)
}

// plain is the request as x/oauth2 would send it.
func (r *tokenRequest) plain(ctx context.Context) (*http.Request, error) {
	if r.style == oauth2.AuthStyleInParams {
		for name, v := range map[string]string{"client_id": r.id, "client_secret": r.secret} {
			if v != "" {
				r.params.Set(name, v)
			}
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, strings.NewReader(r.params.Encode()))
	if err != nil {
		return nil, unfit("the endpoint's URL is malformed")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "sallyport")
	if r.style == oauth2.AuthStyleInHeader { // RFC 6749 section 2.3.1
		req.SetBasicAuth(url.QueryEscape(r.id), url.QueryEscape(r.secret))
	}
	if r.json {
		return req, asObject(req)
	}
	return req, nil
}

// noneLeft are the errors that mean that there is nothing to revoke: the server
// revokes no tokens of that type by themselves, or the token is no good any more
// (for which RFC 7009 section 2.2 wants a 200).
var noneLeft = []string{"unsupported_token_type", "invalid_token", "invalid_grant"}

// revoked judges the answer; what is a word for it.
func revoked(host string, resp *http.Response, body []byte) (what string, f *fault.Fault) {
	status := resp.StatusCode
	a := readAnswer(reply{status, resp.Header.Get("Content-Type"), body, false})
	switch {
	case status/100 == 2:
		return "done", nil
	case status < 500 && slices.Contains(noneLeft, a.Error):
		return a.Error, nil
	case status == http.StatusUnauthorized || status < 500 && codes[a.Error] == fault.InvalidClient:
		return "", fault.New(fault.InvalidClient, "token endpoint "+host+" answered "+strconv.Itoa(status), nil)
	}
	f = noToken(host, "answered "+strconv.Itoa(status))
	if status >= 300 && status < 400 {
		f = noToken(host, "answered with a redirect, which is not followed")
	}
	f.RetryAfter = retryAfter(resp.Header, time.Now())
	return "", f
}

// atRevocation names the endpoint that f is of.
func atRevocation(f *fault.Fault) *fault.Fault { return atEndpoint("revocation", f) }
