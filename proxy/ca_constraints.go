package proxy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

// nowhere is the permitted domain of an authority for addresses only (RFC 6761
// section 6.4: it never exists).
const nowhere = "sallyport.invalid"

// hostConstraints are name constraints (RFC 5280 section 4.2.1.10). The zero
// value covers every host.
type hostConstraints struct {
	domains, notDomains []string       // "" is every name; one with a leading dot only what is below it
	nets, notNets       []netip.Prefix // none of nets: every address
}

var everyAddress = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// parsePermitted reads domains (example.com, also as .example.com or
// *.example.com: it and all below), addresses and networks. What is not listed
// is excluded, names and addresses alike; an empty list excludes nothing.
func parsePermitted(list []string) (c hostConstraints, err error) {
	if len(list) == 0 {
		return c, nil
	}
	for _, entry := range list {
		if p, ok := parseNetwork(entry); ok {
			c.nets = append(c.nets, p)
			continue
		}
		domain, err := parseDomain(entry)
		if err != nil {
			return c, fmt.Errorf("[proxy.ca] permitted: %q: %w", entry, err)
		}
		c.domains = append(c.domains, domain)
	}
	if len(c.domains) == 0 {
		c.domains = []string{nowhere}
	}
	if len(c.nets) == 0 {
		c.notNets = everyAddress
	}
	return c, nil
}

func parseNetwork(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

func parseDomain(s string) (string, error) {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "*"), ".")
	a, err := provider.ParseAuthority(s, 443)
	if err != nil || strings.ContainsAny(s, ":[") {
		return "", errors.New("is no domain, address or network")
	}
	return a.Host, nil
}

// constrain puts the constraints on a root, critical.
func (c hostConstraints) constrain(root *x509.Certificate) {
	root.PermittedDNSDomains, root.ExcludedDNSDomains = c.domains, c.notDomains
	root.PermittedIPRanges, root.ExcludedIPRanges = ipNets(c.nets), ipNets(c.notNets)
	root.PermittedDNSDomainsCritical = len(c.domains)+len(c.nets) > 0
}

// constraintsOf reads a certificate's.
func constraintsOf(cert *x509.Certificate) hostConstraints {
	return hostConstraints{
		domains: cert.PermittedDNSDomains, notDomains: cert.ExcludedDNSDomains,
		nets: prefixes(cert.PermittedIPRanges), notNets: prefixes(cert.ExcludedIPRanges),
	}
}

func (c hostConstraints) equal(o hostConstraints) bool {
	return sameSet(c.domains, o.domains) && sameSet(c.notDomains, o.notDomains) &&
		sameSet(texts(c.nets), texts(o.nets)) && sameSet(texts(c.notNets), texts(o.notNets))
}

// cover reports whether host, a name, an address or *.NAME, is inside.
func (c hostConstraints) cover(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		inside := func(p netip.Prefix) bool { return p.Contains(a.Unmap()) }
		return (len(c.nets) == 0 || slices.ContainsFunc(c.nets, inside)) && !slices.ContainsFunc(c.notNets, inside)
	}
	if below, ok := strings.CutPrefix(host, "*."); ok {
		host = "any." + below
	}
	inside := func(domain string) bool { return withinDomain(host, domain) }
	return (len(c.domains) == 0 || slices.ContainsFunc(c.domains, inside)) && !slices.ContainsFunc(c.notDomains, inside)
}

func withinDomain(host, domain string) bool {
	domain = strings.ToLower(domain)
	if strings.HasPrefix(domain, ".") {
		return strings.HasSuffix(host, domain)
	}
	return domain == "" || host == domain || strings.HasSuffix(host, "."+domain)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}

func texts(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

func ipNets(list []netip.Prefix) []*net.IPNet {
	var out []*net.IPNet
	for _, p := range list {
		out = append(out, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	return out
}

func prefixes(list []*net.IPNet) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range list {
		bits, _ := n.Mask.Size()
		if a, ok := netip.AddrFromSlice(n.IP); ok {
			out = append(out, netip.PrefixFrom(a, bits))
		}
	}
	return out
}
