package proxy

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

// How long the addresses of Vault's name are believed, and that there are none.
const (
	vaultRemembered = 30 * time.Second
	vaultForgiven   = 5 * time.Second
)

// vaultAddress knows where Vault is, so that no runner reaches it through us.
type vaultAddress struct {
	authority provider.Authority
	owned     func() bool // a provider owns the authority; nil: never
	resolver  Resolver

	mu    sync.Mutex
	addrs []netip.Addr
	again time.Time // when to ask
}

// newVaultAddress of HOST:PORT; nil if that is none.
func newVaultAddress(authority string, owned func() bool, r Resolver) *vaultAddress {
	a, err := provider.ParseAuthority(authority, 0)
	if err != nil {
		return nil
	}
	return &vaultAddress{authority: a, owned: owned, resolver: r}
}

// named reports whether a is Vault's authority and is not to be reached.
func (v *vaultAddress) named(a provider.Authority) bool {
	return v != nil && a == v.authority && !v.open()
}

// at reports whether to is an address of Vault and is not to be reached. A Vault
// on this machine's loopback is taken to be on its other addresses (here), too.
func (v *vaultAddress) at(ctx context.Context, to netip.AddrPort, here func(netip.Addr) bool) bool {
	if v == nil || int(to.Port()) != v.authority.Port || v.open() {
		return false
	}
	return slices.ContainsFunc(v.known(ctx), func(a netip.Addr) bool {
		return a == to.Addr() || (a.IsLoopback() && here(to.Addr()))
	})
}

func (v *vaultAddress) open() bool { return v.owned != nil && v.owned() }

// known gives Vault's addresses, the last known ones where its name does not
// resolve now.
func (v *vaultAddress) known(ctx context.Context) []netip.Addr {
	if a, ok := v.authority.Addr(); ok {
		return []netip.Addr{a.Unmap()}
	}
	v.mu.Lock()
	addrs, fresh := v.addrs, time.Now().Before(v.again)
	v.mu.Unlock()
	if fresh {
		return addrs
	}
	found, err := lookup(ctx, v.resolver, v.authority.Host)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.again = time.Now().Add(vaultForgiven)
		return v.addrs
	}
	v.addrs, v.again = found, time.Now().Add(vaultRemembered)
	return found
}
