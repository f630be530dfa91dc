package vault

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// A full or read-only disk leaves every record as it was and says what is wrong.
// The disk is a small tmpfs that only a child process sees; where none may be
// mounted, a limit on the size of files stands in for it.
func TestFileFullDisk(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
			t.Fatal(err)
		}
		testFullDisk(t, dir)
		testReadOnlyDisk(t, dir)
		return
	}
	cmd := child(t, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil && (errors.Is(err, syscall.EPERM) || strings.Contains(string(out), "operation not permitted")) {
		t.Log("NO TMPFS MAY BE MOUNTED HERE (run the tests as root): only TestFileSizeLimit stands in for the full disk")
		return
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func testFullDisk(t *testing.T, dir string) {
	s, err := OpenFile(FileOptions{Dir: filepath.Join(dir, "store"), Sealer: loadKey(t, filepath.Join(t.TempDir(), "key"))})
	if err != nil {
		t.Fatal(err)
	}
	c := putNew(t, s, "acme/production/github/main", "old")
	gone := putNew(t, s, "acme/production/github/gone", "old")
	fillDisk(t, filepath.Join(dir, "ballast"))

	const full = "the store's disk is full; free some space and try again"
	c.Set("token", secret.New(strings.Repeat("new", 10_000)))
	wantInternal(t, "Put", s.Put(t.Context(), c), "acme/production/github/main was not stored, what was stored before stands: "+full)
	if c.Version != 1 {
		t.Errorf("the version became %d though nothing was stored", c.Version)
	}
	for _, ref := range []string{"acme/production/github/new", "other/production/github/new"} {
		r := fileRef(t, ref)
		wantInternal(t, "Put of a new record", s.Put(t.Context(), &credential.Credential{Ref: r}), full)
		if _, err := s.Get(t.Context(), r); !errors.Is(err, fault.CredentialNotFound) {
			t.Errorf("Get %s: %v, want credential_not_found", r, err)
		}
	}
	wantToken(t, s, "acme/production/github/main", "old")
	if n := temporaries(t, dir); n != 0 {
		t.Errorf("%d half-written files were left", n)
	}
	if err := s.Delete(t.Context(), gone.Ref); err != nil {
		t.Errorf("a record cannot be deleted from a full disk: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), c); err != nil {
		t.Errorf("Put when there is room again: %v", err)
	}
	wantToken(t, s, "acme/production/github/main", strings.Repeat("new", 10_000))
	if anew := putNew(t, s, "acme/production/github/gone", "anew"); anew.Version != 2 {
		t.Errorf("the record that was deleted from the full disk goes on with version %d, want 2", anew.Version)
	}
}

func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func testReadOnlyDisk(t *testing.T, dir string) {
	old, err := OpenFile(FileOptions{Dir: filepath.Join(dir, "other"), Sealer: loadKey(t, filepath.Join(dir, "other.key"))})
	if err != nil {
		t.Fatal(err)
	}
	c := putNew(t, old, "acme/production/github/main", "old")
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s, err := OpenFile(FileOptions{Dir: old.dir, Sealer: loadKey(t, filepath.Join(dir, "other.key"))})
	if err != nil {
		t.Fatalf("a store on a read-only disk does not open: %v", err)
	}
	wantToken(t, s, "acme/production/github/main", "old")
	const readOnly = "the store's disk is mounted read-only"
	wantInternal(t, "Put", s.Put(t.Context(), c), readOnly)
	wantInternal(t, "Put of a new record", s.Put(t.Context(), &credential.Credential{Ref: fileRef(t, "github")}), readOnly)
	wantInternal(t, "Delete", s.Delete(t.Context(), c.Ref), readOnly)
	wantToken(t, s, "acme/production/github/main", "old")
	_, err = OpenFile(FileOptions{Dir: filepath.Join(dir, "new"), Sealer: s.sealer})
	if err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("a new store on a read-only disk: %v", err)
	}
}

// A write that the system stops in the middle leaves the record as it was.
func TestFileSizeLimit(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		if out, err := child(t, t.TempDir()).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	s := openStore(t, dir)
	c := putNew(t, s, "acme/production/github/main", "old")
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1000, Max: 1000}); err != nil {
		t.Fatal(err)
	}
	c.Set("token", secret.New(strings.Repeat("new", 1000)))
	wantInternal(t, "Put", s.Put(t.Context(), c), "what was stored before stands: file too large")
	wantToken(t, s, "acme/production/github/main", "old")
	if n := temporaries(t, dir); n != 0 {
		t.Errorf("%d half-written files were left", n)
	}
}
