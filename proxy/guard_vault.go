package proxy

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

// vaultRemembered is how long the addresses of Vault's name are believed.
const vaultRemembered = 30 * time.Second

// vaultAddress knows where Vault is, so that no runner reaches it through us.
type vaultAddress struct {
	authority provider.Authority
	owned     func() bool // a provider owns the authority; nil: never
	resolver  Resolver

	mu    sync.Mutex
	addrs []netip.Addr
	asked time.Time
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

// at reports whether to is an address of Vault and is not to be reached.
func (v *vaultAddress) at(ctx context.Context, to netip.AddrPort) bool {
	if v == nil || int(to.Port()) != v.authority.Port || v.open() {
		return false
	}
	return slices.Contains(v.known(ctx), to.Addr())
}

func (v *vaultAddress) open() bool { return v.owned != nil && v.owned() }

// known gives Vault's addresses, the last known ones where its name does not
// resolve now.
func (v *vaultAddress) known(ctx context.Context) []netip.Addr {
	if a, ok := v.authority.Addr(); ok {
		return []netip.Addr{a.Unmap()}
	}
	v.mu.Lock()
	addrs, asked := v.addrs, v.asked
	v.mu.Unlock()
	if !asked.IsZero() && time.Since(asked) < vaultRemembered {
		return addrs
	}
	found, err := lookup(ctx, v.resolver, v.authority.Host)
	if err != nil {
		return addrs
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.addrs, v.asked = found, time.Now()
	return found
}

// lookup asks the resolver once, for dnsTimeout at most. Addresses are unmapped.
func lookup(ctx context.Context, r Resolver, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	found := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		found = append(found, a.Unmap())
	}
	return found, nil
}
