package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// lapsing is an authorization server whose refresh tokens are good for one use
// and lapse when they lie idle.
type lapsing struct {
	idle time.Duration

	mu       sync.Mutex
	given    map[string]time.Time // by refresh token that is good
	n        int
	at, most int // exchanges at once
	dead     bool
}

func (l *lapsing) add(rt string) {
	if l.given == nil {
		l.given = map[string]time.Time{}
	}
	l.given[rt] = time.Now()
}

func (l *lapsing) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.ParseForm(); err != nil {
		return nil, err
	}
	trace(req)
	l.mu.Lock()
	l.at++
	l.most = max(l.most, l.at)
	l.mu.Unlock()
	time.Sleep(time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at--
	rt := req.PostForm.Get("refresh_token")
	at, ok := l.given[rt]
	delete(l.given, rt)
	if !ok || time.Since(at) >= l.idle || l.dead {
		return answered(req, 400, `{"error":"invalid_grant"}`), nil
	}
	l.n++
	next := fmt.Sprintf("rt-new-%d", l.n)
	l.given[next] = time.Now()
	return answered(req, 200, fmt.Sprintf(`{"access_token":"at-%d","refresh_token":%q,"expires_in":3600}`, l.n, next)), nil
}

// rest waits until nobody is asking.
func (l *lapsing) rest() {
	for {
		synctest.Wait()
		l.mu.Lock()
		at := l.at
		l.mu.Unlock()
		if at == 0 {
			return
		}
		time.Sleep(time.Second)
	}
}

func (l *lapsing) count() (n, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n, l.most
}

// idling is a daemon that nobody uses, with grants in its store.
func idling(server *lapsing, store *credtest.Store, idle time.Duration) (*Keeper, Kept) {
	providers := map[string]*provider.Provider{
		"crm":   {Name: "crm", OAuth2: provider.OAuth2{TokenURL: "https://as.example/token"}, Refresh: provider.Refresh{Rotates: true, Idle: idle}},
		"other": {Name: "other", OAuth2: provider.OAuth2{TokenURL: "https://as.example/token"}, Refresh: provider.Refresh{Rotates: true}},
	}
	k := NewKeeper(KeeperOptions{
		Store: store, Provider: func(name string) *provider.Provider { return providers[name] },
		Client: func(*provider.Provider) *http.Client { return &http.Client{Transport: server} },
	})
	return k, Kept{
		Folders: func() []credential.Ref { return []credential.Ref{{Workspace: "acme", Environment: "production"}} },
		Wanted:  func(ref credential.Ref) bool { return ref.Name != "secret" },
		Changed: func(credential.Ref) {},
	}
}

// Over two months nobody uses the grants, and none lapses; those that would not
// lapse, are dead, or are nobody's here are left alone.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 10 * 24 * time.Hour
		server, store := &lapsing{idle: idle}, &credtest.Store{}
		add := func(ref string, typ string, more ...string) {
			rt := "rt " + ref
			server.add(rt)
			store.Add(ref, typ, append([]string{"client_id", "id", "client_secret", "s3cr3t", "refresh_token", rt, "created_at", time.Now().UTC().Format(time.RFC3339), "access_token", "x", "username", "u", "password", "p"}, more...)...)
		}
		for i := range 20 {
			add(fmt.Sprintf("acme/production/crm/n%02d", i), "oauth2_refresh_token")
		}
		add("acme/production/crm/password", "oauth2_password")
		add("acme/production/crm/secret", "oauth2_refresh_token")
		add("acme/production/other/main", "oauth2_refresh_token")
		add("acme/staging/crm/main", "oauth2_refresh_token")
		store.Add("acme/production/crm/key", "bearer", "token", "t")
		add("acme/production/crm/dead", "oauth2_refresh_token")
		left := []string{"crm/password", "crm/secret", "other/main", "crm/key", "crm/dead"}
		before := map[string]int{}
		for _, name := range left {
			c, err := store.Get(t.Context(), ref(t, "acme/production/"+name))
			if err != nil {
				t.Fatal(err)
			}
			if name == "crm/dead" {
				claim{Token: fingerprint(c.Ref, c.Field("refresh_token"))}.bury().write(c)
				if err := store.Put(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			before[name] = c.Version
		}
		k, kept := idling(server, store, idle)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.KeepAlive(ctx, kept) }()
		time.Sleep(60 * 24 * time.Hour)
		server.rest()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n, most := server.count(); n < 20*60/5 || n > 20*60/4 || most > keptAtOnce {
			t.Errorf("%d refreshes of 20 grants in 60 days, want one in about 5 days each; %d at once", n, most)
		}
		for i := range 20 {
			c, err := store.Get(t.Context(), ref(t, fmt.Sprintf("acme/production/crm/n%02d", i)))
			if err != nil {
				t.Fatal(err)
			}
			if g := GrantOf(k.o.Provider("crm"), c); g.Dead != nil || time.Since(g.Made) > idle*6/10 {
				t.Errorf("%s: made %v ago, dead %v", c.Ref, time.Since(g.Made), g.Dead)
			}
		}
		for _, name := range left {
			if c, err := store.Get(t.Context(), ref(t, "acme/production/"+name)); err != nil || c.Version != before[name] {
				t.Errorf("%s was touched: %v", name, err)
			}
		}
	})
}

func ref(t *testing.T, s string) credential.Ref {
	t.Helper()
	r, err := credential.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A store that is away for a while, and a short idle time: the grant lives.
func TestKeepAliveOfAShortLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 10 * time.Minute
		server, store := &lapsing{idle: idle}, &credtest.Store{}
		server.add("rt-0")
		store.Add("acme/production/crm/main", "oauth2_refresh_token", "refresh_token", "rt-0") // its age is not known
		k, kept := idling(server, store, idle)
		var told int
		kept.Changed = func(credential.Ref) { told++ }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.KeepAlive(ctx, kept) }()
		time.Sleep(2 * time.Hour)
		store.Fail(fault.New(fault.VaultUnreachable, "", nil))
		time.Sleep(2 * time.Minute)
		store.Fail(nil)
		time.Sleep(2 * time.Hour)
		server.rest()
		cancel()
		<-done
		time.Sleep(time.Minute) // whatever is under way ends
		if n, _ := server.count(); n < 35 || n > 70 || told != n {
			t.Errorf("%d refreshes in four hours with a life of ten minutes, told of %d", n, told)
		}
		if c, err := store.Get(t.Context(), ref(t, "acme/production/crm/main")); err != nil || GrantOf(k.o.Provider("crm"), c).Dead != nil {
			t.Errorf("the grant is dead: %v", err)
		}
	})
}

// A grant that its server has ended is asked about once.
func TestKeepAliveOfARevokedGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := &lapsing{idle: time.Hour, dead: true}, &credtest.Store{}
		store.Add("acme/production/crm/main", "oauth2_refresh_token", "refresh_token", "rt-0")
		k, kept := idling(server, store, time.Hour)
		for range 5 {
			k.sweep(t.Context(), kept)
			time.Sleep(time.Hour)
		}
		c, err := store.Get(t.Context(), ref(t, "acme/production/crm/main"))
		if err != nil || !errors.Is(GrantOf(k.o.Provider("crm"), c).Dead, fault.ReauthorizationRequired) {
			t.Errorf("the grant is not dead: %v", err)
		}
		if server.most != 1 || len(server.given) != 0 {
			t.Errorf("%d at once", server.most)
		}
	})
}

// The real server takes what was kept alive, and an idle grant is left alone before its time.
func TestRealKeepAlive(t *testing.T) {
	s := testserver.StartOIDC(t, testserver.OIDCOptions{AccessTTL: time.Hour})
	k, d, store := realGrant(t, s)
	d.Provider.Refresh.Idle = 24 * time.Hour
	k.o.Provider = func(string) *provider.Provider { return d.Provider }
	k.o.Client = func(*provider.Provider) *http.Client { return d.Client }
	_, kept := idling(nil, nil, 0)
	for range 3 { // the age is not known; then it is
		k.sweep(t.Context(), kept)
	}
	grants := func() int { return s.Grants(t, plainClient(t))["refresh_token:ok"] }
	if n := grants(); n != 1 {
		t.Fatalf("%d refreshes, want 1", n)
	}
	c, err := store.Get(t.Context(), d.Record.Ref)
	if err != nil {
		t.Fatal(err)
	}
	c.Set("created_at", secret.New(time.Now().Add(-13*time.Hour).UTC().Format(time.RFC3339)))
	if err := store.Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	k.sweep(t.Context(), kept)
	k.sweep(t.Context(), kept)
	if n := grants(); n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
	if log := s.Log(); strings.Contains(log, "invalid_grant") {
		t.Error(log)
	}
}
