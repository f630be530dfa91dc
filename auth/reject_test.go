package auth

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

func TestRejectReadsTheRecordFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, _ := staticSource(SourceOptions{})
		first := get(t, s)
		s.Reject(first)
		if get(t, s) != first || store.Gets.Load() != 2 {
			t.Errorf("after %d readings: with nothing new the same injector must come back", store.Gets.Load())
		}
		store.Add(tokenRef, "bearer", "token", "t2")
		time.Sleep(firstReread)
		s.Reject(first)
		second := get(t, s)
		if got := sent(t, second); got != "Bearer t2" {
			t.Errorf("the new record's token was not taken: %q", got)
		}
		s.Reject(first)
		if get(t, s) != second || store.Gets.Load() != 3 {
			t.Error("an injector minted since must stay, without a reading")
		}
	})
}

// A key that stays wrong does not make every request read the store.
func TestRejectDoesNotStormTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, _ := staticSource(SourceOptions{TTL: time.Hour})
		i := get(t, s)
		for range 6000 {
			s.Reject(i)
			get(t, s)
			time.Sleep(10 * time.Millisecond)
		}
		if n := store.Gets.Load(); n > 20 {
			t.Errorf("%d readings in a minute of refusals", n)
		}
	})
}

func TestRejectRefreshesAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		s, store, _ := tokenSource(e)
		first := get(t, s)
		s.Reject(first)
		second := get(t, s)
		if second == first || e.posts() != 2 || store.Gets.Load() != 2 {
			t.Fatalf("%d posts, %d readings; want a reading and a refresh", e.posts(), store.Gets.Load())
		}
		s.Reject(second)
		if get(t, s) != second || e.posts() != 2 {
			t.Error("a second refresh within 30 s")
		}
		time.Sleep(forcePause - time.Second)
		s.Reject(second)
		if get(t, s) != second || e.posts() != 2 {
			t.Error("a second refresh within 30 s")
		}
		time.Sleep(time.Second)
		s.Reject(second)
		if get(t, s) == second || e.posts() != 3 {
			t.Error("no refresh after 30 s")
		}
	})
}

func TestRejectPrefersANewRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		s, store, _ := tokenSource(e)
		first := get(t, s)
		store.Add(tokenRef, "oauth2_client_credentials", "client_id", "id2", "client_secret", "s3cr3t")
		s.Reject(first)
		get(t, s)
		if id, _, _ := e.asked[1].BasicAuth(); e.posts() != 2 || id != "id2" {
			t.Errorf("%d posts, the last by %q; want one by the new client", e.posts(), id)
		}
	})
}

// A refused request whose refresh fails gets that fault; the token goes on being
// served to others, who may have better luck with it.
func TestRejectWithAFailingRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		s, _, _ := tokenSource(e)
		first := get(t, s)
		e.answers(says(503, "text/plain", "busy"))
		s.Reject(first)
		refused(t, s, fault.TokenEndpointUnreachable)
		if get(t, s) != first {
			t.Error("the held token is gone")
		}
		s.Reject(first)
		if get(t, s) != first || e.posts() != 2 {
			t.Error("no refresh is due within the pause: the same injector must come back")
		}
		e.answers(nil)
		time.Sleep(2 * time.Second)
		s.Reject(first)
		if get(t, s) == first || e.posts() != 3 {
			t.Error("no refresh after the pause")
		}
	})
}

// Whoever is refused while another's refresh runs shares it.
func TestRejectDuringARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		s, _, _ := tokenSource(e)
		first := get(t, s)
		e.took = time.Second
		time.Sleep(55 * time.Minute)
		get(t, s) // begins the renewal
		synctest.Wait()
		s.Reject(first)
		if i := get(t, s); i == first || e.posts() != 2 {
			t.Errorf("%d posts, want the running renewal's token", e.posts())
		}
	})
}

func TestRejectOfNothing(t *testing.T) {
	s, store, _ := staticSource(SourceOptions{})
	s.Reject(nil)
	s.Reject(&Injector{})
	get(t, s)
	if n := store.Gets.Load(); n != 1 {
		t.Errorf("%d readings", n)
	}
	if _, err := s.Injector(context.Background()); err != nil {
		t.Error(err)
	}
}
