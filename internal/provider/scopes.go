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
	granted, told := h["X-Oauth-Scopes"]
	accepted := scopesIn(h["X-Accepted-Oauth-Scopes"])
	if !told || len(accepted) == 0 {
		return false
	}
	return !slices.ContainsFunc(scopesIn(granted), func(s string) bool {
		return slices.Contains(accepted, s) || slices.ContainsFunc(GitHubScopes(s), func(part string) bool { return slices.Contains(accepted, part) })
	})
}

// scopesIn splits the values of a field that lists scopes with commas between.
func scopesIn(values []string) []string {
	return strings.FieldsFunc(strings.Join(values, ","), func(c rune) bool { return c == ',' || c == ' ' })
}
