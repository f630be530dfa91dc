package configs

import (
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// callers judges and compiles [[caller]].
func (r *report) callers(f *form, table *provider.Table) []Caller {
	seen := map[string]bool{}
	var out []Caller
	for i, c := range f.Callers {
		key := index("caller", i)
		r.part(join(key, "name"), c.Name)
		if seen[c.Name] && c.Name != "" {
			r.add(join(key, "name"), "%q is the name of two callers", c.Name)
		}
		seen[c.Name] = true
		r.part(join(key, "workspace"), c.Workspace)
		r.part(join(key, "environment"), c.Environment)
		r.token(key, &c)
		r.limits(join(key, "limits"), c.Limits)
		for j, a := range c.Allow {
			r.allow(index(join(key, "allow"), j), a, table)
		}
		out = append(out, Caller{
			c.Name, c.Workspace, c.Environment, c.TokenSHA256, c.TokenFile, r.needs(join(key, "needs"), c.Needs, table), limitsOf(c.Limits), c.Allow,
		})
	}
	return out
}

// part judges a part of a reference or a name.
func (r *report) part(key, s string) {
	if !credential.ValidPart(s) {
		r.add(key, "%q is not a name; use 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit, without ..", s)
	}
}

func (r *report) token(key string, c *callerForm) {
	c.TokenSHA256 = strings.ToLower(c.TokenSHA256)
	if sum, err := hex.DecodeString(c.TokenSHA256); err != nil || len(sum) != 0 && len(sum) != 32 {
		r.add(join(key, "token_sha256"), "is not a SHA-256 sum: 64 hexadecimal digits, as sha256sum prints them")
	}
	if c.TokenSHA256 != "" && c.TokenFile != "" {
		r.add(join(key, "token_file"), "stands beside token_sha256; set one of them")
	}
}

// needs judges and compiles what a caller needs of providers.
func (r *report) needs(key string, all map[string]needs, table *provider.Table) map[string]provider.Needs {
	out := map[string]provider.Needs{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		n := all[name]
		if table.Get(name) == nil {
			r.add(join(key, name), "%q is not a provider%s", name, r.hintProvider(name, table))
		}
		r.rights(join(join(key, name), "scopes"), n.Scopes)
		r.rights(join(join(key, name), "permissions"), n.Permissions)
		out[name] = provider.Needs{Scopes: n.Scopes, Permissions: n.Permissions}
	}
	return out
}

// rights judges names of scopes or permissions: one each, as a token endpoint takes them (RFC 6749 section 3.3).
func (r *report) rights(key string, names []string) {
	for i, s := range names {
		if s == "" || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' }) {
			r.add(index(key, i), "%q is not the name of a scope or permission; use one name an element, without spaces", s)
		}
	}
}

var (
	credentialGlob = regexp.MustCompile(`^([a-z0-9][a-z0-9._-]*\*?|\*)/(?:[a-z0-9][a-z0-9._-]*\*?|\*)$`)
	methodToken    = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
)

// allow judges one [[caller.allow]].
func (r *report) allow(key string, a Allow, table *provider.Table) {
	if len(a.Credentials)+len(a.Methods)+len(a.Paths)+len(a.Hosts) == 0 {
		r.add(key, "sets no key; it would allow everything, so leave [[caller.allow]] out or say what it allows")
	}
	for i, s := range a.Credentials {
		at := index(join(key, "credentials"), i)
		m := credentialGlob.FindStringSubmatch(s)
		if m == nil {
			r.add(at, `%q is not PROVIDER/NAME; use for example "github/main", "github/*" or "*/*", with a * only at the end of a part`, s)
			continue
		}
		if !strings.Contains(m[1], "*") && table.Get(m[1]) == nil {
			r.add(at, "%q is not a provider%s", m[1], r.hintProvider(m[1], table))
		}
	}
	for i, s := range a.Methods {
		at := index(join(key, "methods"), i)
		switch upper := strings.ToUpper(s); {
		case !methodToken.MatchString(s):
			r.add(at, "%q is not a method", s)
		case s != upper && slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, upper):
			r.add(at, "%q is not a method; use %s", s, upper)
		}
	}
	for i, s := range a.Paths {
		if err := checkPathGlob(s); err != "" {
			r.add(index(join(key, "paths"), i), "%q %s", s, err)
		}
	}
	for i, s := range a.Hosts {
		if _, err := provider.ParsePattern(s); err != nil {
			r.add(index(join(key, "hosts"), i), "%q is not a host, host:port or *.host: %v", s, err)
		}
	}
}

// checkPathGlob says what is wrong with a path of an allow entry, or nothing.
func checkPathGlob(s string) string {
	if !strings.HasPrefix(s, "/") {
		return "does not begin with /"
	}
	segments := strings.Split(s[1:], "/")
	for i, segment := range segments {
		switch {
		case segment == "**" && i < len(segments)-1:
			return "has ** before the end; ** stands for the rest of a path, * for one segment"
		case strings.Contains(segment, "*") && segment != "*" && segment != "**":
			return "has a * inside of a segment; * stands for a whole segment, ** for the rest of a path"
		case segment == "." || segment == "..":
			return "has a segment of dots, which no request is matched with"
		}
	}
	return ""
}

func (r *report) hintProvider(name string, table *provider.Table) string {
	var names []string
	for _, p := range table.All() {
		names = append(names, p.Name)
	}
	if near := nearest(name, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return "; sallyport provider list shows them"
}
