package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// faultyStore is a store in memory whose reading and writing may fail.
type faultyStore struct {
	credtest.Store
	get, put, look func(credential.Ref) error
}

func (s *faultyStore) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	if s.get != nil {
		if err := s.get(ref); err != nil {
			return nil, err
		}
	}
	return s.Store.Get(ctx, ref)
}

func (s *faultyStore) Put(ctx context.Context, c *credential.Credential) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.put != nil {
		if err := s.put(c.Ref); err != nil {
			return err
		}
	}
	return s.Store.Put(ctx, c)
}

func (s *faultyStore) Folders(ctx context.Context, folder credential.Ref) ([]string, error) {
	if s.look != nil {
		if err := s.look(folder); err != nil {
			return nil, err
		}
	}
	return s.Store.Folders(ctx, folder)
}

const exportCanary = "CNRY-55e0b1"

// many gives n records in several folders.
func many(n int) (list []*credential.Credential) {
	for i := range n {
		c := &credential.Credential{Type: "bearer", Ref: credential.Ref{
			Workspace: fmt.Sprintf("w%d", i%3), Environment: "production", Provider: fmt.Sprintf("p%d", i%5), Name: fmt.Sprintf("n%d", i),
		}}
		c.Set("token", secret.New(fmt.Sprint(exportCanary, i)))
		list = append(list, c)
	}
	return list
}

func fill(t *testing.T, s credential.Store, records []*credential.Credential) {
	t.Helper()
	for _, c := range records {
		if err := s.Put(t.Context(), c.Clone()); err != nil {
			t.Fatal(err)
		}
	}
}

// quietCLI gives a command line and what it prints.
func quietCLI() (c *cli, printed *bytes.Buffer) {
	printed = &bytes.Buffer{}
	return newCLI(strings.NewReader(""), printed, printed), printed
}

func TestReadStore(t *testing.T) {
	denied := fault.New(fault.VaultDenied, "", errors.New("vault: read x: status 403"))
	for _, c := range []struct {
		name  string
		store *faultyStore
		want  []string // of the error; none: it works
	}{
		{name: "all", store: &faultyStore{}},
		{
			name:  "two that are denied",
			store: &faultyStore{get: failFor(denied, "n3", "n7")},
			want:  []string{"2 of 40 credentials cannot be read; nothing was written", "w0/production/p3/n3: ", "w1/production/p2/n7: ", "(vault_denied)"},
		},
		{
			name:  "a folder that is hidden",
			store: &faultyStore{look: failIn(denied, credential.Ref{Workspace: "w1"})},
			want:  []string{"folders of the store that cannot be listed: 1; nothing was written", "w1/: ", "(vault_denied)"},
		},
		{
			name:  "Vault goes away",
			store: &faultyStore{get: failFor(fault.New(fault.VaultUnreachable, "", errors.New("gone")), "n0")},
			want:  []string{"(vault_unreachable)"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			fill(t, c.store, many(40))
			cli, printed := quietCLI()
			var out exported
			got, err := cli.readStore(t.Context(), c.store, &out)
			if len(c.want) == 0 && (err != nil || len(got) != 40 || !slices.IsSortedFunc(got, func(a, b *credential.Credential) int { return a.Ref.Compare(b.Ref) })) {
				t.Errorf("%d records, %v", len(got), err)
			}
			told := tellString(err)
			for _, want := range c.want {
				if !strings.Contains(told, want) {
					t.Errorf("%q is not in: %s", want, told)
				}
			}
			if strings.Contains(told+printed.String(), exportCanary) {
				t.Error("a secret is told")
			}
		})
	}
}

func tellString(err error) string {
	var b strings.Builder
	report(&b, err)
	return b.String()
}

func failFor(err error, names ...string) func(credential.Ref) error {
	return func(ref credential.Ref) error {
		if slices.Contains(names, ref.Name) {
			return err
		}
		return nil
	}
}

func failIn(err error, folder credential.Ref) func(credential.Ref) error {
	return func(ref credential.Ref) error {
		if ref == folder {
			return err
		}
		return nil
	}
}

// Once Vault is away no further record is tried.
func TestReadStoreStopsWithoutVault(t *testing.T) {
	var tried atomic.Int64
	s := &faultyStore{get: func(credential.Ref) error {
		tried.Add(1)
		return fault.New(fault.VaultSealed, "", nil)
	}}
	fill(t, s, many(40))
	cli, _ := quietCLI()
	if _, err := cli.readStore(t.Context(), s, &exported{}); !errors.Is(err, fault.VaultSealed) || tried.Load() > storeAtOnce {
		t.Errorf("%d records were tried, %v", tried.Load(), err)
	}
}

// A record that is gone by the time it is read is left out, and told.
func TestReadStoreLeavesOutTheDeleted(t *testing.T) {
	s := &faultyStore{get: failFor(fault.New(fault.CredentialNotFound, "", nil), "n1")}
	fill(t, s, many(4))
	cli, _ := quietCLI()
	var out exported
	got, err := cli.readStore(t.Context(), s, &out)
	if err != nil || len(got) != 3 || !slices.Equal(out.Deleted, []string{"w1/production/p1/n1"}) {
		t.Errorf("%d records, deleted %q, %v", len(got), out.Deleted, err)
	}
}

// An import that breaks off is finished by the next.
func TestImportGoesOn(t *testing.T) {
	var puts atomic.Int64
	gone := fault.New(fault.VaultUnreachable, "", errors.New("gone"))
	s := &faultyStore{put: func(credential.Ref) error {
		if puts.Add(1) > 20 {
			return gone
		}
		return nil
	}}
	records := many(40)
	changed := records[0].Clone()
	changed.Set("token", secret.New("other"))
	if err := s.Store.Put(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	cli, printed := quietCLI()
	plan, err := cli.compare(t.Context(), s, records)
	if err != nil || len(plan.missing) != 39 || len(plan.different) != 1 || plan.equal != 0 {
		t.Fatalf("%+v, %v", plan, err)
	}
	err = cli.carryOut(t.Context(), s, plan)
	told := tellString(errors.Join(cli.tellImported(plan, err), err)) + printed.String()
	for _, want := range []string{"20 of 40 credentials were not written", "(vault_unreachable)", "try: run the same import again", "imported 20 credentials, 0 overwritten, 0 unchanged"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not in: %s", want, told)
		}
	}
	if n := strings.Count(told, "\nwritten w"); n != 20 {
		t.Errorf("%d are told as written", n)
	}
	if n := puts.Load(); n > 20+storeAtOnce {
		t.Errorf("%d writes were tried", n)
	}
	s.put = nil
	plan, err = cli.compare(t.Context(), s, many(40))
	if err != nil || plan.equal != 20 || len(plan.missing) != 19 {
		t.Fatalf("the second time: %d equal, %d missing, %v", plan.equal, len(plan.missing), err)
	}
	if err := cli.carryOut(t.Context(), s, plan); err != nil || plan.overwritten != 1 || len(plan.left) != 0 {
		t.Errorf("the second time: %v", err)
	}
	if plan, err = cli.compare(t.Context(), s, many(40)); err != nil || plan.equal != 40 {
		t.Errorf("at the end %d are equal, %v", plan.equal, err)
	}
}

// What one record fails with does not keep the others out; what somebody wrote
// meanwhile is not overwritten.
func TestImportTellsEachFailure(t *testing.T) {
	s := &faultyStore{}
	records := many(10)
	cli, _ := quietCLI()
	plan, err := cli.compare(t.Context(), s, records)
	if err != nil {
		t.Fatal(err)
	}
	theirs := records[4].Clone()
	theirs.Set("token", secret.New("theirs"))
	fill(t, s, []*credential.Credential{theirs})
	s.put = failFor(fault.New(fault.VaultDenied, "", errors.New("vault: write x: status 403")), "n2")
	err = cli.carryOut(t.Context(), s, plan)
	told := tellString(err)
	for _, want := range []string{"2 of 10 credentials were not written", "w2/production/p2/n2: ", "(vault_denied)", "w1/production/p4/n4: ", "(store_conflict)"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not in: %s", want, told)
		}
	}
	if got, err := s.Get(t.Context(), theirs.Ref); err != nil || !got.Equal(theirs) {
		t.Errorf("what somebody wrote meanwhile is gone, %v", err)
	}
	if len(plan.written) != 8 {
		t.Errorf("%d were written", len(plan.written))
	}
}

// A signal ends an import between two writes, never within one.
func TestImportInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	s := &faultyStore{put: func(credential.Ref) error { once.Do(cancel); return nil }}
	cli, _ := quietCLI()
	plan := &importPlan{missing: many(100)}
	err := cli.carryOut(ctx, s, plan)
	if err == nil || !strings.Contains(err.Error(), "the others: interrupted") {
		t.Errorf("got %v", err)
	}
	if n := len(plan.written); n == 0 || n > 2*storeAtOnce || n+len(plan.left) != 100 {
		t.Errorf("%d written, %d left", n, len(plan.left))
	}
}

func TestForEachIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		began := time.Now()
		errs, err := forEach(t.Context(), 100, func(i int) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			now.Add(-1)
			if i == 7 {
				return io.EOF
			}
			return nil
		})
		if err != nil || errs[7] != io.EOF || errs[8] != nil || errs[99] != nil {
			t.Errorf("%v, %v", errs, err)
		}
		if most.Load() != storeAtOnce || time.Since(began) != 13*time.Second {
			t.Errorf("%d at once, %v in all", most.Load(), time.Since(began))
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tty := range []bool{false, true} {
			var b bytes.Buffer
			p := &progress{w: &b, what: "%d of %d read", all: 100, tty: tty}
			p.next = time.Now().Add(p.pause())
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				p.step()
			}
			p.end()
			want := "sallyport: 50 of 100 read\nsallyport: 100 of 100 read\n"
			if got := b.String(); !tty && got != want {
				t.Errorf("in a file: %q", got)
			}
			if got := b.String(); tty && (strings.Count(got, "\r") != 51 || strings.Contains(got, "\n") || !strings.HasSuffix(got, "\r\x1b[K")) {
				t.Errorf("at a terminal: %q", got)
			}
		}
	})
}
