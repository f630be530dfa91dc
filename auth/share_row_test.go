package auth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// RT-20: a token that is asked for without a refresh token needs no claim and no
// journal, and those who ask at once share one request.
func TestRowNoRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, store := &tokenEndpoint{took: 50 * time.Millisecond}, &credtest.Store{}
		c := store.Add(tokenRef, "oauth2_client_credentials", "client_id", "id", "client_secret", "s")
		k := keep(t, "", nil, store, KeeperOptions{Required: true}) // required, and there is none
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				got, err := k.Obtain(t.Context(), Demand{Provider: k.p, Client: &http.Client{Transport: e}, Record: c})
				if err != nil || got.Record.Field("access_token").Reveal() != "at-1" {
					t.Errorf("RT-20: %v", err)
				}
			})
		}
		wg.Wait()
		if got := k.stored(t); e.posts() != 1 || got.Version != 2 || !got.Field(credential.StateField).Empty() {
			t.Errorf("RT-20: %d posts, version %d", e.posts(), got.Version)
		}
	})
}

// RT-21: a client secret that was replaced is read anew before anybody is told
// that it is wrong, and the old one is not tried again.
func TestRowReplacedSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		right := ""
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{})
		var used []string
		road := roundTrip(func(req *http.Request) (*http.Response, error) {
			_, pass, _ := req.BasicAuth()
			if used = append(used, pass); pass != right {
				return answered(req, 401, `{"error":"invalid_client"}`), nil
			}
			return server.RoundTrip(req)
		})
		s := NewSource(SourceOptions{Ref: k.ref, Provider: k.p, Store: k.Over(), Keeper: k.Keeper, Client: &http.Client{Transport: road}})
		right = "new"
		for range 10 {
			refused(t, s, fault.InvalidClient)
			time.Sleep(200 * time.Millisecond)
		}
		k.edit(t, func(c *credential.Credential) { c.Set("client_secret", secret.New("new")) })
		at := len(used)
		time.Sleep(readPause)
		get(t, s)
		if !slices.Equal(used[at:], []string{"new"}) || server.posts() != 1 {
			t.Errorf("RT-21: secrets %q were used after the change", used[at:])
		}
	})
}

// RT-23: what a later version wrote is not touched; what it added to a form that
// we know stays.
func TestRowOtherVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{})
		k.edit(t, func(c *credential.Credential) {
			c.Set(credential.StateField, secret.New(`{"other":{"a":[1]},"grant":{"v":1,"color":"blue","gen":6}}`))
		})
		k.want(t, "", "at-1")
		state := stateOf(k.stored(t))
		cl, err := claimOf(k.stored(t))
		if err != nil || string(state["other"]) != `{"a":[1]}` || string(cl.more["color"]) != `"blue"` || cl.Gen != 7 {
			t.Errorf("RT-23: the state is %v, the claim %+v, %v", state, cl, err)
		}
		const later = `{"grant":{"v":2,"lock":"mine"}}`
		k.edit(t, func(c *credential.Credential) { c.Set(credential.StateField, secret.New(later)) })
		k.refuses(t, "at-1", fault.Internal)
		k.want(t, "", "at-1") // the token serves
		if got := k.stored(t).Field(credential.StateField).Reveal(); got != later || server.posts() != 1 {
			t.Errorf("RT-23: after %d posts the state is %s", server.posts(), got)
		}
	})
}

// RT-23: an answer that comes while a later version has taken the claim over is
// stored, and the later version's claim stays.
func TestRowLaterVersionTookOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const later = `{"grant":{"v":2,"lock":"mine"}}`
		server := newRotating()
		var k *keeping
		k = keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Reached: func(point string) {
			if point == "answered" {
				k.edit(t, func(c *credential.Credential) { c.Set(credential.StateField, secret.New(later)) })
			}
		}})
		k.want(t, "", "at-1")
		if c := k.stored(t); c.Field("refresh_token").Reveal() != "rt-1" || c.Field(credential.StateField).Reveal() != later {
			t.Errorf("RT-23: the store holds %v", c.Names())
		}
	})
}

// Those who ask at once with different tokens in hand get what each of them
// needs, and an endpoint that gives the refused token again is not asked for ever.
func TestKeeperOfDifferentDemands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		server.took = time.Second
		server.body = func(n int) (int, string) {
			return 200, fmt.Sprintf(`{"access_token":"at-same","refresh_token":"rt-%d","expires_in":600}`, n)
		}
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{})
		var wg sync.WaitGroup
		for _, have := range []string{"", "at-same", "at-same", "at-x"} {
			wg.Go(func() {
				if got, err := k.obtain(have); err != nil || got != "at-same" {
					t.Errorf("with %q in hand: %q, %v", have, got, err)
				}
			})
		}
		wg.Wait()
		if n := server.posts(); n > 2 {
			t.Errorf("%d posts", n)
		}
	})
}

// A token that is dead on arrival is not asked for again at once.
func TestKeeperOfTokensDeadOnArrival(t *testing.T) {
	server := newRotating()
	server.body = func(n int) (int, string) {
		return 200, fmt.Sprintf(`{"access_token":"at-%d","refresh_token":"rt-%d","expires_in":1e-9}`, n, n)
	}
	s := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{}).source()
	for range 50 {
		if _, err := s.Injector(t.Context()); !errors.Is(err, fault.TokenExpired) {
			t.Fatalf("%v, want token_expired", err)
		}
	}
	if n := server.posts(); n != 1 {
		t.Errorf("%d posts", n)
	}
}
