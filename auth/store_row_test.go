package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// faulty is a store that fails in the ways of real ones.
type faulty struct {
	*credtest.Store
	put atomic.Pointer[func(next func() error) error] // around each Put; nil: it works
}

// Put implements credential.Store.
func (s *faulty) Put(ctx context.Context, c *credential.Credential) error {
	next := func() error { return s.Store.Put(ctx, c) }
	if put := s.put.Load(); put != nil {
		return (*put)(next)
	}
	return next()
}

func (s *faulty) breaks(how func(next func() error) error) {
	if how == nil {
		s.put.Store(nil)
		return
	}
	s.put.Store(&how)
}

// RT-06: the store takes no write after the rotation. Requests are served from
// memory, the token is written soon after the store is back, and the old refresh
// token is not posted again.
func TestRowStoreFailsAfterRotation(t *testing.T) {
	unreachable := fault.New(fault.VaultUnreachable, "", nil)
	for _, tc := range []struct {
		name string
		put  func(next func() error) error
		gone time.Duration
		gets error // of readings meanwhile
	}{
		{"500 now and then", fails(fault.New(fault.VaultUnreachable, "", nil)), time.Second, nil},
		{"away for 9 minutes", fails(unreachable), 9 * time.Minute, unreachable},
		{"sealed for 30 minutes", fails(fault.New(fault.VaultSealed, "", nil)), 30 * time.Minute, fault.New(fault.VaultSealed, "", nil)},
		{"denied", fails(fault.New(fault.VaultDenied, "", nil)), 5 * time.Minute, nil},
		{"says nothing", func(func() error) error {
			time.Sleep(maxStore)
			return unreachable
		}, 5 * time.Minute, nil},
		{"takes it and says that it did not", func(next func() error) error {
			if err := next(); err != nil {
				return err
			}
			return unreachable
		}, 5 * time.Minute, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, store := newRotating(), &faulty{Store: grantStore()}
				k := keep(t, t.TempDir(), server, store.Store, KeeperOptions{Store: store, Required: true, Reached: func(point string) {
					if point == "answered" {
						store.breaks(tc.put)
						store.Fail(tc.gets)
					}
				}})
				k.run(t)
				began := time.Now()
				k.want(t, "", "at-1")
				if took := time.Since(began); took > publishWait {
					t.Errorf("RT-06: the first request waited %v", took)
				}
				for time.Since(began) < tc.gone {
					if time.Since(began) < 10*time.Minute { // the token's life
						k.want(t, "", "at-1")
					} else if _, err := k.obtain(""); err == nil || time.Since(began) > tc.gone+20*time.Second {
						t.Fatalf("RT-06: a token that has ended is served, or %v", err)
					}
					time.Sleep(7 * time.Second)
				}
				k.o.Reached = func(string) {}
				store.breaks(nil)
				store.Fail(nil)
				time.Sleep(5 * time.Second)
				if tc.name == "says nothing" { // a try that is under way ends first
					time.Sleep(maxStore)
				}
				if c := k.stored(t); c.Field("access_token").Reveal() != "at-1" || c.Field("refresh_token").Reveal() != "rt-1" {
					t.Errorf("RT-06: 5 s after the store is back it holds %v; the log:\n%s", c.Names(), k.log)
				}
				if err := k.Drain(t.Context()); err != nil || server.posts() != 1 || server.sent("rt-0") != 1 {
					t.Errorf("RT-06: %d posts, Drain: %v", server.posts(), err)
				}
				if _, open := k.o.Journal.state(); open != 0 {
					t.Errorf("RT-06: %d entries are left in the journal", open)
				}
				k.want(t, "at-1", "at-2")
				if server.reused != 0 {
					t.Errorf("RT-06: %d reuses", server.reused)
				}
			})
		})
	}
}

func fails(err error) func(func() error) error { return func(func() error) error { return err } }

// RT-06: what a person changes in the record while its token is refreshed stays,
// and the token comes into it.
func TestRowConflictAfterRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		var k *keeping
		k = keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true, Reached: func(point string) {
			if point == "answered" {
				k.edit(t, func(c *credential.Credential) { c.Description = "mine"; c.Set("client_secret", secret.New("other")) })
			}
		}})
		k.want(t, "", "at-1")
		c := k.stored(t)
		if c.Description != "mine" || c.Field("client_secret").Reveal() != "other" || c.Field("refresh_token").Reveal() != "rt-1" {
			t.Errorf("RT-06: the store holds %q and %v", c.Description, c.Names())
		}
	})
}

// RT-06: an answer that is not in the store yet is written before its refresh
// token is spent, whatever was written to the record meanwhile, and nothing of it
// is left behind.
func TestRowUnwrittenAnswerGoesFirst(t *testing.T) {
	for _, edited := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			server, store := newRotating(), &faulty{Store: grantStore()}
			k := keep(t, t.TempDir(), server, store.Store, KeeperOptions{Store: store, Required: true, Reached: func(point string) {
				if point == "publishing" {
					store.breaks(fails(fault.New(fault.VaultUnreachable, "", nil)))
				}
			}})
			k.want(t, "", "at-1") // nobody runs the keeper: it stays in memory
			k.refuses(t, "at-1", fault.VaultUnreachable)
			if server.posts() != 1 {
				t.Fatalf("RT-06: a token that only this process knows was spent")
			}
			k.o.Reached = func(string) {}
			store.breaks(nil)
			if edited {
				k.edit(t, func(c *credential.Credential) { c.Description = "mine" })
			}
			k.want(t, "at-1", "at-2")
			if c := k.stored(t); edited && c.Description != "mine" || c.Field("refresh_token").Reveal() != "rt-2" || server.reused != 0 {
				t.Errorf("RT-06: after %d posts, %d of them reuses, the store holds %q and %v", server.posts(), server.reused, c.Description, c.Names())
			}
			if cl, _ := claimOf(k.stored(t)); cl.Gen != 2 {
				t.Errorf("RT-06: claim %+v", cl)
			}
			if _, open := k.o.Journal.state(); open != 0 {
				t.Errorf("RT-06: %d entries are left in the journal", open)
			}
		})
	}
}

// RT-06: a grant that a person put in while another was refreshed stands.
func TestRowReplacedAfterRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		var k *keeping
		k = keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true, Reached: func(point string) {
			if point == "answered" {
				k.edit(t, func(c *credential.Credential) { c.Set("refresh_token", secret.New("rt-person")) })
			}
		}})
		k.want(t, "", "at-1")
		if c := k.stored(t); c.Field("refresh_token").Reveal() != "rt-person" {
			t.Error("RT-06: a new grant was overwritten by a refresh of the old one")
		}
		if k.held(k.ref) != nil {
			t.Error("RT-06: the old grant's token is still held")
		}
	})
}

// RT-06: a credential that is deleted while it is refreshed does not come back.
func TestRowDeletedAfterRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		var k *keeping
		k = keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true, Reached: func(point string) {
			if point == "answered" {
				_ = k.store.Delete(context.Background(), k.ref)
			}
		}})
		_, _ = k.obtain("")
		if _, err := k.fresh(t.Context(), k.ref); !errors.Is(err, fault.CredentialNotFound) {
			t.Errorf("RT-06: a deleted credential: %v", err)
		}
		if _, open := k.o.Journal.state(); open != 0 {
			t.Errorf("RT-06: %d entries are left in the journal", open)
		}
	})
}

// RT-06: one store that takes its time with one record does not hold up the others.
func TestRowSlowPublicationHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := newRotating(), &faulty{Store: grantStore()}
		other := credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "other"}
		store.Add(other.String(), "oauth2_refresh_token", "refresh_token", "rt-x", "client_id", "id", "client_secret", "s")
		server.took = time.Minute
		k := keep(t, t.TempDir(), server, store.Store, KeeperOptions{Store: store, Required: true})
		done := make(chan struct{})
		go func() { // is refreshed for a minute
			defer close(done)
			k.want(t, "", "at-1")
		}()
		time.Sleep(time.Second)
		k.run(t) // it finds an entry in the journal that is being spent
		store.breaks(fails(fault.New(fault.VaultUnreachable, "", nil)))
		c, _ := store.Get(t.Context(), other)
		p := &publication{ref: other, record: c, granted: granted{access: "at-x", refresh: "rt-y", life: time.Hour}, at: time.Now(), spent: fingerprint(other, c.Field("refresh_token"))}
		p.record = p.onto(c)
		k.publish(t.Context(), p)
		store.breaks(nil)
		time.Sleep(lastPublish)
		if c, _ := store.Get(t.Context(), other); c.Field("access_token").Reveal() != "at-x" {
			t.Error("RT-06: a publication waited for another credential's refresh")
		}
		<-done
	})
}

// RT-07: with the store away before a refresh nothing is posted. The token serves
// to its end, and then the fault comes at once.
func TestRowStoreAwayBefore(t *testing.T) {
	for _, down := range []func(*faulty){
		func(s *faulty) { s.Fail(fault.New(fault.VaultUnreachable, "", nil)) },
		func(s *faulty) { s.breaks(fails(fault.New(fault.VaultUnreachable, "", nil))) }, // it can be read only
	} {
		synctest.Test(t, func(t *testing.T) {
			server, store := newRotating(), &faulty{Store: grantStore()}
			k := keep(t, t.TempDir(), server, store.Store, KeeperOptions{Store: store, Required: true})
			s := NewSource(SourceOptions{Ref: k.ref, Provider: k.p, Store: k.Over(), Keeper: k.Keeper, Client: &http.Client{Transport: server}})
			first := get(t, s)
			down(store)
			for time.Until(first.Expiry) > 0 {
				if get(t, s) != first {
					t.Fatal("RT-07: another token")
				}
				time.Sleep(time.Second)
			}
			synctest.Wait()
			began := time.Now()
			refused(t, s, fault.VaultUnreachable)
			if took := time.Since(began); took > 50*time.Millisecond || server.posts() != 1 {
				t.Errorf("RT-07: %d posts, and the fault took %v", server.posts(), took)
			}
			store.Fail(nil)
			store.breaks(nil)
			time.Sleep(lastRetry * 5 / 4)
			get(t, s)
			if server.posts() != 2 || server.reused != 0 {
				t.Errorf("RT-07: %d posts when the store is back, %d reuses", server.posts(), server.reused)
			}
		})
	}
}

// RT-06: a claim whose write was said to have failed, and had not, was not spent.
func TestRowClaimLandedUntold(t *testing.T) {
	for _, dir := range []bool{true, false} { // with a journal and without
		synctest.Test(t, func(t *testing.T) {
			server, store := newRotating(), &faulty{Store: grantStore()}
			where := ""
			if dir {
				where = t.TempDir()
			}
			k := keep(t, where, server, store.Store, KeeperOptions{Store: store})
			store.breaks(func(next func() error) error {
				if err := next(); err != nil {
					return err
				}
				return fault.New(fault.VaultUnreachable, "", nil)
			})
			k.refuses(t, "", fault.VaultUnreachable)
			store.breaks(nil)
			k.want(t, "", "at-1")
			if server.probes != 0 || strings.Contains(k.log.String(), "no answer") {
				t.Errorf("RT-06: a claim that led to no request counts as sent (journal %v)", dir)
			}
		})
	}
}
