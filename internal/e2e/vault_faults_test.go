package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// comesBack bounds how long the daemon may need until it says what its Vault is like.
const comesBack = 30 * time.Second

// FM-01: without its Vault the daemon starts and lives, refuses what it has no credential for, and goes on by itself
// once Vault is there.
func TestVaultUnreachableAtStart(t *testing.T) {
	t.Parallel()
	address := testserver.FreeAddr(t)
	w := prepareVaultWorld(t)
	w.launch(t, "http://"+address, "", "", "VAULT_TOKEN=test-root")
	w.becomes(t, "FM-01", http.StatusServiceUnavailable, "")
	if status, body := w.Call(t, http.MethodGet, "/livez", nil); status != http.StatusOK {
		t.Errorf("FM-01: /livez is %d %s, want 200", status, body)
	}
	w.gauge(t, "FM-01", "sallyport_vault_up", is(0))
	for range 3 {
		w.refused(t, "FM-01", "api", "", fault.VaultUnreachable)
		w.refused(t, "FM-01", "plain", "", fault.VaultUnreachable)
	}
	w.connectTo(t, "default", w.other.Addr).is(t, "FM-01: a host that nobody is known to own", fault.VaultUnreachable)
	w.raw(t).send(t, get("http://api.github.com/user", "api.github.com", w.auth(t))).is(t, "FM-01: a built-in provider's host", fault.VaultUnreachable)
	w.neverBare(t, "FM-01")

	v := testserver.StartVault(t, testserver.VaultOptions{Listen: address})
	w.fill(t, v)
	began := time.Now()
	w.becomes(t, "FM-01: Vault has come", http.StatusOK, `{"status":"ok"}`)
	t.Logf("FM-01: ready %v after Vault", time.Since(began).Round(time.Millisecond))
	w.gauge(t, "FM-01: Vault has come", "sallyport_vault_up", is(1))
	w.gauge(t, "FM-01: Vault has come", "sallyport_store_stale_seconds", is(0))
	w.resumes(t, "FM-01: Vault has come", "api", "")
	w.resumes(t, "FM-01: Vault has come", "plain", "")
	w.neverBare(t, "FM-01")
}

// FM-02, FM-04: while Vault is sealed, and while it is gone, held credentials serve without a failure; what is not held
// is refused in time with the right code; all is well again soon after.
func TestVaultSealedAndRestarted(t *testing.T) {
	t.Parallel()
	address, storage := testserver.FreeAddr(t), t.TempDir()
	v := testserver.StartVault(t, testserver.VaultOptions{Listen: address, Storage: storage})
	key := v.UnsealKey
	lines, _ := tokenFile(t, v.Token)
	w := newVaultWorld(t, v, v.Address, `cache_ttl = "1s"`, lines)
	w.hold(t)
	end := w.traffic(t, "FM-02 and FM-04")

	v.Seal(t)
	w.becomes(t, "FM-02: sealed", http.StatusOK, degraded)
	w.refused(t, "FM-02: sealed", "api", "second", fault.VaultSealed)
	w.refused(t, "FM-02: sealed", "api", "third", fault.VaultSealed)
	w.gauge(t, "FM-02: sealed", "sallyport_vault_up", is(0))
	w.gauge(t, "FM-02: sealed", "sallyport_store_stale_seconds", over(0))
	w.Signal(t, syscall.SIGHUP)
	w.waitForLog(t, "configuration reloaded")
	w.served(t, "FM-02: sealed, after a reload", "api", "")
	w.served(t, "FM-02: sealed, after a reload", "plain", "")
	v.Unseal(t, key)
	w.becomes(t, "FM-02: unsealed", http.StatusOK, `{"status":"ok"}`)
	w.resumes(t, "FM-02: unsealed", "api", "second")

	v.Stop()
	w.becomes(t, "FM-04: gone", http.StatusOK, degraded)
	time.Sleep(2 * time.Second)
	w.refused(t, "FM-04: gone", "api", "third", fault.VaultUnreachable)
	w.gauge(t, "FM-04: gone", "sallyport_vault_up", is(0))
	w.gauge(t, "FM-04: gone", "sallyport_store_stale_seconds", over(1))
	v = testserver.StartVault(t, testserver.VaultOptions{Listen: address, Storage: storage, Sealed: true})
	v.Unseal(t, key)
	w.becomes(t, "FM-04: back", http.StatusOK, `{"status":"ok"}`)
	w.resumes(t, "FM-04: back", "api", "third")
	w.gauge(t, "FM-04: back", "sallyport_store_stale_seconds", is(0))
	end()
	w.neverBare(t, "FM-02 and FM-04")
	if log := w.Log(); strings.Count(log, "vault is away") > 4 || strings.Contains(log, canary) {
		t.Errorf("the log tells an outage more than once, or a secret:\n%s", log)
	}
}

// FM-02: a daemon that starts on a sealed Vault is not ready, says why, and goes on once it is unsealed.
func TestVaultSealedAtStart(t *testing.T) {
	t.Parallel()
	address, storage := testserver.FreeAddr(t), t.TempDir()
	v := testserver.StartVault(t, testserver.VaultOptions{Listen: address, Storage: storage})
	w := prepareVaultWorld(t)
	w.fill(t, v)
	v.Seal(t)
	w.launch(t, v.Address, "", "", "VAULT_TOKEN="+v.Token)
	w.becomes(t, "FM-02: sealed at the start", http.StatusServiceUnavailable, "")
	w.waitForLog(t, string(fault.VaultSealed))
	w.refused(t, "FM-02: sealed at the start", "api", "", fault.VaultSealed)
	w.refused(t, "FM-02: sealed at the start", "plain", "", fault.VaultSealed)
	w.neverBare(t, "FM-02: sealed at the start")
	v.Unseal(t, v.UnsealKey)
	w.becomes(t, "FM-02: unsealed", http.StatusOK, `{"status":"ok"}`)
	w.resumes(t, "FM-02: unsealed", "api", "")
	w.neverBare(t, "FM-02: sealed at the start")
}

// After max_stale what is held is served no longer, and the daemon says that it is not ready. So it does while draining.
func TestVaultMaxStale(t *testing.T) {
	t.Parallel()
	address, storage := testserver.FreeAddr(t), t.TempDir()
	v := testserver.StartVault(t, testserver.VaultOptions{Listen: address, Storage: storage})
	lines, _ := tokenFile(t, v.Token)
	w := newVaultWorld(t, v, v.Address, "cache_ttl = \"1s\"\nmax_stale = \"4s\"", lines)
	w.hold(t)
	v.Stop()
	time.Sleep(1100 * time.Millisecond) // past cache_ttl: the next request leads to a reading
	w.served(t, "within max_stale", "api", "")
	w.becomes(t, "within max_stale", http.StatusOK, degraded)
	w.served(t, "within max_stale", "api", "")
	w.becomes(t, "after max_stale", http.StatusServiceUnavailable, "")
	time.Sleep(time.Second) // the record may have been read later than the last call was answered
	w.neverBare(t, "within max_stale")
	w.refused(t, "after max_stale", "api", "", fault.VaultUnreachable)
	w.refused(t, "after max_stale", "plain", "", fault.VaultUnreachable)
	w.api.Nothing(t, "after max_stale")
	w.plain.Nothing(t, "after max_stale")

	v = testserver.StartVault(t, testserver.VaultOptions{Listen: address, Storage: storage, Sealed: true})
	v.Unseal(t, w.vault.UnsealKey)
	w.resumes(t, "Vault is back", "api", "")
	w.becomes(t, "Vault is back", http.StatusOK, `{"status":"ok"}`)
	w.api.Take()
	go w.client.Get("https://" + w.api.Addr + "/slow?for=20s") //nolint:errcheck,bodyclose // it keeps the drain busy
	w.api.Await(t)
	w.Signal(t, syscall.SIGTERM)
	w.notReady(t)
}

// FM-03: what our policy does not allow is refused, and nothing else is disturbed.
func TestVaultDeniesOnePath(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	lines := appRole(t, v, map[string]any{"token_ttl": "1m"})
	w := newVaultWorld(t, v, v.Address, `cache_ttl = "1s"`, lines)
	v.Policy(t, "sallyport", vaultPolicy+`
path "secret/data/sallyport/credentials/default/production/api/second" { capabilities = ["deny"] }
path "secret/data/sallyport/credentials/default/production/plain/*" { capabilities = ["deny"] }
`)
	for range 3 {
		w.refused(t, "FM-03", "api", "second", fault.VaultDenied)
		w.refused(t, "FM-03", "plain", "", fault.VaultDenied)
		w.refused(t, "FM-03", "api", "fourth", fault.CredentialNotFound)
		w.served(t, "FM-03: beside it", "api", "")
		w.served(t, "FM-03: beside it", "api", "third")
	}
	w.gauge(t, "FM-03", "sallyport_vault_up", is(1))
	w.becomes(t, "FM-03", http.StatusOK, `{"status":"ok"}`)
	w.neverBare(t, "FM-03")
	if n := strings.Count(w.Log(), "logged in to vault"); n != 1 {
		t.Errorf("FM-03: %d logins, want 1: a path that is not allowed is no dead token", n)
	}
	v.Policy(t, "sallyport", vaultPolicy)
	time.Sleep(1500 * time.Millisecond)
	w.resumes(t, "FM-03: allowed", "plain", "")
	w.resumes(t, "FM-03: allowed", "api", "second")
}
