package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// slowly puts toxiproxy before a Vault and gives the address to use.
func slowly(t *testing.T, v *testserver.Vault) (p *testserver.Toxiproxy, address string) {
	t.Helper()
	p = testserver.StartToxiproxy(t, strings.TrimPrefix(v.Address, "http://"))
	return p, "http://" + p.Addr
}

// FM-05: a Vault that takes 30 s for a call makes nobody wait for longer than 2 s, and those not at all whose credential
// is held.
func TestVaultSlow(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	p, address := slowly(t, v)
	w := newVaultWorld(t, v, address, `cache_ttl = "1s"`, first(tokenFile(t, v.Token)))
	w.hold(t)
	p.Slow(t, 30*time.Second)
	end := w.traffic(t, "FM-05")
	for range 2 {
		w.refused(t, "FM-05", "api", "second", fault.VaultUnreachable)
		w.refused(t, "FM-05", "api", "third", fault.VaultUnreachable)
		time.Sleep(time.Second)
	}
	w.becomes(t, "FM-05", http.StatusOK, degraded)
	w.gauge(t, "FM-05", "sallyport_vault_up", is(0))
	p.Up(t)
	w.resumes(t, "FM-05: fast again", "api", "second")
	w.becomes(t, "FM-05: fast again", http.StatusOK, `{"status":"ok"}`)
	end()
	w.neverBare(t, "FM-05")
}

// FM-04, FM-05: connections that are reset, cut, throttled, or on which nothing comes back.
func TestVaultConnectionTrouble(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	p, address := slowly(t, v)
	w := newVaultWorld(t, v, address, `cache_ttl = "1s"`, first(tokenFile(t, v.Token)))
	w.hold(t)
	end := w.traffic(t, "FM-04")
	for _, trouble := range []struct {
		what  string
		begin func()
	}{
		{"connections are refused", func() { p.Down(t) }},
		{"connections are reset", func() { p.Reset(t, 0) }},
		{"answers are lost", func() { p.Lose(t) }},
	} {
		trouble.begin()
		w.refused(t, "FM-04: "+trouble.what, "api", "second", fault.VaultUnreachable)
		w.becomes(t, "FM-04: "+trouble.what, http.StatusOK, degraded)
		w.refused(t, "FM-04: "+trouble.what, "api", "third", fault.VaultUnreachable)
		p.Up(t)
		w.becomes(t, "FM-04: after "+trouble.what, http.StatusOK, `{"status":"ok"}`)
	}
	end()
	w.resumes(t, "FM-04", "api", "second")
	w.neverBare(t, "FM-04")
}

// FM-05: nobody waits for longer than 2 s either where nothing is known yet and several calls are needed, each of them in
// time. What they bring serves the next request.
func TestVaultSlowWithNothingHeld(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	p, address := slowly(t, v)
	w := newVaultWorld(t, v, address, "", first(tokenFile(t, v.Token)))
	p.Slow(t, 1200*time.Millisecond)
	for _, provider := range []string{"api", "plain"} {
		if r := w.ask(w.fresh, provider, ""); r.took > uncachedWait+1400*time.Millisecond { // three calls take longer
			t.Errorf("FM-05: a first request for %s: %v, want an answer within %v", provider, r, uncachedWait)
		}
		w.resumes(t, "FM-05: nothing was held", provider, "")
	}
	w.becomes(t, "FM-05", http.StatusOK, `{"status":"ok"}`)
	w.neverBare(t, "FM-05")
}
