package testserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// OctokitVersion of the npm package @octokit/fixtures that octokit/package.json pins.
const OctokitVersion = "23.1.1"

// OctokitToken is the token of the recorded requests. They carry it as "Authorization: token TOKEN".
const OctokitToken = "0000000000000000000000000000000000000001"

// Octokit is a server of recorded traffic of api.github.com, npm's @octokit/fixtures.
type Octokit struct {
	*Process
	URL    string // http://localhost:PORT or https://...
	client *http.Client
}

// Recorded is one request of a scenario with its answer, in which URLs, numbers and limits (4999 left of 5000) were made
// alike.
type Recorded struct {
	Method string          // lower case
	Path   string          // with its query
	Asked  RecordedHeader  `json:"reqheaders"` // the request's header; the server wants the same
	Sent   json.RawMessage `json:"body"`       // "" in quotes: nothing
	Status int
	Header RecordedHeader  `json:"headers"`
	Body   json.RawMessage `json:"response"` // JSON, or a JSON string of what is none
}

// StartOctokit installs the fixtures if no test did before and starts their server on a free loopback port, with TLS
// under ca unless that is nil. It ends with the test, at the latest with the test's process.
func StartOctokit(tb testing.TB, ca *CA) *Octokit {
	tb.Helper()
	node := Find(tb, "node")
	cmd := exec.Command(node, "server.mjs")
	cmd.Dir = octokitFolder(tb)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PORT=0"}
	tr := &http.Transport{DisableKeepAlives: true}
	if ca != nil {
		_, pem := ca.Leaf(tb, "localhost")
		cmd.Env = append(cmd.Env, "TLS_CERT="+pem, "TLS_KEY="+pem)
		tr.TLSClientConfig = ca.Config()
	}
	if _, err := cmd.StdinPipe(); err != nil { // the server ends when this closes, with this process
		tb.Fatal(err)
	}
	s := &Octokit{Process: Start(tb, cmd), client: &http.Client{Transport: tr, Timeout: callLimit}}
	s.URL = s.announced(tb)
	Took(tb, "@octokit/fixtures "+OctokitVersion)
	return s
}

// Scenario begins one, such as "get-organization", and gives the base URL of its api.github.com. It answers its recorded
// requests, each once and in their order, if they come with an Accept field and the recorded header fields; any other
// request is answered 404. It ends ten minutes later.
func (s *Octokit) Scenario(tb testing.TB, name string) string {
	tb.Helper()
	in, _ := json.Marshal(map[string]string{"scenario": name})
	resp, err := s.client.Post(s.URL+"/fixtures", "application/json", bytes.NewReader(in))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var made struct {
		URL string `json:"url"`
	}
	if err != nil || resp.StatusCode != http.StatusCreated || json.Unmarshal(body, &made) != nil {
		tb.Fatalf("the scenario %s does not begin: status %d: %s %v", name, resp.StatusCode, body, err)
	}
	return strings.TrimSuffix(made.URL, "/")
}

// OctokitScenario reads what was recorded of a scenario, for tests that need no server.
func OctokitScenario(tb testing.TB, name string) []Recorded {
	tb.Helper()
	path := filepath.Join(octokitFolder(tb), "node_modules", "@octokit", "fixtures", "scenarios", "api.github.com", name, "normalized-fixture.json")
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var all []Recorded
	if err := json.Unmarshal(text, &all); err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	return all
}

func octokitFolder(tb testing.TB) string {
	tb.Helper()
	dir, err := npmFolder(Find(tb, "npm"), "octokit", "@octokit/fixtures "+OctokitVersion)
	if err != nil {
		tb.Fatalf("the recorded traffic of GitHub does not install: %v", err)
	}
	return dir
}

// RecordedHeader is a header, in JSON an object of strings and numbers.
type RecordedHeader http.Header

// UnmarshalJSON implements json.Unmarshaler.
func (h *RecordedHeader) UnmarshalJSON(text []byte) error {
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	*h = RecordedHeader{}
	for name, value := range m {
		http.Header(*h).Set(name, fmt.Sprint(value))
	}
	return nil
}

// Get gives the value of a field, in any spelling of its name.
func (h RecordedHeader) Get(name string) string { return http.Header(h).Get(name) }
