package provider

import (
	"slices"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	fields := map[string]string{"shop": "acme-1", "pod": "na1", "dots": "a.b", "upper": "Acme", "path": "a/b", "hyphen": "-a", "long": strings.Repeat("a", 64), "space": "a b", "kelvin": "\u212A"}
	get := func(name string) string { return fields[name] }
	for _, tt := range []struct{ in, want, bad string }{
		{"https://{shop}.{pod}.example.com/{shop}", "https://acme-1.na1.example.com/acme-1", ""},
		{"https://example.com", "https://example.com", ""},
		{"{absent}.example.com", "", "absent"},
		{"{dots}.example.com", "", "dots"},
		{"{upper}.example.com", "", "upper"},
		{"{path}.example.com", "", "path"},
		{"{hyphen}.example.com", "", "hyphen"},
		{"{long}.example.com", "", "long"},
		{"{space}.example.com", "", "space"},
		{"{kelvin}.example.com", "", "kelvin"},
		{"{shop}.{dots}.{absent}", "", "dots"},
	} {
		got, err := Expand(tt.in, get)
		if got != tt.want || (err != nil) != (tt.bad != "") {
			t.Errorf("Expand(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
		if err == nil {
			continue
		}
		if !strings.Contains(err.Error(), "field "+tt.bad+" ") || (fields[tt.bad] != "" && strings.Contains(err.Error(), `"`+fields[tt.bad]+`"`)) {
			t.Errorf("Expand(%q): %v; want an error that names %s and not its value", tt.in, err, tt.bad)
		}
	}
}

func TestTemplateFields(t *testing.T) {
	got := TemplateFields("https://{b}.{a_1}.{b}.example.com/{Upper}/{}")
	if !slices.Equal(got, []string{"b", "a_1"}) {
		t.Errorf("TemplateFields = %q", got)
	}
}

func TestOwnedBy(t *testing.T) {
	p := &Provider{Hosts: []string{"api.example.com", "{shop}.example.com", "*.{shop}.example.net:8443"}, BaseURL: "https://{shop}.example.com"}
	hosts, err := p.OwnedBy(func(string) string { return "acme" })
	if err != nil || !slices.Equal(hosts, []string{"acme.example.com", "*.acme.example.net:8443"}) {
		t.Errorf("OwnedBy = %q, %v", hosts, err)
	}
	if _, err := p.OwnedBy(func(string) string { return "" }); err == nil {
		t.Error("OwnedBy without the field: want an error")
	}
	if !p.Templated() || (&Provider{Hosts: []string{"a.example.com"}}).Templated() || !(&Provider{BaseURL: "https://{x}.example.com"}).Templated() {
		t.Error("Templated does not tell {field}s")
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("{a}.example.com", "x")
	f.Add("https://{a}-{b}.example.com/{a}", "evil.example.net/")
	f.Add("{a}", "{b}")
	f.Fuzz(func(t *testing.T, s, v string) {
		out, err := Expand(s, func(string) string { return v })
		fields := TemplateFields(s)
		if err != nil {
			if len(fields) == 0 || out != "" {
				t.Fatalf("Expand(%q) with %q = %q, %v", s, v, out, err)
			}
			return
		}
		if len(fields) > 0 && !isLabel(v) {
			t.Fatalf("Expand(%q) took %q for a label", s, v)
		}
		if strings.Count(out, ".") != strings.Count(s, ".") || strings.Count(out, "/") != strings.Count(s, "/") {
			t.Fatalf("Expand(%q) with %q = %q reaches out of its place", s, v, out)
		}
	})
}
