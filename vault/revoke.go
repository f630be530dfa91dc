package vault

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sync/errgroup"
)

const (
	opRevoke      = "revoke"
	opLeaseRevoke = "lease_revoke"
)

const (
	revokeLimit  = 8 * time.Second // for all leases
	revokeAtOnce = 8
)

// revokeAll revokes what was lent to us and, if it is ours, the token of s: what was lent to it ends with it.
func (v *Vault) revokeAll(ctx context.Context, s *session) {
	var with, others []*lease
	for _, l := range v.leases.close(v.ended) {
		if l.session == s && s.ours {
			with = append(with, l)
			continue
		}
		others = append(others, l)
	}
	v.revokeLeases(ctx, s, others)
	if s.ours {
		if err := v.revokeToken(ctx, s); err == nil {
			v.bury(s)
			return
		}
	}
	v.revokeLeases(ctx, s, with)
}

func (v *Vault) revokeToken(ctx context.Context, s *session) error {
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	err := v.call(ctx, opRevoke, "auth/token/revoke-self", s.client, func(ctx context.Context, c *api.Client) error {
		return write(ctx, c, "auth/token/revoke-self", struct{}{}, nil)
	})
	if err != nil {
		v.log.Warn("vault token was not revoked", "err", err)
	}
	return err
}

// bury takes note that the token of s is dead, and with it what was lent to it.
func (v *Vault) bury(s *session) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s.dead = true
}

// revokeLeases revokes each lease, with the token of s.
func (v *Vault) revokeLeases(ctx context.Context, s *session, list []*lease) {
	ctx, cancel := limit(ctx, revokeLimit)
	defer cancel()
	var (
		g      errgroup.Group
		mu     sync.Mutex
		failed int
		last   error
	)
	g.SetLimit(revokeAtOnce)
	for _, l := range list {
		v.bury(l.session)
		g.Go(func() error {
			if err := v.revokeLease(ctx, s, l); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed, last = failed+1, err
			}
			return nil
		})
	}
	_ = g.Wait() // none gives an error
	if failed > 0 {
		v.log.Warn("leases were not revoked; they end by themselves", "leases", failed, "err", last)
	}
}

func (v *Vault) revokeLease(ctx context.Context, s *session, l *lease) error {
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	return v.call(ctx, opLeaseRevoke, "sys/leases/revoke", s.client, func(ctx context.Context, c *api.Client) error {
		return write(ctx, c, "sys/leases/revoke", leaseID(l), nil)
	})
}
