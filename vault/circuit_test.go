package vault

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

func TestCircuit(t *testing.T) {
	const o, x, c = 'o', 'x', 'c' // answered, not answered, left
	for _, tc := range []struct {
		name  string
		calls string // one each 100 ms
		up    bool
		want  gobreaker.State
	}{
		{"answered", "oooooooooooo", false, gobreaker.StateClosed},
		{"four in a row", "ooooxxxxooooxxxx", false, gobreaker.StateClosed},
		{"five in a row", "oxxxxx", false, gobreaker.StateOpen},
		{"half of ten", "oxoxoxoxox", false, gobreaker.StateClosed},
		{"more than half of ten", "xxoxxoxxox", false, gobreaker.StateOpen},
		{"more than half, but of nine", "xxoxxoxxo", false, gobreaker.StateClosed},
		{"callers that left", "xxxxccccccccc", false, gobreaker.StateClosed},
		{"callers that left do not part a row", "xxcxxccx", false, gobreaker.StateOpen},
		{"Vault itself is up", "xxxxxxxxxxxxxxxx", true, gobreaker.StateClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				circuit := newCircuit(func() bool { return tc.up })
				for _, call := range tc.calls {
					done, err := circuit.breaker.Allow()
					if err != nil {
						t.Fatalf("not allowed: %v", err)
					}
					done(map[rune]error{o: fault.New(fault.VaultDenied, "", nil), x: fault.New(fault.VaultUnreachable, "", nil), c: errLeft}[call])
					time.Sleep(100 * time.Millisecond)
				}
				if got := circuit.breaker.State(); got != tc.want {
					t.Errorf("%s after %s, want %s", got, tc.calls, tc.want)
				}
			})
		})
	}
}

// Failures long ago do not count, and an open circuit is closed by the first probe that is answered.
func TestCircuitForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		circuit := newCircuit(func() bool { return false })
		call := func(err error) {
			t.Helper()
			done, e := circuit.breaker.Allow()
			if e != nil {
				t.Fatal(e)
			}
			done(err)
		}
		for range 4 {
			call(fault.New(fault.VaultSealed, "", nil))
		}
		time.Sleep(tripWindow + time.Second)
		for range 4 {
			call(fault.New(fault.VaultSealed, "", nil))
		}
		if !circuit.closed() {
			t.Fatal("opened by failures that are 10 s apart")
		}
		call(fault.New(fault.VaultSealed, "", nil))
		if circuit.closed() {
			t.Fatal("not opened by five in a row")
		}
		for range 3 {
			time.Sleep(healGap)
			call(fault.New(fault.VaultUnreachable, "", nil))
			if _, err := circuit.breaker.Allow(); !errors.Is(err, gobreaker.ErrOpenState) {
				t.Errorf("after a probe in vain: %v", err)
			}
		}
		time.Sleep(healGap)
		call(fault.New(fault.CredentialNotFound, "", nil))
		if !circuit.closed() {
			t.Error("not closed by an answer")
		}
	})
}

// FM-08: after an outage 1,000 readings that can wait take their turn, ten a second.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		if wait, ok := p.slot(time.Now()); wait != 0 || !ok {
			t.Errorf("without an outage a reading waits %v", wait)
		}
		start := time.Now()
		p.begin(start)
		var mu sync.Mutex
		var asked [180]int // by second
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				for {
					wait, ok := p.slot(time.Now())
					if wait > paceQueue {
						t.Errorf("FM-08: a reading waits %v", wait)
					}
					if time.Sleep(wait); ok {
						mu.Lock()
						asked[int(time.Since(start)/time.Second)]++
						mu.Unlock()
						return
					}
					time.Sleep(time.Second)
				}
			})
		}
		wg.Wait()
		for second, n := range asked {
			if n > 10 {
				t.Errorf("FM-08: %d readings in second %d", n, second)
			}
		}
		if took := time.Since(start); took > 105*time.Second {
			t.Errorf("1,000 readings took %v", took)
		}
	})
}

// Pacing ends: at first once nobody waits any more, at the latest when its gap has become nothing.
func TestPacerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		p.begin(time.Now())
		time.Sleep(paceHalf)
		for range 100 {
			if wait, ok := p.slot(time.Now()); wait != 0 || !ok {
				t.Fatalf("two minutes after a return without a queue a reading waits %v", wait)
			}
		}
		p.begin(time.Now())
		read := 0
		for start := time.Now(); time.Since(start) < 20*time.Minute; time.Sleep(10 * time.Millisecond) {
			if _, ok := p.slot(time.Now()); ok { // 100 ask a second, for ever
				read++
			}
			if p.since.IsZero() {
				break
			}
		}
		if !p.since.IsZero() || read < 1000 {
			t.Errorf("pacing does not end; %d were read", read)
		}
	})
}

// stalling is a Vault on the wire whose paths can be made to hang.
type stalling struct {
	hang atomic.Pointer[func(path string) bool]
	asks atomic.Int64 // calls that came
}

func (s *stalling) set(hang func(path string) bool) { s.hang.Store(&hang) }

func (s *stalling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asks.Add(1)
	if hang := s.hang.Load(); hang != nil && (*hang)(r.URL.Path) {
		<-r.Context().Done()
		return
	}
	if strings.HasSuffix(r.URL.Path, "lookup-self") {
		_, _ = io.WriteString(w, `{"data":{"ttl":0,"expire_time":null}}`)
		return
	}
	_, _ = io.WriteString(w, `{"data":{"data":{"token":"x"},"metadata":{"version":1}}}`)
}

// FM-05: one path that does not answer says nothing about Vault: others are read, and Status stays true.
func TestVaultOneSlowPath(t *testing.T) {
	t.Parallel()
	s := &stalling{}
	v := loggedIn(t, wire(t, s))
	s.set(func(path string) bool { return strings.Contains(path, "slow") })
	slow, quick := newCredential(t, "crm/slow"), newCredential(t, "crm/quick")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 2 {
				_, err := v.Get(t.Context(), slow.Ref)
				wantCode(t, "FM-05: Get of the slow path", err, fault.VaultUnreachable)
			}
		})
	}
	go func() { wg.Wait(); close(stop) }()
	for n := 0; ; n++ {
		if _, err := v.Get(t.Context(), quick.Ref); err != nil {
			t.Fatalf("FM-05: another path, after %d reads: %v", n, err)
		}
		if st := v.Status(); !st.Up {
			t.Fatalf("FM-05: Status = %+v after %d reads: one slow path is not Vault", st, n)
		}
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// FM-05, FM-08: while nothing answers, calls fail at once and one question a second goes out; the first answer ends it.
func TestVaultCircuit(t *testing.T) {
	t.Parallel()
	s := &stalling{}
	v := loggedIn(t, wire(t, s))
	ref := newCredential(t, "crm").Ref
	if _, err := v.Get(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	s.set(func(string) bool { return true })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			began := time.Now()
			_, err := v.Get(t.Context(), ref)
			wantCode(t, "FM-05: Get", err, fault.VaultUnreachable)
			if took := time.Since(began); took > callLimit+slack {
				t.Errorf("FM-05: an uncached Get took %v", took)
			}
		})
	}
	wg.Wait()
	eventually(t, "the circuit is open", 2*callLimit+time.Second+slack, func() bool { return !v.circuit.closed() && !v.Status().Up })
	before, began, reads := s.asks.Load(), time.Now(), v.calls(opRead, "vault_unreachable")
	for time.Since(began) < 4*time.Second {
		start := time.Now()
		_, err := v.Get(t.Context(), ref)
		wantCode(t, "FM-08: Get while the circuit is open", err, fault.VaultUnreachable)
		if f := fault.From(err); f.RetryAfter != healGap {
			t.Errorf("Retry-After %v, want %v", f.RetryAfter, healGap)
		}
		if took := time.Since(start); took > callLimit*3/4 {
			t.Errorf("FM-08: it took %v", took)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n, took := s.asks.Load()-before, time.Since(began); n > int64(took/healGap)+1 {
		t.Errorf("FM-08: %d calls in %v, want one a second", n, took)
	}
	if n := v.calls(opRead, "vault_unreachable"); n != reads {
		t.Errorf("%d reads were counted that were not made", n-reads)
	}
	s.set(func(string) bool { return false })
	eventually(t, "Vault is back", callLimit+2*healGap+slack, func() bool {
		_, err := v.Get(t.Context(), ref)
		return err == nil && v.Status().Up
	})
}

// A caller that leaves says nothing about Vault.
func TestVaultCallersThatLeave(t *testing.T) {
	t.Parallel()
	s := &stalling{}
	v := loggedIn(t, wire(t, s))
	s.set(func(path string) bool { return strings.Contains(path, "slow") })
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := v.Get(ctx, newCredential(t, "crm/slow").Ref)
		cancel()
		wantCode(t, "Get", err, fault.VaultUnreachable)
	}
	if n := v.circuit.breaker.Counts().TotalFailures; n != 0 || !v.circuit.closed() || !v.Status().Up {
		t.Errorf("%d failures are counted", n)
	}
}

// What can wait is refused while too many wait, and is not held up by its own time limit.
func TestVaultPaces(t *testing.T) {
	t.Parallel()
	s := &stalling{}
	v := loggedIn(t, wire(t, s))
	ref := newCredential(t, "crm").Ref
	aging := credential.WithNeed(t.Context(), credential.Aging)
	v.circuit.pacer.begin(time.Now())
	v.circuit.pacer.next = time.Now().Add(3 * time.Second)
	began := time.Now()
	if _, err := v.Get(t.Context(), ref); err != nil || time.Since(began) > 2500*time.Millisecond {
		t.Errorf("what a request waits for: %v after %v", err, time.Since(began))
	}
	if _, err := v.Get(aging, ref); err != nil || time.Since(began) < 2900*time.Millisecond {
		t.Errorf("what can wait: %v after %v", err, time.Since(began))
	}
	v.circuit.pacer.next = time.Now().Add(paceQueue + time.Second)
	asks := s.asks.Load()
	_, err := v.Get(aging, ref)
	wantCode(t, "FM-08: behind too many", err, fault.VaultUnreachable)
	if s.asks.Load() != asks {
		t.Error("FM-08: a refused reading was made")
	}
	v.circuit.pacer.next = time.Now().Add(paceQueue / 2)
	ctx, cancel := context.WithTimeout(aging, 50*time.Millisecond)
	defer cancel()
	if _, err := v.Get(ctx, ref); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller that leaves the queue: %v", err)
	}
}
