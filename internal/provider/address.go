package provider

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// Addr gives the address that the host spells out, and whether it does: IPv6,
// IPv4, and IPv4 in the old spellings that resolvers and other proxies still
// take for an address (127.1, 2130706433, 0x7f000001, 0177.0.0.1).
func (a Authority) Addr() (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(a.Host); err == nil {
		return addr, addr.Zone() == ""
	}
	return oldIPv4(a.Host)
}

// Loopback reports whether the host of a URL is this machine, in so many words:
// localhost, or an address of 127.0.0.0/8 or ::1. What is sent there in the clear
// does not leave the machine.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// oldIPv4 reads what inet_aton reads: one to four numbers, each decimal, octal
// or hexadecimal, the last filling the bytes that are left.
func oldIPv4(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		n, err := strconv.ParseUint(part, 0, bits)
		if err != nil || strings.Contains(part, "_") || strings.HasPrefix(part, "0b") || strings.HasPrefix(part, "0o") {
			return netip.Addr{}, false
		}
		sum = sum<<bits | n
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(sum)))), true
}
