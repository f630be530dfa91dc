package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testserver"
)

// A provider that was made of a real API's own description gets its requests
// through: what the description says is where the credential goes, and what was
// guessed tells a good one from a bad one.
func TestImportedProvider(t *testing.T) {
	t.Parallel()
	ca := testserver.NewCA(t)
	g := testserver.StartGitea(t, testserver.GiteaOptions{CA: ca})
	resp, err := g.Client.Get(g.URL + "/swagger.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	description, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("Gitea's description: %s, %v", resp.Status, err)
	}
	file := filepath.Join(t.TempDir(), "gitea.json")
	if err := os.WriteFile(file, description, 0o600); err != nil {
		t.Fatal(err)
	}
	d := testserver.Prepare(t, "")
	entry, told, exit := d.Run(t, "provider", "import", "--openapi", file, "--url", g.URL, "--scheme", "AuthorizationHeaderToken")
	if exit != 0 || !strings.Contains(told, "allow_networks") || !strings.Contains(told, "a guess") {
		t.Fatalf("exit %d: %s", exit, told)
	}
	// as the notes say, and with the authority that only this machine knows
	entry = strings.Replace(entry, "[[provider]]\n", "[[provider]]\nallow_networks = [\"127.0.0.0/8\", \"::1/128\"]\nca_file = \""+ca.File+"\"\n", 1)
	d.Write(t, entry)
	d.Serve(t)

	key := g.NewToken(t, "imported", "read:user")
	const one = "/api/v1/credentials/default/production/gitea/main"
	put := func(key string) (int, string) {
		return d.Call(t, http.MethodPut, one, map[string]any{"type": "api_key", "fields": map[string]string{"api_key": key}})
	}
	if status, body := put(strings.Repeat("0123", 10)); status != http.StatusUnprocessableEntity || !strings.Contains(body, "credentials_rejected") {
		t.Errorf("a wrong key: %d %s", status, body)
	}
	if status, body := put(key); status != http.StatusCreated {
		t.Fatalf("a good key: %d %s", status, body)
	}
	out, err := d.Client(t).Get(g.URL + "/api/v1/user")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Body.Close() }()
	if body, _ := io.ReadAll(out.Body); out.StatusCode != http.StatusOK || !strings.Contains(string(body), `"login":"`+g.User+`"`) {
		t.Errorf("through the proxy: %s %s", out.Status, body)
	}
}
