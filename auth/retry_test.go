package auth

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// Neither a dead token endpoint nor a wrong secret is asked over and over.
func TestFailuresBackOff(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(int) (int, string, string)
		want   fault.Code
	}{
		{"dead", says(0, "", ""), fault.TokenEndpointUnreachable},
		{"broken", says(500, "text/html", "<html>"), fault.TokenEndpointUnreachable},
		{"wrong secret", says(401, "application/json", `{"error":"invalid_client"}`), fault.InvalidClient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &tokenEndpoint{answer: tc.answer}
				s, _, _ := tokenSource(e)
				for range 600 { // a minute
					f := refused(t, s, tc.want)
					if f.Diagnosis().Transient != (f.RetryAfter > 0) {
						t.Fatalf("RetryAfter = %v", f.RetryAfter)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n := e.posts(); n < 4 || n > 6 { // at 0, 1, 3, 7, 15, 31 s and a little later each
					t.Errorf("%d posts in a minute", n)
				}
				before := e.posts()
				for range 600 { // an hour
					refused(t, s, tc.want)
					time.Sleep(6 * time.Second)
				}
				if n := e.posts() - before; n < 40 || n > 60 {
					t.Errorf("%d posts in an hour, want one a minute", n)
				}
			})
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		want        time.Duration
	}{
		{"seconds", "120", 2 * time.Minute},
		{"a date", "Sat, 01 Jan 2000 00:02:00 GMT", 2 * time.Minute}, // the bubble's clock begins on that day
		{"less than our own pause", "0", time.Second},
		{"nonsense", "soon", time.Second},
		{"far too long", "99999999999", time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &tokenEndpoint{answer: says(429, "text/plain", "slow"), header: http.Header{"Retry-After": {tc.value}}}
				s, _, _ := tokenSource(e)
				if f := refused(t, s, fault.TokenEndpointUnreachable); f.RetryAfter < tc.want || f.RetryAfter > tc.want*5/4 {
					t.Errorf("RetryAfter = %v, want about %v", f.RetryAfter, tc.want)
				}
				e.answers(nil)
				time.Sleep(tc.want - time.Millisecond)
				refused(t, s, fault.TokenEndpointUnreachable)
				if e.posts() != 1 {
					t.Fatal("asked before Retry-After")
				}
				time.Sleep(tc.want/4 + 2*time.Second)
				get(t, s)
			})
		})
	}
}

// A failing renewal keeps the token to its end, and not longer.
func TestFailingRenewalKeepsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		s, _, _ := tokenSource(e)
		first := get(t, s)
		e.answers(says(503, "text/html", "<html>"))
		time.Sleep(55 * time.Minute)
		for range 299 {
			if get(t, s) != first {
				t.Fatal("another injector without an answer")
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := e.posts() - 1; n < 6 || n > 10 {
			t.Errorf("%d posts in five minutes of failing", n)
		}
		time.Sleep(time.Second)
		refused(t, s, fault.TokenEndpointUnreachable)
		if st := s.Status(); st.LastError == nil || time.Since(st.FailedAt) > 75*time.Second || !st.NextRefresh.After(time.Now().Add(-time.Second)) {
			t.Errorf("Status = %+v", st)
		}
		e.answers(nil)
		time.Sleep(75 * time.Second)
		get(t, s)
	})
}

// A record that was mended ends the pause at once: when we are told, or when
// the next reading sees it.
func TestMendedRecordEndsPause(t *testing.T) {
	for _, tc := range []struct {
		name string
		told bool
		wait time.Duration
	}{{"told", true, 0}, {"seen", false, readPause}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &tokenEndpoint{answer: says(401, "application/json", `{"error":"invalid_client"}`)}
				s, store, _ := tokenSource(e)
				for range 40 {
					refused(t, s, fault.InvalidClient)
					time.Sleep(time.Second)
				}
				e.answers(nil)
				store.Add(tokenRef, "oauth2_client_credentials", "client_id", "id", "client_secret", "right")
				if tc.told {
					s.Changed()
				}
				time.Sleep(tc.wait)
				get(t, s)
			})
		})
	}
}

// The store may be away while a token is renewed: the held record serves.
func TestRenewalWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{answer: lives(600)}
		s, store, _ := tokenSource(e)
		get(t, s)
		store.Fail(fault.New(fault.VaultSealed, "", nil))
		for range 50 {
			time.Sleep(time.Minute)
			get(t, s)
			synctest.Wait()
		}
		if n := e.posts(); n < 5 {
			t.Errorf("%d posts in fifty minutes, want a renewal every eight", n)
		}
		time.Sleep(10 * time.Minute)
		refused(t, s, fault.VaultSealed)
	})
}

// A token that is dead on arrival is no token, and not asked for again at once.
func TestTokenThatIsDeadOnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		s, store, _ := tokenSource(e)
		store.Add(tokenRef, "oauth2_client_credentials", "client_id", "id", "client_secret", "s",
			"access_token", "old", "expires_at", time.Now().Add(-time.Second).Format(time.RFC3339))
		if got := sent(t, get(t, s)); got != "Bearer at-1" {
			t.Errorf("an expired token of the record was used: %q", got)
		}
	})
	e := &tokenEndpoint{answer: says(200, "application/json", `{"access_token":"a","expires_in":1e-9}`)} // real time: it passes
	s, _, _ := tokenSource(e)
	refused(t, s, fault.TokenExpired)
	refused(t, s, fault.TokenExpired)
	if e.posts() != 1 {
		t.Errorf("%d posts", e.posts())
	}
}

// A token that the record holds is used while it is valid, and then renewed.
func TestTokenOfTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		s, _, _ := tokenSource(e, "access_token", "held", "token_type", "token", "expires_at", time.Now().Add(10*time.Minute).Format(time.RFC3339))
		first := get(t, s)
		if got := sent(t, first); got != "token held" || e.posts() != 0 {
			t.Fatalf("%q after %d posts, want the record's token", got, e.posts())
		}
		time.Sleep(8*time.Minute + 15*time.Second)
		get(t, s)
		synctest.Wait()
		if got := sent(t, get(t, s)); got != "Bearer at-1" {
			t.Errorf("it was not renewed: %q", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		s, _, _ := tokenSource(e, "access_token", "held", "expires_at", time.Now().Add(time.Hour).Format(time.RFC3339))
		s.Reject(get(t, s))
		if got := sent(t, get(t, s)); got != "Bearer at-1" {
			t.Errorf("it was rejected and not renewed: %q", got)
		}
	})
}
