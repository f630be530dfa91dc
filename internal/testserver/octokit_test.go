package testserver

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A recorded answer comes to the recorded request, once, and to no other.
func TestOctokit(t *testing.T) {
	s := StartOctokit(t, NewCA(t))
	base := s.Scenario(t, "get-organization")
	get := func(token string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, base+"/orgs/octokit-fixture-org", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "token "+token)
		req.Header.Set("Accept", "application/vnd.github.v3+json")
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp, readAll(t, resp)
	}
	if resp, body := get("wrong"); resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "No match") {
		t.Errorf("with another token: %d %s", resp.StatusCode, body)
	}
	recorded := OctokitScenario(t, "get-organization")
	resp, body := get(OctokitToken)
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"login":"octokit-fixture-org"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if got, want := resp.Header.Get("X-OAuth-Scopes"), recorded[0].Header.Get("X-OAuth-Scopes"); got != want || !strings.Contains(want, "admin:org") {
		t.Errorf("X-OAuth-Scopes %q, want %q", got, want)
	}
	if resp, _ := get(OctokitToken); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a second time: %d", resp.StatusCode)
	}
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
