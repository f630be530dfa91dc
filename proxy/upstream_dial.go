package proxy

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

const (
	dnsTimeout    = 5 * time.Second
	dialTimeout   = 5 * time.Second
	dialStagger   = 250 * time.Millisecond // RFC 8305 section 5
	maxCandidates = 16                     // addresses of one host that are tried
	keepAlive     = 30 * time.Second
)

// guardedDialer resolves a host once, judges each address and dials those.
type guardedDialer struct {
	guard    *dialGuard
	resolver Resolver
	dial     func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

func systemResolver() Resolver { return &net.Resolver{} }

func dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive}}
	return d.DialContext(ctx, "tcp", to.String())
}

// connect dials the authority. Its errors are *fault.Fault where an address was
// refused, the dialer's own otherwise.
func (d *guardedDialer) connect(ctx context.Context, a provider.Authority) (net.Conn, error) {
	if d.guard.vault.named(a) {
		return nil, vaultRefused()
	}
	addrs, err := d.candidates(ctx, a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return race(ctx, addrs, d.dial)
}

// candidates are the authority's addresses that may be dialled, the families in
// turn. Only if none is left the first refusal is the error.
func (d *guardedDialer) candidates(ctx context.Context, a provider.Authority) ([]netip.AddrPort, error) {
	addrs, err := d.addresses(ctx, a)
	if err != nil {
		return nil, err
	}
	var good []netip.AddrPort
	var refused *fault.Fault
	for _, addr := range addrs {
		to := netip.AddrPortFrom(addr, uint16(a.Port))
		if f := d.guard.judge(ctx, to); f != nil {
			refused = graver(refused, f)
			continue
		}
		good = append(good, to)
	}
	if len(good) == 0 {
		return nil, refused
	}
	good = interleave(good)
	return good[:min(len(good), maxCandidates)], nil
}

// graver prefers the fault that tells more: a loop.
func graver(a, b *fault.Fault) *fault.Fault {
	if a == nil || b.Code == fault.LoopDetected {
		return b
	}
	return a
}

func (d *guardedDialer) addresses(ctx context.Context, a provider.Authority) ([]netip.Addr, error) {
	if addr, ok := a.Addr(); ok {
		return []netip.Addr{addr.Unmap()}, nil
	}
	return lookup(ctx, d.resolver, a.Host)
}

// lookup asks the resolver once, for dnsTimeout at most. Addresses are unmapped;
// whatever goes wrong is a *net.DNSError, unless ctx ended.
func lookup(ctx context.Context, r Resolver, host string) ([]netip.Addr, error) {
	limited, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	addrs, err := r.LookupNetIP(limited, "ip", host)
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && !errors.As(err, &dns):
		return nil, &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: host, IsTimeout: limited.Err() != nil}
	case err != nil:
		return nil, err
	case len(addrs) == 0:
		return nil, &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	found := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		found = append(found, a.Unmap())
	}
	return found, nil
}

// interleave takes the families in turn, beginning with the first address's.
func interleave(addrs []netip.AddrPort) []netip.AddrPort {
	var first, other []netip.AddrPort
	for _, a := range addrs {
		if a.Addr().Is4() == addrs[0].Addr().Is4() {
			first = append(first, a)
		} else {
			other = append(other, a)
		}
	}
	mixed := make([]netip.AddrPort, 0, len(addrs))
	for i := range max(len(first), len(other)) {
		if i < len(first) {
			mixed = append(mixed, first[i])
		}
		if i < len(other) {
			mixed = append(mixed, other[i])
		}
	}
	return mixed
}

type raceResult struct {
	conn net.Conn
	err  error
}

// race dials the addresses in order, the next one as soon as one failed or has
// kept us waiting for dialStagger; the first connection wins (RFC 8305). If none
// does, the first error tells why.
func race(ctx context.Context, addrs []netip.AddrPort, dial func(context.Context, netip.AddrPort) (net.Conn, error)) (net.Conn, error) {
	if len(addrs) == 1 {
		return dial(ctx, addrs[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan raceResult, len(addrs))
	var first error
	started, running := 0, 0
	for started < len(addrs) || running > 0 {
		var later <-chan time.Time
		if started < len(addrs) {
			go func(to netip.AddrPort) {
				conn, err := dial(ctx, to)
				results <- raceResult{conn, err}
			}(addrs[started])
			started++
			running++
		}
		if started < len(addrs) {
			later = time.After(dialStagger)
		}
		select {
		case <-later:
		case r := <-results:
			running--
			if r.err == nil {
				go closeLosers(results, running)
				return r.conn, nil
			}
			first = cmp.Or(first, r.err)
		case <-ctx.Done():
			go closeLosers(results, running)
			return nil, ctx.Err()
		}
	}
	return nil, first
}

// closeLosers ends the connections that came too late; their dialling was
// cancelled, so it does not wait long.
func closeLosers(results <-chan raceResult, n int) {
	for range n {
		if r := <-results; r.conn != nil {
			_ = r.conn.Close()
		}
	}
}

// splitAddress reads what net/http hands to a dialer.
func splitAddress(address string) (provider.Authority, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return provider.Authority{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return provider.Authority{}, err
	}
	return provider.Authority{Host: host, Port: int(n)}, nil
}
