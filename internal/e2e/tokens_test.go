package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// vaultStore is the configuration of a daemon on the Vault at address.
func vaultStore(t *testing.T, v *testserver.Vault, address string) string {
	t.Helper()
	v.Policy(t, "sallyport", vaultPolicy)
	lines, _ := tokenFile(t, v.Token)
	return "[store]\nbackend = \"vault\"\n[vault]\naddress = \"" + address + "\"\n[vault.auth]\n" + lines
}

// RT-01: five hundred requests at once, when the token has ended, lead to one post.
func TestTokensOfManyRunners(t *testing.T) {
	for name, extra := range map[string]func(*testing.T) string{
		"file": func(*testing.T) string { return "" },
		"vault": func(t *testing.T) string {
			v := testserver.StartVault(t, testserver.VaultOptions{})
			return vaultStore(t, v, v.Address)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGrants(t)
			g.api.known = map[string]bool{}
			g.ledger.live(1)
			d := testserver.Sallyport(t, g.config(g.ledger.Addr, extra(t)))
			g.authorize(t, d)
			c := d.Client(t)
			g.served(t, "RT-01: the first", c)
			time.Sleep(2500 * time.Millisecond) // it is renewed once for that request; nobody uses it then, and it ends
			g.ledger.live(60)
			before, _ := g.ledger.count()
			var mu sync.Mutex
			var took []time.Duration
			var wg sync.WaitGroup
			for range 500 {
				wg.Go(func() {
					r := g.ask(c)
					mu.Lock()
					defer mu.Unlock()
					if took = append(took, r.took); r.err != nil || r.status != http.StatusOK {
						t.Errorf("RT-01: %v", r)
					}
				})
			}
			wg.Wait()
			slices.Sort(took)
			posted, again := g.ledger.count()
			if posted-before != 1 || again != 0 || g.refused(t) != 0 {
				t.Errorf("RT-01: %d posts, %d of them of a token that was posted before", posted-before, again)
			}
			t.Logf("RT-01: 500 requests at once, one post; the median took %v, the 99th of 100 %v", took[250].Round(time.Millisecond), took[495].Round(time.Millisecond))
			g.unseen(t, d)
		})
	}
}

// RT-02: three daemons with state directories of their own share a store and one
// grant, whose token ends again and again for all of them at once.
func TestTokensOfThreeDaemons(t *testing.T) {
	t.Parallel()
	t.Run("vault", func(t *testing.T) {
		v := testserver.StartVault(t, testserver.VaultOptions{})
		testThreeDaemons(t, vaultStore(t, v, v.Address), 200, 110*time.Second)
	})
	t.Run("file", func(t *testing.T) {
		dir := t.TempDir()
		testThreeDaemons(t, fmt.Sprintf("[store]\ndir = %q\nkey_file = %q\n", filepath.Join(dir, "store"), filepath.Join(dir, "key")), 30, 8*time.Second)
	})
}

// testThreeDaemons goes on for so many rounds, or until limit.
func testThreeDaemons(t *testing.T, extra string, aim int, limit time.Duration) {
	g := newGrants(t)
	g.api.known = map[string]bool{}
	g.ledger.live(0.4)
	var daemons []*testserver.Daemon
	for range 3 {
		daemons = append(daemons, testserver.Sallyport(t, g.config(g.ledger.Addr, extra)))
	}
	g.authorize(t, daemons[0])
	begun, _ := g.ledger.count()
	end := g.traffic(t, daemons)
	began := time.Now()
	for time.Since(began) < limit {
		time.Sleep(100 * time.Millisecond)
		if posted, again := g.ledger.count(); posted-begun >= aim || again > 0 {
			break
		}
	}
	sent, failed := end()
	posted, again := g.ledger.count()
	ok := g.as.Grants(t, g.api.client)["refresh_token:ok"]
	t.Logf("RT-02: %d rounds of three daemons in %v, %d requests, %d failed; %d refresh tokens posted twice, %d refused",
		posted-begun, time.Since(began).Round(time.Second), sent, len(failed), again, g.refused(t))
	if again != 0 || g.refused(t) != 0 || len(failed) > 0 || ok != posted {
		t.Errorf("RT-02: %d of %d posts were answered with a token, %d were of a spent token; failed requests: %v", ok, posted, again, failed[:min(len(failed), 5)])
	}
	if posted-begun < 5 {
		t.Errorf("RT-02: only %d rounds in %v", posted-begun, limit)
	}
	g.unseen(t, daemons...)
	for i, d := range daemons {
		if strings.Contains(d.Log(), "level=ERROR") {
			t.Errorf("RT-02: daemon %d tells an error", i)
		}
	}
}

// traffic sends requests through all daemons, four at once through each, until end
// tells how many there were and which failed.
func (g *grants) traffic(t *testing.T, daemons []*testserver.Daemon) (end func() (sent int, failed []string)) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed []string
	sent := 0
	for i, d := range daemons {
		c := d.Client(t)
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
					}
					r := g.ask(c)
					mu.Lock()
					if sent++; r.err != nil || r.status != http.StatusOK {
						failed = append(failed, fmt.Sprint("daemon ", i, ": ", r))
					}
					mu.Unlock()
				}
			})
		}
	}
	return func() (int, []string) {
		close(stop)
		wg.Wait()
		return sent, failed
	}
}

// RT-18: a token that ends earlier than it was said to is replaced within the
// request that finds out, and one that is refused again at once passes through.
func TestTokensRefusedEarly(t *testing.T) {
	t.Parallel()
	g := newGrants(t)
	g.api.known = map[string]bool{}
	d := testserver.Sallyport(t, g.config(g.ledger.Addr, ""))
	g.authorize(t, d)
	c := d.Client(t)
	g.served(t, "RT-18: the first", c)
	refuse := func() {
		g.api.mu.Lock()
		defer g.api.mu.Unlock()
		g.api.known[g.api.last] = false
	}
	g.api.take()
	refuse()
	resp, err := c.Post("http://"+g.api.Addr+"/things", "application/json", strings.NewReader(`{"amount":12}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	bodies, status := g.api.take()
	if resp.StatusCode != http.StatusOK || !slices.Equal(status, []int{401, 200}) || !slices.Equal(bodies, []string{`{"amount":12}`, `{"amount":12}`}) {
		t.Errorf("RT-18: %d %s; the tries ended with %v and had the bodies %q", resp.StatusCode, codeOf(resp), status, bodies)
	}
	posted, _ := g.ledger.count()
	refuse()
	for range 10 {
		if r := g.ask(c); r.status != http.StatusUnauthorized || r.code != "credentials_rejected" {
			t.Errorf("RT-18: a token that is refused again within 30 s: %v", r)
		}
	}
	if now, again := g.ledger.count(); posted != 2 || now != 2 || again != 0 {
		t.Errorf("RT-18: %d posts, then %d; want a first token and one more", posted, now)
	}
	g.unseen(t, d)
}

// RT-13, RT-14: a grant that was revoked is posted once, over restarts and over two
// daemons, and told fast; a new one is taken up at once.
func TestTokensOfARevokedGrant(t *testing.T) {
	t.Parallel()
	g := newGrants(t)
	v := testserver.StartVault(t, testserver.VaultOptions{})
	extra := vaultStore(t, v, v.Address)
	d, second := testserver.Sallyport(t, g.config(g.ledger.Addr, extra)), testserver.Sallyport(t, g.config(g.ledger.Addr, extra))
	g.authorize(t, d)
	g.served(t, "RT-13: before", d.Client(t))
	resp, err := g.api.post("/token/revocation", "web", "s3cr3t-web", g.api.last) // this server ends the grant by it
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	posted, _ := g.ledger.count()
	for range 3 {
		for _, d := range []*testserver.Daemon{d, second} {
			for range 5 {
				if r := g.ask(d.Client(t)); r.status != http.StatusBadGateway || r.code != "reauthorization_required" {
					if r.status != http.StatusUnauthorized { // passed through: the held token is refused, and a refresh is not due again
						t.Errorf("RT-13: %v, want reauthorization_required", r)
					}
				}
			}
			d.Stop()
			d.Serve(t)
		}
	}
	if now, again := g.ledger.count(); now != posted+1 || again != 0 {
		t.Errorf("RT-13: %d posts after the grant was revoked, want one", now-posted)
	}
	if n := strings.Count(d.Log()+second.Log(), "level=ERROR"); n > 1 {
		t.Errorf("RT-13: %d alarms", n)
	}
	g.authorize(t, d)
	g.waits(t, "RT-14: the daemon that was told", d.Client(t), http.StatusOK, "", 2*time.Second)
	g.waits(t, "RT-14: the other", second.Client(t), http.StatusOK, "", 30*time.Second)
	g.unseen(t, d, second)
}
