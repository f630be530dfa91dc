package vault

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
)

// List opens no file: these would not open.
func TestFileListsMany(t *testing.T) {
	const n = 10_000
	s := openStore(t, t.TempDir())
	c := putNew(t, s, "acme/production/github/main", "1")
	fill(t, s, n)
	refs, err := s.List(t.Context(), credential.Ref{Workspace: "acme", Environment: "production", Provider: "github"})
	if err != nil || len(refs) != n+1 || !slices.IsSortedFunc(refs, credential.Ref.Compare) || !slices.Contains(refs, c.Ref) {
		t.Errorf("List gives %d records, %v; want %d, sorted", len(refs), err, n+1)
	}
	wantToken(t, s, "acme/production/github/main", "1")
}

func fill(t testing.TB, s *File, n int) {
	t.Helper()
	dir := filepath.Join(s.dir, "acme", "production", "github")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("many-%d.age", i)), nil, 0o000); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkFileGet(b *testing.B) {
	s := openStore(b, b.TempDir())
	ref := putNew(b, s, "acme/production/github/main", strings.Repeat("x", 100)).Ref
	for b.Loop() {
		if _, err := s.Get(b.Context(), ref); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFilePut(b *testing.B) {
	s := openStore(b, b.TempDir())
	c := putNew(b, s, "acme/production/github/main", strings.Repeat("x", 100))
	for b.Loop() {
		if err := s.Put(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFileList10000(b *testing.B) {
	s := openStore(b, b.TempDir())
	fill(b, s, 10_000)
	for b.Loop() {
		if refs, err := s.List(b.Context(), credential.Ref{Workspace: "acme", Environment: "production", Provider: "github"}); err != nil || len(refs) != 10_000 {
			b.Fatal(len(refs), err)
		}
	}
}
