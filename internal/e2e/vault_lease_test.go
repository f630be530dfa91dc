package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

const leasePolicy = vaultPolicy + `
path "database/creds/flow" { capabilities = ["read"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
`

// leased is a world whose upstream other lets in who can log in to a real PostgreSQL server, with users that Vault issues.
type leased struct {
	*vaultWorld
	postgres *testserver.Postgres
}

// newLeased runs a daemon whose credential leased/default is issued by Vault, for life at a time and up to most.
func newLeased(t *testing.T, life, most time.Duration) *leased {
	t.Helper()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	l := &leased{prepareVaultWorld(t), testserver.StartPostgres(t)}
	l.other.admit = func(r *http.Request) bool {
		name, password, ok := r.BasicAuth()
		if !ok {
			return false
		}
		_, err := l.postgres.Query(t, name, password, "select 1")
		return err == nil
	}
	l.fill(t, v)
	v.Policy(t, "sallyport", leasePolicy)
	path := v.DatabaseRole(t, l.postgres, "flow", map[string]any{"default_ttl": life.String(), "max_ttl": most.String()})
	l.launch(t, v.Address, `cache_ttl = "1s"`, appRole(t, v, map[string]any{"token_ttl": "10m"})+strings.NewReplacer(
		"{path}", path, "{port}", l.other.Port, "{ca}", l.ca.File).Replace(`
revoke_on_exit = true
[[provider]]
name = "leased"
hosts = ["localhost:{port}"]
base_url = "https://localhost:{port}"
type = "basic"
allow_networks = ["127.0.0.0/8", "::1/128"]
ca_file = "{ca}"
[[credential]]
workspace = "default"
environment = "production"
provider = "leased"
name = "default"
type = "basic"
path = "{path}"
`))
	l.becomes(t, "with a lease", http.StatusOK, `{"status":"ok"}`)
	return l
}

// sends makes requests for d and gives how many logins the upstream saw refused. None may fail for the runner.
func (l *leased) sends(t *testing.T, what string, d time.Duration) (refused int) {
	t.Helper()
	users := map[string]bool{}
	l.other.Take()
	for began := time.Now(); time.Since(began) < d; time.Sleep(50 * time.Millisecond) {
		if r := l.ask(l.client, "leased", ""); r.err != nil || r.status != http.StatusOK {
			t.Errorf("%s: %v, want 200", what, r)
		}
	}
	for _, g := range l.other.Take() {
		r := http.Request{Header: g.Header}
		name, _, _ := r.BasicAuth()
		if users[name] = true; !g.Admitted {
			refused++
		}
	}
	t.Logf("%s: %d users within %v, %d refusals", what, len(users), d, refused)
	return refused
}

// FM-07: what Vault issues for a short while is replaced in time: no request goes out with a user that has ended. One that
// is revoked before its time is replaced within the request that finds out, and the last one is revoked at the end.
func TestVaultLeases(t *testing.T) {
	t.Parallel()
	l := newLeased(t, 6*time.Second, 12*time.Second)
	if n := l.sends(t, "FM-07: short leases", 14*time.Second); n != 0 {
		t.Errorf("FM-07: %d requests went out with a lease that had ended", n)
	}
	l.vault.DatabaseRole(t, l.postgres, "flow", map[string]any{"default_ttl": "10m", "max_ttl": "1h"})
	for i := range 3 {
		l.vault.Do(t, http.MethodPut, "sys/leases/revoke-prefix/database/creds/flow", nil)
		n := l.sends(t, "FM-07: revoked under us", time.Second)
		if n > 1 || n < 1 && i > 0 { // the first may have ended by itself
			t.Errorf("FM-07: %d requests were refused after the lease was revoked, want the one that finds out", n)
		}
		time.Sleep(time.Second) // two refusals in a row are not looked into at once
	}
	l.Signal(t, syscall.SIGTERM)
	if code := l.Wait(t, time.Minute); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for began := time.Now(); len(l.postgres.Users(t)) > 0; time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("FM-07: the daemon left %v", l.postgres.Users(t))
		}
	}
	data, _ := l.vault.Do(t, http.MethodGet, "auth/token/accessors?list=true", nil)["data"].(map[string]any)
	if keys, _ := data["keys"].([]any); len(keys) != 1 {
		t.Errorf("revoke_on_exit: %d tokens are alive, want the root token alone", len(keys))
	}
	if log := l.Log(); strings.Contains(log, "DATA RACE") || strings.Count(log, "logged in to vault") != 1 {
		t.Errorf("FM-07: more than one login, or a race:\n%s", l.logEnd())
	}
}

// FM-04, FM-07: a lease outlives an outage of Vault that is shorter than it, and is used no longer than it lives.
func TestVaultLeaseInAnOutage(t *testing.T) {
	t.Parallel()
	l := newLeased(t, 6*time.Second, time.Minute)
	l.sends(t, "FM-07: before", 500*time.Millisecond)
	l.vault.Seal(t)
	if n := l.sends(t, "FM-07: sealed", 2*time.Second); n != 0 {
		t.Errorf("FM-07: %d refusals while the lease lived", n)
	}
	time.Sleep(5 * time.Second)
	l.other.Take()
	if r := l.ask(l.fresh, "leased", ""); r.status != http.StatusServiceUnavailable || r.took > uncachedWait+busyMachine {
		t.Errorf("FM-07: with a lease that has ended and no Vault: %v, want a refusal in time", r)
	}
	l.other.Nothing(t, "FM-07: a lease that has ended")
	l.vault.Unseal(t, l.vault.UnsealKey)
	l.resumes(t, "FM-07: unsealed", "leased", "")
}
