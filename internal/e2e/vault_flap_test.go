package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// FM-08: a Vault that fails every second call costs no request with a held credential. While it fails all of them it is
// asked about once a second, however many requests want what is not held.
func TestVaultFlaps(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	f := newFront(t, v)
	w := newVaultWorld(t, v, f.URL, `cache_ttl = "1s"`, first(tokenFile(t, v.Token)))
	w.hold(t)
	end := w.traffic(t, "FM-08")
	f.sometimes(func(w http.ResponseWriter, r *http.Request) bool {
		if rand.IntN(2) == 0 {
			return false
		}
		badGateway(w, r)
		return true
	})
	time.Sleep(3 * time.Second)

	f.play(badGateway)
	w.becomes(t, "FM-08: away", http.StatusOK, degraded)
	before, asked := f.calls.Load(), time.Now()
	const outage = 4 * time.Second
	for began := time.Now(); time.Since(began) < outage; time.Sleep(50 * time.Millisecond) {
		w.refused(t, "FM-08: away", "api", "second", fault.VaultUnreachable)
		w.refused(t, "FM-08: away", "api", "third", fault.VaultUnreachable)
	}
	if n := f.calls.Load() - before; n > 2*int64(time.Since(asked).Seconds())+4 { // what was under way when it went away is counted too
		t.Errorf("FM-08: Vault was asked %d times within %v while it was away, want about one probe a second", n, time.Since(asked))
	}
	f.restore()
	w.resumes(t, "FM-08: back", "api", "second")
	w.resumes(t, "FM-08: back", "api", "third")
	end()
	w.neverBare(t, "FM-08")
}

// FM-08: when Vault is back after an outage, the credentials that have waited for that are read one after the other, about
// 10 a second, while what is held goes on serving.
func TestVaultHerd(t *testing.T) {
	t.Parallel()
	const herd = 60
	v := testserver.StartVault(t, testserver.VaultOptions{})
	f := newFront(t, v)
	w := prepareVaultWorld(t)
	w.fill(t, v)
	for i := range herd {
		v.Do(t, http.MethodPost, fmt.Sprintf("secret/data/sallyport/credentials/default/production/api/flow-%d", i),
			map[string]any{"data": records["api/default"]})
	}
	w.launch(t, f.URL, `cache_ttl = "3s"`, first(tokenFile(t, v.Token)))
	w.becomes(t, "FM-08", http.StatusOK, `{"status":"ok"}`)
	all := func(what string) {
		for i := range herd {
			if r := w.ask(w.client, "api", fmt.Sprintf("flow-%d", i)); r.status != http.StatusOK {
				t.Errorf("FM-08: %s: flow-%d: %v", what, i, r)
			}
		}
	}
	all("at first")
	f.play(badGateway)
	time.Sleep(4 * time.Second) // past cache_ttl
	all("while Vault is away")
	w.becomes(t, "FM-08", http.StatusOK, degraded)
	time.Sleep(time.Second)
	f.restore()
	w.resumes(t, "FM-08: back", "api", "second")
	before, began := f.calls.Load(), time.Now()
	for ; time.Since(began) < 3*time.Second; time.Sleep(100 * time.Millisecond) {
		all("when Vault is back")
	}
	if n, took := f.calls.Load()-before, time.Since(began); n > int64(10*took.Seconds())+15 || n < 5 {
		t.Errorf("FM-08: Vault was asked %d times within %v of its return, want about 10 a second", n, took)
	}
	w.neverBare(t, "FM-08")
}
