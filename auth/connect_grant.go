package auth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Times of storing a new grant. It cannot be asked for again without the person.
const (
	keepTries = 2 * time.Minute
	keepPause = time.Second
)

// keep stores a grant, tries it, and tells what a person should know of it.
func (cs *Connects) keep(c *connect, g granted, r reply) error {
	now := time.Now()
	cs.warn(c, c.doubts(g)...)
	write := func(record *credential.Credential) {
		c.write(record, g, r, now)
	}
	if c.Test {
		write(c.record)
		c.log.add(Step{Name: "store", Detail: "a test: nothing is stored"})
		return cs.check(c, c.record)
	}
	record, err := cs.store(c, write)
	if err != nil {
		c.log.add(Step{Name: "store", Detail: "the grant was given and could not be stored: " + string(fault.From(err).Code)})
		return err
	}
	c.log.add(Step{Name: "store", Detail: "stored"})
	cs.o.Changed(c.Ref)
	return cs.check(c, record)
}

// write puts the grant and the client that it was made with into a record. The
// tokens of the grant before go.
func (c *connect) write(record *credential.Credential, g granted, r reply, now time.Time) {
	record.Type = TypeOf(c.Provider, c.record)
	for name := range c.Fields {
		record.Set(name, c.record.Field(name))
	}
	c.client.put(record)
	for _, name := range credential.TokenFields {
		record.Unset(name)
	}
	if g.scope == "" {
		g.scope = c.scope() // RFC 6749 section 5.1: it is as it was asked for
	}
	g.write(c.kind, record, now)
	if g.refresh == "" && !tellsLife(r) { // with nothing to renew it by, it is used until it is refused
		record.Unset("expires_in")
		record.Unset("expires_at")
	}
	flow := "authorization_code"
	if c.Flow == FlowDevice {
		flow = "device_code"
	}
	connected{Flow: flow, Client: c.client.from, Scopes: c.scopes, At: now.UTC()}.write(record)
}

// tellsLife reports whether an answer says when its token ends.
func tellsLife(r reply) bool {
	a := readAnswer(r)
	return seconds(a.ExpiresIn) > 0 || !TimeOf(a.ExpiresAt).IsZero() || !jwtExpiry(a.AccessToken).IsZero()
}

// store writes the grant into the record as it is by now: others may have
// written it since, and the store may be away for a while.
func (cs *Connects) store(c *connect, write func(*credential.Credential)) (*credential.Credential, error) {
	ctx, cancel := context.WithTimeout(c.life, keepTries)
	defer cancel()
	for {
		record, err := cs.o.Store.Get(ctx, c.Ref)
		if errors.Is(err, fault.CredentialNotFound) {
			record, err = &credential.Credential{Ref: c.Ref}, nil
		}
		if err == nil {
			write(record)
			if err = cs.o.Store.Put(ctx, record); err == nil {
				return record, nil
			}
		}
		switch fault.From(err).Code {
		case fault.StoreConflict, fault.VaultUnreachable, fault.VaultSealed, fault.Timeout, fault.Internal:
		default:
			return nil, err
		}
		select {
		case <-time.After(keepPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// check tries the new grant. What it finds against it is the connect's fault,
// though the grant is stored.
func (cs *Connects) check(c *connect, record *credential.Credential) error {
	if cs.o.Check == nil {
		return nil
	}
	got := cs.o.Check(c.life, c.Provider, record)
	for _, s := range got.Steps {
		c.log.add(s)
	}
	cs.warn(c, got.Warnings...)
	if got.Fault == nil {
		return nil
	}
	f := *got.Fault
	if !c.Test {
		f.Detail = strings.TrimPrefix(f.Detail+"; ", "; ") + "the grant is stored all the same"
	}
	return &f
}

func (cs *Connects) warn(c *connect, warnings ...string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.warnings = append(c.warnings, warnings...)
}

// doubts are what a person should know of a grant.
func (c *connect) doubts(g granted) []string {
	var all []string
	if g.refresh == "" {
		all = append(all, "the answer holds no refresh_token, so the grant ends with its access token"+c.offline())
	}
	if missing := g.lacks(c.scope()); len(missing) > 0 {
		all = append(all, "less was granted than was asked for; missing: "+strings.Join(missing, ", "))
	}
	return all
}

// offline says what most often makes a server give a refresh token.
func (c *connect) offline() string {
	switch at := c.Provider.OAuth2.AuthorizationURL; {
	case strings.Contains(origin(at), "google"):
		return `; Google gives one if params of [provider.oauth2] have access_type = "offline" and prompt = "consent"`
	case strings.Contains(origin(at), "github"):
		return "; a GitHub OAuth app gives tokens that last until they are revoked, a GitHub App gives refresh tokens if its user tokens expire"
	}
	return "; most servers give one for the scope offline_access, Google for access_type=offline"
}
