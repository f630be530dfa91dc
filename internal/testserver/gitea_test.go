package testserver

import (
	"net/http"
	"strings"
	"testing"
)

// What the tests of the proxy rely on: Gitea tells wrong tokens, scopes and rights apart.
func TestGitea(t *testing.T) {
	g := StartGitea(t, GiteaOptions{CA: NewCA(t)})
	g.NewRepository(t, "closed", true)
	g.NewUser(t, "bob", "Pw-of-bob-12345")
	reader, other := g.NewToken(t, "reader", "read:user", "read:repository"), g.NewToken(t, "other", "read:issue")
	for name, c := range map[string]struct {
		path, token string
		status      int
		says        string
	}{
		"good":       {"/user", reader, 200, `"login":"alice"`},
		"unknown":    {"/user", strings.Repeat("0", 40), 401, "invalid username, password or token"},
		"scope":      {"/user", other, 403, "required=[read:user], token scope=read:issue"},
		"repository": {"/repos/alice/closed", reader, 200, `"private":true`},
		"no token":   {"/repos/alice/closed", "", 404, ""},
	} {
		req, err := http.NewRequest(http.MethodGet, g.URL+"/api/v1"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		resp, err := g.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := readAll(t, resp)
		if resp.StatusCode != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
}
