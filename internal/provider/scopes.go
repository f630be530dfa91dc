package provider

import (
	"net/http"
	"slices"
	"strings"
)

// Contains makes of a table of scopes that contain others a function that gives
// all that one contains, itself not among them; nil: none. Tables deeper than
// eight are cut there.
func Contains(table map[string][]string) func(scope string) []string {
	const maxDepth = 8
	var all func(scope string, depth int) []string
	all = func(scope string, depth int) []string {
		var out []string
		for _, s := range table[scope] {
			if out = append(out, s); depth > 0 {
				out = append(out, all(s, depth-1)...)
			}
		}
		return out
	}
	return func(scope string) []string { return all(scope, maxDepth) }
}

// GitHubScopes gives the scopes of classic tokens and OAuth apps that one
// contains, as GitHub's page on scopes nests them.
var GitHubScopes = Contains(map[string][]string{
	"repo":             {"repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events"},
	"admin:org":        {"write:org"},
	"write:org":        {"read:org"},
	"admin:repo_hook":  {"write:repo_hook"},
	"write:repo_hook":  {"read:repo_hook"},
	"admin:public_key": {"write:public_key"},
	"write:public_key": {"read:public_key"},
	"admin:gpg_key":    {"write:gpg_key"},
	"write:gpg_key":    {"read:gpg_key"},
	"user":             {"read:user", "user:email", "user:follow"},
	"project":          {"read:project"},
	"admin:enterprise": {"manage_runners:enterprise", "manage_billing:enterprise", "read:enterprise"},
})

// ungranted reports whether an answer of GitHub names scopes that would open what
// was asked for, of which the token has none: any one of them would do.
func ungranted(h http.Header) bool {
	accepted := Listed(h, "X-Accepted-Oauth-Scopes")
	if _, told := h["X-Oauth-Scopes"]; !told || len(accepted) == 0 {
		return false
	}
	would := func(scope string) bool { return slices.Contains(accepted, scope) }
	return !slices.ContainsFunc(Listed(h, "X-Oauth-Scopes"), func(scope string) bool {
		return would(scope) || slices.ContainsFunc(GitHubScopes(scope), would)
	})
}

// Listed gives the names of a field that lists them with commas or spaces between;
// nil: there are none.
func Listed(h http.Header, field string) []string {
	return strings.FieldsFunc(strings.Join(h.Values(field), ","), func(c rune) bool { return c == ',' || c == ' ' })
}
