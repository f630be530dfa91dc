package provider

import (
	"fmt"
	"slices"
	"strings"
)

// TemplateFields names the {field}s in s, each once, in their order.
func TemplateFields(s string) []string {
	var names []string
	for _, m := range field.FindAllStringSubmatch(s, -1) {
		if !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

// Expand fills the {field}s of a host or URL. Each value must be one DNS label
// of a-z, 0-9 and -, so that it cannot reach out of its place; an error names
// the field, never the value.
func Expand(s string, get func(field string) string) (string, error) {
	var bad error
	out := field.ReplaceAllStringFunc(s, func(m string) string {
		name := m[1 : len(m)-1]
		v := get(name)
		switch {
		case bad != nil:
		case v == "":
			bad = fmt.Errorf("field %s is missing", name)
		case !isLabel(v):
			bad = fmt.Errorf("field %s is not one DNS label (1 to 63 of a-z, 0-9 and -)", name)
		}
		return v
	})
	if bad != nil {
		return "", bad
	}
	return out, nil
}

func isLabel(s string) bool {
	if len(s) == 0 || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Templated reports whether the hosts or the base URL have a {field}: what the
// provider owns then depends on its records.
func (p *Provider) Templated() bool {
	return strings.Contains(p.BaseURL, "{") || slices.ContainsFunc(p.Hosts, templated)
}

func templated(host string) bool { return strings.Contains(host, "{") }

// OwnedBy gives the host patterns that a record makes the provider own: those
// with a {field}, filled. Hosts without one are the table's.
func (p *Provider) OwnedBy(get func(field string) string) ([]string, error) {
	var hosts []string
	for _, h := range p.Hosts {
		if !templated(h) {
			continue
		}
		filled, err := Expand(h, get)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, filled)
	}
	return hosts, nil
}
