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
	ours      bool // from a login, not given to us: it may be revoked
	renewable bool
	life      time.Duration // how long it lives after a full renewal; 0: for ever
	left      time.Duration // how long it lived after the last one
	expiry    time.Time     // held by Vault.mu; zero: never
}

// expired reports whether the token has ended; Vault.mu is held.
func (s *session) expired() bool { return !s.expiry.IsZero() && !time.Now().Before(s.expiry) }

// method gives the login of the chosen auth method.
func (o *VaultOptions) method() (func(*Vault, context.Context) (*session, error), error) {
	switch o.Method {
	case "token":
		if o.TokenFile == "" && o.Token.Empty() {
			return nil, errors.New("vault.auth.token_file: missing; the token method needs it, or $VAULT_TOKEN")
		}
		return (*Vault).useToken, nil
	case "approle":
		if o.RoleIDFile == "" {
			return nil, errors.New("vault.auth.role_id_file: missing; the approle method needs it")
		}
		return (*Vault).useAppRole, nil
	case "kubernetes", "jwt", "userpass", "cert", "agent":
		return nil, fmt.Errorf("vault.auth.method: %s is not built yet; use token or approle", o.Method)
	}
	return nil, fmt.Errorf("vault.auth.method: %q is not a method; use token or approle", o.Method)
}

// useToken takes the token that is given, and asks Vault how long it lives.
func (v *Vault) useToken(ctx context.Context) (*session, error) {
	token := v.o.Token
	if v.o.TokenFile != "" {
		var err error
		if token, err = v.readSecret("token_file", v.o.TokenFile); err != nil {
			return nil, err
		}
		if strings.HasPrefix(token.Reveal(), "{") {
			return nil, fault.New(fault.VaultDenied, "", fmt.Errorf("vault: token_file %s holds JSON, perhaps a wrapped or encrypted token; a plain token is needed", v.o.TokenFile))
		}
	}
	s := v.newSession(token)
	var about struct {
		Data struct {
			TTL        int64      `json:"ttl"` // seconds; 0 in the last second too
			ExpireTime *time.Time `json:"expire_time"`
			Renewable  bool       `json:"renewable"`
		} `json:"data"`
	}
	err := v.call(ctx, opLogin, "auth/token/lookup-self", s.client, func(ctx context.Context, c *api.Client) error {
		return read(ctx, c, "auth/token/lookup-self", nil, &about)
	})
	if err != nil {
		return nil, err
	}
	s.renewable = about.Data.Renewable
	if about.Data.ExpireTime != nil {
		s.lives(max(time.Duration(about.Data.TTL)*time.Second, time.Second))
	}
	return s, nil
}

// useAppRole logs in with the two files, read anew.
func (v *Vault) useAppRole(ctx context.Context) (*session, error) {
	role, err := v.readSecret("role_id_file", v.o.RoleIDFile)
	if err != nil {
		return nil, err
	}
	in := map[string]string{"role_id": role.Reveal()}
	if v.o.SecretIDFile != "" {
		id, err := v.readSecret("secret_id_file", v.o.SecretIDFile)
		if err != nil {
			return nil, err
		}
		in["secret_id"] = id.Reveal()
	}
	path := "auth/" + v.o.AuthMount + "/login"
	var out grant
	err = v.call(ctx, opLogin, path, v.client, func(ctx context.Context, c *api.Client) error {
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
	return s, nil
}

// grant is the answer to a login and to a renewal.
type grant struct {
	Auth struct {
		ClientToken   secret.Value `json:"client_token"`
		LeaseDuration int64        `json:"lease_duration"` // seconds; 0: for ever
		Renewable     bool         `json:"renewable"`
	} `json:"auth"`
}

func (g *grant) ttl() time.Duration { return time.Duration(g.Auth.LeaseDuration) * time.Second }

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

// readSecret reads an operator's file that holds one secret.
func (v *Vault) readSecret(key, path string) (secret.Value, error) {
	s, readable, err := readSecretFile(path)
	if err != nil {
		return s, fault.New(fault.VaultDenied, "", fmt.Errorf("vault: %s: %w", key, err))
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
