package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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

func TestFileDamaged(t *testing.T) {
	const ref = "acme/production/github/main"
	for _, tc := range []struct {
		name, want string
		damage     func(path string) error
	}{
		{"cut", "main.age: is cut short or damaged; put a copy of the file back, or remove the credential and add it again", func(p string) error { return os.Truncate(p, 210) }},
		{"empty", "main.age: is cut short or damaged", func(p string) error { return os.Truncate(p, 0) }},
		{"one byte changed", "main.age: is cut short or damaged", func(p string) error { return flip(p, -1) }},
		{"clear text", "main.age: is cut short or damaged", func(p string) error { return os.WriteFile(p, []byte(fileCanary), 0o600) }},
		{"LK-14 mode 0644", "main.age: mode is 0644, must be 0600; run chmod 600 on it", func(p string) error { return os.Chmod(p, 0o644) }},
		{"LK-14 a link", "main.age: is a symbolic link", func(p string) error { return errors.Join(os.Rename(p, p+"-moved"), os.Symlink(p+"-moved", p)) }},
		{"moved here", `main.age: holds the record of "acme/production/github/other"; was it moved?`, func(p string) error {
			b, err := os.ReadFile(filepath.Join(filepath.Dir(p), "other.age"))
			return errors.Join(err, os.WriteFile(p, b, 0o600))
		}},
		{"another key", "main.age: was sealed with another key than that of the store (", func(p string) error { return sealTo(t, p, `{}`) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir)
			c := putNew(t, s, ref, fileCanary)
			putNew(t, s, "acme/production/github/other", "whole")
			path := s.path(c.Ref)
			if err := tc.damage(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)

			s = openStore(t, dir)
			_, err := s.Get(t.Context(), c.Ref)
			wantInternal(t, "Get", err, "the store's file "+ref+".age: ")
			wantInternal(t, "Get", err, tc.want)
			wantInternal(t, "Put", s.Put(t.Context(), c), tc.want)
			wantInternal(t, "Put of a new one", s.Put(t.Context(), &credential.Credential{Ref: c.Ref}), tc.want)
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("a refused Put changed the file")
			}
			wantToken(t, s, "acme/production/github/other", "whole")
			refs, err := s.List(t.Context(), credential.Ref{Workspace: "acme"})
			if err != nil || len(refs) != 2 {
				t.Errorf("List = %v, %v; want both records", refs, err)
			}
			wantMendable(t, s, c)
		})
	}
}

// wantMendable wants that the damaged record can be deleted and made anew, above its old version.
func wantMendable(t *testing.T, s *File, c *credential.Credential) {
	t.Helper()
	if err := s.Delete(t.Context(), c.Ref); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	anew := putNew(t, s, c.Ref.String(), "anew")
	if anew.Version <= c.Version {
		t.Errorf("the record made anew has version %d, the damaged one had %d", anew.Version, c.Version)
	}
}

func flip(path string, at int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[(at+len(b))%len(b)] ^= 1
	return os.WriteFile(path, b, 0o600)
}

func sealTo(t *testing.T, path, plain string) error {
	b, err := loadKey(t, filepath.Join(t.TempDir(), "another")).Seal([]byte(plain))
	return errors.Join(err, os.WriteFile(path, b, 0o600))
}

// What opens but is no record of ours.
func TestFileForm(t *testing.T) {
	s := openStore(t, t.TempDir())
	c := putNew(t, s, "acme/production/github/main", "x")
	for _, plain := range []string{
		fileCanary, `null`, `{"version":1}`, `{"credential":"acme/production/github/main","version":0,"record":{}}`,
		`{"credential":"acme/production/github/main","version":-1,"record":{}}`,
		`{"credential":"acme/production/github/main","version":1.5,"record":{}}`,
		`{"credential":"acme/production/github/main","version":1,"record":["` + fileCanary + `"]}`,
		`{"credential":"acme/production/github/main","version":1}`,
	} {
		b, err := s.sealer.Seal([]byte(plain))
		if err = errors.Join(err, os.WriteFile(s.path(c.Ref), b, 0o600)); err != nil {
			t.Fatal(err)
		}
		_, err = s.Get(t.Context(), c.Ref)
		wantInternal(t, plain, err, "main.age: holds ")
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

func TestFileBadMark(t *testing.T) {
	s := openStore(t, t.TempDir())
	c := putNew(t, s, "acme/production/github/main", "1")
	if err := os.WriteFile(filepath.Join(s.folder(c.Ref), lockName), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), c); err != nil {
		t.Errorf("a record that is there does not need the mark: %v", err)
	}
	err := s.Put(t.Context(), &credential.Credential{Ref: fileRef(t, "acme/production/github/new")})
	wantInternal(t, "Put of a new record", err, "acme/production/github/.lock: holds no version number; remove it")
}

func TestFileOtherKey(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	c := putNew(t, s, "github", "1")
	other := loadKey(t, filepath.Join(dir, "other"))
	open := func() error {
		_, err := OpenFile(FileOptions{Dir: s.dir, Sealer: other})
		return err
	}
	wantErr := func(what string, err error, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if err == nil || !strings.Contains(err.Error(), p) {
				t.Errorf("%s: error %v, want %q", what, err, p)
			}
		}
	}
	wantErr("another key", open(), s.dir, s.sealer.Fingerprint(), other.Fingerprint(), "key_file")

	mark := filepath.Join(s.dir, fingerprintName)
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	wantErr("another key, no fingerprint", open(), s.path(c.Ref), other.Fingerprint(), "was sealed with another key")
	wantToken(t, openStore(t, dir), "github", "1") // the right key writes it again
	wantErr("another key again", open(), s.sealer.Fingerprint(), other.Fingerprint())

	if err := os.Truncate(mark, 0); err != nil {
		t.Fatal(err)
	}
	wantErr("empty fingerprint", open(), mark+": is empty; remove it")
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	wantErr("LK-14 folder open to others", open(), "mode is 0755, must be 0700; run chmod 700")
}

// Of daemons with different keys that make one store at once, one wins and the others are told.
func TestFileClaimAtOnce(t *testing.T) {
	dir := t.TempDir()
	var won, refused int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 6 {
		key := loadKey(t, filepath.Join(dir, fmt.Sprint("key", i)))
		wg.Go(func() {
			_, err := OpenFile(FileOptions{Dir: filepath.Join(dir, "store"), Sealer: key})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case strings.Contains(err.Error(), "was made with the key"):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || refused != 5 {
		t.Errorf("%d opened the store and %d were refused, want 1 and 5", won, refused)
	}
}

// A store whose disk is not mounted is not an empty store.
func TestFileGone(t *testing.T) {
	s := openStore(t, t.TempDir())
	c := putNew(t, s, "github", "1")
	if err := os.Rename(s.dir, s.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	const want = "the store's folder is gone"
	_, err := s.Get(t.Context(), c.Ref)
	wantInternal(t, "Get", err, want)
	_, err = s.List(t.Context(), credential.Ref{})
	wantInternal(t, "List", err, want)
	wantInternal(t, "Put", s.Put(t.Context(), c), want)
	wantInternal(t, "Delete", s.Delete(t.Context(), c.Ref), want)
	if _, err := os.Stat(s.dir); err == nil {
		t.Error("the folder was made again")
	}
}

func TestFileLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	c := putNew(t, s, "acme/production/github/main", "1")
	left := []string{filepath.Join(s.dir, ".tmp-1"), filepath.Join(s.folder(c.Ref), ".tmp-2"), filepath.Join(s.folder(c.Ref), ".tmp-3.age")}
	keep := []string{filepath.Join(s.folder(c.Ref), "README"), filepath.Join(s.folder(c.Ref), "UPPER.age"), filepath.Join(s.folder(c.Ref), ".hidden.age")}
	for _, p := range slices.Concat(left, keep) {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.folder(c.Ref), "folder.age"), 0o700); err != nil {
		t.Fatal(err)
	}
	if refs, err := s.List(t.Context(), credential.Ref{}); err != nil || !slices.Equal(refs, []credential.Ref{c.Ref}) {
		t.Errorf("List = %v, %v; want the one record", refs, err)
	}
	l, err := s.locks.lock(t.Context(), s.folder(c.Ref)) // somebody writes: the next open may clean up
	if err != nil {
		t.Fatal(err)
	}
	openStore(t, dir)
	if _, err := os.Stat(left[1]); err != nil {
		t.Errorf("the file of a writer who is at work was removed: %v", err)
	}
	l.release()
	openStore(t, dir)
	for _, p := range left {
		if _, err := os.Stat(p); err == nil {
			t.Errorf("%s was left", p)
		}
	}
	for _, p := range keep {
		if _, err := os.Stat(p); err != nil {
			t.Errorf("what is not ours was removed: %v", err)
		}
	}
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

// Whoever waits for a writer that hangs gives up, at its own end or after lockWait.
func TestFileLockIsBounded(t *testing.T) {
	s := openStore(t, t.TempDir())
	c := putNew(t, s, "github", "1")
	path := filepath.Join(s.folder(c.Ref), lockName)
	held, err := try(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put while the lock is held: %v, want its deadline", err)
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := await(t.Context(), path)
		if err == nil || !strings.Contains(err.Error(), "another process holds this lock for more than 10s") {
			t.Errorf("error %v", err)
		}
		if waited := time.Since(start); waited < lockWait || waited > lockWait+time.Second {
			t.Errorf("waited %s, want about %s", waited, lockWait)
		}
	})
	wantToken(t, s, "github", "1") // readers need no lock
}

// Two stores in one process exclude each other like two processes.
func TestFileSharedInOneProcess(t *testing.T) {
	const each = 15
	dir := t.TempDir()
	stores := []*File{openStore(t, dir), openStore(t, dir)}
	c := putNew(t, stores[0], "github", "0")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range each {
				if err := credtest.Increment(t.Context(), stores[i%2], c.Ref, "token"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantToken(t, stores[1], "github", fmt.Sprint(4*each))
}

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
