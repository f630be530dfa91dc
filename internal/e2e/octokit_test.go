package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testserver"
)

// GitHub's recorded answers come through the proxy as they were recorded, for the token that the proxy puts on the
// requests in place of the runner's own.
func TestRecordedGitHub(t *testing.T) {
	t.Parallel()
	ca := testserver.NewCA(t)
	api := testserver.StartOctokit(t, ca)
	host := strings.TrimPrefix(api.URL, "https://")
	d := testserver.Sallyport(t, `
[[provider]]
name = "github"
hosts = ["`+host+`"]
base_url = "`+api.Scenario(t, "get-organization")+`"
type = "api_key"
types = []
ca_file = "`+ca.File+`"
allow_networks = ["127.0.0.0/8", "::1/128"]
[[provider.place]]
in = "header"
name = "Authorization"
value = "token {api_key}"
`)
	status, body := d.Call(t, http.MethodPut, "/api/v1/credentials/default/production/github/default?force=true", map[string]any{
		"type": "api_key", "fields": map[string]string{"api_key": testserver.OctokitToken},
	})
	if status != http.StatusCreated {
		t.Fatalf("PUT: %d %s", status, body)
	}
	client := d.Client(t)
	for _, scenario := range []string{"get-organization", "get-repository", "get-root", "errors", "search-issues"} {
		base := api.Scenario(t, scenario)
		for _, want := range testserver.OctokitScenario(t, scenario) {
			replay(t, client, scenario, base, want)
		}
	}
	if strings.Contains(d.Log(), testserver.OctokitToken) {
		t.Error("LK-01: the log holds the token")
	}
}

// replay sends a recorded request with a runner's dummy token, and wants the recorded answer.
func replay(t *testing.T, client *http.Client, scenario, base string, want testserver.Recorded) {
	t.Helper()
	var in bytes.Buffer // its length is among what must be as it was
	if err := json.Compact(&in, want.Sent); err != nil {
		t.Fatal(err)
	}
	if in.String() == `""` {
		in.Reset()
	}
	req, err := http.NewRequest(strings.ToUpper(want.Method), base+want.Path, &in)
	if err != nil {
		t.Fatal(err)
	}
	for name := range want.Asked {
		req.Header.Set(name, want.Asked.Get(name))
	}
	req.Header.Del("Host")
	req.Header.Set("Authorization", "token dummy")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want.Status || !json.Valid(body) {
		t.Errorf("%s: %s %s: status %d, want %d: %s %v", scenario, want.Method, want.Path, resp.StatusCode, want.Status, body, err)
	}
	for _, name := range []string{"X-OAuth-Scopes", "X-Accepted-OAuth-Scopes", "X-RateLimit-Remaining", "X-RateLimit-Resource"} {
		if got := resp.Header.Get(name); got != want.Header.Get(name) {
			t.Errorf("%s: %s %s: %s %q, want %q", scenario, want.Method, want.Path, name, got, want.Header.Get(name))
		}
	}
}
