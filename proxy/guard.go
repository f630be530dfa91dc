package proxy

import (
	"context"
	"net"
	"net/netip"
	"slices"

	"github.com/sallyport/sallyport/internal/fault"
)

// dialGuard judges every address before it is dialled. The address that it
// judged is the one that is dialled: names are resolved once, before.
type dialGuard struct {
	allow []netip.Prefix          // opened by the configuration
	own   func() []netip.AddrPort // the daemon's listeners; nil: none
	vault *vaultAddress           // nil: no Vault
	local func() []netip.Addr     // this machine's addresses
}

// judge says nothing of an address that may be dialled.
func (g *dialGuard) judge(ctx context.Context, to netip.AddrPort) *fault.Fault {
	to = netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())
	if g.ours(to) {
		return fault.New(fault.LoopDetected, "the host is one of Sallyport's own listeners", nil)
	}
	if g.vault.at(ctx, to, g.here) {
		return vaultRefused()
	}
	class := addressClass(to.Addr())
	if class == "" || g.allowed(to.Addr()) {
		return nil
	}
	return fault.New(fault.PrivateAddress, "the host has "+class+" address, and no allow_networks covers it", nil)
}

func (g *dialGuard) allowed(a netip.Addr) bool {
	return slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

// ours reports whether a connection to that address would reach one of our
// listeners. An unspecified listener is reached by every address of the
// machine; an unspecified destination reaches the machine itself.
func (g *dialGuard) ours(to netip.AddrPort) bool {
	if g.own == nil {
		return false
	}
	for _, l := range g.own() {
		if l.Port() == to.Port() && g.reaches(l.Addr().Unmap().WithZone(""), to.Addr()) {
			return true
		}
	}
	return false
}

// listensAt reports whether a listener of ours has that port.
func (g *dialGuard) listensAt(port int) bool {
	return g.own != nil && slices.ContainsFunc(g.own(), func(l netip.AddrPort) bool { return int(l.Port()) == port })
}

func (g *dialGuard) reaches(listener, to netip.Addr) bool {
	return listener == to || to.IsUnspecified() || (listener.IsUnspecified() && g.here(to))
}

// here reports whether a is an address of this machine.
func (g *dialGuard) here(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLoopback() || slices.Contains(g.local(), a)
}

func vaultRefused() *fault.Fault {
	return fault.New(fault.PrivateAddress, "the host is the address of Vault, which no provider owns", nil)
}

// machineAddresses are the addresses of this machine's interfaces, asked anew:
// they come and go.
func machineAddresses() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				addrs = append(addrs, addr.Unmap())
			}
		}
	}
	return addrs
}
