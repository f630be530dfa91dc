package vault

import (
	"context"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/secret"
)

const lookupSelf = "auth/token/lookup-self"

// useToken takes the token that is given, and asks Vault how long it lives.
func (v *Vault) useToken(ctx context.Context) (*session, error) {
	token, from, err := v.givenToken()
	if err != nil {
		return nil, err
	}
	s := v.newSession(token)
	s.source = from
	about, err := v.about(ctx, s)
	if err != nil {
		return nil, err
	}
	s.renewable = about.Renewable
	if about.ExpireTime != nil {
		s.lives(max(time.Duration(about.TTL)*time.Second, time.Second))
	}
	v.warnUses(about.NumUses)
	return s, nil
}

func (v *Vault) givenToken() (token secret.Value, from source, err error) {
	if v.o.TokenFile == "" {
		return v.o.Token, source{}, nil
	}
	token, err = v.readSecret("token_file", v.o.TokenFile)
	return token, source{v.o.TokenFile, token}, err
}

// useAgent has no token: the agent at the address adds its own, and renews it.
func (v *Vault) useAgent(ctx context.Context) (*session, error) {
	s := v.newSession(secret.Value{})
	if _, err := v.about(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}

// tokenState is what Vault tells of a token.
type tokenState struct {
	TTL        int64      `json:"ttl"`         // seconds; 0 in the last second too
	ExpireTime *time.Time `json:"expire_time"` // nil: never
	Renewable  bool       `json:"renewable"`
	NumUses    int        `json:"num_uses"` // 0: any number
}

// about asks for what Vault knows of the token that calls of s carry.
func (v *Vault) about(ctx context.Context, s *session) (*tokenState, error) {
	var out struct {
		Data tokenState `json:"data"`
	}
	err := v.call(ctx, opLogin, lookupSelf, s.client, func(ctx context.Context, c *api.Client) error {
		return read(ctx, c, lookupSelf, nil, &out)
	})
	return &out.Data, err
}
