package provider

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseAuthority(t *testing.T) {
	for _, tt := range []struct{ row, in, want string }{
		{"plain", "api.example.com:8443", "api.example.com:8443"},
		{"default port", "api.example.com", "api.example.com:443"},
		{"underscore", "crm_api.internal", "crm_api.internal:443"},
		{"HM-06 one dot", "api.example.com.", "api.example.com:443"},
		{"HM-06 one dot and a port", "api.example.com.:8443", "api.example.com:8443"},
		{"HM-06 two dots", "api.example.com..", ""},
		{"HM-06 leading dot", ".example.com", ""},
		{"HM-06 a dot alone", ".", ""},
		{"HM-06 empty label", "api..example.com", ""},
		{"HM-07 brackets round a name", "[api.example.com]", ""},
		{"HM-07 brackets round a name with port", "[api.example.com]:443", ""},
		{"HM-07 double brackets", "[[::1]]", ""},
		{"HM-07 brackets round IPv4", "[127.0.0.1]", ""},
		{"HM-07 open bracket", "[::1", ""},
		{"HM-07 close bracket", "::1]", ""},
		{"HM-07 text after", "[::1]x:443", ""},
		{"HM-07 text before", "x[::1]:443", ""},
		{"HM-07 IPv6", "[2001:DB8::0:1]:8443", "[2001:db8::1]:8443"},
		{"HM-07 IPv6 without brackets", "2001:db8::1", ""},
		{"HM-08 case", "API.Example.COM", "api.example.com:443"},
		{"HM-08 Kelvin sign", "api.\u212Aelvin.com", ""},
		{"HM-08 Kelvin sign beside a letter", "b\u00fc\u212A.com", ""},
		{"HM-08 long s", "\u017Flack.com", ""},
		{"HM-08 full width", "\uFF41pi.example.com", ""},
		{"HM-08 ideographic full stop", "api\u3002example.com", ""},
		{"HM-09 U-label", "b\u00fccher.example", "xn--bcher-kva.example:443"},
		{"HM-09 upper-case U-label", "B\u00dcCHER.example", "xn--bcher-kva.example:443"},
		{"HM-09 A-label", "xn--bcher-kva.example", "xn--bcher-kva.example:443"},
		{"HM-09 upper-case A-label", "XN--BCHER-KVA.example", "xn--bcher-kva.example:443"},
		{"HM-09 ASCII-only Punycode", "xn--example-.com", ""},
		{"HM-09 Punycode of nothing", "xn--.com", ""},
		{"HM-09 broken Punycode", "xn--a.com", ""},
		{"HM-09 other script", "\u0430pple.com", "xn--pple-43d.com:443"},
		{"HM-12 other port", "api.example.com:80", "api.example.com:80"},
		{"HM-12 leading zero", "api.example.com:0443", ""},
		{"HM-12 empty port", "api.example.com:", ""},
		{"HM-12 at sign", "api.example.com:443@", ""},
		{"HM-12 too large", "api.example.com:65536", ""},
		{"HM-12 largest", "api.example.com:65535", "api.example.com:65535"},
		{"HM-12 negative", "api.example.com:-1", ""},
		{"HM-12 plus", "api.example.com:+443", ""},
		{"HM-12 zero", "api.example.com:0", ""},
		{"HM-12 name", "api.example.com:https", ""},
		{"HM-12 two ports", "api.example.com:443:443", ""},
		{"HM-12 other digits", "api.example.com:\u0664\u0664\u0663", ""},
		{"HM-13 user", "a@b.example", ""},
		{"HM-13 backslash", "b.example\\@a.example", ""},
		{"HM-13 port then user", "a.example:80@b.example", ""},
		{"HM-14 zone", "[fe80::1%25eth0]", ""},
		{"HM-14 zone without escape", "[fe80::1%eth0]:443", ""},
		{"HM-14 zone as domain", "[::1%25.example.com]", ""},
		{"IPv4", "127.0.0.1:80", "127.0.0.1:80"},
		{"IPv4 short form stays", "127.1", "127.1:443"},
		{"IPv4 mapped stays IPv6", "[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]:443"},
		{"empty", "", ""},
		{"port alone", ":443", ""},
		{"path", "a.example/x", ""},
		{"query", "a.example?x", ""},
		{"fragment", "a.example#x", ""},
		{"percent", "a%2eexample", ""},
		{"space", "a.example ", ""},
		{"comma", "a.example,b.example", ""},
		{"tab", "a.example\t", ""},
		{"NUL", "a.example\x00", ""},
		{"DEL", "a.example\x7f", ""},
		{"wildcard", "*.example.com", ""},
		{"not UTF-8", "a\xff.example", ""},
		{"long label", strings.Repeat("a", 64) + ".example", ""},
		{"long name", strings.Repeat("abcdefg.", 32) + "example", ""},
	} {
		t.Run(tt.row, func(t *testing.T) {
			a, err := ParseAuthority(tt.in, 443)
			if got := a.String(); tt.want != "" && (err != nil || got != tt.want) {
				t.Errorf("%s: ParseAuthority(%q) = %s, %v; want %s", tt.row, tt.in, got, err, tt.want)
			}
			if tt.want == "" && err == nil {
				t.Errorf("%s: ParseAuthority(%q) = %s; want an error", tt.row, tt.in, a)
			}
		})
	}
}

func TestParseAuthorityAsksForAPort(t *testing.T) {
	if a, err := ParseAuthority("api.example.com", 0); err == nil {
		t.Errorf("without a port = %s; want an error", a)
	}
	if _, err := ParseAuthority("api.example.com:443", 0); err != nil {
		t.Error(err)
	}
}

func TestParseAuthorityQuotesNothing(t *testing.T) {
	for _, s := range []string{"user:hunter2@api.example.com", "hunter2:443:x", "hunter2..", "[hunter2]", "hunter2:port"} {
		if _, err := ParseAuthority(s, 443); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("HM-13: ParseAuthority(%q) error %v; want one that does not quote it", s, err)
		}
	}
}

func TestAuthorityAddr(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, host := range []string{"127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001"} {
		a, err := ParseAuthority(host, 80)
		if err != nil {
			t.Fatal(err)
		}
		if addr, ok := a.Addr(); !ok || addr != loopback {
			t.Errorf("Addr of %s = %v, %v; want 127.0.0.1", host, addr, ok)
		}
	}
	for _, host := range []string{"localhost", "1.2.3.4.5", "256.0.0.1", "127.0.0.1.example.com", "08.1", "4294967296", "1_0"} {
		a, err := ParseAuthority(host, 80)
		if err != nil {
			t.Fatal(err)
		}
		if addr, ok := a.Addr(); ok {
			t.Errorf("Addr of %s = %v; want none", host, addr)
		}
	}
}

func FuzzParseAuthority(f *testing.F) {
	for _, s := range []string{"api.example.com", "[::1]:443", "b\u00fccher.x", "xn--example-.com", "127.1", "a:0443", "u@h", "\u212A"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAuthority(s, 443)
		if err != nil {
			return
		}
		if a.Host == "" || a.Port < 1 || a.Port > 65535 || !isASCII(a.Host) || strings.ToLower(a.Host) != a.Host || strings.HasSuffix(a.Host, ".") {
			t.Fatalf("ParseAuthority(%q) = %#v is not canonical", s, a)
		}
		if again, err := ParseAuthority(a.String(), 1); err != nil || again != a {
			t.Fatalf("ParseAuthority(%q) = %s, but that gives %s, %v", s, a, again, err)
		}
	})
}

func TestParseAuthorityDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _ = ParseAuthority("api.example.com:443", 443) }); n != 0 {
		t.Errorf("%v allocations for a canonical name; want none", n)
	}
}
