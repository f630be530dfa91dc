package auth

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// RT-12: an invalid_grant is no verdict on a record that has a newer refresh token.
func TestRowRefusedButReplaced(t *testing.T) {
	for _, token := range []string{"at-other", ""} {
		t.Run("with token "+token, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newRotating()
				k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
				server.before = func(n int) (int, string) {
					if n > 1 {
						return 0, ""
					}
					server.valid = "rt-other"
					k.edit(t, func(c *credential.Credential) {
						c.Set("refresh_token", secret.New("rt-other"))
						c.Set("access_token", secret.New(token))
						c.Set("expires_at", secret.New(time.Now().Add(time.Hour).Format(time.RFC3339)))
					})
					return 400, `{"error":"invalid_grant"}`
				}
				want := token
				if token == "" {
					want = "at-2"
				}
				k.want(t, "", want)
				if strings.Contains(k.log.String(), "level=ERROR") {
					t.Errorf("RT-12: an alarm:\n%s", k.log)
				}
				if _, open := k.o.Journal.state(); open != 0 {
					t.Errorf("RT-12: %d entries are left in the journal", open)
				}
			})
		})
	}
}

// RT-13: a revoked refresh token is posted once for ever, over restarts and over
// all daemons, and told as an error once.
func TestRowRevokedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := newRotating(), grantStore()
		server.dead = true
		dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
		var ks []*keeping
		for _, dir := range dirs {
			ks = append(ks, keep(t, dir, server, store, KeeperOptions{Required: true}))
		}
		for range 20 {
			var wg sync.WaitGroup
			for _, k := range ks {
				wg.Go(func() { k.refuses(t, "", fault.ReauthorizationRequired) })
			}
			wg.Wait()
			for i, k := range ks {
				ks[i] = k.again(t, dirs[i])
			}
			time.Sleep(time.Hour)
		}
		alarms := 0
		for _, k := range ks {
			alarms += strings.Count(k.log.String(), "level=ERROR")
		}
		if server.posts() != 1 || alarms != 1 {
			t.Errorf("RT-13: %d posts, %d alarms; want one of each", server.posts(), alarms)
		}
	})
}

// RT-13: even if the store could not be told before the process ended.
func TestRowRevokedWhileStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store, dir := newRotating(), grantStore(), t.TempDir()
		server.dead = true
		k := keep(t, dir, server, store, KeeperOptions{Required: true, Reached: func(point string) {
			if point == "answered" {
				store.Fail(fault.New(fault.VaultSealed, "", nil))
			}
		}})
		k.refuses(t, "", fault.ReauthorizationRequired)
		c, err := k.fresh(t.Context(), k.ref)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Obtain(t.Context(), Demand{Provider: k.p, Client: &http.Client{Transport: server}, Record: c}); !errors.Is(err, fault.ReauthorizationRequired) {
			t.Errorf("RT-13: the second time %v", err)
		}
		k = k.again(t, dir)
		store.Fail(nil)
		k.refuses(t, "", fault.ReauthorizationRequired)
		if cl, err := claimOf(k.stored(t)); err != nil || cl.State != dead || server.posts() != 1 {
			t.Errorf("RT-13: after %d posts the claim is %+v, %v", server.posts(), cl, err)
		}
		if _, open := k.o.Journal.state(); open != 0 {
			t.Errorf("RT-13: %d entries are left in the journal", open)
		}
	})
}

// RT-14: a new refresh token that a person puts in is used at once, and the
// tombstone of the old one stays.
func TestRowAuthorizedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		server.dead = true
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
		s := NewSource(SourceOptions{Ref: k.ref, Provider: k.p, Store: k.Over(), Keeper: k.Keeper, Client: &http.Client{Transport: server}})
		for range 30 { // a request now and then
			refused(t, s, fault.ReauthorizationRequired)
			time.Sleep(10 * time.Second)
		}
		server.mu.Lock()
		server.dead, server.valid = false, "rt-new"
		server.mu.Unlock()
		k.edit(t, func(c *credential.Credential) { c.Set("refresh_token", secret.New("rt-new")) })
		time.Sleep(readPause)
		get(t, s)
		if server.sent("rt-0") != 1 || server.sent("rt-new") != 1 {
			t.Errorf("RT-14: posts %v", server.spent)
		}
		cl, err := claimOf(k.stored(t))
		if err != nil || len(cl.Dead) != 1 || cl.State != "" {
			t.Errorf("RT-14: claim %+v, %v", cl, err)
		}
	})
}
