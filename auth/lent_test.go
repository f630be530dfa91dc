package auth

import (
	"context"
	"errors"
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

// lender is a store whose one record is lent: get gives its token and for how long.
type lender struct {
	credtest.Store
	get   func(n int) (token string, life time.Duration, err error) // n: of the reading, from 1
	queue time.Duration                                             // how long readings that can wait do

	mu    sync.Mutex
	reads []reading
}

type reading struct {
	at   time.Time
	need credential.Need
}

// Get implements credential.Store.
func (l *lender) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	need := credential.NeedOf(ctx)
	l.mu.Lock()
	l.reads = append(l.reads, reading{time.Now(), need})
	n, get, queue := len(l.reads), l.get, l.queue
	l.mu.Unlock()
	if need == credential.Aging && queue > 0 {
		select {
		case <-time.After(queue):
		case <-ctx.Done():
			return nil, fault.New(fault.VaultUnreachable, "", ctx.Err())
		}
	}
	token, life, err := get(n)
	if err != nil {
		return nil, err
	}
	c := &credential.Credential{Ref: ref, Type: "bearer", Version: n, Fields: map[string]secret.Value{"token": secret.New(token)}}
	if life != 0 {
		c.Until = time.Now().Add(life)
	}
	return c, nil
}

// seen gives the readings so far: when, since start, and for what need.
func (l *lender) seen(start time.Time) (at []time.Duration, needs []credential.Need) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.reads {
		at, needs = append(at, r.at.Sub(start)), append(needs, r.need)
	}
	return at, needs
}

func lentSource(l *lender, o SourceOptions) *Source {
	ref, err := credential.ParseRef(tokenRef)
	if err != nil {
		panic(err)
	}
	o.Ref, o.Provider, o.Store = ref, crm(), l
	return NewSource(o)
}

// use calls s every step for d, as a busy runner does, and counts what it got.
func use(s *Source, d, step time.Duration) (served, failed int) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(step) {
		if _, err := s.Injector(context.Background()); err != nil {
			failed++
		} else {
			served++
		}
		synctest.Wait()
	}
	return served, failed
}

var errAway = fault.New(fault.VaultUnreachable, "", errors.New("away"))

// FM-07: what was lent is read again at 80 % of its life; the same fields with a later end go on being served.
func TestSourceReadsLentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{get: func(int) (string, time.Duration, error) { return "t", 100 * time.Second, nil }}
		s := lentSource(l, SourceOptions{TTL: time.Hour})
		start := time.Now()
		first := get(t, s)
		served, failed := use(s, 400*time.Second+time.Millisecond, time.Second)
		if failed > 0 {
			t.Errorf("FM-07: %d of %d calls failed while the lease was renewed in time", failed, served+failed)
		}
		if get(t, s) != first {
			t.Error("FM-07: a renewed lease with the same fields made a new injector")
		}
		at, needs := l.seen(start)
		if want := []time.Duration{0, 80 * time.Second, 160 * time.Second, 240 * time.Second, 320 * time.Second, 400 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("FM-07: read at %v, want %v", at, want)
		}
		if want := []credential.Need{0, credential.Aging, credential.Aging, credential.Aging, credential.Aging, credential.Aging}; !slices.Equal(needs, want) {
			t.Errorf("FM-07: needs %v, want %v", needs, want)
		}
	})
}

// FM-07: a lease that is not renewed is read again at 80 % of what is left each time, never twice within a second, and
// is not served after its end.
func TestSourceServesNothingAfterTheEnd(t *testing.T) {
	for _, tc := range []struct {
		name string
		then func(n int, left time.Duration) (string, time.Duration, error) // of the second reading and later ones
		want fault.Code
	}{
		{"the store gives the same lease", func(_ int, left time.Duration) (string, time.Duration, error) { return "t", left, nil }, fault.TokenExpired},
		{"the store is away", func(int, time.Duration) (string, time.Duration, error) { return "", 0, errAway }, fault.VaultUnreachable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				end := start.Add(100 * time.Second)
				l := &lender{get: func(n int) (string, time.Duration, error) {
					if n == 1 {
						return "t", 100 * time.Second, nil
					}
					return tc.then(n, time.Until(end))
				}}
				s := lentSource(l, SourceOptions{TTL: time.Hour})
				get(t, s)
				if _, failed := use(s, 100*time.Second, 100*time.Millisecond); failed > 0 {
					t.Errorf("FM-07: %d calls failed before the end", failed)
				}
				for range 10 {
					refused(t, s, tc.want)
				}
				if served, _ := use(s, 20*time.Second, 100*time.Millisecond); served > 0 {
					t.Errorf("FM-07: %d calls were served after the end", served)
				}
				at, _ := l.seen(start)
				for i := 1; i < len(at); i++ {
					if at[i]-at[i-1] < readPause {
						t.Errorf("FM-07: read at %v and at %v", at[i-1], at[i])
					}
				}
				if len(at) > 45 || at[1] != 80*time.Second {
					t.Errorf("FM-07: %d readings in 120 s, at %v", len(at), at)
				}
				l.mu.Lock()
				l.get = func(int) (string, time.Duration, error) { return "t2", time.Minute, nil }
				l.mu.Unlock()
				time.Sleep(readPause)
				if got := sent(t, get(t, s)); got != "Bearer t2" {
					t.Errorf("FM-07: the next lease sends %q", got)
				}
			})
		})
	}
}

// A lease shorter than the pause between two readings is served as long as it lives.
func TestSourceLentForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{get: func(int) (string, time.Duration, error) { return "t", 500 * time.Millisecond, nil }}
		s := lentSource(l, SourceOptions{})
		start := time.Now()
		served, failed := use(s, 10*time.Second, 50*time.Millisecond)
		at, _ := l.seen(start)
		if len(at) > 11 || served < 90 || failed < 90 {
			t.Errorf("%d readings, %d served, %d failed in 10 s", len(at), served, failed)
		}
	})
}

// After a pause without requests the record is read before the next one is served.
func TestSourceLentAndLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{get: func(n int) (string, time.Duration, error) { return []string{"", "t1", "t2"}[n], time.Minute, nil }}
		s := lentSource(l, SourceOptions{TTL: time.Hour})
		get(t, s)
		time.Sleep(time.Minute)
		if got := sent(t, get(t, s)); got != "Bearer t2" {
			t.Errorf("after the end of the first lease it sends %q", got)
		}
		if _, needs := l.seen(time.Now()); needs[1] != credential.Missing {
			t.Errorf("a reading that a request waits for says %v", needs[1])
		}
	})
}

// A refusal asks the store whether the lease is still alive; an injector made of another one serves at once.
func TestSourceLentAndRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{get: func(n int) (string, time.Duration, error) { return []string{"", "t1", "t2"}[n], time.Minute, nil }}
		s := lentSource(l, SourceOptions{})
		first := get(t, s)
		s.Reject(first)
		if got := sent(t, get(t, s)); got != "Bearer t2" {
			t.Errorf("FM-07: after a refusal it sends %q", got)
		}
		if _, needs := l.seen(time.Now()); !slices.Equal(needs, []credential.Need{credential.Missing, credential.Refused}) {
			t.Errorf("FM-07: needs %v", needs)
		}
	})
}

// A reading that the store lets wait is hurried as soon as a request needs it.
func TestSourceHurriesReading(t *testing.T) {
	for name, tell := range map[string]func(*Source, *Injector){
		"changed":  func(s *Source, _ *Injector) { s.Changed() },
		"rejected": func(s *Source, i *Injector) { s.Reject(i) },
		"stale":    func(*Source, *Injector) { time.Sleep(5 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &lender{queue: 10 * time.Second, get: func(n int) (string, time.Duration, error) { return "t", 0, nil }}
				s := lentSource(l, SourceOptions{MaxStale: 62 * time.Second})
				first := get(t, s)
				time.Sleep(time.Minute)
				before := time.Now()
				if get(t, s) != first || time.Since(before) > overdueWait {
					t.Error("what is held is not served while its reading waits")
				}
				synctest.Wait()
				tell(s, first)
				before = time.Now()
				get(t, s)
				if took := time.Since(before); took > 0 {
					t.Errorf("a request waited %v behind a reading that could wait", took)
				}
				if _, needs := l.seen(before); needs[1] != credential.Aging || len(needs) < 3 || slices.Contains(needs[2:], credential.Aging) {
					t.Errorf("needs %v", needs)
				}
				if f := s.Status().LastError; f != nil {
					t.Errorf("LastError = %v: a hurried reading is no fault", f)
				}
			})
		})
	}
}
