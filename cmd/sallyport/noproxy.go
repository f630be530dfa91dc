package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

// unique gives the entries that are not empty, each once, in their order.
func unique(entries []string) []string {
	var all []string
	for _, e := range entries {
		if e != "" && !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}

// noProxyEntries splits a NO_PROXY, at commas and white space as curl does.
func noProxyEntries(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// authority gives host:port of a URL, with its scheme's port where it has none;
// empty if it is no URL with a host.
func authority(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// covered gives the providers that some client would reach past the proxy
// because of a NO_PROXY entry, each with the first host that the entry covers.
func covered(entry string, providers []*provider.Provider) []string {
	var found []string
	for _, p := range providers {
		i := slices.IndexFunc(p.Hosts, func(host string) bool { return covers(entry, host) })
		if i >= 0 {
			found = append(found, p.Hosts[i]+" of provider "+p.Name)
		}
	}
	return found
}

// some names the first few of a list.
func some(list []string) string {
	const few = 3
	if len(list) <= few {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
}

// covers reports whether some client takes a NO_PROXY entry for a host pattern
// of a provider: host, host:port, *.host, with {field} for anything. Clients
// differ; the widest reading counts.
func covers(entry, pattern string) bool {
	entry, pattern = strings.ToLower(entry), strings.ToLower(pattern)
	if entry == "*" {
		return true
	}
	host, port := splitPort(pattern)
	name, entryPort := splitPort(entry)
	if entryPort != "" && entryPort != port && (port != "" || entryPort != "443" && entryPort != "80") {
		return false
	}
	if network, err := netip.ParsePrefix(entry); err == nil {
		ip, err := netip.ParseAddr(host)
		return err == nil && network.Contains(ip)
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "*"), ".")
	if name == "" {
		return false
	}
	if fixed, ok := fixedSuffix(host); ok { // any host below fixed
		return below(fixed, name) || below(name, fixed)
	}
	return below(host, name)
}

// below reports whether host is name or ends in .name.
func below(host, name string) bool { return host == name || strings.HasSuffix(host, "."+name) }

// fixedSuffix gives what every host of a pattern with a * or a {field} ends in;
// false if the pattern is one host.
func fixedSuffix(pattern string) (string, bool) {
	i := strings.LastIndexAny(pattern, "*}")
	if i < 0 {
		return pattern, false
	}
	_, rest, _ := strings.Cut(pattern[i:], ".")
	return rest, true
}

// splitPort splits host:port; without a port, the brackets of an address go all the same.
func splitPort(s string) (host, port string) {
	if host, port, err := net.SplitHostPort(s); err == nil {
		return host, port
	}
	return strings.Trim(s, "[]"), ""
}
