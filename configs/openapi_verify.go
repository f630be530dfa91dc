package configs

import (
	"cmp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// whoami are the last parts of paths that tell who asks, the surest first.
var whoami = []string{
	"/me", "/users/me", "/user/me", "/whoami", "/users/current", "/users/self", "/user", "/current_user", "/currentuser", "/self",
	"/account", "/accounts/me", "/profile", "/userinfo", "/token/info", "/auth/test", "/myself",
}

// verified guesses a request that only a working credential passes.
func (i *importer) verified() error {
	best, rank := "", len(whoami)
	for path, item := range i.doc.Paths.Map() {
		if !i.asksNothing(path, item) {
			continue
		}
		n := slices.Index(whoami, unversioned(path))
		if n >= 0 && cmp.Or(cmp.Compare(n, rank), cmp.Compare(len(path), len(best)), cmp.Compare(path, best)) < 0 {
			best, rank = path, n
		}
	}
	if best == "" {
		i.say("", "no operation looks as if it told who asks, so there is no [provider.verify], by which a check would try a credential")
		return nil
	}
	i.form.Verify.Path = best
	i.say("verify", "a guess by its name: GET %s tells who asks, and only with a working credential", best)
	return nil
}

// asksNothing reports whether GET of a path needs a credential and no more.
func (i *importer) asksNothing(path string, item *openapi3.PathItem) bool {
	if item == nil || item.Get == nil || item.Get.Deprecated || len(item.Servers) > 0 || item.Get.Servers != nil || checkPrefix(path) != "" {
		return false
	}
	if s := item.Get.Security; s != nil && (len(*s) == 0 || slices.ContainsFunc(*s, func(r openapi3.SecurityRequirement) bool { return len(r) == 0 })) {
		return false // it is open
	}
	return !slices.ContainsFunc(slices.Concat(item.Parameters, item.Get.Parameters), func(p *openapi3.ParameterRef) bool {
		return p.Value != nil && p.Value.Required
	})
}

// unversioned cuts what says of which version a path is, and its ending.
func unversioned(path string) string {
	path = strings.ToLower(path)
	for _, ending := range []string{".json", "/"} {
		path = strings.TrimSuffix(path, ending)
	}
	for {
		first, rest, more := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		version := len(first) > 1 && first[0] == 'v' && strings.Trim(first[1:], "0123456789.") == ""
		if !more || first != "api" && first != "rest" && !version {
			return path
		}
		path = "/" + rest
	}
}
