package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

const vaultPolicy = `
path "secret/data/sallyport/*" { capabilities = ["read", "create", "update"] }
path "secret/metadata/sallyport/*" { capabilities = ["read", "list", "delete"] }
path "secret/metadata/sallyport" { capabilities = ["list"] }
`

// The credential lies in a real Vault; the daemon logs in by AppRole and may read no more than it must.
func TestVault(t *testing.T) {
	v := testserver.StartVault(t, testserver.VaultOptions{})
	v.Policy(t, "sallyport", vaultPolicy)
	role, secret := v.AppRole(t, "sallyport", map[string]any{"token_policies": "sallyport", "token_ttl": "1m"})
	dir := t.TempDir()
	for name, text := range map[string]string{"role": role, "secret": secret + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	record := func(token string) {
		v.Do(t, http.MethodPost, "secret/data/sallyport/credentials/default/production/api/default",
			map[string]any{"data": map[string]string{"provider": "api", "type": "bearer", "token": token, "owner": "team-a"}})
	}
	record(apiToken)

	w := prepareWorld(t)
	w.Daemon = testserver.Sallyport(t, w.frame(open+`
[store]
backend = "vault"
[vault]
address = "`+v.Address+`"
cache_ttl = "1s"
[vault.auth]
method = "approle"
role_id_file = "`+filepath.Join(dir, "role")+`"
secret_id_file = "`+filepath.Join(dir, "secret")+`"
`))
	if got := w.metric(t, "sallyport_vault_up"); got != "1" {
		t.Errorf("sallyport_vault_up is %q, want 1", got)
	}
	w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "with Vault's record", http.StatusOK)
	if w.api.One(t).Header.Get("Authorization") != "Bearer "+apiToken {
		t.Error("the upstream did not get Vault's token")
	}

	_, errs, exit := testserver.Curl(t, w.CurlEnv(t), "-f", "https://"+w.api.Addr+"/x")
	if exit != 0 {
		t.Errorf("curl: exit %d %s", exit, errs)
	}
	w.api.Take()

	status, body := w.Call(t, http.MethodPatch, "/api/v1/credentials/default/production/api/default",
		map[string]any{"fields": map[string]string{"token": canary + "-second"}})
	if status != http.StatusOK {
		t.Fatalf("PATCH: status %d: %s", status, body)
	}
	w.api.Take()
	w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "after PATCH", http.StatusOK)
	if w.api.One(t).Header.Get("Authorization") != "Bearer "+canary+"-second" {
		t.Error("the new token was not used at once")
	}
	data, _ := v.Do(t, http.MethodGet, "secret/data/sallyport/credentials/default/production/api/default", nil)["data"].(map[string]any)
	fields, _ := data["data"].(map[string]any)
	if fields["owner"] != "team-a" || fields["token"] != canary+"-second" {
		t.Errorf("the record lost what others keep there, or was not written: it has %d fields", len(fields))
	}
	w.vaultIsOutOfReach(t, v.Address)
	w.deletesAllVersions(t, v)
	log := w.Log()
	if strings.Contains(log, canary) || strings.Contains(log, secret) {
		t.Error("LK-01: the log contains a secret")
	}
}

// deletesAllVersions checks LK-19: a credential that is deleted leaves no older
// version of its secret behind.
func (w *world) deletesAllVersions(t *testing.T, v *testserver.Vault) {
	t.Helper()
	const path = "/v1/secret/data/sallyport/credentials/default/production/api/default"
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	old := func(version string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.Address+path+"?version="+version, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", v.Token)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if status := old("1"); status != http.StatusOK {
		t.Errorf("LK-19: version 1 before: status %d", status)
	}
	if status, body := w.Call(t, http.MethodDelete, "/api/v1/credentials/default/production/api/default?force=true", nil); status != http.StatusNoContent {
		t.Fatalf("DELETE: status %d: %s", status, body)
	}
	for _, version := range []string{"0", "1", "2"} {
		if status := old(version); status != http.StatusNotFound {
			t.Errorf("LK-19: version %s after: status %d", version, status)
		}
	}
}

// vaultIsOutOfReach checks SS-08: no runner reaches Vault itself, by whatever name.
func (w *world) vaultIsOutOfReach(t *testing.T, address string) {
	t.Helper()
	_, port, _ := strings.Cut(strings.TrimPrefix(address, "http://"), ":")
	for _, host := range []string{"127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		w.refusesReach(t, "SS-08", host+":"+port, "/v1/sys/health", fault.PrivateAddress)
	}
}

// LT-01: nobody asks Vault for a caller who did not say who he is.
func TestVaultIsNotAskedForStrangers(t *testing.T) {
	v := testserver.StartVault(t, testserver.VaultOptions{})
	w := prepareWorld(t)
	w.Daemon = testserver.Sallyport(t, w.frame(open+`
[store]
backend = "vault"
[vault]
address = "`+v.Address+`"
[vault.auth]
method = "token"
`), "VAULT_TOKEN="+v.Token)
	before := w.vaultRequests(t)
	for range 5 {
		w.raw(t).send(t, "CONNECT "+w.api.Addr+" HTTP/1.1\r\nHost: "+w.api.Addr+"\r\n\r\n").
			status(t, "LT-01", http.StatusProxyAuthRequired)
	}
	if after := w.vaultRequests(t); after != before {
		t.Errorf("LT-01: Vault was asked: %s, before: %s", after, before)
	}
	w.api.Nothing(t, "LT-01")
}

// vaultRequests gives the lines that count reads of the store.
func (w *world) vaultRequests(t *testing.T) string {
	t.Helper()
	_, body := w.Call(t, http.MethodGet, "/metrics", nil)
	var found []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "sallyport_vault_requests_total{") && (strings.Contains(line, `"list"`) || strings.Contains(line, `"read"`) || strings.Contains(line, `"get"`)) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, "\n")
}
