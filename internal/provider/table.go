package provider

import (
	"cmp"
	"slices"
	"strings"
)

// Table finds providers by name and by the hosts that they list. It is
// immutable; its look-ups allocate nothing.
type Table struct {
	all    []*Provider
	byName map[string]*Provider
	exact  map[Authority][]*Provider // the owners, most specific host first
	below  map[Authority][]*Provider // of *.Host, likewise
}

// Conflict tells two providers that own the same path of the same host.
type Conflict struct {
	A, B *Provider
	Host string // the pattern as A writes it
	Path string // "/" for every path
}

// NewTable makes a table of providers whose names differ. Hosts with a {field}
// are left out, and so are those that ParsePattern refuses. Of two providers in
// conflict the first by name owns the path.
func NewTable(providers []*Provider) (*Table, []Conflict) {
	t := &Table{
		all:    slices.SortedFunc(slices.Values(providers), func(a, b *Provider) int { return cmp.Compare(a.Name, b.Name) }),
		byName: make(map[string]*Provider, len(providers)),
		exact:  map[Authority][]*Provider{},
		below:  map[Authority][]*Provider{},
	}
	var conflicts []Conflict
	for _, p := range t.all {
		t.byName[p.Name] = p
		for _, h := range p.Hosts {
			conflicts = t.add(p, h, conflicts)
		}
	}
	t.inherit()
	return t, conflicts
}

// Get gives the provider of that name, or nil.
func (t *Table) Get(name string) *Provider { return t.byName[name] }

// All gives the providers by name. The slice is the table's own.
func (t *Table) All() []*Provider { return t.all }

// Owners gives the providers that own any path of a by their listed hosts, the
// most specific host first. The slice is the table's own.
func (t *Table) Owners(a Authority) []*Provider {
	if ps, ok := t.exact[a]; ok {
		return ps
	}
	return t.wildcard(a)
}

// wildcard gives the owners by the longest *.suffix above a's host.
func (t *Table) wildcard(a Authority) []*Provider {
	if len(t.below) == 0 {
		return nil
	}
	for host := a.Host; ; {
		_, above, ok := strings.Cut(host, ".")
		if !ok {
			return nil
		}
		if ps, ok := t.below[Authority{above, a.Port}]; ok {
			return ps
		}
		host = above
	}
}

// PathOwner gives, of the owners of a host, the one with the longest prefix of
// path in whole segments; among equals the first. It is nil if none owns path. A
// path with dot segments is nobody's where paths divide the host: what it would
// reach is for the upstream to say.
func PathOwner(ps []*Provider, path string) *Provider {
	var owner *Provider
	best := -1
	for _, p := range ps {
		if len(p.Paths) > 0 && dotted(path) {
			return nil
		}
		if n := p.prefix(path); n > best {
			owner, best = p, n
		}
	}
	return owner
}

// prefix is the length of the longest of the provider's paths that holds path;
// 0 if it owns every path, -1 if it does not own this one.
func (p *Provider) prefix(path string) int {
	if len(p.Paths) == 0 {
		return 0
	}
	best := -1
	for _, prefix := range p.Paths {
		prefix = strings.TrimRight(prefix, "/")
		if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || rest[0] == '/') {
			best = max(best, len(prefix))
		}
	}
	return best
}

// dotted reports whether a server could take path for another one: it has
// segments of dots, as they stand or once encoded or reversed slashes count.
func dotted(path string) bool {
	if !strings.Contains(path, "/.") && !strings.ContainsAny(path, `%\`) {
		return false
	}
	for segment := range strings.SplitSeq(slashes.Replace(path), "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

var slashes = strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", "/", "%5C", "/", `\`, "/")

func (t *Table) add(p *Provider, host string, conflicts []Conflict) []Conflict {
	pattern, err := ParsePattern(host)
	if templated(host) || err != nil {
		return conflicts
	}
	m := t.exact
	if pattern.Wildcard {
		m = t.below
	}
	for _, port := range pattern.ports() {
		a := Authority{pattern.Host, port}
		if slices.Contains(m[a], p) {
			continue
		}
		for _, q := range m[a] {
			conflicts = clash(q, p, host, conflicts)
		}
		m[a] = append(m[a], p)
	}
	return conflicts
}

// clash adds the paths that both own, each once.
func clash(a, b *Provider, host string, conflicts []Conflict) []Conflict {
	for _, path := range rootIfNone(a.Paths) {
		same := func(q string) bool { return strings.TrimRight(q, "/") == strings.TrimRight(path, "/") }
		c := Conflict{A: a, B: b, Host: host, Path: path}
		if slices.ContainsFunc(rootIfNone(b.Paths), same) && !slices.Contains(conflicts, c) {
			conflicts = append(conflicts, c)
		}
	}
	return conflicts
}

func rootIfNone(paths []string) []string {
	if len(paths) == 0 {
		return []string{"/"}
	}
	return paths
}

// inherit appends to each host the owners of the wildcards above it: they own
// the paths that the more specific host leaves.
func (t *Table) inherit() {
	byLength := func(a, b Authority) int { return cmp.Compare(len(a.Host), len(b.Host)) }
	for _, m := range []map[Authority][]*Provider{t.below, t.exact} {
		keys := make([]Authority, 0, len(m))
		for a := range m {
			keys = append(keys, a)
		}
		slices.SortFunc(keys, byLength)
		for _, a := range keys {
			for _, p := range t.wildcard(a) {
				if !slices.Contains(m[a], p) {
					m[a] = append(m[a], p)
				}
			}
		}
	}
}
