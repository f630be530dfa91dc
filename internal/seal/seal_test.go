package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
)

const canary = "CNRY-7d20aa"

func mustMake(t *testing.T, path string) Sealer {
	t.Helper()
	s, err := LoadOrMake(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealOpens(t *testing.T) {
	s := mustMake(t, filepath.Join(t.TempDir(), "k"))
	for _, n := range []int{0, 1, 64 << 10, 300 << 10} {
		plain := bytes.Repeat([]byte("x"), n)
		sealed, err := s.Seal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes came back as %d, %v", n, len(got), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	ours, other := mustMake(t, filepath.Join(dir, "a")), mustMake(t, filepath.Join(dir, "b"))
	sealed, err := ours.Seal([]byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	for n := range sealed {
		if _, err := ours.Open(sealed[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d of %d bytes: %v, want ErrDamaged", n, len(sealed), err)
		}
		bad := bytes.Clone(sealed)
		bad[n] ^= 1
		if _, err := ours.Open(bad); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrOtherKey) {
			t.Errorf("byte %d changed: %v, want an error", n, err)
		}
	}
	if _, err := other.Open(sealed); !errors.Is(err, ErrOtherKey) {
		t.Errorf("other key: %v, want ErrOtherKey", err)
	}
	if _, err := ours.Open([]byte(canary)); !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), canary) {
		t.Errorf("clear text: %v, want ErrDamaged that does not quote it", err)
	}
}

func TestLoadKeepsTheKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folders", "store.key")
	s := mustMake(t, path)
	sealed, err := s.Seal([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	again := mustMake(t, path)
	if again.Fingerprint() != s.Fingerprint() {
		t.Errorf("fingerprint %s became %s", s.Fingerprint(), again.Fingerprint())
	}
	if _, err := again.Open(sealed); err != nil {
		t.Errorf("the key that was read does not open what the key that was made has sealed: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("LK-14: key mode = %v, %v; want 0600", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("LK-14: folder mode = %v, %v; want 0700", info.Mode(), err)
	}
}

func TestFingerprint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	s := mustMake(t, path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if f := s.Fingerprint(); len(f) != 16 || bytes.Contains(bytes.ToLower(data), []byte(f)) {
		t.Errorf("fingerprint %q is not 16 characters, or a part of the key file", f)
	}
	if s.Fingerprint() == mustMake(t, path+"2").Fingerprint() {
		t.Error("two keys have one fingerprint")
	}
}

func TestLoadRefuses(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	line := key.String()
	for _, tc := range []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"LK-14 readable by the group", line, 0o640, "mode is 0640, must be 0600; run chmod 600"},
		{"LK-14 readable by all", line, 0o644, "mode is 0644, must be 0600"},
		{"empty", "", 0o600, "is empty; put the copy"},
		{"no key", "# nothing\n", 0o600, "no valid AGE-SECRET-KEY-1"},
		{"cut", line[:len(line)-5], 0o600, "cut or changed"},
		{"changed", strings.Replace(line, line[20:22], "11", 1), 0o600, "cut or changed"},
		{"something else", canary, 0o600, "no valid AGE-SECRET-KEY-1"},
		{"two keys", line + "\n" + line, 0o600, "holds 2 keys"},
		{"another kind", pq.String(), 0o600, "only X25519"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.key")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, path, tc.want, line[15:25])
			if now, err := os.ReadFile(path); err != nil || string(now) != tc.content {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

func TestLoadRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	mustMake(t, filepath.Join(dir, "real"))
	for name, target := range map[string]string{"to a key": "real", "to nothing": "absent"} {
		path := filepath.Join(dir, "link "+name)
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, path, "is a symbolic link", "AGE-SECRET-KEY-")
	}
	wantRefused(t, dir, "is not a regular file", "AGE-SECRET-KEY-")
}

func wantRefused(t *testing.T, path, want, secret string) {
	t.Helper()
	_, err := LoadOrMake(path)
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
		t.Fatalf("error %v, want %q and the path", err, want)
	}
	if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), secret) {
		t.Errorf("the error quotes the file: %v", err)
	}
}

// A key that the operator provides may be a mount or a link.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "store.key"), filepath.Join(dir, "link")
	if _, _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v, want fs.ErrNotExist", err)
	}
	want := mustMake(t, path).Fingerprint()
	if err := os.Symlink("store.key", link); err != nil {
		t.Fatal(err)
	}
	for mode, open := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		s, readable, err := Load(link)
		if err != nil || readable != open || s.Fingerprint() != want {
			t.Errorf("mode %04o: readable %v, %v; want %v and the key", mode, readable, err, open)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(link); err == nil || !strings.Contains(err.Error(), "writable by everybody") {
		t.Errorf("mode 0666: %v", err)
	}
	if err := os.WriteFile(path, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("no key: %v", err)
	}
}

// Everybody who makes the key at once gets the same one: goroutines here,
// processes below.
func TestMakeAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.key")
	prints := make([]string, 16)
	var wg sync.WaitGroup
	for i := range prints {
		wg.Go(func() {
			if s, err := LoadOrMake(path); err != nil {
				t.Error(err)
			} else {
				prints[i] = s.Fingerprint()
			}
		})
	}
	wg.Wait()
	wantOne(t, path, prints)
}

const childKey = "SALLYPORT_TEST_SEAL_KEY"

func TestMakeAtOnceByProcesses(t *testing.T) {
	if path := os.Getenv(childKey); path != "" { // this is one of them
		fmt.Println("fingerprint", mustMake(t, path).Fingerprint())
		return
	}
	path := filepath.Join(t.TempDir(), "store.key")
	prints := make([]string, 6)
	var wg sync.WaitGroup
	for i := range prints {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMakeAtOnceByProcesses$")
		cmd.Env = append(os.Environ(), childKey+"="+path)
		wg.Go(func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			_, after, _ := strings.Cut(string(out), "fingerprint ")
			prints[i], _, _ = strings.Cut(after, "\n")
		})
	}
	wg.Wait()
	wantOne(t, path, prints)
}

func wantOne(t *testing.T, path string, prints []string) {
	t.Helper()
	for _, p := range prints {
		if p == "" || p != prints[0] {
			t.Fatalf("several keys were made: %q", prints)
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".tmp-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
