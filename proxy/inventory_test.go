package proxy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// moody is a store whose records may be hidden, slow, or listed though they are gone.
type moody struct {
	credtest.Store
	wait time.Duration // of every call

	mu    sync.Mutex
	cross map[string]error // by reference or folder: what reading or listing it gives
	busy  atomic.Int64
	most  atomic.Int64 // calls at once
}

func (s *moody) refuse(ref string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cross == nil {
		s.cross = map[string]error{}
	}
	s.cross[ref] = err
}

func (s *moody) call(ctx context.Context, ref credential.Ref) error {
	n := s.busy.Add(1)
	defer s.busy.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	if s.wait > 0 {
		select {
		case <-time.After(s.wait):
		case <-ctx.Done():
			return fault.New(fault.VaultUnreachable, "", ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cross[ref.String()]
}

func (s *moody) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	if err := s.call(ctx, ref); err != nil {
		s.Gets.Add(1)
		return nil, err
	}
	return s.Store.Get(ctx, ref)
}

func (s *moody) List(ctx context.Context, folder credential.Ref) ([]credential.Ref, error) {
	if err := s.call(ctx, folder); err != nil {
		s.Lists.Add(1)
		return nil, err
	}
	return s.Store.List(ctx, folder)
}

func (s *moody) Folders(ctx context.Context, folder credential.Ref) ([]string, error) {
	if err := s.call(ctx, folder); err != nil {
		s.Folds.Add(1)
		return nil, err
	}
	return s.Store.Folders(ctx, folder)
}

var notFound = fault.New(fault.CredentialNotFound, "", nil)

// shop is a proxy that is only asked where requests would go: it has the
// providers git (built-in), crm (url type), shop ({field} hosts) and api.
type shop struct {
	t      *testing.T
	store  *moody
	srv    *Server
	config Config
	log    *safeBuffer

	gets, lists, folds int64 // at the last calls
}

func newShop(t *testing.T, records ...string) *shop {
	s := &shop{t: t, store: &moody{}, log: &safeBuffer{}}
	for _, ref := range records {
		s.add(ref)
	}
	table, _ := provider.NewTable([]*provider.Provider{
		{Name: "git", Hosts: []string{"git.example"}, BaseURL: "https://git.example", Type: "bearer", Builtin: true, Fingerprint: "1"},
		{Name: "crm", Hosts: []string{"crm.example"}, BaseURL: "https://crm.example", Type: "api_key_url", Types: []string{"api_key"}, Builtin: true, Fingerprint: "1"},
		{Name: "shop", Hosts: []string{"{shop}.shops.example"}, BaseURL: "https://{shop}.shops.example", Type: "api_key", Builtin: true, Fingerprint: "1"},
		{Name: "api", Hosts: []string{"api.example"}, BaseURL: "https://api.example", Type: "api_key", Configured: true, Fingerprint: "1"},
	})
	s.config = Config{
		Callers: []Caller{
			{Name: "all", Workspace: "default", Environment: "production", TokenSHA256: sha256.Sum256([]byte("all"))},
			{Name: "one", Workspace: "default", Environment: "production", TokenSHA256: sha256.Sum256([]byte("one")), Allow: []Allow{{Credentials: []string{"git/n7*"}}}},
		},
		Providers: table, Upstream: NewUpstream(UpstreamOptions{Resolver: everywhere{}}), CacheTTL: time.Minute,
	}
	s.srv = New(Options{Store: s.store, Life: t.Context(), Registerer: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(s.log, nil))})
	s.srv.Swap(s.config)
	return s
}

// add stores a record. One of crm has the url https://NAME.own.example, one of
// shop the field shop = NAME.
func (s *shop) add(ref string) {
	r := mustRef(ref)
	switch r.Provider {
	case "crm":
		s.store.Add(ref, "api_key_url", "api_key", canary, "url", "https://"+r.Name+".own.example")
	case "shop":
		s.store.Add(ref, "api_key", "api_key", canary, "shop", r.Name)
	default:
		s.store.Add(ref, "api_key", "api_key", canary)
	}
}

// goes tells where a request of a caller goes: the credential's reference, a
// fault's code, or tunnel.
func (s *shop) goes(host, name string, caller ...string) string {
	s.t.Helper()
	d, err := s.srv.Decide(context.Background(), Question{Caller: strings.Join(append(caller, "all")[:1], ""), Credential: name, Method: "GET", URL: "https://" + host + "/x"})
	if err != nil {
		s.t.Fatal(err)
	}
	switch d.Action {
	case "intercept":
		return d.Credential
	case "refuse":
		return string(d.Code)
	}
	return d.Action
}

func (s *shop) want(what, host, name, want string, caller ...string) {
	s.t.Helper()
	if got := s.goes(host, name, caller...); got != want {
		s.t.Errorf("%s: a request to %s goes to %s, want %s", what, host, got, want)
	}
}

// calls checks how often the store was asked since the last calls.
func (s *shop) calls(what string, folds, lists, gets int64) {
	s.t.Helper()
	synctest.Wait() // for what is asked in the background
	f, l, g := s.store.Folds.Load(), s.store.Lists.Load(), s.store.Gets.Load()
	if f-s.folds != folds || l-s.lists != lists || g-s.gets != gets {
		s.t.Errorf("%s: %d Folders, %d Lists and %d Gets; want %d, %d and %d", what, f-s.folds, l-s.lists, g-s.gets, folds, lists, gets)
	}
	s.folds, s.lists, s.gets = f, l, g
}

func inBubble(t *testing.T, f func(*testing.T)) { t.Helper(); synctest.Test(t, f) }

// What a request costs the store: what it needs of it, once.
func TestStoreCalls(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t, "git/main", "crm/a", "crm/b", "shop/x", "api/main")
		for i := range 200 {
			s.add(fmt.Sprintf("other%d/main", i))
		}
		s.calls("at the start", 0, 0, 0)
		s.want("configured", "api.example", "", "default/production/api/main")
		s.calls("configured", 0, 1, 0)
		s.want("built-in", "git.example", "", "default/production/git/main")
		s.calls("built-in", 1, 1, 0)
		s.want("unmatched", "elsewhere.example", "", "tunnel")
		s.calls("unmatched: the records that may own it", 0, 2, 3)
		s.want("by its url", "a.own.example", "", "default/production/crm/a")
		s.want("by its field", "x.shops.example", "", "default/production/shop/x")
		s.want("built-in again", "git.example", "", "default/production/git/main")
		s.calls("all is known", 0, 0, 0)
		time.Sleep(s.config.CacheTTL + time.Second)
		s.want("after cache_ttl", "git.example", "", "default/production/git/main")
		s.calls("after cache_ttl: what is used", 1, 1, 0)
		s.want("after cache_ttl", "elsewhere.example", "", "tunnel")
		s.calls("after cache_ttl: the records", 0, 2, 3)
	})
}

// Of a folder whose records own hosts, a write of ours and a miss read what is new.
func TestRecordsAreReadOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t)
		for i := range 500 {
			s.add(fmt.Sprintf("crm/n%03d", i))
		}
		s.store.wait = time.Millisecond
		s.want("the first", "n007.own.example", "", "default/production/crm/n007")
		s.calls("the first", 1, 1, 500)
		if n := s.store.most.Load(); n != readsAtOnce {
			t.Errorf("%d records were read at once, want %d", n, readsAtOnce)
		}
		s.store.Add("crm/n007", "api_key_url", "api_key", canary, "url", "https://moved.own.example")
		s.srv.Changed(mustRef("crm/n007"))
		s.want("our write", "moved.own.example", "", "default/production/crm/n007")
		s.want("where it was", "n007.own.example", "", "tunnel")
		s.calls("our write", 1, 1, 1)
		time.Sleep(2 * missRelook)
		s.add("crm/late")
		s.want("another's write", "crm.example", "late", "default/production/crm/late")
		s.calls("a miss", 1, 1, 1)
		s.want("what the miss brought", "late.own.example", "", "default/production/crm/late")
		s.want("a miss again", "crm.example", "never", string(fault.CredentialNotFound))
		s.calls("not so soon", 0, 0, 0)
		time.Sleep(s.config.CacheTTL + time.Second)
		s.want("after cache_ttl", "late.own.example", "", "default/production/crm/late")
		time.Sleep(time.Second)
		s.calls("after cache_ttl", 1, 1, 501)
	})
}

// FM-03, FM-05: while nothing is known a built-in provider's host counts as
// owned, one that nobody owns is refused, and no request waits for more than 2 s.
func TestNothingIsKnown(t *testing.T) {
	for what, trouble := range map[string]func(*moody){
		"away":  func(m *moody) { m.Fail(fault.New(fault.VaultUnreachable, "", nil)) },
		"slow":  func(m *moody) { m.wait = 30 * time.Second },
		"slack": func(m *moody) { m.wait = 1500 * time.Millisecond },
	} {
		inBubble(t, func(t *testing.T) {
			s := newShop(t, "git/main", "crm/a")
			trouble(s.store)
			for _, host := range []string{"git.example", "crm.example", "api.example", "a.own.example", "elsewhere.example"} {
				start := time.Now()
				s.want("FM-05 "+what, host, "", string(fault.VaultUnreachable))
				if took := time.Since(start); took > storeWait {
					t.Errorf("FM-05 %s: %s waited %v", what, host, took)
				}
				time.Sleep(30 * time.Second)
				if what == "slack" {
					return
				}
			}
		})
	}
}

// FM-03: a record that cannot be read is nobody else's trouble, and what it may
// own is not passed through.
func TestHiddenRecord(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t, "git/main", "crm/a", "crm/b", "shop/x")
		s.store.refuse("default/production/crm/b", fault.New(fault.VaultDenied, "", nil))
		s.want("FM-03 another host", "git.example", "", "default/production/git/main")
		s.want("FM-03 another record", "a.own.example", "", "default/production/crm/a")
		s.want("FM-03 another provider", "x.shops.example", "", "default/production/shop/x")
		s.want("FM-03 its own host", "b.own.example", "", string(fault.VaultDenied))
		s.store.refuse("default/production/crm/b", nil)
		time.Sleep(s.config.CacheTTL + time.Second)
		s.goes("b.own.example", "")
		synctest.Wait()
		s.want("FM-03 readable again", "b.own.example", "", "default/production/crm/b")
		s.want("FM-03 readable again", "elsewhere.example", "", "tunnel")
		if n := strings.Count(s.log.String(), "credential owns no host"); n != 1 {
			t.Errorf("FM-03: it was logged %d times", n)
		}
	})
}

// A folder that our policy hides is other people's, but for its provider's hosts.
func TestHiddenFolder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t, "git/main", "crm/a", "shop/x")
		for _, name := range []string{"git", "crm"} {
			s.store.refuse("default/production/"+name+"/", fault.New(fault.VaultDenied, "", nil))
		}
		s.want("a built-in host", "git.example", "", string(fault.VaultDenied))
		s.want("a url provider's host", "crm.example", "", string(fault.VaultDenied))
		s.want("another provider", "x.shops.example", "", "default/production/shop/x")
		s.want("unmatched", "elsewhere.example", "", "tunnel")
	})
}

// The last known state is kept while the store is away, over a reload too.
func TestLastKnownState(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t, "git/main", "crm/a", "shop/x", "api/main")
		known := func(what string) {
			t.Helper()
			for host, ref := range map[string]string{"git.example": "git/main", "a.own.example": "crm/a", "crm.example": "crm/a", "x.shops.example": "shop/x", "api.example": "api/main"} {
				s.want(what, host, "", "default/production/"+ref)
			}
			s.want(what, "elsewhere.example", "", "tunnel")
		}
		known("at first")
		s.store.Fail(fault.New(fault.VaultSealed, "", nil))
		time.Sleep(time.Hour)
		known("away")
		s.srv.Swap(s.config)
		known("after a reload")
		s.srv.Changed(mustRef("git/main"))
		time.Sleep(time.Hour)
		known("after a write that nobody could read")
		synctest.Wait()
		s.folds, s.lists, s.gets = s.store.Folds.Load(), s.store.Lists.Load(), s.store.Gets.Load()
		s.store.Fail(nil)
		time.Sleep(time.Second)
		known("back")
		s.calls("back", 1, 4, 2)
	})
}

// A built-in provider owns its hosts for as long as there is a credential, and
// what is held of one that is not there any more is dropped.
func TestEmptiedFolder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t, "git/main", "crm/a")
		s.want("at first", "git.example", "", "default/production/git/main")
		s.want("at first", "crm.example", "", "default/production/crm/a")
		for _, ref := range []string{"git/main", "crm/a"} {
			s.srv.used.of(mustRef(ref)).touch("all", time.Now())
			if err := s.store.Delete(t.Context(), mustRef(ref)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(s.config.CacheTTL + time.Second)
		for range 2 {
			s.goes("git.example", "")
			s.goes("crm.example", "")
			synctest.Wait()
			time.Sleep(2 * time.Second)
		}
		s.want("emptied", "git.example", "", "tunnel")
		s.want("emptied", "crm.example", "", "tunnel")
		s.want("emptied", "a.own.example", "", "tunnel")
		if n := len(s.srv.AllUses()); n != 0 || len(s.srv.sources.held) != 0 {
			t.Errorf("%d uses and %d sources are kept", n, len(s.srv.sources.held))
		}
		s.add("git/next")
		s.srv.Changed(mustRef("git/next"))
		s.want("filled again", "git.example", "", "default/production/git/next")
	})
}

// Records that others deleted are listed by Vault: they make nothing ambiguous.
func TestDeletedByOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t, "git/a", "git/b", "git/c")
		s.want("several", "git.example", "", string(fault.AmbiguousCredential))
		s.calls("several: each is looked at, and listed once more", 1, 1, 3)
		s.want("several", "git.example", "", string(fault.AmbiguousCredential))
		s.calls("several: they are known", 0, 0, 0)
		s.store.refuse("default/production/git/a", notFound)
		s.store.refuse("default/production/git/c", notFound)
		time.Sleep(s.config.CacheTTL + time.Second)
		s.goes("git.example", "")
		s.want("deleted", "git.example", "", "default/production/git/b")
		s.calls("deleted: seen when the folder is listed", 1, 1, 3)
		s.want("deleted", "git.example", "", "default/production/git/b")
		s.want("by name it is tried", "git.example", "a", "default/production/git/a")
		s.calls("deleted: nothing is read again", 0, 0, 0)
		s.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
		time.Sleep(time.Hour)
		s.want("away", "git.example", "", "default/production/git/b")
		s.store.Fail(nil)
		s.store.refuse("default/production/git/c", nil)
		time.Sleep(s.config.CacheTTL)
		s.goes("git.example", "")
		synctest.Wait()
		s.want("brought back", "git.example", "", string(fault.AmbiguousCredential))
	})
}

// Looking for deleted records is bounded, and ends where it would change nothing.
func TestProbesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t)
		for i := range 300 {
			s.add(fmt.Sprintf("git/n%03d", i))
			s.add(fmt.Sprintf("api/n%03d", i))
			if i != 222 {
				s.store.refuse(fmt.Sprintf("default/production/git/n%03d", i), notFound)
			}
		}
		s.store.wait = time.Millisecond
		s.want("they are there", "api.example", "", string(fault.AmbiguousCredential))
		s.want("they are there", "api.example", "", string(fault.AmbiguousCredential))
		s.calls("they are there", 0, 1, maxProbes)
		if n := s.store.most.Load(); n != readsAtOnce {
			t.Errorf("%d records were read at once, want %d", n, readsAtOnce)
		}
		s.want("they are gone", "git.example", "", string(fault.AmbiguousCredential))
		s.calls("they are gone", 1, 1, 2*maxProbes) // before and behind the second look
		got := ""
		for range 10 {
			if got = s.goes("git.example", ""); got != string(fault.AmbiguousCredential) {
				break
			}
		}
		if got != "default/production/git/n222" {
			t.Errorf("one is left, but the request goes to %s", got)
		}
		s.want("one is left to a caller with rules", "git.example", "", string(fault.NoCredential), "one")
	})
}

// While the store is away, what cannot be looked at counts as there.
func TestProbesWhileTheStoreIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t, "git/a", "git/b")
		for _, ref := range []string{"a", "b"} {
			s.store.refuse("default/production/git/"+ref, fault.New(fault.VaultUnreachable, "", nil))
		}
		for range 20 {
			s.want("away", "git.example", "", string(fault.AmbiguousCredential))
		}
		synctest.Wait()
		if n := s.store.Gets.Load(); n > 2 {
			t.Errorf("a store that is away was asked %d times", n)
		}
		s.store.refuse("default/production/git/a", notFound)
		s.store.refuse("default/production/git/b", nil)
		time.Sleep(lookPause)
		s.want("back", "git.example", "", "default/production/git/b")
		s.store.refuse("default/production/git/b", fault.New(fault.VaultDenied, "", nil))
		s.add("git/c")
		time.Sleep(s.config.CacheTTL + time.Second)
		s.goes("git.example", "")
		synctest.Wait()
		s.want("one that is hidden keeps no other from being seen", "git.example", "", string(fault.AmbiguousCredential))
	})
}

// A caller's rules choose too; what they leave is found without looking at all each time.
func TestRulesLeaveOne(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newShop(t, "git/default", "git/n1", "git/n71")
		s.want("the only one", "git.example", "", "default/production/git/n71", "one")
		s.want("the only one again", "git.example", "", "default/production/git/n71", "one")
		s.want("not among them", "git.example", "default", string(fault.CredentialNotFound), "one")
		s.want("the default", "git.example", "", "default/production/git/default")
		s.calls("nothing is read", 1, 1, 0)
		s.add("git/n72")
		s.srv.Changed(mustRef("git/n72"))
		s.want("one more", "git.example", "", string(fault.AmbiguousCredential), "one")
	})
}
