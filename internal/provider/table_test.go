package provider

import (
	"strings"
	"testing"
)

func names(ps []*Provider) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

func authority(t *testing.T, s string) Authority {
	t.Helper()
	a, err := ParseAuthority(s, 443)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOwners(t *testing.T) {
	table, conflicts := NewTable([]*Provider{
		{Name: "wide", Hosts: []string{"*.x.com"}},
		{Name: "exact", Hosts: []string{"API.x.com", "bücher.example"}, Paths: []string{"/v2"}},
		{Name: "deep", Hosts: []string{"*.deep.x.com"}},
		{Name: "port", Hosts: []string{"crm.internal:8443", "[2001:db8::1]:8443"}},
		{Name: "templated", Hosts: []string{"{shop}.y.com"}},
	})
	if len(conflicts) != 0 {
		t.Fatalf("conflicts %v; want none", conflicts)
	}
	for _, tt := range []struct{ row, authority, want string }{
		{"HM-10 the domain itself", "x.com", ""},
		{"HM-10 one label below", "a.x.com", "wide"},
		{"HM-10 two labels below", "a.b.x.com", "wide"},
		{"HM-10 no label border", "evilx.com", ""},
		{"HM-10 the suffix inside", "x.com.evil.com", ""},
		{"HM-10 trailing dot", "a.x.com.", "wide"},
		{"HM-08 case", "A.X.COM", "wide"},
		{"HM-09 A-label", "xn--bcher-kva.example", "exact"},
		{"HM-12 port 80 is upgraded", "a.x.com:80", "wide"},
		{"HM-12 other port", "a.x.com:8443", ""},
		{"HM-12 the port asked for", "crm.internal:8443", "port"},
		{"HM-12 default port of a host with a port", "crm.internal", ""},
		{"HM-12 port 80 of a host with a port", "crm.internal:80", ""},
		{"IPv6", "[2001:DB8:0::1]:8443", "port"},
		{"HM-17 exact before wildcard", "api.x.com", "exact wide"},
		{"HM-17 longer wildcard first", "a.deep.x.com", "deep wide"},
		{"HM-17 the longer wildcard's own name", "deep.x.com", "wide"},
		{"templates are not the table's", "shop.y.com", ""},
	} {
		if got := names(table.Owners(authority(t, tt.authority))); got != tt.want {
			t.Errorf("%s: Owners(%s) = %q; want %q", tt.row, tt.authority, got, tt.want)
		}
	}
	if got := names(table.All()); got != "deep exact port templated wide" {
		t.Errorf("All = %q", got)
	}
	if table.Get("port") == nil || table.Get("nobody") != nil {
		t.Error("Get does not find by name")
	}
}

func TestPatternMatchesLikeTheTable(t *testing.T) {
	for _, pattern := range []string{"*.x.com", "x.com", "x.com:8443", "*.x.com:8443"} {
		table, _ := NewTable([]*Provider{{Name: "p", Hosts: []string{pattern}}})
		p, err := ParsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"x.com", "a.x.com", "a.b.x.com", "evilx.com", "x.com.evil.com", "a.x.com:80", "x.com:8443", "a.x.com:8443"} {
			a := authority(t, s)
			if got, want := p.Match(a), len(table.Owners(a)) > 0; got != want {
				t.Errorf("HM-10: %s.Match(%s) = %v, the table says %v", pattern, s, got, want)
			}
		}
	}
}

func TestParsePatternRefuses(t *testing.T) {
	for _, s := range []string{"*", "*.", "*.*.x.com", "a*.x.com", "x.*", "https://x.com", "x.com/path", "*.127.0.0.1", "*.[::1]", "u@x.com", ""} {
		if p, err := ParsePattern(s); err == nil {
			t.Errorf("HM-11: ParsePattern(%q) = %+v; want an error", s, p)
		}
	}
}

func TestConflicts(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b Provider
		want string
	}{
		{"same host", Provider{Hosts: []string{"x.com"}}, Provider{Hosts: []string{"X.com."}}, "X.com. /"},
		{"host and its default port", Provider{Hosts: []string{"x.com"}}, Provider{Hosts: []string{"x.com:443"}}, "x.com:443 /"},
		{"same path", Provider{Hosts: []string{"x.com"}, Paths: []string{"/a/", "/b"}}, Provider{Hosts: []string{"x.com"}, Paths: []string{"/a"}}, "x.com /a/"},
		{"other path", Provider{Hosts: []string{"x.com"}, Paths: []string{"/a"}}, Provider{Hosts: []string{"x.com"}, Paths: []string{"/b"}}, ""},
		{"one owns all, one a path", Provider{Hosts: []string{"x.com"}}, Provider{Hosts: []string{"x.com"}, Paths: []string{"/b"}}, ""},
		{"other port", Provider{Hosts: []string{"x.com"}}, Provider{Hosts: []string{"x.com:8443"}}, ""},
		{"same wildcard", Provider{Hosts: []string{"*.x.com"}}, Provider{Hosts: []string{"*.x.com"}}, "*.x.com /"},
		{"wildcard and a host below", Provider{Hosts: []string{"*.x.com"}}, Provider{Hosts: []string{"a.x.com"}}, ""},
	} {
		tt.a.Name, tt.b.Name = "a", "b"
		_, conflicts := NewTable([]*Provider{&tt.b, &tt.a})
		var got []string
		for _, c := range conflicts {
			if c.A != &tt.a || c.B != &tt.b {
				t.Errorf("%s: conflict of %s and %s", tt.name, c.A.Name, c.B.Name)
			}
			got = append(got, c.Host+" "+c.Path)
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("HM-17 %s: conflicts %q; want %q", tt.name, got, tt.want)
		}
	}
}

func TestPathOwner(t *testing.T) {
	all := &Provider{Name: "all"}
	v2 := &Provider{Name: "v2", Paths: []string{"/v2", "/beta/"}}
	v2x := &Provider{Name: "v2x", Paths: []string{"/v2/x"}}
	for _, tt := range []struct {
		path string
		ps   []*Provider
		want *Provider
	}{
		{"/v2", []*Provider{all, v2, v2x}, v2},
		{"/v2/", []*Provider{all, v2, v2x}, v2},
		{"/v2/x/y", []*Provider{all, v2, v2x}, v2x},
		{"/v2/xy", []*Provider{all, v2, v2x}, v2},
		{"/v2x", []*Provider{all, v2, v2x}, all},
		{"/beta", []*Provider{v2}, v2},
		{"/other", []*Provider{v2, v2x}, nil},
		{"/", []*Provider{v2}, nil},
		{"*", []*Provider{all}, all},
		{"//v2", []*Provider{v2}, nil},
		{"/v2/../admin", []*Provider{v2}, nil},
		{"/v2/%2e%2E/admin", []*Provider{v2}, nil},
		{"/v2/..%2fadmin", []*Provider{v2}, nil},
		{`/v2/..\admin`, []*Provider{v2}, nil},
		{"/v2/..;/admin", []*Provider{v2}, nil},
		{"/v2/./x", []*Provider{all, v2}, nil},
		{"/v2/a%2Fb/c.json", []*Provider{v2}, v2},
		{"/v2/...", []*Provider{v2}, v2},
		{"/a/../b", []*Provider{all}, all},
	} {
		if got := PathOwner(tt.ps, tt.path); got != tt.want {
			t.Errorf("PathOwner(%s, %s) = %v; want %v", names(tt.ps), tt.path, got, tt.want)
		}
	}
	if PathOwner(nil, "/") != nil {
		t.Error("nobody owns a path of nobody's host")
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	table, _ := NewTable([]*Provider{{Name: "a", Hosts: []string{"*.x.com"}}, {Name: "b", Hosts: []string{"api.x.com"}, Paths: []string{"/v2"}}})
	exact, below := authority(t, "api.x.com"), authority(t, "a.b.c.x.com")
	n := testing.AllocsPerRun(100, func() {
		_ = PathOwner(table.Owners(exact), "/v2/things.json")
		_ = table.Owners(below)
	})
	if n != 0 {
		t.Errorf("%v allocations a look-up; want none", n)
	}
}
