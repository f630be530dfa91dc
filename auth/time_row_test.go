package auth

import (
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

// source gives a source over the keeper.
func (k *keeping) source() *Source {
	return NewSource(SourceOptions{
		Ref: k.ref, Provider: k.p, Store: k.Over(), Keeper: k.Keeper, Client: &http.Client{Transport: k.server},
		MaxStale: 1000 * time.Hour, // a time of the configuration that these tests are not about
	})
}

// RT-16, FM-22: an end is kept by both clocks, and what either says counts. The clock of
// a bubble cannot be set, so what is set here is the time that is compared.
func TestRowClockIsSet(t *testing.T) {
	began := time.Now()
	i := &Injector{Minted: began, Expiry: ticking(began.Round(0).Add(time.Hour), began)}
	wall := func(now time.Time, d time.Duration) time.Time { return now.Round(0).Add(d) } // of a process that has only seen the set clock
	for _, tc := range []struct {
		name    string
		now     time.Time
		expired bool
	}{
		{"in time", began.Add(59 * time.Minute), false},
		{"after its end", began.Add(61 * time.Minute), true},
		{"2 h forward", wall(began, 2*time.Hour), true},
		{"asleep for 2 h: the monotonic clock stood still", wall(began.Add(time.Second), 2*time.Hour), true},
		{"2 h back", wall(began, -2*time.Hour), false},
	} {
		if got := i.expired(tc.now); got != tc.expired {
			t.Errorf("RT-16: %s: expired is %v", tc.name, got)
		}
	}
	if d := i.Expiry.Sub(began); d != time.Hour || i.Expiry.String() == i.Expiry.Round(0).String() {
		t.Errorf("RT-16: the end %v does not tick by the clock that nobody sets", i.Expiry)
	}
	back := began.Add(61 * time.Minute) // 61 minutes pass, and the wall clock was set back by 2 h: only the monotonic one tells
	if !ended(i.Expiry, back) {
		t.Error("RT-16: a token outlives its end after the clock was set back")
	}
}

// RT-16, FM-22: however a record's times look after a clock was set, there is one refresh
// and no storm.
func TestRowTimesOfARecord(t *testing.T) {
	for _, shift := range []time.Duration{-2 * time.Hour, 0, 2 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			server := newRotating()
			k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{})
			k.edit(t, func(c *credential.Credential) { // as a daemon whose clock was so far off wrote it
				at := time.Now().Add(shift)
				c.Set("access_token", secret.New("at-old"))
				c.Set("created_at", secret.New(at.Format(time.RFC3339)))
				c.Set("expires_at", secret.New(at.Add(10*time.Minute).Format(time.RFC3339)))
			})
			s := k.source()
			for range 60 {
				i := get(t, s)
				if i.token.Reveal() == "at-old" && shift < 0 {
					t.Fatalf("RT-16: %v: a token that has ended is served", shift)
				}
				time.Sleep(time.Second)
			}
			if n := server.posts(); n > 1 {
				t.Errorf("RT-16: %v: %d posts in a minute", shift, n)
			}
		})
	}
}

// RT-16, RT-17: a rest that another host wrote with a clock that is wrong ends all
// the same when it has passed since it was seen.
func TestRowRestByAWrongClock(t *testing.T) {
	for _, skew := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			server := newRotating()
			k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{})
			k.edit(t, func(c *credential.Credential) {
				cl, _ := claimOf(c)
				cl = cl.about(fingerprint(c.Ref, c.Field("refresh_token")))
				cl.rest(20*time.Second, time.Now().Add(skew)).write(c)
			})
			if skew > 0 {
				k.refuses(t, "", fault.TokenEndpointUnreachable)
				time.Sleep(20 * time.Second)
			}
			k.want(t, "", "at-1")
		})
	}
}

// RT-17: a server that asks to be left alone is, by all daemons.
func TestRowTooManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := newRotating(), grantStore()
		server.header = http.Header{"Retry-After": {"120"}}
		server.before = func(n int) (int, string) {
			if n <= 5 {
				return 429, `{"error":"slow_down"}`
			}
			return 0, ""
		}
		var ks []*keeping
		for range 3 {
			ks = append(ks, keep(t, t.TempDir(), server, store, KeeperOptions{Required: true}))
		}
		poll(ks, 12*time.Minute)
		if len(server.times) != 6 {
			t.Fatalf("RT-17: %d posts, want five that are refused and one", len(server.times))
		}
		for i := range server.times[1:] {
			if gap := server.times[i+1].Sub(server.times[i]); gap < 2*time.Minute {
				t.Errorf("RT-17: a post after %v, the server said 120 s", gap)
			}
		}
		ks[0].want(t, "", "at-6")
	})
}

// poll has each daemon ask twice a second.
func poll(ks []*keeping, d time.Duration) {
	var wg sync.WaitGroup
	for _, k := range ks {
		wg.Go(func() {
			for began := time.Now(); time.Since(began) < d; time.Sleep(500 * time.Millisecond) {
				_, _ = k.obtain("")
			}
		})
	}
	wg.Wait()
}

// RT-17: a server that answers 503 now and then is asked once in a growing time by
// all daemons together.
func TestRowFlappingServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := newRotating(), grantStore()
		server.before = func(n int) (int, string) {
			if n%10 != 0 {
				return 503, `<html>`
			}
			return 0, ""
		}
		var ks []*keeping
		for range 3 {
			ks = append(ks, keep(t, t.TempDir(), server, store, KeeperOptions{Required: true}))
		}
		poll(ks, 5*time.Minute)
		for i := range server.times[1:] {
			want := min(firstRetry<<i, lastRetry)
			if gap := server.times[i+1].Sub(server.times[i]); gap < want {
				t.Errorf("RT-17: post %d came %v after the one before, want %v", i+2, gap, want)
			}
		}
		if n := len(server.times); n < 6 || n > 10 || server.reused != 0 {
			t.Errorf("RT-17: %d posts in five minutes, %d reuses", n, server.reused)
		}
	})
}

// RT-18: a token that ends earlier than it was said to is refreshed when the
// upstream refuses it, and not in a loop.
func TestRowEarly401(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		s := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{}).source()
		i := get(t, s)
		for range 5 * 60 { // every token is refused from the beginning
			s.Reject(i)
			i = get(t, s)
			time.Sleep(200 * time.Millisecond)
		}
		if n := server.posts(); n > 1+2+1 || server.reused != 0 { // a minute
			t.Errorf("RT-18: %d posts in a minute of refusals, %d reuses; want one in 30 s", n, server.reused)
		}
	})
}

// RT-19: ten thousand tokens that end in one minute are renewed before that, at
// most fifty a second, and those that somebody waits for first.
func TestRowManyEndAtOnce(t *testing.T) {
	const many = 10_000
	synctest.Test(t, func(t *testing.T) {
		server, store := &minter{}, &credtest.Store{}
		k := keep(t, t.TempDir(), nil, store, KeeperOptions{})
		k.p.Refresh.Rotates = false // a claim and a journal would cost this test a minute of file system
		began := time.Now()
		var sources []*Source
		for i := range many {
			end := began.Add(30*time.Minute + time.Minute*time.Duration(i)/many)
			c := store.Add(fmt.Sprintf("acme/production/crm/c%d", i), "oauth2_refresh_token", "refresh_token", fmt.Sprint("rt-", i), "access_token", fmt.Sprint("at-", i),
				"created_at", began.Add(-30*time.Minute).Format(time.RFC3339), "expires_at", end.Format(time.RFC3339Nano))
			s := NewSource(SourceOptions{Ref: c.Ref, Provider: k.p, Store: k.Over(), Keeper: k.Keeper, Client: &http.Client{Transport: server}, TTL: time.Hour})
			get(t, s)
			sources = append(sources, s)
		}
		urgent := time.Duration(0)
		time.Sleep(24 * time.Minute) // none is due before
		for time.Since(began) < 31*time.Minute {
			now := time.Now()
			for _, s := range sources {
				s.Tick(now)
			}
			if time.Since(began) == 26*time.Minute { // the queue is long by now
				s := sources[len(sources)-1]
				s.Reject(get(t, s))
				get(t, s)
				urgent = time.Since(now)
			}
			time.Sleep(time.Until(now.Add(3 * time.Second)))
		}
		late := 0
		for _, s := range sources {
			if st := s.Status(); st.LastError != nil || !st.ExpiresAt.After(began.Add(40*time.Minute)) {
				late++
			}
		}
		first, last := slices.MinFunc(server.times, time.Time.Compare), slices.MaxFunc(server.times, time.Time.Compare)
		t.Logf("RT-19: %d posts from %v to %v before the first end, at most %d in a second; who had to wait waited %v",
			len(server.times), began.Add(30*time.Minute).Sub(first), began.Add(30*time.Minute).Sub(last), server.busiest(), urgent)
		if late > 0 || last.After(began.Add(30*time.Minute)) || server.busiest() > 51 || len(server.times) != many {
			t.Errorf("RT-19: %d posts, %d late, %d in the busiest second, the last %v after the first end", len(server.times), late, server.busiest(), last.Sub(began.Add(30*time.Minute)))
		}
		if urgent > time.Second {
			t.Errorf("RT-19: a request whose token was refused waited %v behind those that nobody waits for", urgent)
		}
	})
}

// minter gives a token of an hour for every refresh token, which stays.
type minter struct {
	mu    sync.Mutex
	times []time.Time
}

// RoundTrip implements http.RoundTripper.
func (m *minter) RoundTrip(req *http.Request) (*http.Response, error) {
	trace(req)
	time.Sleep(100 * time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times = append(m.times, time.Now())
	return answered(req, 200, fmt.Sprintf(`{"access_token":"new-%d","expires_in":3600}`, len(m.times))), nil
}

func (m *minter) busiest() (most int) {
	perSecond := map[int64]int{}
	for _, at := range m.times {
		perSecond[at.Unix()]++
		most = max(most, perSecond[at.Unix()])
	}
	return most
}
