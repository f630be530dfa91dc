package credtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// workspaces that TestStore writes to; the store must hold nothing there.
const (
	suiteOne = "suite-one"
	suiteTwo = "suite-two"
)

// TestStore holds s to what credential.Store promises. It writes to the
// workspaces suite-one and suite-two, where s must hold nothing yet.
func TestStore(t *testing.T, s credential.Store) {
	t.Run("create", func(t *testing.T) { testCreate(t, s) })
	t.Run("versions", func(t *testing.T) { testVersions(t, s) })
	t.Run("delete", func(t *testing.T) { testDelete(t, s) })
	t.Run("list", func(t *testing.T) { testList(t, s) })
	t.Run("folders", func(t *testing.T) { testFolders(t, s) })
	t.Run("fields of others", func(t *testing.T) { testRest(t, s) })
	t.Run("own copies", func(t *testing.T) { testCopies(t, s) })
	t.Run("bad references", func(t *testing.T) { testBadRefs(t, s) })
	t.Run("at once", func(t *testing.T) { testAtOnce(t, s) })
}

func testCreate(t *testing.T, s credential.Store) {
	ref := credential.Ref{Workspace: suiteOne, Environment: "production", Provider: "create", Name: "v1.main_a-b"}
	wantFault(t, "Get of a missing record", get(t, s, ref), fault.CredentialNotFound)

	c := record(ref, "password", `pä"ss<&>\/`+"\t")
	c.Description = "the first"
	put(t, s, c)
	if c.Version <= 0 {
		t.Errorf("Version after Put = %d, want more than 0", c.Version)
	}
	got := mustGet(t, s, ref)
	if got.Ref != ref || got.Type != "basic" || got.Description != "the first" || got.Version != c.Version {
		t.Errorf("Get = %+v, want %+v", got, c)
	}
	if v := got.Field("password").Reveal(); v != `pä"ss<&>\/`+"\t" {
		t.Errorf("password = %q", v)
	}
	if !slices.Equal(got.Names(), []string{"password"}) {
		t.Errorf("fields = %q, want only what was put", got.Names())
	}
}

func testVersions(t *testing.T, s credential.Store) {
	ref := credential.Ref{Workspace: suiteOne, Environment: "production", Provider: "versions", Name: "a"}
	wantFault(t, "Put of a missing record with Version 7", s.Put(t.Context(), with(record(ref), 7)), fault.StoreConflict)
	wantFault(t, "Get after that", get(t, s, ref), fault.CredentialNotFound)

	c := record(ref, "token", "1")
	put(t, s, c)
	first := c.Version
	wantFault(t, "Put with Version 0 over a record", s.Put(t.Context(), record(ref)), fault.StoreConflict)

	c.Set("token", secret.New("2"))
	put(t, s, c)
	if c.Version <= 0 || c.Version == first {
		t.Errorf("the second Version is %d, the first %d; want another", c.Version, first)
	}
	for _, v := range []int{first, c.Version + 1, -1} {
		stale := with(record(ref, "token", "stale"), v)
		wantFault(t, fmt.Sprintf("Put with Version %d over %d", v, c.Version), s.Put(t.Context(), stale), fault.StoreConflict)
		if stale.Version != v {
			t.Errorf("a refused Put changed Version %d to %d", v, stale.Version)
		}
	}
	if got := mustGet(t, s, ref); got.Version != c.Version || got.Field("token").Reveal() != "2" {
		t.Errorf("a refused Put changed the record: %q version %d", got.Field("token").Reveal(), got.Version)
	}
}

func testDelete(t *testing.T, s credential.Store) {
	ref := credential.Ref{Workspace: suiteOne, Environment: "production", Provider: "delete", Name: "a"}
	wantFault(t, "Delete of a missing record", s.Delete(t.Context(), ref), fault.CredentialNotFound)

	c := record(ref, "token", "1")
	put(t, s, c)
	if err := s.Delete(t.Context(), ref); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	wantFault(t, "Get of a deleted record", get(t, s, ref), fault.CredentialNotFound)
	wantFault(t, "Delete of a deleted record", s.Delete(t.Context(), ref), fault.CredentialNotFound)
	wantFault(t, "Put over a deleted record with its last Version", s.Put(t.Context(), c), fault.StoreConflict)
	wantRefs(t, s, credential.Ref{Workspace: suiteOne, Environment: "production", Provider: "delete"})

	put(t, s, record(ref, "token", "2"))
	if v := mustGet(t, s, ref).Field("token").Reveal(); v != "2" {
		t.Errorf("token of the record made anew = %q, want 2", v)
	}
}

func testList(t *testing.T, s credential.Store) {
	refs := []credential.Ref{ // sorted: by workspace, then environment, provider, name
		{Workspace: suiteTwo, Environment: "production", Provider: "crm", Name: "a"},
		{Workspace: suiteTwo, Environment: "production", Provider: "crm", Name: "a.b"},
		{Workspace: suiteTwo, Environment: "production", Provider: "crm", Name: "b"},
		{Workspace: suiteTwo, Environment: "production", Provider: "crm-eu", Name: "a"},
		{Workspace: suiteTwo, Environment: "production", Provider: "github", Name: "main.age"},
		{Workspace: suiteTwo, Environment: "staging", Provider: "crm", Name: "a"},
	}
	for _, i := range []int{3, 0, 5, 2, 4, 1} {
		put(t, s, record(refs[i], "token", "1"))
	}
	two := credential.Ref{Workspace: suiteTwo}
	wantRefs(t, s, two, refs...)
	two.Environment = "production"
	wantRefs(t, s, two, refs[:5]...)
	two.Provider = "crm"
	wantRefs(t, s, two, refs[:3]...)
	wantRefs(t, s, credential.Ref{Workspace: suiteTwo, Environment: "staging"}, refs[5])
	wantRefs(t, s, credential.Ref{Workspace: suiteTwo, Environment: "absent"})
	wantRefs(t, s, credential.Ref{Workspace: "suite-absent", Environment: "production", Provider: "crm"})

	all, err := s.List(t.Context(), credential.Ref{})
	if err != nil {
		t.Fatalf("List of everything: %v", err)
	}
	for _, r := range refs {
		if !slices.Contains(all, r) {
			t.Errorf("List of everything lacks %s", r)
		}
	}
	if !slices.IsSortedFunc(all, credential.Ref.Compare) {
		t.Errorf("List of everything is not sorted: %v", all)
	}
}

// testFolders looks at what testList wrote.
func testFolders(t *testing.T, s credential.Store) {
	for _, c := range []struct {
		folder credential.Ref
		want   []string
	}{
		{credential.Ref{Workspace: suiteTwo}, []string{"production", "staging"}},
		{credential.Ref{Workspace: suiteTwo, Environment: "production"}, []string{"crm", "crm-eu", "github"}},
		{credential.Ref{Workspace: suiteTwo, Environment: "absent"}, nil},
	} {
		got, err := s.Folders(t.Context(), c.folder)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Folders of %v = %q, %v; want %q", c.folder, got, err, c.want)
		}
	}
	all, err := s.Folders(t.Context(), credential.Ref{})
	if err != nil || !slices.Contains(all, suiteTwo) {
		t.Errorf("Folders of everything = %q, %v; want %s in it", all, err, suiteTwo)
	}
	ref := credential.Ref{Workspace: suiteTwo, Environment: "staging", Provider: "crm", Name: "a"}
	if err := s.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Folders(t.Context(), credential.Ref{Workspace: suiteTwo, Environment: "staging"}); err != nil || len(got) > 0 {
		t.Errorf("Folders without a record = %q, %v; want none", got, err)
	}
}

func testRest(t *testing.T, s credential.Store) {
	ref := credential.Ref{Workspace: suiteOne, Environment: "production", Provider: "rest", Name: "a"}
	rest := map[string]string{
		"owner": `{"team":["a",{"b":null}],"n":-1234567.25}`, "tags": `[]`, "nothing": `null`, "empty": `""`,
		"port": `5432`, "live": `true`,
	}
	c := record(ref, "token", "1", "port", "5432", "live", "true")
	c.Rest = map[string]json.RawMessage{}
	for k, v := range rest {
		c.Rest[k] = json.RawMessage(v)
	}
	put(t, s, c)

	got := mustGet(t, s, ref)
	got.Set("token", secret.New("2"))
	got.Set("live", secret.New("false"))
	put(t, s, got)
	delete(rest, "live")

	got = mustGet(t, s, ref)
	for k, want := range rest {
		if !sameJSON(got.Rest[k], []byte(want)) {
			t.Errorf("%s came back as %s, want %s", k, got.Rest[k], want)
		}
	}
	for k, want := range map[string]string{"token": "2", "port": "5432", "live": "false"} {
		if v := got.Field(k).Reveal(); v != want {
			t.Errorf("field %s = %q, want %q", k, v, want)
		}
	}
}

func testCopies(t *testing.T, s credential.Store) {
	ref := credential.Ref{Workspace: suiteOne, Environment: "production", Provider: "copies", Name: "a"}
	c := record(ref, "token", "1")
	put(t, s, c)
	c.Set("token", secret.New("changed after Put"))
	got := mustGet(t, s, ref)
	if v := got.Field("token").Reveal(); v != "1" {
		t.Errorf("token = %q: the store shares its record with the caller of Put", v)
	}
	got.Set("token", secret.New("changed after Get"))
	got.Set("more", secret.New("x"))
	if again := mustGet(t, s, ref); again.Field("token").Reveal() != "1" || !again.Field("more").Empty() {
		t.Error("the store shares its record with the caller of Get")
	}
}

// A reference that is none never reaches a path.
func testBadRefs(t *testing.T, s credential.Store) {
	for _, bad := range []string{"..", "", "a/b", "A", ".a", "a..b", "a\x00b", "%2e%2e"} {
		for i := range 4 {
			p := []string{suiteOne, "production", "bad", "a"}
			p[i] = bad
			ref := credential.Ref{Workspace: p[0], Environment: p[1], Provider: p[2], Name: p[3]}
			wantAnyFault(t, fmt.Sprintf("Get of %q", p), get(t, s, ref))
			wantAnyFault(t, fmt.Sprintf("Put of %q", p), s.Put(t.Context(), record(ref)))
			wantAnyFault(t, fmt.Sprintf("Delete of %q", p), s.Delete(t.Context(), ref))
		}
	}
	wantRefs(t, s, credential.Ref{Workspace: suiteOne, Environment: "production", Provider: "bad"})
}

// No write of one is lost to another.
func testAtOnce(t *testing.T, s credential.Store) {
	const writers, each = 4, 5
	ref := credential.Ref{Workspace: suiteOne, Environment: "production", Provider: "at-once", Name: "a"}
	put(t, s, record(ref, "n", "0"))
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := Increment(t.Context(), s, ref, "n"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if v := mustGet(t, s, ref).Field("n").Reveal(); v != strconv.Itoa(writers*each) {
		t.Errorf("n = %s, want %d: writes were lost", v, writers*each)
	}
}

// Increment adds one to a field that holds a number, and tries again for as long
// as others write the record between its read and its write.
func Increment(ctx context.Context, s credential.Store, ref credential.Ref, field string) error {
	for {
		c, err := s.Get(ctx, ref)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(c.Field(field).Reveal())
		if err != nil {
			return fmt.Errorf("%s: field %s is not a number", ref, field)
		}
		c.Set(field, secret.New(strconv.Itoa(n+1)))
		if err = s.Put(ctx, c); !errors.Is(err, fault.StoreConflict) {
			return err
		}
	}
}
