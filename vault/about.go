package vault

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/api"
)

// Health is what Vault tells of itself, whoever asks.
type Health struct {
	Version     string `json:"version"`
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`
}

// Health asks Vault how it is. It needs no login, and a sealed Vault is no error.
func (v *Vault) Health(ctx context.Context) (Health, error) {
	ctx, cancel := limit(ctx, loginLimit)
	defer cancel()
	var h Health
	err := v.call(ctx, "health", "sys/health", v.client.WithNamespace(""), func(ctx context.Context, c *api.Client) error {
		r, err := c.Sys().HealthWithContext(ctx)
		if e := (*api.ResponseError)(nil); errors.As(err, &e) {
			return &statusError{e.StatusCode}
		}
		if err != nil {
			return withoutURL(err)
		}
		if r.Version == "" {
			return errAnswer
		}
		h = Health{r.Version, r.Initialized, r.Sealed, r.Standby}
		return nil
	})
	return h, err
}

// TokenInfo is what Vault tells of a token.
type TokenInfo struct {
	Policies  []string  `json:"policies"`            // all of them, its identity's too
	Expiry    time.Time `json:"expires_at,omitzero"` // zero: never
	Renewable bool      `json:"renewable"`
}

// Token asks Vault about the token that Run holds.
func (v *Vault) Token(ctx context.Context) (TokenInfo, error) {
	var out struct {
		Data struct {
			Policies         []string   `json:"policies"`
			IdentityPolicies []string   `json:"identity_policies"`
			ExpireTime       *time.Time `json:"expire_time"`
			Renewable        bool       `json:"renewable"`
		} `json:"data"`
	}
	const path = "auth/token/lookup-self"
	err := v.do(ctx, "lookup", path, func(ctx context.Context, c *api.Client) error { return read(ctx, c, path, nil, &out) })
	if err != nil {
		return TokenInfo{}, err
	}
	t := TokenInfo{Policies: append(out.Data.Policies, out.Data.IdentityPolicies...), Renewable: out.Data.Renewable}
	if out.Data.ExpireTime != nil {
		t.Expiry = *out.Data.ExpireTime
	}
	return t, nil
}

// KVVersion gives the version of the KV engine that our records lie in: 1 or 2, asked from the mount unless the settings
// tell it.
func (v *Vault) KVVersion(ctx context.Context) (int, error) {
	m, err := v.kv(ctx)
	return m.kv, err
}
