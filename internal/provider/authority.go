package provider

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// Authority is a host and a port in their one canonical form: two authorities
// are the same exactly if they are equal.
type Authority struct {
	Host string // ASCII, lower case, A-labels, no trailing dot; IPv6 without brackets, as netip prints it
	Port int    // 1 to 65535
}

// Limits of a host name (RFC 1035 section 2.3.4).
const (
	maxHost  = 253
	maxLabel = 63
)

// ParseAuthority reads HOST, HOST:PORT, [IPV6] or [IPV6]:PORT, as a request, a
// CONNECT, a Host field, a TLS server name or a configuration gives it. Without
// a port it is defaultPort; 0 there means that a port must be given.
//
// Whatever could be read in two ways is an error: user information, zones,
// brackets round anything but IPv6, ports that are not plain decimal, empty
// labels, characters of other parts of a URL. Errors quote nothing of s, which
// may hold a password. Old spellings of IPv4 (127.1, 0x7f000001) stay as they
// are: see Addr.
func ParseAuthority(s string, defaultPort int) (Authority, error) {
	host, port, err := splitPort(s, defaultPort)
	if err != nil {
		return Authority{}, err
	}
	if strings.HasPrefix(host, "[") {
		host, err = parseIPv6(host)
	} else {
		host, err = parseHost(host)
	}
	if err != nil {
		return Authority{}, err
	}
	return Authority{host, port}, nil
}

// String is host:port, with brackets round IPv6.
func (a Authority) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// splitPort leaves the brackets of IPv6 on the host.
func splitPort(s string, defaultPort int) (host string, port int, err error) {
	if i := strings.IndexAny(s, "/?#@\\%, \t\r\n"); i >= 0 {
		return "", 0, errors.New("the authority holds a character that does not belong there: " + strconv.QuoteRune(rune(s[i])))
	}
	host = s
	end := strings.LastIndexByte(s, ']') // the port's colon stands after it
	i := strings.IndexByte(s[end+1:], ':')
	if i < 0 {
		if defaultPort == 0 {
			return "", 0, errors.New("the authority has no port")
		}
		return host, defaultPort, nil
	}
	host = s[:end+1+i]
	port, err = parsePort(s[end+1+i+1:])
	return host, port, err
}

// parsePort takes 1 to 65535 in plain decimal, without sign or leading zero.
func parsePort(s string) (int, error) {
	if strings.IndexByte(s, ':') >= 0 {
		return 0, errors.New("the authority has more than one colon; IPv6 belongs in brackets")
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '0' || s[0] == '+' {
		return 0, errors.New("the port of the authority is not a number from 1 to 65535")
	}
	return int(n), nil
}

func parseIPv6(s string) (string, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	addr, err := netip.ParseAddr(inner)
	if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
		return "", errors.New("the brackets of the authority hold no IPv6 address")
	}
	return addr.String(), nil
}

// parseHost gives a name's canonical form; IPv4 is a name here.
func parseHost(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if plain(s) {
		return s, checkLength(s)
	}
	labels := strings.Split(s, ".")
	for i, label := range labels {
		ascii, err := parseLabel(label)
		if err != nil {
			return "", err
		}
		labels[i] = ascii
	}
	s = strings.Join(labels, ".")
	return s, checkLength(s)
}

// plain reports whether s is in canonical form already, which most names are.
func plain(s string) bool {
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && label > 0:
			label = 0
			continue
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			label++
		default:
			return false
		}
		if label > maxLabel {
			return false
		}
	}
	return label > 0 && !strings.HasPrefix(s, "xn--") && !strings.Contains(s, ".xn--")
}

func checkLength(s string) error {
	if len(s) > maxHost {
		return errors.New("the host is longer than 253 characters")
	}
	return nil
}

var errLabel = errors.New("the host has a label that is no host name")

// parseLabel folds ASCII letters only. A label with other letters becomes its
// A-label, unless that would turn one of them into ASCII: the Kelvin sign is no k.
func parseLabel(s string) (string, error) {
	s = foldASCII(s)
	if isASCII(s) && !strings.HasPrefix(s, "xn--") {
		if !plain(s) {
			return "", errLabel
		}
		return s, nil
	}
	a, err := idna.Lookup.ToASCII(s)
	if err != nil || len(a) > maxLabel || !isASCII(a) || !strings.HasPrefix(a, "xn--") {
		return "", errLabel
	}
	u, err := idna.Lookup.ToUnicode(a)
	if err != nil || isASCII(u) || (!isASCII(s) && onlyASCII(u) != onlyASCII(s)) {
		return "", errLabel
	}
	if again, err := idna.Lookup.ToASCII(u); err != nil || again != a {
		return "", errLabel
	}
	return a, nil
}

func foldASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func isASCII(s string) bool { return len(onlyASCII(s)) == len(s) }

func onlyASCII(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] < 0x80 {
			b = append(b, s[i])
		}
	}
	return string(b)
}
