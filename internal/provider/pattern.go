package provider

import (
	"errors"
	"strings"
)

// Pattern is one entry of hosts: host, host:port, or *.host for any depth below
// host but not host itself.
type Pattern struct {
	Host     string // canonical, without the "*."
	Port     int    // 0: 443, and 80 to be upgraded
	Wildcard bool
}

// ParsePattern reads one entry of hosts whose {field}s are filled.
func ParsePattern(s string) (Pattern, error) {
	rest, wildcard := strings.CutPrefix(s, "*.")
	a, err := ParseAuthority(rest, anyPort)
	if err != nil {
		return Pattern{}, err
	}
	if _, isAddr := a.Addr(); wildcard && isAddr {
		return Pattern{}, errors.New("a wildcard before an address matches nothing")
	}
	return Pattern{a.Host, max(a.Port, 0), wildcard}, nil
}

// anyPort stands for an absent port while a pattern is read.
const anyPort = -1

// Match reports whether the pattern covers a.
func (p Pattern) Match(a Authority) bool {
	if p.Port != a.Port && (p.Port != 0 || (a.Port != 443 && a.Port != 80)) {
		return false
	}
	if !p.Wildcard {
		return p.Host == a.Host
	}
	below, ok := strings.CutSuffix(a.Host, p.Host)
	return ok && len(below) > 1 && below[len(below)-1] == '.'
}

// ports that the pattern covers.
func (p Pattern) ports() []int {
	if p.Port == 0 {
		return []int{443, 80}
	}
	return []int{p.Port}
}
