package configs

import (
	"reflect"
	"testing"

	"github.com/sallyport/sallyport/internal/provider"
)

// What flows need of GitHub and GitLab is shipped: of GitHub by the kind of token.
func TestShippedNeeds(t *testing.T) {
	c := mustLoad(t, "")
	for name, want := range map[string]provider.Needs{
		"github": {
			Scopes:      []string{"repo", "read:org", "admin:repo_hook", "admin:org_hook", "read:user"}, // classic
			OAuthScopes: []string{"repo", "user:email", "write:public_key"},
			Permissions: []string{"issues", "pull_requests", "metadata", "contents", "members"}, // fine-grained, to read
		},
		"gitlab": {Scopes: []string{"read_api", "read_user"}}, // of an OAuth app too
	} {
		if got := c.Table.Get(name).Needs; !reflect.DeepEqual(got, want) {
			t.Errorf("%s needs %+v, want %+v", name, got, want)
		}
	}
}
