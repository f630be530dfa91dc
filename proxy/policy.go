package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Allow is one entry of a caller's policy: it matches where every key that it
// sets matches. An entry with only Hosts allows no credential.
type Allow struct {
	Credentials []string           // PROVIDER/NAME, * for a whole segment or its end
	Methods     []string           // exact
	Paths       []string           // * one segment, ** the rest
	Hosts       []provider.Pattern // unmatched hosts
}

// mayUse reports whether any entry covers the credential.
func (c *Caller) mayUse(ref credential.Ref) bool {
	return len(c.Allow) == 0 || slices.ContainsFunc(c.Allow, func(a Allow) bool { return a.covers(ref) })
}

func (a Allow) covers(ref credential.Ref) bool {
	if len(a.Credentials) == 0 {
		return !a.hostsOnly()
	}
	return slices.ContainsFunc(a.Credentials, func(p string) bool {
		prov, name, _ := strings.Cut(p, "/")
		return glob(prov, ref.Provider) && (ref.Name == "" || glob(name, ref.Name))
	})
}

func (a Allow) hostsOnly() bool {
	return len(a.Hosts) > 0 && len(a.Methods) == 0 && len(a.Paths) == 0
}

// mayCall reports whether one entry covers the credential, the method and the
// path together. A ref without a name stands for the provider as a whole.
func (c *Caller) mayCall(ref credential.Ref, method, path string) bool {
	return len(c.Allow) == 0 || slices.ContainsFunc(c.Allow, func(a Allow) bool {
		return a.covers(ref) && a.method(method) && a.path(path)
	})
}

func (a Allow) method(m string) bool {
	return len(a.Methods) == 0 || slices.Contains(a.Methods, m)
}

func (a Allow) path(p string) bool {
	return len(a.Paths) == 0 || slices.ContainsFunc(a.Paths, func(pattern string) bool { return globPath(pattern, p) })
}

// pathRules reports whether the caller's policy looks at paths at all.
func (c *Caller) pathRules() bool {
	return slices.ContainsFunc(c.Allow, func(a Allow) bool { return len(a.Paths) > 0 })
}

// methodRules reports whether the caller's policy looks at methods at all.
func (c *Caller) methodRules() bool {
	return slices.ContainsFunc(c.Allow, func(a Allow) bool { return len(a.Methods) > 0 })
}

// Fields that some servers read another method or path from than the request's
// own, which is the one that the rules have judged.
var (
	methodFields = []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"}
	pathFields   = []string{"X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Forwarded-URI"}
)

// unjudged takes from a request the fields that lead past the rules which have
// judged it: the caller's, and the paths of its provider.
func (x *exchange) unjudged(h http.Header) {
	if x.provider == nil {
		return
	}
	method, path := x.caller.methodRules(), x.caller.pathRules() || len(x.provider.Paths) > 0
	if !method && !path {
		return
	}
	for name := range h {
		if method && isAny(name, methodFields) || path && isAny(name, pathFields) {
			delete(h, name)
		}
	}
}

// isAny reports whether name is one of the fields, in any spelling.
func isAny(name string, fields []string) bool {
	return slices.ContainsFunc(fields, func(f string) bool {
		return len(f) == len(name) && strings.EqualFold(strings.ReplaceAll(name, "_", "-"), f)
	})
}

// mayReach reports whether the caller may reach a host that no provider owns.
func (c *Caller) mayReach(a provider.Authority) bool {
	return len(c.Allow) == 0 || slices.ContainsFunc(c.Allow, func(al Allow) bool {
		return slices.ContainsFunc(al.Hosts, func(p provider.Pattern) bool { return p.Match(a) })
	})
}

// glob matches one segment: * stands for any of it, a trailing * for its end.
func glob(pattern, s string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(s, prefix)
	}
	return pattern == s
}

// globPath matches segment by segment: * is exactly one, a last ** any number.
func globPath(pattern, path string) bool {
	for {
		p, prest, pmore := strings.Cut(strings.TrimPrefix(pattern, "/"), "/")
		if p == "**" && !pmore {
			return true
		}
		s, srest, smore := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		same := p == s || (p == "*" && s != "")
		switch {
		case !same:
			return false
		case pmore && !smore:
			return prest == "**" // it stands for nothing too
		case !pmore:
			return !smore
		}
		pattern, path = prest, srest
	}
}

// plainPath refuses the spellings of a path that a server may read otherwise
// than the rule that judged it: dot segments, empty segments, encoded slashes.
func plainPath(escaped string) error {
	bad := func(what string) error {
		return fault.New(fault.InvalidRequest, "the path contains "+what+", which is refused where rules look at paths", nil)
	}
	lower := strings.ToLower(escaped)
	switch {
	case strings.Contains(lower, "//"):
		return bad("an empty segment")
	case strings.Contains(lower, "%2f"), strings.Contains(lower, "%5c"), strings.Contains(lower, "%00"), strings.Contains(lower, "%25"), strings.Contains(lower, `\`):
		return bad("an encoded separator")
	}
	if dotSegments(escaped) {
		return bad("a dot segment")
	}
	return nil
}

// dotSegments reports whether a server may read the path as another one: it has
// segments of dots, as they stand or encoded, between slashes of any kind.
func dotSegments(escaped string) bool {
	if !strings.ContainsAny(escaped, ".%") {
		return false
	}
	for seg := range strings.SplitSeq(slashesAndDots.Replace(strings.ToLower(escaped)), "/") {
		if s, _, _ := strings.Cut(seg, ";"); s == "." || s == ".." {
			return true
		}
	}
	return false
}

var slashesAndDots = strings.NewReplacer("%2e", ".", "%2f", "/", "%5c", "/", `\`, "/")
