package vault

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/internal/secret"
)

const fileCanary = "CNRY-e1f7b3"

func loadKey(t testing.TB, path string) seal.Sealer {
	t.Helper()
	k, err := seal.LoadOrMake(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// openStore opens the store in DIR/store with the key in DIR/key.
func openStore(t testing.TB, dir string) *File {
	t.Helper()
	s, err := OpenFile(FileOptions{Dir: filepath.Join(dir, "store"), Sealer: loadKey(t, filepath.Join(dir, "key"))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fileRef(t testing.TB, s string) credential.Ref {
	t.Helper()
	ref, err := credential.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// putNew stores a new record whose token is value.
func putNew(t testing.TB, s *File, ref, value string) *credential.Credential {
	t.Helper()
	c := &credential.Credential{Ref: fileRef(t, ref), Type: "bearer"}
	c.Set("token", secret.New(value))
	if err := s.Put(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func wantToken(t *testing.T, s *File, ref, want string) {
	t.Helper()
	c, err := s.Get(t.Context(), fileRef(t, ref))
	if err != nil {
		t.Fatalf("Get %s: %v", ref, err)
	}
	if got := c.Field("token").Reveal(); got != want {
		t.Errorf("%s: token = %.40q, want %.40q", ref, got, want)
	}
}

// wantInternal wants a fault whose detail holds the text and no path of the machine.
func wantInternal(t *testing.T, what string, err error, text string) {
	t.Helper()
	f := fault.From(err)
	if err == nil || f.Code != fault.Internal || !strings.Contains(f.Detail, text) {
		t.Errorf("%s: error %v, want an internal fault that says %q", what, err, text)
		return
	}
	if strings.Contains(f.Detail, os.TempDir()) || strings.Contains(err.Error(), fileCanary) {
		t.Errorf("%s: tells too much: %v", what, err)
	}
}

func TestFileStore(t *testing.T) { credtest.TestStore(t, openStore(t, t.TempDir())) }

func TestFileKeepsRecords(t *testing.T) {
	dir := t.TempDir()
	c := putNew(t, openStore(t, dir), "acme/production/github/main", fileCanary)
	s := openStore(t, dir)
	wantToken(t, s, "acme/production/github/main", fileCanary)
	if _, err := os.Stat(filepath.Join(dir, "store/acme/production/github/main.age")); err != nil {
		t.Error(err)
	}
	c.Set("token", secret.New("second"))
	if err := s.Put(t.Context(), c); err != nil {
		t.Fatalf("Put with the version of an earlier process: %v", err)
	}
}

// LK-14: what the store makes is 0600 in 0700, whatever the umask, and sealed.
func TestFileModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := t.TempDir()
	s := openStore(t, dir)
	c := putNew(t, s, "acme/production/github/main", fileCanary)
	if err := s.Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var seen int
	err := filepath.WalkDir(filepath.Join(dir, "store"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; err != nil || info.Mode().Perm() != want {
			t.Errorf("LK-14: %s has mode %v, want %v", path, info.Mode(), want)
		}
		if !d.IsDir() {
			seen++
			if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte(fileCanary)) {
				t.Errorf("%s shows the secret, or %v", path, err)
			}
		}
		return nil
	})
	if err != nil || seen < 3 {
		t.Errorf("saw %d files, %v; want the record, the lock and the fingerprint", seen, err)
	}
}

// A version that somebody still holds never fits a record that was deleted and made anew.
func TestFileVersionsGoOn(t *testing.T) {
	s := openStore(t, t.TempDir())
	c := putNew(t, s, "acme/production/github/main", "1")
	if c.Version != 1 {
		t.Errorf("the first version is %d, want 1", c.Version)
	}
	var held []*credential.Credential
	for range 3 {
		held = append(held, c.Clone())
		if err := s.Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	held = append(held, c.Clone())
	other := putNew(t, s, "acme/production/github/other", "1")
	for _, ref := range []credential.Ref{c.Ref, other.Ref} { // in this order: the mark must not fall
		if err := s.Delete(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if anew := putNew(t, s, "acme/production/github/main", "anew"); anew.Version != c.Version+1 {
		t.Errorf("the version of the record made anew is %d, want %d", anew.Version, c.Version+1)
	}
	for _, h := range held {
		if err := s.Put(t.Context(), h); !errors.Is(err, fault.StoreConflict) {
			t.Errorf("Put with version %d of the deleted record: %v, want store_conflict", h.Version, err)
		}
	}
	wantToken(t, s, "acme/production/github/main", "anew")
}

func TestFileTrimsNewline(t *testing.T) {
	dir := t.TempDir()
	putNew(t, openStore(t, dir), "acme/production/github/main", fileCanary+"\r\n")
	var log bytes.Buffer
	s, err := OpenFile(FileOptions{
		Dir: filepath.Join(dir, "store"), Sealer: loadKey(t, filepath.Join(dir, "key")), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	wantToken(t, s, "acme/production/github/main", fileCanary)
	if got := log.String(); !strings.Contains(got, "trailing newline trimmed") || !strings.Contains(got, "token") || !strings.Contains(got, "acme/production/github/main") {
		t.Errorf("log %q does not tell the trimmed field", got)
	}
	if strings.Contains(log.String(), fileCanary) {
		t.Errorf("LK-01: the log shows the value: %s", log.String())
	}
}

func TestFileRefusesRecords(t *testing.T) {
	s := openStore(t, t.TempDir())
	for _, tc := range []struct{ name, value, want string }{
		{"not UTF-8", fileCanary + "\xff", `field "token" is not UTF-8`},
		{"too large", fileCanary + strings.Repeat("x", maxRecord), "the most is 1048576"},
	} {
		c := &credential.Credential{Ref: fileRef(t, "github")}
		c.Set("token", secret.New(tc.value))
		err := s.Put(t.Context(), c)
		if f := fault.From(err); err == nil || f.Code != fault.InvalidRequest || !strings.Contains(f.Detail, tc.want) || strings.Contains(err.Error(), fileCanary) {
			t.Errorf("%s: %.200v, want invalid_request with %q and no value", tc.name, err, tc.want)
		}
	}
	if refs, err := s.List(t.Context(), credential.Ref{}); err != nil || len(refs) > 0 {
		t.Errorf("List = %v, %v", refs, err)
	}
	for _, folder := range []credential.Ref{{Workspace: ".."}, {Workspace: "a", Environment: "../.."}, {Workspace: "a", Environment: "b", Provider: "/"}} {
		if _, err := s.List(t.Context(), folder); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("List of %v: %v, want invalid_request", folder, err)
		}
	}
}

func TestFileCanceled(t *testing.T) {
	s := openStore(t, t.TempDir())
	c := putNew(t, s, "github", "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, get := s.Get(ctx, c.Ref)
	_, list := s.List(ctx, c.Ref)
	for what, err := range map[string]error{"Get": get, "List": list, "Put": s.Put(ctx, c), "Delete": s.Delete(ctx, c.Ref)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantToken(t, s, "github", "1")
}
