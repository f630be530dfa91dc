package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
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
	synctest.Test(t, func(t *testing.T) {
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
	})
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
