package testserver

import "testing"

// The servers that take minutes to build the first time. .ci/test runs this before all else, so that the time of no other
// test has that in it.
func TestServersBuild(t *testing.T) {
	for name, build := range map[string]func() (string, error){"Vault": buildVault, "Gitea": buildGitea} {
		if _, err := build(); err != nil {
			t.Errorf("%s does not build: %v", name, err)
		}
	}
}
