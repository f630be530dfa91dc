package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// posted waits until the ledger has more posts than before.
func (g *grants) posted(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if n, _ := g.ledger.count(); n > before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("no refresh token was posted")
}

// serves checks that every request for so long is answered, and gives how many
// there were.
func (g *grants) serves(t *testing.T, what string, c *http.Client, d time.Duration) {
	t.Helper()
	n := 0
	for began := time.Now(); time.Since(began) < d; time.Sleep(50 * time.Millisecond) {
		if g.served(t, what, c); t.Failed() {
			return
		}
		n++
	}
	t.Logf("%s: %d requests, all served", what, n)
}

// FM-12: a token endpoint that is away, slow, or cuts its answers. A token that is
// held goes on to its end, what is wrong is told, and nothing is posted twice
// that could not have been lost.
func TestTokensWhileTheEndpointFails(t *testing.T) {
	t.Parallel()
	g := newGrants(t)
	road := testserver.StartToxiproxy(t, g.ledger.Addr)
	d := testserver.Sallyport(t, g.config(road.Addr, ""))
	g.authorize(t, d)
	c := d.Client(t)
	g.ledger.live(6)
	g.served(t, "FM-12: the first", c)

	road.Down(t)
	g.serves(t, "FM-12: away, with a token that is held", c, 4*time.Second)
	g.waits(t, "FM-12: away, and the token has ended", c, http.StatusServiceUnavailable, "token_endpoint_unreachable", 3*time.Second)
	g.ledger.live(3)
	if r := g.ask(c); r.took > busyMachine || r.code != "token_endpoint_unreachable" {
		t.Errorf("FM-12: %v, want the fault at once", r)
	}
	if posted, _ := g.ledger.count(); posted != 1 {
		t.Errorf("FM-12: %d posts arrived", posted)
	}
	road.Up(t)
	t.Logf("FM-12: it is back, and so are we after %v", g.waits(t, "FM-12: back", c, http.StatusOK, "", 12*time.Second).Round(time.Millisecond))

	road.Slow(t, 2*time.Second)
	g.serves(t, "FM-12: answers after 2 s", c, 5*time.Second)
	road.Up(t)
	g.waits(t, "FM-12: fast again", c, http.StatusOK, "", 5*time.Second)
	if _, again := g.ledger.count(); again != 0 || g.refused(t) != 0 {
		t.Fatalf("FM-12: %d tokens were posted twice", again)
	}

	before, _ := g.ledger.count()
	road.Reset(t, 100*time.Millisecond) // after an answer has come
	go func() {                         // what keeps it renewed
		for range 40 {
			g.ask(c)
			time.Sleep(100 * time.Millisecond)
		}
	}()
	g.posted(t, before)
	time.Sleep(time.Second) // the connection is reset: the server has rotated, and nobody was told
	road.Up(t)
	g.waits(t, "RT-10: the reply is lost, and this server forgives nothing", c, http.StatusBadGateway, "reauthorization_required", 15*time.Second)
	if posted, again := g.ledger.count(); posted != before+2 || again != 1 {
		t.Errorf("RT-10: %d posts after a lost reply, want two", posted-before)
	}
	for range 20 {
		g.ask(c)
	}
	if posted, _ := g.ledger.count(); posted != before+2 {
		t.Errorf("RT-13: %d posts of a dead grant", posted-before-2)
	}
	g.authorize(t, d)
	g.waits(t, "RT-14: authorized again", c, http.StatusOK, "", 2*time.Second)
	g.unseen(t, d)
}

// storedToken gives the refresh token in Vault.
func storedToken(t *testing.T, v *testserver.Vault) string {
	t.Helper()
	data, _ := v.Do(t, http.MethodGet, "secret/data/sallyport/credentials/default/production/api/default", nil)["data"].(map[string]any)
	fields, _ := data["data"].(map[string]any)
	token, _ := fields["refresh_token"].(string)
	return token
}

// newest is the refresh token that was given last.
func (f *ledger) newest() (token string) {
	for _, s := range f.tokens() {
		if strings.Count(s, ".") == 0 { // neither an ID token
			token = s
		}
	}
	return token
}

// RT-06, RT-07: Vault is away before, while and after a refresh token is spent; and
// the daemon is killed while only its journal knows the answer (RT-05).
func TestTokensWhileVaultFails(t *testing.T) {
	t.Parallel()
	g := newGrants(t)
	v := testserver.StartVault(t, testserver.VaultOptions{})
	road := testserver.StartToxiproxy(t, strings.TrimPrefix(v.Address, "http://"))
	d := testserver.Sallyport(t, g.config(g.ledger.Addr, vaultStore(t, v, "http://"+road.Addr)))
	g.authorize(t, d)
	c := d.Client(t)
	g.ledger.live(6)
	g.served(t, "RT-07: the first", c)
	before, _ := g.ledger.count()

	road.Down(t)
	g.serves(t, "RT-07: away before, with a token that is held", c, 4*time.Second)
	g.waits(t, "RT-07: away, and the token has ended", c, http.StatusServiceUnavailable, "vault_unreachable", 4*time.Second)
	if r := g.ask(c); r.took > busyMachine || r.code != "vault_unreachable" {
		t.Errorf("RT-07: %v, want the fault at once", r)
	}
	if posted, _ := g.ledger.count(); posted != before {
		t.Errorf("RT-07: %d posts while Vault was away", posted-before)
	}
	road.Up(t)
	t.Logf("RT-07: it is back, and so are we after %v", g.waits(t, "RT-07: back", c, http.StatusOK, "", 15*time.Second).Round(time.Millisecond))

	spend := func() { // one answer that comes while Vault is away
		t.Helper()
		before, _ := g.ledger.count()
		g.ledger.live(60)
		letGo := g.ledger.hold()
		for range 200 {
			if g.served(t, "RT-06: before the answer", c); t.Failed() {
				t.FailNow()
			}
			if n, _ := g.ledger.count(); n > before {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		g.posted(t, before)
		road.Down(t)
		letGo()
	}
	spend()
	g.serves(t, "RT-06: away after the answer came", c, 5*time.Second)
	if storedToken(t, v) == g.ledger.newest() {
		t.Error("RT-06: Vault was not away")
	}
	road.Up(t)
	stored := func(what string, limit time.Duration) {
		t.Helper()
		for began := time.Now(); storedToken(t, v) != g.ledger.newest(); time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > limit {
				t.Fatalf("%s: the new refresh token is not in Vault %v after it is back", what, limit)
			}
		}
	}
	stored("RT-06", 5*time.Second+busyMachine)

	g.ledger.live(3)
	d.Stop() // the next token is to be short
	d.Serve(t)
	c = d.Client(t)
	g.renew(t, v)
	g.waits(t, "RT-05: before", c, http.StatusOK, "", 10*time.Second)
	spend()
	g.serves(t, "RT-05: away", c, time.Second)
	posted, _ := g.ledger.count()
	d.Signal(t, syscall.SIGKILL)
	<-d.Exited
	d.Launch(t)
	road.Up(t)
	c = d.Client(t)
	g.waits(t, "RT-05: after kill -9, by the journal", c, http.StatusOK, "", 15*time.Second)
	stored("RT-05", 5*time.Second+busyMachine)
	if now, again := g.ledger.count(); now != posted || again != 0 || g.refused(t) != 0 {
		t.Errorf("RT-05: %d posts after the restart, %d of a spent token", now-posted, again)
	}
	g.unseen(t, d)
}

// renew has the record's token be taken for one that has ended.
func (g *grants) renew(t *testing.T, v *testserver.Vault) {
	t.Helper()
	const path = "secret/data/sallyport/credentials/default/production/api/default"
	data, _ := v.Do(t, http.MethodGet, path, nil)["data"].(map[string]any)
	fields, _ := data["data"].(map[string]any)
	fields["expires_at"] = "2001-01-01T00:00:00Z"
	v.Do(t, http.MethodPost, path, map[string]any{"data": fields})
}
