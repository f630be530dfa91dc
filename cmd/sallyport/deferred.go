package main

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Limits of opening a store.
const (
	openPause = time.Second      // from one that failed to the next try
	openWait  = 2 * time.Second  // what a call waits for it
	openLimit = 10 * time.Second // what it may take in all
)

// deferred is a store that cannot be opened before Vault answers: it is opened
// when it is first used, and again at most once a second until that works. Those
// who ask meanwhile get why it did not.
type deferred struct {
	open   func(context.Context) (credential.Store, error)
	flight singleflight.Group
	last   atomic.Pointer[opening] // nil: none yet
}

// opening is how an attempt ended.
type opening struct {
	store credential.Store // nil: it failed
	err   error            // as open gave it
	until time.Time        // of one that failed: no other is made before
}

// newDeferred makes the store of what open will give. A fault of open is passed
// on to who calls; any other error is internal.
func newDeferred(open func(context.Context) (credential.Store, error)) *deferred {
	return &deferred{open: open}
}

// Open opens the store if it is not yet, and gives open's own error.
func (d *deferred) Open(ctx context.Context) error {
	o, err := d.opened(ctx)
	if err != nil {
		return err
	}
	return o.err
}

// Opened tells, without trying, whether the store is open.
func (d *deferred) Opened() bool {
	o := d.last.Load()
	return o != nil && o.store != nil
}

// opened gives the last attempt, or waits for the next one.
func (d *deferred) opened(ctx context.Context) (*opening, error) {
	if o := d.known(); o != nil {
		return o, nil
	}
	done := d.flight.DoChan("", func() (any, error) { return d.try(ctx), nil })
	wait := time.NewTimer(openWait)
	defer wait.Stop()
	select {
	case r := <-done:
		if o, ok := r.Val.(*opening); ok {
			return o, nil
		}
		return nil, fault.New(fault.Internal, "", r.Err)
	case <-wait.C:
		return nil, fault.New(fault.VaultUnreachable, "the store is still being opened", nil)
	case <-ctx.Done(): // who asked has left; the opening goes on for the others
		return nil, fault.New(fault.VaultUnreachable, "the store is still being opened", context.Cause(ctx))
	}
}

// known is the last attempt, as long as it counts.
func (d *deferred) known() *opening {
	o := d.last.Load()
	if o == nil || o.store == nil && !time.Now().Before(o.until) {
		return nil
	}
	return o
}

// try makes one attempt, on behalf of all who ask meanwhile.
func (d *deferred) try(ctx context.Context) *opening {
	if o := d.known(); o != nil { // it ended while we came here
		return o
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openLimit)
	defer cancel()
	o := &opening{}
	if o.store, o.err = d.open(ctx); o.err != nil {
		o.store, o.until = nil, time.Now().Add(openPause)
	}
	d.last.Store(o)
	return o
}

// use gives the open store, or a fault.
func (d *deferred) use(ctx context.Context) (credential.Store, error) {
	o, err := d.opened(ctx)
	switch {
	case err != nil:
		return nil, err
	case o.err == nil:
		return o.store, nil
	}
	if f := fault.From(o.err); f.Code != fault.Internal || f.Detail != "" {
		return nil, o.err
	}
	return nil, fault.New(fault.Internal, "the store could not be opened; the daemon's log says why", o.err)
}

// Get implements credential.Store.
func (d *deferred) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	s, err := d.use(ctx)
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, ref)
}

// List implements credential.Store.
func (d *deferred) List(ctx context.Context, folder credential.Ref) ([]credential.Ref, error) {
	s, err := d.use(ctx)
	if err != nil {
		return nil, err
	}
	return s.List(ctx, folder)
}

// Folders implements credential.Store.
func (d *deferred) Folders(ctx context.Context, folder credential.Ref) ([]string, error) {
	s, err := d.use(ctx)
	if err != nil {
		return nil, err
	}
	return s.Folders(ctx, folder)
}

// Put implements credential.Store.
func (d *deferred) Put(ctx context.Context, c *credential.Credential) error {
	s, err := d.use(ctx)
	if err != nil {
		return err
	}
	return s.Put(ctx, c)
}

// useApps gives the open store's apps, or a fault.
func (d *deferred) useApps(ctx context.Context) (credential.Apps, error) {
	s, err := d.use(ctx)
	if err != nil {
		return nil, err
	}
	apps, ok := s.(credential.Apps)
	if !ok {
		return nil, fault.New(fault.Internal, "the store keeps no apps", nil)
	}
	return apps, nil
}

// App implements credential.Apps.
func (d *deferred) App(ctx context.Context, workspace, provider string) (*credential.App, error) {
	apps, err := d.useApps(ctx)
	if err != nil {
		return nil, err
	}
	return apps.App(ctx, workspace, provider)
}

// PutApp implements credential.Apps.
func (d *deferred) PutApp(ctx context.Context, a *credential.App) error {
	apps, err := d.useApps(ctx)
	if err != nil {
		return err
	}
	return apps.PutApp(ctx, a)
}

// DeleteApp implements credential.Apps.
func (d *deferred) DeleteApp(ctx context.Context, workspace, provider string) error {
	apps, err := d.useApps(ctx)
	if err != nil {
		return err
	}
	return apps.DeleteApp(ctx, workspace, provider)
}

// ListApps implements credential.Apps.
func (d *deferred) ListApps(ctx context.Context) ([]credential.AppName, error) {
	apps, err := d.useApps(ctx)
	if err != nil {
		return nil, err
	}
	return apps.ListApps(ctx)
}

// Delete implements credential.Store.
func (d *deferred) Delete(ctx context.Context, ref credential.Ref) error {
	s, err := d.use(ctx)
	if err != nil {
		return err
	}
	return s.Delete(ctx, ref)
}
