package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
)

const tokenRef = "acme/production/crm/main"

// get is a request's call: it must succeed, and what it gets must be valid.
func get(t testing.TB, s *Source) *Injector {
	t.Helper()
	i, err := s.Injector(context.Background())
	if err != nil {
		t.Fatalf("Injector: %v", err)
	}
	if !i.Expiry.IsZero() && !time.Now().Before(i.Expiry) {
		t.Fatal("an expired injector was handed out")
	}
	return i
}

// refused is a request's call that must fail with code.
func refused(t testing.TB, s *Source, code fault.Code) *fault.Fault {
	t.Helper()
	i, err := s.Injector(context.Background())
	if !errors.Is(err, code) {
		t.Fatalf("Injector gives %v, %v; want %s", i, err, code)
	}
	f := fault.From(err)
	if f.Credential != tokenRef || f.Provider != "crm" {
		t.Errorf("the fault names %q of %q", f.Credential, f.Provider)
	}
	return f
}

func staticSource(o SourceOptions) (*Source, *credtest.Store, *credential.Credential) {
	store := &credtest.Store{}
	c := store.Add(tokenRef, "bearer", "token", "t1")
	o.Ref, o.Provider, o.Store = c.Ref, crm(), store
	return NewSource(o), store, c
}

func TestSourceReadsAgainAfterTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, _ := staticSource(SourceOptions{})
		for range 10 {
			get(t, s)
		}
		if n := store.Gets.Load(); n != 1 {
			t.Errorf("the store was read %d times, want once", n)
		}
		store.Add(tokenRef, "bearer", "token", "t2")
		time.Sleep(time.Minute)
		before := time.Now()
		if got := sent(t, get(t, s)); got != "Bearer t2" || time.Since(before) > 0 {
			t.Errorf("after the TTL it sends %q after %v", got, time.Since(before))
		}
		if n := store.Gets.Load(); n != 2 {
			t.Errorf("the store was read %d times, want twice", n)
		}
	})
}

// A record in use is read before its time is over, so that nobody waits for that; one that nobody uses is not.
func TestSourceReadsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, _ := staticSource(SourceOptions{})
		get(t, s)
		tick := func(d time.Duration) {
			for range d / time.Second {
				time.Sleep(time.Second)
				s.Tick(time.Now())
			}
			synctest.Wait()
		}
		tick(47 * time.Second)
		if n := store.Gets.Load(); n != 1 {
			t.Errorf("read %d times before it was due", n)
		}
		store.Add(tokenRef, "bearer", "token", "t2")
		tick(3 * time.Second)
		if got := sent(t, get(t, s)); got != "Bearer t2" || store.Gets.Load() != 2 {
			t.Errorf("a record in use: %q after %d readings", got, store.Gets.Load())
		}
		tick(5 * time.Minute)
		if n := store.Gets.Load(); n != 3 {
			t.Errorf("a record that nobody used since was read %d times, want one more", n)
		}
	})
}

// A store that is slow delays nobody for long, and only the first.
func TestSourceWaitsAMomentForASlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{queue: 10 * time.Second, get: func(n int) (string, time.Duration, error) { return fmt.Sprint("t", n), 0, nil }}
		s := lentSource(l, SourceOptions{})
		first := get(t, s)
		time.Sleep(time.Minute)
		before := time.Now()
		if get(t, s) != first || time.Since(before) != overdueWait {
			t.Errorf("the first waited %v", time.Since(before))
		}
		before = time.Now()
		if get(t, s) != first || time.Since(before) != 0 {
			t.Errorf("the second waited %v", time.Since(before))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
	})
}

func TestSourceKeepsInjectorOfSameRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, c := staticSource(SourceOptions{})
		first := get(t, s)
		c = c.Clone()
		c.Description = "another"
		if err := store.Put(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		s.Changed()
		if get(t, s) != first {
			t.Error("a record whose fields did not change made a new injector")
		}
		if v := s.Status().Version; v != c.Version {
			t.Errorf("Status tells version %d, want %d", v, c.Version)
		}
	})
}

func TestSourceOutlivesStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, _ := staticSource(SourceOptions{TTL: time.Minute, MaxStale: time.Hour})
		get(t, s)
		store.Fail(fault.New(fault.VaultUnreachable, "", nil))
		for range 59 {
			time.Sleep(time.Minute)
			get(t, s)
			synctest.Wait()
		}
		if st := s.Status(); st.LastError == nil || st.LastError.Code != fault.VaultUnreachable || !st.FailedAt.Equal(time.Now()) {
			t.Errorf("LastError = %v, found at %v; want vault_unreachable, now", st.LastError, st.FailedAt)
		}
		time.Sleep(time.Minute)
		refused(t, s, fault.VaultUnreachable)
		before := store.Gets.Load()
		for range 100 {
			refused(t, s, fault.VaultUnreachable)
		}
		if n := store.Gets.Load() - before; n != 0 {
			t.Errorf("a store that is away was asked %d times at once", n)
		}
		store.Fail(nil)
		time.Sleep(time.Second)
		get(t, s)
		if st := s.Status(); st.LastError != nil || !st.FailedAt.IsZero() {
			t.Errorf("LastError = %v, found at %v, after it worked again", st.LastError, st.FailedAt)
		}
	})
}

func TestSourceFailsClosed(t *testing.T) {
	for _, tc := range []struct {
		name string
		then func(*credtest.Store, *credential.Credential)
		want fault.Code
	}{
		{"the record is gone", func(s *credtest.Store, c *credential.Credential) { _ = s.Delete(context.Background(), c.Ref) }, fault.CredentialNotFound},
		{"the record lost its field", func(s *credtest.Store, _ *credential.Credential) { s.Add(tokenRef, "bearer") }, fault.FieldMissing},
		{"the record has an unknown type", func(s *credtest.Store, _ *credential.Credential) { s.Add(tokenRef, "magic", "token", "t1") }, fault.FieldMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store, c := staticSource(SourceOptions{})
				get(t, s)
				tc.then(store, c)
				time.Sleep(time.Minute)
				refused(t, s, tc.want)
				store.Delete(context.Background(), c.Ref)
				store.Add(tokenRef, "bearer", "token", "t2")
				time.Sleep(readPause)
				if got := sent(t, get(t, s)); got != "Bearer t2" {
					t.Errorf("a mended record sends %q", got)
				}
			})
		})
	}
}

func TestSourceChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, _ := staticSource(SourceOptions{})
		get(t, s)
		store.Add(tokenRef, "bearer", "token", "t2")
		s.Changed()
		if got := sent(t, get(t, s)); got != "Bearer t2" {
			t.Errorf("after Changed it sends %q", got)
		}
	})
}

// A flight that began before Changed does not count for those who come after it.
func TestSourceChangedDuringFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{took: time.Second}
		s, store, _ := tokenSource(e)
		go func() { _, _ = s.Injector(context.Background()) }()
		synctest.Wait()
		store.Add(tokenRef, "oauth2_client_credentials", "client_id", "id2", "client_secret", "s3cr3t")
		s.Changed()
		get(t, s)
		if n := e.posts(); n != 2 {
			t.Fatalf("%d posts, want the old record's and the new one's", n)
		}
		if id, _, _ := e.asked[1].BasicAuth(); id != "id2" {
			t.Errorf("the token served was asked for by %q", id)
		}
	})
}

func TestSourceRenewsInMargin(t *testing.T) {
	for _, tc := range []struct {
		name          string
		life, renewal time.Duration
	}{
		{"five minutes before the end", time.Hour, 55 * time.Minute},
		{"a fifth of a short life before the end", 100 * time.Second, 80 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &tokenEndpoint{answer: lives(int(tc.life.Seconds()))}
				s, _, _ := tokenSource(e)
				first := get(t, s)
				spread := (tc.life - tc.renewal) / 10 // earlier or later at random
				time.Sleep(tc.renewal - spread - time.Second)
				if get(t, s); e.posts() != 1 {
					t.Fatal("renewed before the margin")
				}
				e.took = 8 * time.Second // shorter than a token endpoint is waited for
				time.Sleep(time.Second + 2*spread)
				before := time.Now()
				for range 100 {
					if get(t, s) != first {
						t.Fatal("another than the held one was served during the renewal")
					}
				}
				if took := time.Since(before); took != 0 {
					t.Errorf("callers waited %v while a valid token was held", took)
				}
				time.Sleep(e.took)
				synctest.Wait()
				if get(t, s) == first || e.posts() != 2 {
					t.Errorf("%d posts, want one renewal in the background", e.posts())
				}
			})
		})
	}
}

// OA-06: many callers at the end of a token's life share one refresh, and each waits with its own deadline.
func TestSourceSharesOneRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		s, _, _ := tokenSource(e)
		get(t, s)
		time.Sleep(time.Hour)
		e.took = 5 * time.Second
		before := time.Now()
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if i, err := s.Injector(context.Background()); err != nil || i.expired(time.Now()) {
					t.Errorf("OA-06: a caller got %v", err)
				}
			})
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := s.Injector(ctx)
			if !errors.Is(err, fault.Timeout) || !errors.Is(err, context.DeadlineExceeded) || time.Since(before) != time.Second {
				t.Errorf("OA-06: a caller with a second got %v after %v", err, time.Since(before))
			}
		})
		wg.Wait()
		if took := time.Since(before); e.posts() != 2 || took != 5*time.Second {
			t.Errorf("OA-06: %d posts in %v, want one refresh of five seconds for 500 callers", e.posts()-1, took)
		}
	})
}

func TestSourceRefreshOutlivesCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{took: 5 * time.Second}
		s, _, _ := tokenSource(e)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { time.Sleep(time.Second); cancel() }()
		if _, err := s.Injector(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want the caller's own end", err)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := sent(t, get(t, s)); got != "Bearer at-1" || e.posts() != 1 {
			t.Errorf("%q after %d posts, want the refresh that the caller left behind", got, e.posts())
		}
	})
}

// The lock is not needed for what is held.
func TestSourceFastPathTakesNoLock(t *testing.T) {
	s, _, _ := staticSource(SourceOptions{})
	get(t, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	get(t, s)
}

func TestSourceStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, c := tokenSource(&tokenEndpoint{})
		if st := s.Status(); st != (SourceStatus{}) {
			t.Errorf("Status of an unused source = %+v", st)
		}
		get(t, s)
		now := time.Now()
		want := SourceStatus{
			Type: c.Type, Version: c.Version, ExpiresAt: now.Add(time.Hour), LastRefresh: now, NextRefresh: now.Add(55 * time.Minute),
		}
		st := s.Status()
		if off := st.NextRefresh.Sub(want.NextRefresh).Abs(); off > 30*time.Second {
			t.Errorf("the next refresh is %v off", off)
		}
		st.NextRefresh = want.NextRefresh
		if st != want {
			t.Errorf("Status = %+v, want %+v", st, want)
		}
	})
}

func TestExpiredByEitherClock(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name   string
		expiry time.Time
		want   bool
	}{
		{"no expiry", time.Time{}, false},
		{"later by both", now.Add(time.Minute), false},
		{"past by both", now.Add(-time.Minute), true},
		{"exactly now", now, true},
		{"past by the wall clock alone", now.Add(-time.Minute).Round(0), true},
		{"later by the wall clock alone", now.Add(time.Minute).Round(0), false},
	} {
		if got := (&Injector{Expiry: tc.expiry}).expired(now); got != tc.want {
			t.Errorf("%s: expired = %v", tc.name, got)
		}
	}
}

func TestSourceWhenTheDaemonStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{took: time.Minute}
		s, _, _ := tokenSource(e)
		life, stop := context.WithCancel(context.Background())
		s.o.Life = life
		go func() { time.Sleep(time.Second); stop() }()
		refused(t, s, fault.Overloaded)
	})
}
