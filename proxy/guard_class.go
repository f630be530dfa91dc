package proxy

import "net/netip"

// addressClasses are the addresses that are not public, with the words that a
// fault tells (IANA special-purpose registries). Nobody writes it.
var addressClasses = []struct {
	prefix netip.Prefix
	class  string
}{
	{netip.MustParsePrefix("169.254.169.254/32"), "a metadata"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a metadata"},   // Azure, in public space
	{netip.MustParsePrefix("100.100.100.200/32"), "a metadata"}, // Alibaba
	{netip.MustParsePrefix("192.0.0.192/32"), "a metadata"},     // Oracle
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a shared (carrier-grade NAT)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "a documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "a benchmark"},
	{netip.MustParsePrefix("198.51.100.0/24"), "a documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "a documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "a broadcast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved"},

	{netip.MustParsePrefix("fd00:ec2::254/128"), "a metadata"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "a metadata"}, // Google, IPv6
	{netip.MustParsePrefix("::/128"), "an unspecified"},
	{netip.MustParsePrefix("::1/128"), "a loopback"},
	{netip.MustParsePrefix("64:ff9b::/96"), "a NAT64"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a NAT64"},
	{netip.MustParsePrefix("2001::/32"), "a Teredo"},
	{netip.MustParsePrefix("2001::/23"), "a reserved"}, // benchmark, ORCHID and others
	{netip.MustParsePrefix("2001:db8::/32"), "a documentation"},
	{netip.MustParsePrefix("2002::/16"), "a 6to4"},
	{netip.MustParsePrefix("3fff::/20"), "a documentation"},
	{netip.MustParsePrefix("fc00::/7"), "a private"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast"},
}

// globalIPv6 is what IANA has given out; everything else is not public.
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// addressClass says what kind of address a is, with its article; "" if it is
// public. a is unmapped.
func addressClass(a netip.Addr) string {
	for _, c := range addressClasses {
		if c.prefix.Contains(a) {
			return c.class
		}
	}
	if !a.IsValid() || (a.Is6() && !globalIPv6.Contains(a)) {
		return "a reserved"
	}
	return ""
}
