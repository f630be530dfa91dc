package configs

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

func TestRates(t *testing.T) {
	for s, want := range map[string]provider.Rate{
		"10/s":    {Count: 10, Window: time.Second},
		"300/min": {Count: 300, Window: time.Minute},
		"5000/h":  {Count: 5000, Window: time.Hour},
		"20000/d": {Count: 20000, Window: 24 * time.Hour},
		"100/10s": {Count: 100, Window: 10 * time.Second},
		"1/90min": {Count: 1, Window: 90 * time.Minute},
	} {
		got, err := parseRate(s)
		if err != nil || got != want {
			t.Errorf("parseRate(%q) = %v, %v; want %v", s, got, err, want)
		}
		if again := got.String(); again != s {
			t.Errorf("formatRate(%v) = %q; want %q", got, again, s)
		}
	}
	for _, s := range []string{"", "10", "/s", "10/", "0/s", "-1/s", "+1/s", "1.5/s", "10/m", "10/sec", "10/0s", "10/s/s", "10 /s", "10/-1s", "99999999999/s", "1/9999d", "10/1s0"} {
		if got, err := parseRate(s); err == nil {
			t.Errorf("parseRate(%q) = %v; want an error", s, got)
		}
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{"1MiB": 1 << 20, "512KiB": 512 << 10, "3GiB": 3 << 30, "1MB": 1e6, "15B": 15, "0B": 0, "1KB": 1000} {
		got, err := parseSize(s)
		if err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
		if again := formatSize(got); again != s {
			t.Errorf("formatSize(%d) = %q; want %q", got, again, s)
		}
	}
	for _, s := range []string{"", "1", "MiB", "-1MiB", "1.5MiB", "1 MiB", "1mib", "9999999999999GiB"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("parseSize(%q) = %d; want an error", s, got)
		}
	}
}

func TestDurations(t *testing.T) {
	for s, want := range map[string]time.Duration{"1m": time.Minute, "336h": 336 * time.Hour, "200ms": 200 * time.Millisecond, "1h30m": 90 * time.Minute, "1m30s": 90 * time.Second, "0s": 0} {
		got, err := parseDuration(s)
		if err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", s, got, err, want)
		}
		if again := formatDuration(got); again != s {
			t.Errorf("formatDuration(%v) = %q; want %q", got, again, s)
		}
	}
	for _, s := range []string{"", "10", "-1s", "1d", "ten"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("parseDuration(%q) = %v; want an error", s, got)
		}
	}
}

func TestNetworks(t *testing.T) {
	for s, want := range map[string]string{"10.0.0.0/8": "10.0.0.0/8", "192.0.2.1": "192.0.2.1/32", "fd00::/8": "fd00::/8", "::1": "::1/128"} {
		if got, err := parsePrefix(s); err != nil || got != netip.MustParsePrefix(want) {
			t.Errorf("parsePrefix(%q) = %v, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "10.0.0.1/8", "10.0.0.0/33", "localhost", "fe80::1%eth0", "10.0.0.0/08"} {
		if got, err := parsePrefix(s); err == nil {
			t.Errorf("parsePrefix(%q) = %v; want an error", s, got)
		}
	}
}

func TestLocal(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:3128": true, "127.9.9.9:0": true, "[::1]:3128": true, "localhost:3128": true, "unix:/run/x": true, "[::ffff:127.0.0.1]:1": true,
		":3128": false, "0.0.0.0:3128": false, "[::]:3128": false, "10.0.0.1:3128": false, "sidecar:3128": false, "localhost.example.com:1": false,
	} {
		if got := local(listen); got != want {
			t.Errorf("local(%s) = %v; want %v", listen, got, want)
		}
	}
}

func TestCovered(t *testing.T) {
	constraints := []string{"crm.internal", ".example.com", "10.0.0.0/8"}
	for host, want := range map[string]bool{
		"crm.internal": true, "a.crm.internal:8443": true, "*.crm.internal": true, "{shop}.crm.internal": true, "CRM.Internal.": true,
		"evilcrm.internal": false, "*.internal": false, "example.com": true, "a.example.com": true, "10.1.2.3:8443": true, "11.0.0.1": false, "{shop}.other.internal": false,
	} {
		if got := covered(host, constraints); got != want {
			t.Errorf("covered(%s) = %v; want %v", host, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"listen", "auth", "hosts", "drain"}
	for s, want := range map[string]string{"lisen": "listen", "Listen": "listen", "host": "hosts", "hostess": "hosts", "x": "", "token": "", "": ""} {
		if got := nearest(s, names); got != want {
			t.Errorf("nearest(%q) = %q; want %q", s, got, want)
		}
	}
}

func TestListWords(t *testing.T) {
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, `a, "" or b`: {"a", "", "b"}} {
		if got := listWords(words); got != want {
			t.Errorf("listWords(%q) = %q; want %q", words, got, want)
		}
	}
}

func TestMergeChangesNeither(t *testing.T) {
	base := map[string]any{"a": map[string]any{"x": "1", "y": []any{"1"}}, "b": "1"}
	over := map[string]any{"a": map[string]any{"y": []any{"2"}, "z": "2"}, "c": "2"}
	got := merge(base, over)
	a := got["a"].(map[string]any)
	if a["x"] != "1" || a["z"] != "2" || a["y"].([]any)[0] != "2" || got["b"] != "1" || got["c"] != "2" {
		t.Errorf("merge = %v", got)
	}
	if len(base["a"].(map[string]any)) != 2 || len(base) != 2 || len(over["a"].(map[string]any)) != 2 {
		t.Errorf("merge changed %v or %v", base, over)
	}
}

func TestFaultSaysWhere(t *testing.T) {
	for want, f := range map[string]Fault{
		"a.toml:3: k: wrong": {"a.toml", 3, "k", "wrong"},
		"a.toml: wrong":      {"a.toml", 0, "", "wrong"},
		"K: wrong":           {"", 0, "K", "wrong"},
	} {
		if got := f.String(); got != want {
			t.Errorf("%+v is %q; want %q", f, got, want)
		}
	}
	if got := (Faults{{Detail: "a"}, {Detail: "b"}}).Error(); strings.Count(got, "\n") != 1 {
		t.Errorf("two faults are %q", got)
	}
}
