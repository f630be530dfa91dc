package proxy

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sallyport/sallyport/internal/fault"
)

// How long a request waits for the store in all, how soon after a look a miss
// may look again, and how soon after a failed look the next is tried.
const (
	storeWait  = 2 * time.Second
	missRelook = time.Second
	lookPause  = 5 * time.Second
)

// known is the store's last answer to one question. It is kept while the store
// is away, and asked for anew, in the background, after ttl. Its readers take no
// lock.
type known[T any] struct {
	ask   func(ctx context.Context, last T) (T, error) // last: the answer before; zero: there is none
	life  context.Context                              // of the looks: the daemon's, not a request's
	ttl   time.Duration
	limit time.Duration // of one look

	told   atomic.Uint64 // our own writes; an answer that knows of fewer is asked for anew before its next use
	held   atomic.Pointer[answer[T]]
	failed atomic.Pointer[failure] // the last look, if it failed
	flight singleflight.Group
}

// answer is what one look gave.
type answer[T any] struct {
	value T
	at    time.Time
	heard uint64       // what it knows of our own writes
	next  atomic.Int64 // Unix nanoseconds: not looked for again before
}

type failure struct {
	at  time.Time
	err error
}

var errStoreSlow = errors.New("the credential store did not answer in time")

// get gives what is known to a request that began at since, which is about now.
// The first request, and the first behind a write of ours, waits for the store,
// up to storeWait in all; the others are served what is known.
func (k *known[T]) get(ctx context.Context, since time.Time) (T, error) {
	a, told := k.held.Load(), k.told.Load()
	if a == nil || a.heard < told {
		fresh, err := k.look(ctx, since, told)
		if a == nil || err == nil {
			return fresh, err
		}
	}
	if next := a.next.Load(); since.UnixNano() > next && a.next.CompareAndSwap(next, since.Add(lookPause).UnixNano()) {
		k.flight.DoChan("", k.read)
	}
	return a.value, nil
}

// again looks for what a miss did not find, at most once in missRelook.
func (k *known[T]) again(ctx context.Context, since time.Time) {
	if a := k.held.Load(); a == nil || time.Since(a.at) >= missRelook {
		_, _ = k.look(ctx, since, k.told.Load())
	}
}

// look asks the store, or joins in asking, until the answer knows of what was
// told. A look that failed is not repeated for a while.
func (k *known[T]) look(ctx context.Context, since time.Time, told uint64) (none T, err error) {
	if f := k.failed.Load(); f != nil && time.Since(f.at) < missRelook {
		return none, f.err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, storeWait-began.Sub(since), errStoreSlow)
	defer cancel()
	v, err := k.wait(ctx, told)
	if !errors.Is(err, errStoreSlow) {
		return v, err
	}
	err = fault.New(fault.VaultUnreachable, errStoreSlow.Error(), nil)
	if time.Since(began) >= storeWait/2 { // it had its chance
		k.failed.Store(&failure{time.Now(), err})
	}
	return none, err
}

// fresh gives an answer that is younger than age and knows of our own writes.
func (k *known[T]) fresh(ctx context.Context, age time.Duration) (T, error) {
	if a, told := k.held.Load(), k.told.Load(); a != nil && a.heard >= told && time.Since(a.at) < age {
		return a.value, nil
	}
	return k.wait(ctx, k.told.Load())
}

func (k *known[T]) wait(ctx context.Context, told uint64) (none T, err error) {
	for {
		select {
		case res := <-k.flight.DoChan("", k.read):
			if res.Err != nil {
				return none, res.Err
			}
			if a, _ := res.Val.(*answer[T]); a.heard >= told { // read gives nothing else
				return a.value, nil
			}
		case <-ctx.Done():
			return none, context.Cause(ctx)
		}
	}
}

// read asks the store, once at a time.
func (k *known[T]) read() (any, error) {
	ctx, cancel := context.WithTimeoutCause(k.life, k.limit, errStoreSlow)
	defer cancel()
	a := &answer[T]{heard: k.told.Load()} // before it is asked
	var last T
	if before := k.held.Load(); before != nil {
		last = before.value
	}
	var err error
	if a.value, err = k.ask(ctx, last); err != nil {
		k.failed.Store(&failure{time.Now(), err})
		return nil, err
	}
	k.failed.Store(nil)
	a.at = time.Now()
	a.next.Store(a.at.Add(k.ttl).UnixNano())
	k.held.Store(a)
	return a, nil
}

// last gives the last answer, if there is one, without a look.
func (k *known[T]) last() (none T, ok bool) {
	if a := k.held.Load(); a != nil {
		return a.value, true
	}
	return none, false
}

// inherit takes what another knew. It is asked for anew before it is relied on,
// unless the store is away.
func (k *known[T]) inherit(value T, at time.Time) {
	a := &answer[T]{value: value, at: at}
	k.told.Add(1)
	k.held.Store(a)
}
