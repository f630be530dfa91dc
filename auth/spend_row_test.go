package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// roundTrip is a http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// through obtains a token over another road than the server itself.
func (k *keeping) through(road http.RoundTripper, have string) (string, error) {
	c, err := k.fresh(context.Background(), k.ref)
	if err != nil {
		return "", err
	}
	got, err := k.Obtain(context.Background(), Demand{Provider: k.p, Client: &http.Client{Transport: road}, Record: c, Have: secret.New(have)})
	if err != nil {
		return "", err
	}
	return got.Record.Field("access_token").Reveal(), nil
}

// edit changes the stored record as its owner does.
func (k *keeping) edit(t *testing.T, change func(*credential.Credential)) {
	t.Helper()
	for {
		c := k.stored(t)
		change(c)
		err := k.store.Put(t.Context(), c)
		if err == nil {
			return
		}
		if !errors.Is(err, fault.StoreConflict) {
			t.Fatal(err)
		}
	}
}

// again ends the process, as far as a keeper can tell, and starts the next one on
// the same state directory.
func (k *keeping) again(t *testing.T, dir string) *keeping {
	t.Helper()
	if k.o.Journal != nil {
		_ = k.o.Journal.Close()
	}
	next := keep(t, dir, k.server, k.store, KeeperOptions{Required: k.o.Required, Store: k.o.Store})
	next.p = k.p
	_, _ = next.log.Write([]byte(k.log.String()))
	return next
}

// run runs the keeper until the test ends.
func (k *keeping) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = k.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
}

// RT-03: credentials whose references look alike share neither a refresh nor a token.
func TestRowAlikeReferences(t *testing.T) {
	refs := []credential.Ref{
		{Workspace: "a.b", Environment: "c", Provider: "crm", Name: "d"}, {Workspace: "a", Environment: "b.c", Provider: "crm", Name: "d"},
		{Workspace: "a", Environment: "b", Provider: "crm", Name: "c.d"}, {Workspace: "a-b", Environment: "c", Provider: "crm", Name: "d"},
		{Workspace: "a", Environment: "b-c", Provider: "crm", Name: "d"},
	}
	store := &credtest.Store{}
	for i, ref := range refs {
		store.Add(ref.String(), "oauth2_refresh_token", "refresh_token", fmt.Sprint("rt-", i), "client_id", "id", "client_secret", "s")
	}
	k := keep(t, t.TempDir(), nil, store, KeeperOptions{})
	road := roundTrip(func(req *http.Request) (*http.Response, error) {
		_ = req.ParseForm()
		time.Sleep(20 * time.Millisecond) // all are under way at once
		rt := req.PostForm.Get("refresh_token")
		return answered(req, 200, fmt.Sprintf(`{"access_token":"at of %s","refresh_token":"next of %s"}`, rt, rt)), nil
	})
	var wg sync.WaitGroup
	for range 3 {
		for i, ref := range refs {
			wg.Go(func() {
				c, err := store.Get(t.Context(), ref)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := k.Obtain(t.Context(), Demand{Provider: k.p, Client: &http.Client{Transport: road}, Record: c})
				if want := fmt.Sprint("at of rt-", i); err != nil || got.Record.Field("access_token").Reveal() != want {
					t.Errorf("RT-03: %v got a token that is not %q, %v", ref, want, err)
				}
			})
		}
	}
	wg.Wait()
	for i, ref := range refs {
		c, _ := store.Get(t.Context(), ref)
		if c.Field("refresh_token").Reveal() != fmt.Sprint("next of rt-", i) {
			t.Errorf("RT-03: %v holds another's refresh token", ref)
		}
	}
	for _, twin := range []string{"acmé/production/crm/a", "ACME/production/crm/a", "acme/prod:x/crm/a", "a\u0441me/production/crm/a"} { // the last is Cyrillic
		if _, err := credential.ParseRef(twin); err == nil {
			t.Errorf("RT-03: %q is a reference", twin)
		}
	}
}

// RT-04: a reply that takes longer than a claim stands still is waited for, by
// others too, even if the record's owner writes to it meanwhile.
func TestRowSlowReply(t *testing.T) {
	for _, edited := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			server, store := newRotating(), grantStore()
			server.took = time.Minute
			one, two := keep(t, t.TempDir(), server, store, KeeperOptions{}), keep(t, t.TempDir(), server, store, KeeperOptions{})
			var wg sync.WaitGroup
			for _, k := range []*keeping{one, two} {
				wg.Go(func() { k.want(t, "", "at-1") })
			}
			if edited {
				time.Sleep(5 * time.Second)
				one.edit(t, func(c *credential.Credential) { c.Description = "mine" })
			}
			wg.Wait()
			if server.posts() != 1 {
				t.Errorf("RT-04: %d posts", server.posts())
			}
			if c := one.stored(t); edited && c.Description != "mine" || c.Field("access_token").Reveal() != "at-1" {
				t.Errorf("RT-04: the record is %q with fields %v", c.Description, c.Names())
			}
		})
	}
}

// RT-15: a caller that leaves does not end the refresh.
func TestRowCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		server.took = 2 * time.Second
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.Obtain(ctx, Demand{Provider: k.p, Client: &http.Client{Transport: server}, Record: k.stored(t)})
		if !errors.Is(err, fault.Timeout) {
			t.Fatalf("RT-15: %v, want timeout", err)
		}
		time.Sleep(2 * time.Second)
		if c := k.stored(t); c.Field("access_token").Reveal() != "at-1" || c.Field("refresh_token").Reveal() != "rt-1" || server.posts() != 1 {
			t.Errorf("RT-15: after %d posts the store holds %v", server.posts(), c.Names())
		}
	})
}

// lossy loses what becomes of the first post: it never arrives, or the answer
// to it does not, or a gateway answers in its place.
func lossy(server http.RoundTripper, arrives bool, loss error, status int) http.RoundTripper {
	lost := false
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		if lost || req.Method != http.MethodPost {
			return server.RoundTrip(req)
		}
		lost = true
		trace(req)
		if arrives {
			if _, err := server.RoundTrip(req); err != nil {
				return nil, err
			}
		}
		if loss != nil {
			return nil, loss
		}
		return answered(req, status, ""), nil
	})
}

// RT-10: an answer that is lost in any way makes the state ambiguous. With a grace
// one more post recovers; without one, one more is all that is tried.
func TestRowLostReply(t *testing.T) {
	for _, tc := range []struct {
		name    string
		arrives bool // the server rotates
		loss    error
		status  int
	}{
		{"reset after the rotation", true, syscall.ECONNRESET, 0},
		{"reset before the rotation", false, syscall.ECONNRESET, 0},
		{"closed without an answer", true, io.ErrUnexpectedEOF, 0},
		{"timeout", true, context.DeadlineExceeded, 0},
		{"502 of a gateway, rotated", true, nil, 502},
		{"502 of a gateway, not rotated", false, nil, 502},
		{"504 of a gateway", true, nil, 504},
		{"an empty 200", true, nil, 200},
	} {
		for _, grace := range []time.Duration{0, 30 * time.Minute} {
			t.Run(fmt.Sprint(tc.name, ", grace ", grace), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testLostReply(t, tc.arrives, grace, tc.loss, tc.status) })
			})
		}
	}
}

func testLostReply(t *testing.T, arrives bool, grace time.Duration, loss error, status int) {
	server := newRotating()
	server.grace = grace
	dir := t.TempDir()
	k := keep(t, dir, server, grantStore(), KeeperOptions{Required: true})
	k.p.Refresh.Grace = grace
	road := lossy(server, arrives, loss, status)
	posts := func() int { // that left us
		n := server.sent("rt-0")
		if !arrives {
			n++
		}
		return n
	}
	if _, err := k.through(road, ""); !errors.Is(err, fault.TokenEndpointUnreachable) {
		t.Fatalf("RT-10: %v, want token_endpoint_unreachable", err)
	}
	cl, err := claimOf(k.stored(t))
	if err != nil || cl.State != ambiguous || cl.Sent != 1 || posts() != 1 {
		t.Fatalf("RT-10: after %d posts the claim is %+v, %v", posts(), cl, err)
	}
	if grace == 0 {
		_, err := k.through(road, "")
		if f := fault.From(err); !errors.Is(err, fault.TokenEndpointUnreachable) || f.RetryAfter <= 0 || posts() != 1 {
			t.Errorf("RT-10: at once it is tried again: %v after %d posts", err, posts())
		}
		time.Sleep(lastTryAfter)
	}
	if got, err := k.through(road, ""); grace > 0 || !arrives {
		if err != nil || !strings.HasPrefix(got, "at-") || server.reused != 0 {
			t.Errorf("RT-10: %q, %v; %d reuses", got, err, server.reused)
		}
	} else if !errors.Is(err, fault.ReauthorizationRequired) {
		t.Errorf("RT-10: %q, %v; want reauthorization_required", got, err)
	}
	for range 3 {
		k = k.again(t, dir)
		_, _ = k.through(road, "")
		time.Sleep(time.Hour)
	}
	if posts() > 2 {
		t.Errorf("RT-10: %d posts of one refresh token", posts())
	}
}

// RT-10: a refresh token whose answer was lost twice is never sent a third time.
func TestRowLostTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		posts, dir := 0, t.TempDir()
		road := roundTrip(func(req *http.Request) (*http.Response, error) {
			trace(req)
			if req.Method != http.MethodPost {
				return answered(req, 404, ""), nil
			}
			posts++
			return nil, syscall.ECONNRESET
		})
		k := keep(t, dir, newRotating(), grantStore(), KeeperOptions{Required: true})
		var err error
		for range 20 {
			_, err = k.through(road, "")
			time.Sleep(time.Minute)
			k = k.again(t, dir)
		}
		if !errors.Is(err, fault.ReauthorizationRequired) || posts != 2 || strings.Count(k.log.String(), "level=ERROR") != 1 {
			t.Errorf("RT-10: %v after %d posts; the log:\n%s", err, posts, k.log)
		}
	})
}

// RT-10: a refresh token that was good for more than one use so far is not given
// up when answers get lost.
func TestRowLostButStays(t *testing.T) {
	for _, same := range []string{"", `,"refresh_token":"rt-0"`} {
		synctest.Test(t, func(t *testing.T) {
			posts, away := 0, false
			road := roundTrip(func(req *http.Request) (*http.Response, error) {
				posts++
				trace(req)
				if away {
					return nil, syscall.ECONNRESET
				}
				return answered(req, 200, fmt.Sprintf(`{"access_token":"at-%d","expires_in":600%s}`, posts, same)), nil
			})
			k := keep(t, t.TempDir(), nil, grantStore(), KeeperOptions{Required: true})
			if got, err := k.through(road, ""); err != nil || got != "at-1" {
				t.Fatalf("%q, %v", got, err)
			}
			away = true
			for range 600 {
				if _, err := k.through(road, "at-1"); !errors.Is(err, fault.TokenEndpointUnreachable) {
					t.Fatalf("RT-10: %v after %d posts", err, posts)
				}
				time.Sleep(6 * time.Second)
			}
			if posts < 10 || posts > 70 {
				t.Errorf("RT-10: %d posts in an hour", posts)
			}
			away = false
			time.Sleep(lastRetry)
			if _, err := k.through(road, "at-1"); err != nil {
				t.Errorf("RT-10: %v when the server is back", err)
			}
		})
	}
}

// RT-05: an answer in the journal is not dropped because a copy of the store lags
// behind, and is dropped when the grant has gone on without it.
func TestRowStoreThatLags(t *testing.T) {
	server, store, dir := newRotating(), grantStore(), t.TempDir()
	k := keep(t, dir, server, store, KeeperOptions{Required: true, Reached: func(point string) {
		if point == "answered" {
			store.Fail(fault.New(fault.VaultUnreachable, "", nil))
		}
	}})
	k.want(t, "", "at-1")
	e := k.o.Journal.all()[0]
	for _, tc := range []struct {
		version int
		token   string
		moot    bool
	}{
		{e.Version, e.Token, false},
		{e.Version + 9, e.Token, false}, // still about this refresh token
		{e.Version - 1, "older", false},
		{e.Version + 1, "newer", true},
	} {
		if got := e.moot(tc.version, tc.token); got != tc.moot {
			t.Errorf("RT-05: with the record at version %d and token %s moot is %v", tc.version-e.Version, tc.token, got)
		}
	}
	store.Fail(nil)
	k = k.again(t, dir)
	k.edit(t, func(c *credential.Credential) { // somebody has authorized again
		c.Set("refresh_token", secret.New("rt-new"))
		c.Set("access_token", secret.New("at-new"))
		c.Set("expires_at", secret.New(time.Now().Add(time.Hour).Format(time.RFC3339)))
	})
	server.valid = "rt-new"
	k.want(t, "at-new", "at-2")
	if _, open := k.o.Journal.state(); open != 0 || server.sent("rt-0") != 1 || server.sent("rt-new") != 1 {
		t.Errorf("RT-05: %d entries are left in the journal; posts %v", open, server.spent)
	}
}

// RT-10: what never left us is not counted as sent.
func TestRowNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
		away := true
		road := roundTrip(func(req *http.Request) (*http.Response, error) {
			if away {
				return nil, fault.New(fault.ConnectionRefused, "", nil)
			}
			return server.RoundTrip(req)
		})
		for range 20 {
			if _, err := k.through(road, ""); !errors.Is(err, fault.TokenEndpointUnreachable) {
				t.Fatalf("RT-10: %v", err)
			}
			time.Sleep(20 * time.Second)
		}
		cl, _ := claimOf(k.stored(t))
		if cl.State != "" || cl.Sent != 0 {
			t.Errorf("RT-10: the claim is %+v", cl)
		}
		away = false
		time.Sleep(lastRetry)
		k.want(t, "", "at-1")
	})
}

// FM-12: while only a gateway answers, the one more try is not wasted on it,
// however long that takes.
func TestRowGatewayOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, posts, probes, away := newRotating(), 0, 0, true
		road := roundTrip(func(req *http.Request) (*http.Response, error) {
			if !away {
				return server.RoundTrip(req)
			}
			if req.Method == http.MethodPost {
				posts++
			} else {
				probes++
				if err := req.ParseForm(); err != nil || len(req.Form) > 0 || req.Header.Get("Authorization") != "" {
					t.Errorf("FM-12: a probe carries %v, %v", req.Form, err)
				}
			}
			trace(req)
			return answered(req, 502, "<html>"), nil
		})
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
		for range 180 {
			if _, err := k.through(road, ""); !errors.Is(err, fault.TokenEndpointUnreachable) {
				t.Fatalf("FM-12: %v", err)
			}
			time.Sleep(time.Minute)
		}
		if posts != 1 || probes == 0 {
			t.Errorf("FM-12: %d posts and %d probes in three hours, want one post", posts, probes)
		}
		away = false
		if got, err := k.through(road, ""); err != nil || got != "at-1" {
			t.Errorf("FM-12: %q, %v when the server is back", got, err)
		}
	})
}

// RT-12: an invalid_grant is no verdict on a record that has a newer refresh token.
func TestRowRefusedButReplaced(t *testing.T) {
	for _, token := range []string{"at-other", ""} {
		t.Run("with token "+token, func(t *testing.T) {
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
