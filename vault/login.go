package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/secret"
)

// Operations, as the metric names them.
const (
	opLogin  = "login"
	opUnwrap = "unwrap"
	opRenew  = "renew"
	opMounts = "mounts"
	opRead   = "read"
	opList   = "list"
	opWrite  = "write"
)

// session is one token of ours.
type session struct {
	client    *api.Client // with the token
	token     secret.Value
	source    source // what it came from
	ours      bool   // from a login, not given to us: it may be revoked
	renewable bool
	life      time.Duration // how long it lives after a full renewal; 0: for ever
	left      time.Duration // how long it lived after the last one
	expiry    time.Time     // held by Vault.mu; zero: never
	dead      bool          // held by Vault.mu; the token was found dead, or revoked, and so is what was lent to it
}

// expired reports whether the token has ended; Vault.mu is held.
func (s *session) expired() bool { return !s.expiry.IsZero() && !time.Now().Before(s.expiry) }

// source is an operator's file and what it held at login. Another content leads to another login.
type source struct {
	path    string // "": there is none to be watched
	content secret.Value
}

// moved reports whether the file holds something else now. One that is gone or unreadable has not moved.
func (s source) moved() bool {
	if s.path == "" {
		return false
	}
	now, _, err := readSecretFile(s.path)
	return err == nil && !now.Equal(s.content)
}

// grant is the answer to a login and to a renewal.
type grant struct {
	Auth struct {
		ClientToken   secret.Value `json:"client_token"`
		LeaseDuration int64        `json:"lease_duration"` // seconds; 0: for ever
		Renewable     bool         `json:"renewable"`
		NumUses       int          `json:"num_uses"` // 0: any number
	} `json:"auth"`
}

func (g *grant) ttl() time.Duration { return time.Duration(g.Auth.LeaseDuration) * time.Second }

// logIn asks an auth method for a token. path is what follows its mount.
func (v *Vault) logIn(ctx context.Context, path string, in map[string]string) (*session, error) {
	path = "auth/" + v.o.AuthMount + "/" + path
	var out grant
	err := v.call(ctx, opLogin, path, v.client, func(ctx context.Context, c *api.Client) error {
		if err := write(ctx, c, path, in, &out); err != nil {
			return err
		}
		if out.Auth.ClientToken.Empty() {
			return errors.New("the answer holds no token")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := v.newSession(out.Auth.ClientToken)
	s.ours, s.renewable = true, out.Auth.Renewable
	s.lives(out.ttl())
	v.warnUses(out.Auth.NumUses)
	return s, nil
}

// warnUses tells that a token wears out: every read costs a use, and a few logins.
func (v *Vault) warnUses(n int) {
	if n > 0 {
		v.log.Warn("vault gave a token of few uses; each call spends one, so set token_num_uses of the role to 0", "uses", n)
	}
}

func (v *Vault) newSession(token secret.Value) *session {
	c := v.client.WithNamespace(v.o.Namespace) // a copy
	c.SetToken(token.Reveal())
	return &session{client: c, token: token}
}

// lives sets how long a new token lives from now on.
func (s *session) lives(d time.Duration) {
	if d > 0 {
		s.life, s.left, s.expiry = d, d, time.Now().Add(d)
	}
}

// readSecret reads the file that a key of [vault.auth] names and that holds one secret.
func (v *Vault) readSecret(key, path string) (secret.Value, error) {
	s, readable, err := readSecretFile(path)
	if err != nil {
		return s, fault.New(fault.VaultDenied, "vault.auth."+key+": cannot be read", err)
	}
	if strings.HasPrefix(s.Reveal(), "{") {
		return secret.Value{}, fault.New(fault.VaultDenied,
			"vault.auth."+key+": holds JSON, perhaps a whole answer of Vault or an encrypted one; it must hold the bare value", errors.New(path))
	}
	if readable {
		v.log.Warn("a secret file is readable by everybody", "key", "vault.auth."+key, "file", path)
	}
	return s, nil
}

func readSecretFile(path string) (s secret.Value, readable bool, err error) {
	data, readable, err := file.ReadOperator(path)
	if err != nil {
		return s, readable, err
	}
	if s = secret.New(strings.TrimSpace(string(data))); s.Empty() {
		return s, readable, fmt.Errorf("%s: is empty", path)
	}
	return s, readable, nil
}
