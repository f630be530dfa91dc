package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// Where a grant's client came from.
const (
	fromRequest = "request"
	fromRecord  = "record"
	fromOwn     = "own app"
	fromShared  = "shared app"
)

// oauthClient is what the authorization server knows us as.
type oauthClient struct {
	id     string
	secret secret.Value // zero: a public client
	from   string
}

// put makes it the record's own client, which its grant is refreshed with. The
// secret of an app goes to the provider's endpoints only.
func (o oauthClient) put(c *credential.Credential) {
	c.Set("client_id", secret.New(o.id))
	c.Set("client_secret", o.secret)
	if o.from == fromOwn || o.from == fromShared {
		for _, f := range endpointFields {
			c.Unset(f)
		}
	}
}

// client chooses the client of a connect: the request's, else the record's own,
// else the workspace's app, else the shared one. What an earlier connect took
// from an app is no client of the record's own: a new consent is for the app of
// today.
func (cs *Connects) client(ctx context.Context, r ConnectRequest, c *credential.Credential) (oauthClient, error) {
	if r.ClientID != "" {
		return oauthClient{r.ClientID, r.ClientSecret, fromRequest}, fitClient(r.ClientID, r.ClientSecret)
	}
	own := oauthClient{c.Field("client_id").Reveal(), c.Field("client_secret"), fromRecord}
	last, _ := connectedOf(c)
	ofApp := last.Client == fromOwn || last.Client == fromShared
	if own.id != "" && !ofApp {
		return own, fitClient(own.id, own.secret)
	}
	a, err := appOf(ctx, cs.o.Apps, r.Provider, r.Ref.Workspace)
	switch {
	case err != nil:
		return oauthClient{}, err
	case a != nil && a.Workspace == "":
		return oauthClient{a.ClientID, a.ClientSecret, fromShared}, fitClient(a.ClientID, a.ClientSecret)
	case a != nil:
		return oauthClient{a.ClientID, a.ClientSecret, fromOwn}, fitClient(a.ClientID, a.ClientSecret)
	case own.id != "":
		return own, fitClient(own.id, own.secret)
	}
	return oauthClient{}, noClient(r)
}

func noClient(r ConnectRequest) error {
	add := "sallyport app add " + r.Provider.Name
	if r.Provider.OAuth2.OwnAppOnly {
		return cannot("workspace %s has no OAuth client of its own for provider %s, which takes no shared one (own_app_only): add it with %s --workspace %s",
			r.Ref.Workspace, r.Provider.Name, add, r.Ref.Workspace)
	}
	return cannot("there is no OAuth client for provider %s: add the workspace's own with %s --workspace %s, or a shared one with %s",
		r.Provider.Name, add, r.Ref.Workspace, add)
}

// appOf gives the app that a workspace uses at a provider; nil: there is none.
func appOf(ctx context.Context, apps credential.Apps, p *provider.Provider, workspace string) (*credential.App, error) {
	if apps == nil {
		return nil, nil
	}
	a, err := apps.App(ctx, workspace, p.Name)
	if errors.Is(err, fault.NotFound) && !p.OAuth2.OwnAppOnly {
		a, err = apps.App(ctx, "", p.Name)
	}
	if errors.Is(err, fault.NotFound) {
		return nil, nil
	}
	return a, err
}

func fitClient(id string, key secret.Value) error {
	if fitText(id) != "" || strings.TrimSpace(id) != id || fitText(key.Reveal()) != "" {
		return cannot("client_id and client_secret: hold a control character, or a space around them")
	}
	return nil
}

// AppSecrets gives what a Keeper asks for the secret of a client: that of the
// workspace's app, or of the shared one, if it is of the same client. So a grant
// goes on with the client that it was made with, whatever the app is by now, and
// follows a secret that was replaced.
func AppSecrets(apps credential.Apps, get func(name string) *provider.Provider) func(context.Context, credential.Ref, string) (secret.Value, bool) {
	return func(ctx context.Context, ref credential.Ref, clientID string) (secret.Value, bool) {
		p := get(ref.Provider)
		if p == nil || apps == nil || clientID == "" {
			return secret.Value{}, false
		}
		ctx, cancel := context.WithTimeout(ctx, appTimeout)
		defer cancel()
		for _, workspace := range []string{ref.Workspace, ""} {
			if workspace == "" && p.OAuth2.OwnAppOnly {
				break
			}
			if a, err := apps.App(ctx, workspace, p.Name); err == nil && a.ClientID == clientID {
				return a.ClientSecret, true
			}
		}
		return secret.Value{}, false
	}
}

// appTimeout bounds the look for a newer secret, which a grant can do without.
const appTimeout = 2 * time.Second

// current gives the record with the secret that its client has by now. A record
// that names its own endpoint does not get what may be others' secret.
func (k *Keeper) current(ctx context.Context, c *credential.Credential) *credential.Credential {
	if k.o.Secret == nil || ownEndpoint(c) {
		return c
	}
	v, ok := k.o.Secret(ctx, c.Ref, c.Field("client_id").Reveal())
	if !ok || v.Equal(c.Field("client_secret")) {
		return c
	}
	c = c.Clone()
	c.Set("client_secret", v)
	return c
}

// endpointFields of a record take the place of the provider's endpoints.
var endpointFields = []string{"authorization_url", "token_url", "refresh_url", "revocation_url", "device_authorization_url"}

func ownEndpoint(c *credential.Credential) bool {
	return slices.ContainsFunc(endpointFields, func(f string) bool { return !c.Field(f).Empty() })
}

// connected is what sallyport_state says, under "connect", of the consent that
// the record's grant comes from.
type connected struct {
	Flow   string    `json:"flow"`
	Client string    `json:"client"` // where it came from
	Scopes []string  `json:"scopes,omitempty"`
	At     time.Time `json:"at"`
}

const connectMember = "connect"

// connectedOf reads it; ok is false for a record that no connect has written.
func connectedOf(c *credential.Credential) (s connected, ok bool) {
	raw := stateOf(c)[connectMember]
	return s, len(raw) > 0 && json.Unmarshal(raw, &s) == nil
}

func (s connected) write(c *credential.Credential) {
	state := stateOf(c)
	state[connectMember], _ = json.Marshal(s) // strings and a time cannot fail
	b, _ := json.Marshal(state)
	c.Set(credential.StateField, secret.New(string(b)))
}

// spares reports whether a record can do without a field that its kind requires:
// what a connect stored is all that the authorization server gave. A public
// client has no secret, and some servers give access tokens that last.
func (k Kind) spares(c *credential.Credential, field string) bool {
	if k.Name != grantType || field == "client_id" {
		return false
	}
	if _, ok := connectedOf(c); !ok {
		return false
	}
	return field == "client_secret" || !c.Field("access_token").Empty()
}

// lacks is the fault of a record without a field that it needs.
func (k Kind) lacks(field string) error {
	if k.Name == grantType && field == "refresh_token" {
		return fault.New(fault.AuthorizationIncomplete, "field refresh_token is missing: nobody has consented yet", nil)
	}
	return unfit("field %s is missing", field)
}

// scopesOf are those that the person is asked for.
func (c *connect) scopesOf() []string {
	last, _ := connectedOf(c.record)
	switch {
	case len(c.Scopes) > 0:
		return c.Scopes
	case len(last.Scopes) > 0:
		return last.Scopes
	}
	return slices.Clone(c.Provider.OAuth2.Scopes)
}

// scope in the provider's spelling; empty: none is asked for.
func (c *connect) scope() string {
	sep := c.Provider.OAuth2.ScopeSeparator
	if sep == "" {
		sep = " "
	}
	return strings.Join(c.scopes, sep)
}

// cannot is a fault of what was asked for.
func cannot(format string, args ...any) error {
	return fault.New(fault.InvalidRequest, fmt.Sprintf(format, args...), nil)
}
