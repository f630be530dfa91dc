package proxy

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// slowStore holds listings back, once they are made, until it is told to go on.
type slowStore struct {
	*credtest.Store
	listed, proceed chan struct{} // nil: nothing is held back
}

func (s *slowStore) List(ctx context.Context, folder credential.Ref) ([]credential.Ref, error) {
	refs, err := s.Store.List(ctx, folder)
	if s.listed != nil {
		s.listed <- struct{}{}
		select {
		case <-s.proceed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return refs, err
}

// A record that is written while the store is read is seen by the request after it.
func TestChangeDuringALook(t *testing.T) {
	r := newRig(t, echo)
	slow := &slowStore{Store: r.store, listed: make(chan struct{}, 8), proceed: make(chan struct{}, 8)}
	d := r.srv.st.Load().dir
	d.store = slow
	first := make(chan []string, 1)
	go func() { first <- listing(t, d, "api") }()
	within(t, slow.listed, "the listing")
	r.store.Add("api/late", "api_key", "api_key", "x")
	r.srv.Changed(mustRef("api/late"))
	second := make(chan []string, 1)
	go func() { second <- listing(t, d, "api") }()
	time.Sleep(50 * time.Millisecond) // it joins the look that began before the change
	for range 3 {
		slow.proceed <- struct{}{}
	}
	if got := within(t, second, "the listing"); len(got) != 2 {
		t.Errorf("after the change: %v", got)
	}
	within(t, first, "the first listing")
}

// A change is not forgotten because the look behind it failed.
func TestChangeWhileTheStoreIsAway(t *testing.T) {
	r := newRig(t, echo)
	d := r.srv.st.Load().dir
	listing(t, d, "api")
	r.store.Add("api/late", "api_key", "api_key", "x")
	r.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
	r.srv.Changed(mustRef("api/late"))
	if got := listing(t, d, "api"); len(got) != 1 {
		t.Errorf("the last known state is lost: %v", got)
	}
	lists := r.store.Lists.Load()
	for range 50 {
		listing(t, d, "api")
	}
	if n := r.store.Lists.Load() - lists; n > 2 {
		t.Errorf("a store that is away was asked %d times", n)
	}
	r.store.Fail(nil)
	forgetFailures(d)
	if got := listing(t, d, "api"); len(got) != 2 {
		t.Errorf("the change is forgotten: %v", got)
	}
}

// A reload while the store is away keeps what is known.
func TestReloadWhileTheStoreIsAway(t *testing.T) {
	r := newRig(t, echo)
	c := r.client(false)
	if got := r.get(c, r.url("/")); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	r.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
	r.srv.Swap(r.config)
	if got := r.get(c, r.url("/")); got.StatusCode != 200 {
		t.Errorf("after the reload: %d %s", got.StatusCode, got.body)
	}
	changed := *r.config.Providers.Get("api")
	changed.Fingerprint = "2"
	r.providers(&changed)
	r.srv.Swap(r.config)
	wantFault(t, "another entry", r.get(c, r.url("/")), fault.VaultUnreachable) // nothing is known under it yet
	r.store.Fail(nil)
	forgetFailures(r.srv.st.Load().dir)
	if got := r.get(c, r.url("/")); got.StatusCode != 200 {
		t.Errorf("when it is back: %d %s", got.StatusCode, got.body)
	}
}

// What was deleted behind our back is not kept for ever.
func TestDeletedCredentialsAreForgotten(t *testing.T) {
	r := newRig(t, echo)
	c := r.client(false)
	r.get(c, r.url("/"))
	if len(r.srv.Uses(mustRef("api/main"))) != 1 {
		t.Fatal("the use is not known")
	}
	if err := r.store.Delete(context.Background(), mustRef("api/main")); err != nil {
		t.Fatal(err)
	}
	r.srv.st.Load().dir.changed(mustRef("api/main"))
	wantFault(t, "deleted", r.get(c, r.url("/")), fault.NoCredential)
	if n := len(r.srv.Uses(mustRef("api/main"))); n != 0 || r.srv.sources.find(mustRef("api/main")) != nil {
		t.Errorf("%d uses are kept", n)
	}
}

// A store that comes back between two looks makes no request fail in our own code.
func TestStoreComesBack(t *testing.T) {
	r := newRig(t, echo, func(r *rig) { r.store.Fail(fault.New(fault.VaultUnreachable, "", nil)) })
	st := r.srv.st.Load()
	c := st.callers["orders"]
	a, err := provider.ParseAuthority(r.upstream.authority, 0)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			forgetFailures(st.dir)
			if _, err := st.target(context.Background(), ask{caller: c, authority: a, secure: true, method: "GET", path: "/", since: time.Now()}); err != nil && !errors.Is(err, fault.VaultUnreachable) {
				t.Error(err)
			}
		})
		r.store.Fail(nil)
		time.Sleep(100 * time.Microsecond)
		r.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
	}
	wg.Wait()
}
