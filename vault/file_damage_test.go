package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
)

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
