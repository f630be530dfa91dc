package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// FM-06: a token that may be renewed only up to its maximum life of 10 s is followed by another, and no request fails
// through more than two of them, whether its credential is held or read from Vault for it.
func TestVaultTokenMaxTTL(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	lines := appRole(t, v, map[string]any{"token_ttl": "5s", "token_max_ttl": "10s"})
	w := newVaultWorld(t, v, v.Address, `cache_ttl = "1s"`, lines)
	w.hold(t)
	end := w.traffic(t, "FM-06: max TTL")
	for began := time.Now(); logins(w) < 3 && time.Since(began) < patience; time.Sleep(200 * time.Millisecond) {
		if status, body := w.Call(t, http.MethodGet, "/api/v1/credentials/default/production/api/second", nil); status != http.StatusOK {
			t.Errorf("FM-06: a reading of what is not held: status %d %s", status, body)
		}
		if status, body := w.Call(t, http.MethodGet, "/readyz", nil); status != http.StatusOK || !strings.Contains(body, `"ok"`) {
			t.Errorf("FM-06: /readyz is %d %s", status, body)
		}
	}
	end()
	w.neverBare(t, "FM-06: max TTL")
	if n := logins(w); n != 3 {
		t.Errorf("FM-06: %d logins, want one for each 10 s at least; the log:\n%s", n, w.Log())
	}
	w.gauge(t, "FM-06", "sallyport_vault_token_expiry_timestamp_seconds", func(v float64) bool {
		left := time.Until(time.Unix(int64(v), 0))
		return left > 0 && left <= 10*time.Second
	})
}

func logins(w *vaultWorld) int { return strings.Count(w.Log(), "logged in to vault") }

// FM-06: a login's token that is revoked is replaced within the request that finds out.
func TestVaultTokenRevoked(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	w := newVaultWorld(t, v, v.Address, `cache_ttl = "1s"`, appRole(t, v, map[string]any{"token_ttl": "10m"}))
	w.hold(t)
	end := w.traffic(t, "FM-06: revoked")
	for i := range 2 {
		if i > 0 {
			time.Sleep(5500 * time.Millisecond) // logins that denied calls lead to are 5 s apart
		}
		revokeAll(t, v)
		w.served(t, "FM-06: revoked", "api", "second")
		w.served(t, "FM-06: revoked", "api", "third")
		for began := time.Now(); logins(w) < i+2 && time.Since(began) < patience; {
			time.Sleep(50 * time.Millisecond)
		}
		w.becomes(t, "FM-06: revoked", http.StatusOK, `{"status":"ok"}`)
	}
	end()
	w.neverBare(t, "FM-06: revoked")
	if n := logins(w); n != 3 {
		t.Errorf("FM-06: %d logins, want 3: the first, and one for each token that was revoked", n)
	}
}

// revokeAll revokes every token but the root one.
func revokeAll(t *testing.T, v *testserver.Vault) {
	t.Helper()
	self, _ := v.Do(t, http.MethodGet, "auth/token/lookup-self", nil)["data"].(map[string]any)
	data, _ := v.Do(t, http.MethodGet, "auth/token/accessors?list=true", nil)["data"].(map[string]any)
	keys, _ := data["keys"].([]any)
	for _, accessor := range keys {
		if accessor != self["accessor"] {
			v.Do(t, http.MethodPost, "auth/token/revoke-accessor", map[string]any{"accessor": accessor})
		}
	}
}

// FM-06: a given token that is revoked cannot be replaced by us. What is held serves, what is not is refused as denied,
// until the file holds another token.
func TestVaultGivenTokenRevoked(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	v.Policy(t, "sallyport", vaultPolicy)
	given := func() string { return v.NewToken(t, map[string]any{"policies": []string{"sallyport"}, "ttl": "10m"}) }
	lines, file := tokenFile(t, given())
	w := newVaultWorld(t, v, v.Address, `cache_ttl = "1s"`, lines)
	w.hold(t)
	end := w.traffic(t, "FM-06: a given token")
	revokeAll(t, v)
	time.Sleep(2 * time.Second)
	w.refused(t, "FM-06: a given token", "api", "second", fault.VaultDenied)
	w.becomes(t, "FM-06: a given token", http.StatusOK, degraded)
	rewrite(t, file, given())
	w.resumes(t, "FM-06: another token", "api", "second")
	w.becomes(t, "FM-06: another token", http.StatusOK, `{"status":"ok"}`)
	end()
	w.neverBare(t, "FM-06: a given token")
}

// FM-06: a token that may be used a few times only ends like one that is revoked.
func TestVaultTokenUses(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	lines := appRole(t, v, map[string]any{"token_ttl": "10m", "token_num_uses": 6})
	w := newVaultWorld(t, v, v.Address, `cache_ttl = "1s"`, lines)
	w.hold(t)
	end := w.traffic(t, "FM-06: num_uses")
	time.Sleep(7 * time.Second)
	end()
	w.neverBare(t, "FM-06: num_uses")
	if n := logins(w); n < 2 {
		t.Errorf("FM-06: %d logins with tokens of 6 uses, want more; the log ends with\n%s", n, w.logEnd())
	}
}
