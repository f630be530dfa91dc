package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// vaultWorld is a world whose credentials lie in a real Vault: api/default, api/second, api/third and plain/default.
type vaultWorld struct {
	*world
	vault  *testserver.Vault
	client *http.Client // a runner that keeps its connections; set when the daemon runs
	fresh  *http.Client // one that opens a connection for each request
	valid  []string     // what the upstreams may be sent as credentials
}

// records are the credentials of a vaultWorld by PROVIDER/NAME.
var records = map[string]map[string]string{
	"api/default":   {"type": "bearer", "token": apiToken},
	"api/second":    {"type": "bearer", "token": apiToken + "-second"},
	"api/third":     {"type": "bearer", "token": apiToken + "-third"},
	"plain/default": {"type": "api_key", "api_key": plainKey},
}

// newVaultWorld makes the upstreams, fills the Vault and runs the daemon. The Vault must be unsealed.
func newVaultWorld(t *testing.T, v *testserver.Vault, address, settings, auth string) *vaultWorld {
	t.Helper()
	w := prepareVaultWorld(t)
	w.fill(t, v)
	w.launch(t, address, settings, auth)
	w.becomes(t, "at the start", http.StatusOK, `{"status":"ok"}`)
	return w
}

func prepareVaultWorld(t *testing.T) *vaultWorld {
	t.Helper()
	return &vaultWorld{world: prepareWorld(t), valid: []string{
		"Bearer " + apiToken, "Bearer " + apiToken + "-second", "Bearer " + apiToken + "-third", plainKey,
	}}
}

// fill writes the records into Vault.
func (w *vaultWorld) fill(t *testing.T, v *testserver.Vault) {
	t.Helper()
	w.vault = v
	v.Policy(t, "sallyport", vaultPolicy)
	for name, fields := range records {
		v.Do(t, http.MethodPost, "secret/data/sallyport/credentials/default/production/"+name, map[string]any{"data": fields})
	}
}

// launch runs the daemon on the Vault at address; settings are lines of [vault], auth those of [vault.auth] and what
// follows, in which {dir} stands for a folder of the test.
func (w *vaultWorld) launch(t *testing.T, address, settings, auth string, env ...string) {
	t.Helper()
	w.Daemon = testserver.Prepare(t, w.frame(open+`
[store]
backend = "vault"
[vault]
address = "`+address+`"
`+settings+`
[vault.auth]
`+auth), env...)
	w.Launch(t)
	w.client, w.fresh = w.runner(t, false), w.runner(t, true)
}

// tokenFile gives the lines of [vault.auth] for a token, and the file that holds it.
func tokenFile(t *testing.T, token string) (lines, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "vault-token")
	rewrite(t, file, token)
	return fmt.Sprintf("token_file = %q\n", file), file
}

// appRole gives the lines of [vault.auth] for a role with these settings.
func appRole(t *testing.T, v *testserver.Vault, settings map[string]any) string {
	t.Helper()
	settings["token_policies"] = "sallyport"
	role, secret := v.AppRole(t, "sallyport", settings)
	dir := t.TempDir()
	rewrite(t, filepath.Join(dir, "role"), role)
	rewrite(t, filepath.Join(dir, "secret"), secret)
	return fmt.Sprintf("method = \"approle\"\nrole_id_file = %q\nsecret_id_file = %q\n", filepath.Join(dir, "role"), filepath.Join(dir, "secret"))
}

func rewrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// neverBare checks that whatever has reached an upstream carried a credential, and nothing reached another one.
func (w *vaultWorld) neverBare(t *testing.T, what string) {
	t.Helper()
	for _, g := range w.api.Take() {
		if got := g.Header.Values("Authorization"); len(got) != 1 || !slices.Contains(w.valid, got[0]) {
			t.Errorf("%s: %s %s left with %d credentials, or a wrong one", what, g.Method, g.Target, len(got))
		}
	}
	for _, g := range w.plain.Take() {
		if got := g.Header.Values("X-Api-Key"); len(got) != 1 || !slices.Contains(w.valid, got[0]) {
			t.Errorf("%s: %s %s left with %d credentials, or a wrong one", what, g.Method, g.Target, len(got))
		}
	}
	w.other.Nothing(t, what)
}

// becomes waits until /readyz answers so.
func (w *vaultWorld) becomes(t *testing.T, what string, status int, body string) {
	t.Helper()
	began := time.Now()
	for {
		s, b := w.Call(t, http.MethodGet, "/readyz", nil)
		if s == status && strings.Contains(b, body) {
			return
		}
		if time.Since(began) > comesBack {
			t.Fatalf("%s: /readyz is %d %s after %v, want %d %s; the log ends with\n%s", what, s, b, comesBack, status, body, w.logEnd())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// logEnd gives the last lines of the daemon's log.
func (w *vaultWorld) logEnd() string {
	lines := strings.Split(strings.TrimSpace(w.Log()), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

const degraded = `{"status":"degraded","degraded":["vault"]}`

// gauge checks a metric by a predicate.
func (w *vaultWorld) gauge(t *testing.T, what, name string, right func(float64) bool) {
	t.Helper()
	s := w.metric(t, name)
	if v, err := strconv.ParseFloat(s, 64); err != nil || !right(v) {
		t.Errorf("%s: %s is %q", what, name, s)
	}
}

func is(want float64) func(float64) bool { return func(v float64) bool { return v == want } }
func over(min float64) func(float64) bool {
	return func(v float64) bool { return v > min }
}

// hold has the daemon read the default credentials of both providers, and know of the others.
func (w *vaultWorld) hold(t *testing.T) {
	t.Helper()
	w.served(t, "while Vault is there", "api", "")
	w.served(t, "while Vault is there", "plain", "")
}

// vaultTLS gives options for a Vault with a certificate of ca.
func vaultTLS(t *testing.T, ca *testserver.CA) testserver.VaultOptions {
	t.Helper()
	_, file := ca.Leaf(t, "127.0.0.1", "localhost")
	return testserver.VaultOptions{Cert: file, Key: file, CA: ca.File}
}
