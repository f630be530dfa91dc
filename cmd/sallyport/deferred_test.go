package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/vault"
)

func fileStore(t *testing.T) *vault.File {
	t.Helper()
	key, err := seal.LoadOrMake(t.TempDir() + "/store.key")
	if err != nil {
		t.Fatal(err)
	}
	s, err := vault.OpenFile(vault.FileOptions{Dir: t.TempDir() + "/credentials", Sealer: key})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDeferredIsAStore(t *testing.T) {
	s := fileStore(t)
	credtest.TestStore(t, newDeferred(func(context.Context) (credential.Store, error) { return s, nil }))
}

// everyUse makes one call of each kind and gives the errors.
func everyUse(ctx context.Context, s credential.Store) map[string]error {
	ref := credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "main"}
	_, get := s.Get(ctx, ref)
	_, list := s.List(ctx, ref)
	_, folders := s.Folders(ctx, credential.Ref{})
	return map[string]error{
		"Get": get, "List": list, "Folders": folders,
		"Put": s.Put(ctx, &credential.Credential{Ref: ref}), "Delete": s.Delete(ctx, ref),
	}
}

// FM-01: what cannot be opened yet is tried again at most once a second, and
// everybody learns why it is not open.
func TestDeferredTriesAgain(t *testing.T) {
	s := fileStore(t)
	synctest.Test(t, func(t *testing.T) {
		var tries int
		away := fault.New(fault.VaultUnreachable, "away", nil)
		d := newDeferred(func(context.Context) (credential.Store, error) {
			if tries++; tries <= 2 {
				return nil, away
			}
			return s, nil
		})
		for range 5 {
			for what, err := range everyUse(t.Context(), d) {
				if !errors.Is(err, fault.VaultUnreachable) || fault.From(err).Detail != "away" {
					t.Errorf("FM-01: %s: %v, want what opening has failed with", what, err)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err := d.Open(t.Context()); err != error(away) || tries != 1 || d.Opened() {
			t.Errorf("FM-01: %v after %d tries in half a second, want 1", err, tries)
		}
		time.Sleep(time.Second)
		if _, err := d.List(t.Context(), credential.Ref{}); !errors.Is(err, fault.VaultUnreachable) || tries != 2 {
			t.Errorf("%v after %d tries, want the second to fail", err, tries)
		}
		time.Sleep(time.Second)
		for range 3 {
			if _, err := d.List(t.Context(), credential.Ref{}); err != nil || tries != 3 || !d.Opened() {
				t.Errorf("FM-01: %v after %d tries, want an open store after 3", err, tries)
			}
			time.Sleep(time.Minute)
		}
	})
}

// One opening serves all who ask at once, and outlives who asked first.
func TestDeferredOpensOnce(t *testing.T) {
	s := fileStore(t)
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		d := newDeferred(func(ctx context.Context) (credential.Store, error) {
			tries.Add(1)
			select {
			case <-time.After(3 * time.Second):
				return s, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		brief, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		for _, ctx := range []context.Context{brief, t.Context(), t.Context()} {
			go func() {
				began := time.Now()
				_, err := d.List(ctx, credential.Ref{})
				if waited := time.Since(began); !errors.Is(err, fault.VaultUnreachable) || waited > openWait {
					t.Errorf("FM-05: %v after %v, want vault_unreachable within %v", err, waited, openWait)
				}
			}()
		}
		time.Sleep(2500 * time.Millisecond)
		began := time.Now()
		if err := d.Open(t.Context()); err != nil || time.Since(began) != 500*time.Millisecond || tries.Load() != 1 {
			t.Errorf("%v after %v and %d openings, want the one that is under way", err, time.Since(began), tries.Load())
		}
	})
}

// An opening that hangs ends by itself, and is told as what it is.
func TestDeferredHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeferred(func(ctx context.Context) (credential.Store, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if err := d.Open(t.Context()); !errors.Is(err, fault.VaultUnreachable) {
			t.Errorf("%v, want vault_unreachable", err)
		}
		time.Sleep(openLimit)
		if d.Opened() {
			t.Error("it is open")
		}
	})
}

// What is wrong with a file is for the log: it holds paths.
func TestDeferredHidesPaths(t *testing.T) {
	broken := errors.New("store key: /var/lib/x/store.key: is empty")
	d := newDeferred(func(context.Context) (credential.Store, error) { return nil, broken })
	for what, err := range everyUse(t.Context(), d) {
		f := fault.From(err)
		if f.Code != fault.Internal || f.Detail == "" || strings.Contains(f.Detail, "/var/lib") || !errors.Is(err, broken) {
			t.Errorf("%s: %v with detail %q, want internal without the path, and the cause behind it", what, err, f.Detail)
		}
	}
	if err := d.Open(t.Context()); err != broken { //nolint:errorlint // itself
		t.Errorf("Open: %v, want the error itself", err)
	}
}
