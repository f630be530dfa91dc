package provider

import (
	"slices"
	"testing"
)

// Which of GitHub's scopes contain which others, each with what is below it.
func TestGitHubScopes(t *testing.T) {
	for scope, want := range map[string][]string{
		"repo":             {"repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events"},
		"admin:org":        {"write:org", "read:org"},
		"write:org":        {"read:org"},
		"admin:repo_hook":  {"write:repo_hook", "read:repo_hook"},
		"write:repo_hook":  {"read:repo_hook"},
		"admin:public_key": {"write:public_key", "read:public_key"},
		"write:public_key": {"read:public_key"},
		"user":             {"read:user", "user:email", "user:follow"},
		"admin:org_hook":   nil, // stands alone
		"read:org":         nil,
		"public_repo":      nil,
		"read:user":        nil,
		"nothing":          nil,
	} {
		if got := GitHubScopes(scope); !slices.Equal(got, want) {
			t.Errorf("%s contains %q, want %q", scope, got, want)
		}
	}
}

// A table that goes in a circle ends.
func TestContainsEnds(t *testing.T) {
	contains := Contains(map[string][]string{"a": {"b"}, "b": {"a"}})
	if got := contains("a"); len(got) == 0 || len(got) > 20 || got[0] != "b" {
		t.Errorf("a contains %q", got)
	}
}
