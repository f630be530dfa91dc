package configs

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

// The texts of values that TOML has no type for. Each parser's error says what
// is wrong and what would be right; each format is read back as the same value.

var windows = []struct {
	unit string
	d    time.Duration
}{{"s", time.Second}, {"min", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}}

var errRate = errors.New(`is not a rate; use for example "10/s", "300/min", "5000/h", "20000/d" or "100/10s"`)

// parseRate reads COUNT/WINDOW, the window a unit or a number of them.
func parseRate(s string) (provider.Rate, error) {
	count, window, ok := strings.Cut(s, "/")
	n, err := strconv.ParseUint(count, 10, 31)
	if !ok || err != nil || n == 0 {
		return provider.Rate{}, errRate
	}
	digits := strings.TrimRight(window, "adhimns")
	times, err := strconv.ParseUint(cmp.Or(digits, "1"), 10, 16)
	if err != nil || times == 0 {
		return provider.Rate{}, errRate
	}
	for _, w := range windows {
		if window == digits+w.unit && time.Duration(times) <= 366*24*time.Hour/w.d {
			return provider.Rate{Count: int(n), Window: time.Duration(times) * w.d}, nil
		}
	}
	return provider.Rate{}, errRate
}

var sizes = []struct {
	unit string
	n    int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}

// parseSize reads a number of bytes with its unit.
func parseSize(s string) (int64, error) {
	for _, unit := range sizes {
		digits, ok := strings.CutSuffix(s, unit.unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || int64(n) > math.MaxInt64/unit.n {
			break
		}
		return int64(n) * unit.n, nil
	}
	return 0, errors.New(`is not a size; use for example "512KiB", "1MiB" or "0B"`)
}

func formatSize(n int64) string {
	for _, unit := range sizes {
		if n > 0 && n%unit.n == 0 {
			return strconv.FormatInt(n/unit.n, 10) + unit.unit
		}
	}
	return "0B"
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, errors.New(`is not a duration; use for example "30s", "5m" or "24h"`)
	}
	return d, nil
}

// formatDuration writes 336h, not 336h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}

// parsePrefix reads a network; a single address is one.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New(`is not a network; use for example "10.0.0.0/8" or "fd00::/8"`)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("is an address inside of a network; use %s or %s/%d", p.Masked(), p.Addr(), p.Addr().BitLen())
	}
	return p, nil
}

// parseProxy reads the URL of an upstream proxy; empty is none.
func parseProxy(s string) (*url.URL, error) {
	if s == "" {
		return nil, nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("is not the address of a proxy; use http://HOST:PORT or https://HOST:PORT")
	}
	if _, err := provider.ParseAuthority(u.Host, 3128); err != nil {
		return nil, err
	}
	return u, nil
}

// listWords writes choices as a, b or c.
func listWords(words []string) string {
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " \"") {
			w = strconv.Quote(w)
		}
		quoted = append(quoted, w)
	}
	last := len(quoted) - 1
	if last < 1 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}
