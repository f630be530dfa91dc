package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
)

var errAway = errors.New("away")

// box is a Wrapper that needs no Vault, whose key is an age one: what it wraps
// holds nothing of the plain text.
type box struct {
	name string
	key  *ageSealer
	away bool

	mu               sync.Mutex
	wraps, unwraps   int
	given, plainSeen string
}

func newBox(t *testing.T, name string) *box {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return &box{name: name, key: newAge(key)}
}

func (b *box) Name() string { return b.name }

func (b *box) Wrap(_ context.Context, plain []byte) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wraps++
	b.plainSeen = string(plain)
	if b.away {
		return "", errAway
	}
	if b.given != "" {
		return b.given, nil
	}
	sealed, err := b.key.Seal(plain)
	return "vault:v1:" + base64.StdEncoding.EncodeToString(sealed), err
}

func (b *box) Unwrap(_ context.Context, wrapped string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unwraps++
	if b.away {
		return nil, errAway
	}
	sealed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(wrapped, "vault:v1:"))
	if err != nil {
		return nil, err
	}
	return b.key.Open(sealed)
}

func mustWrap(t *testing.T, path string, w Wrapper) Sealer {
	t.Helper()
	s, err := LoadOrMakeWrapped(t.Context(), path, w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWrapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folders", "store.key")
	b := newBox(t, "transit/orders")
	s := mustWrap(t, path, b)
	sealed, err := s.Seal([]byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	again := mustWrap(t, path, b)
	if got, err := again.Open(sealed); err != nil || string(got) != canary || again.Fingerprint() != s.Fingerprint() {
		t.Errorf("what was sealed opens as %q, %v, by the key %s; want the canary by %s", got, err, again.Fingerprint(), s.Fingerprint())
	}
	for range 10 {
		if _, err := again.Open(sealed); err != nil {
			t.Error(err)
		}
	}
	if b.wraps != 1 || b.unwraps != 2 {
		t.Errorf("%d wraps and %d unwraps, want 1 and one each time the file is loaded", b.wraps, b.unwraps)
	}
	if !strings.HasPrefix(b.plainSeen, "AGE-SECRET-KEY-1") {
		t.Errorf("what was wrapped is no age key")
	}
	wantWrappedFile(t, path, b)
	if s, err := LoadWrapped(t.Context(), path, b); err != nil || s.Fingerprint() != again.Fingerprint() {
		t.Errorf("LoadWrapped: %v, want the same key", err)
	}
}

// wantWrappedFile looks at what lies on the disk: the key itself does not.
func wantWrappedFile(t *testing.T, path string, b *box) {
	t.Helper()
	text := mustRead(t, path)
	if strings.Contains(text, "AGE-SECRET-KEY") || strings.Contains(text, b.plainSeen) ||
		strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(b.plainSeen))) {
		t.Error("the file holds the key in the clear")
	}
	key, err := age.ParseX25519Identity(b.plainSeen)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# public key: " + key.Recipient().String() + "\n", "# transit key: transit/orders\n", "\nvault:v1:"} {
		if !strings.Contains(text, want) {
			t.Errorf("the file lacks %q:\n%s", want, text)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("LK-14: mode = %v, %v; want 0600", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("LK-14: folder mode = %v, %v; want 0700", info.Mode(), err)
	}
}

// The Wrapper's own error is passed on, and makes no key.
func TestWrappedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.key")
	b := newBox(t, "transit/orders")
	b.away = true
	if _, err := LoadOrMakeWrapped(t.Context(), path, b); !errors.Is(err, errAway) {
		t.Errorf("making: %v, want the wrapper's error", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
	b.away = false
	mustWrap(t, path, b)
	b.away = true
	if _, err := LoadOrMakeWrapped(t.Context(), path, b); !errors.Is(err, errAway) || !strings.Contains(err.Error(), path) {
		t.Errorf("loading: %v, want the wrapper's error and the path", err)
	}
}

// What is no wrapped text is never written: it might be the key.
func TestWrappedWritesNothingElse(t *testing.T) {
	for _, given := range []string{"AGE-SECRET-KEY-1" + canary, "vault:v1:", "vault:v1:a b", "vault:v1:YQ==\nmore", "vault:v0:YQ==", canary} {
		path := filepath.Join(t.TempDir(), "store.key")
		b := newBox(t, "transit/orders")
		b.given = given
		_, err := LoadOrMakeWrapped(t.Context(), path, b)
		if err == nil || !strings.Contains(err.Error(), "something else than a wrapped text") || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: %v, want that it is no wrapped text, unquoted", given, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: a file was made: %v", given, err)
		}
	}
}

func TestWrappedRefuses(t *testing.T) {
	dir := t.TempDir()
	b, other := newBox(t, "transit/orders"), newBox(t, "transit/orders")
	mustWrap(t, filepath.Join(dir, "a"), b)
	good := mustRead(t, filepath.Join(dir, "a"))
	clearKey := b.plainSeen
	mustWrap(t, filepath.Join(dir, "b"), b)
	second := mustRead(t, filepath.Join(dir, "b"))
	mustWrap(t, filepath.Join(dir, "c"), other)
	foreign := mustRead(t, filepath.Join(dir, "c"))
	b.given = ""
	junk, err := b.Wrap(t.Context(), []byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	public, text := lineOf(t, good, "# public key: "), lineOf(t, good, "vault:v1:")
	for _, tc := range []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"LK-14 readable by the group", good, 0o640, "mode is 0640, must be 0600"},
		{"LK-14 readable by all", good, 0o644, "mode is 0644, must be 0600"},
		{"LK-14 writable by all", good, 0o602, "mode is 0602, must be 0600"},
		{"empty", "", 0o600, "is empty; put the copy"},
		{"in the clear", "# public key: x\n" + clearKey + "\n", 0o600, "holds a key in the clear, but [store] key is set"},
		{"in the clear beside", good + clearKey + "\n", 0o600, "holds a key in the clear"},
		{"swapped public key", strings.Replace(good, public, lineOf(t, second, "# public key: "), 1), 0o600, "was changed: its public key is not"},
		{"swapped text", strings.Replace(good, text, lineOf(t, second, "vault:v1:"), 1), 0o600, "was changed: its public key is not"},
		{"wrapped by another key of that name", foreign, 0o600, "was sealed with another key"},
		{"no public key", strings.Replace(good, public, "", 1), 0o600, `has no line "# public key: age1..."`},
		{"cut public key", strings.Replace(good, public, public[:len(public)-2], 1), 0o600, `has no line "# public key: age1..."`},
		{"no transit key", strings.Replace(good, "# transit key: transit/orders", "", 1), 0o600, `has no line "# transit key: MOUNT/KEY"`},
		{"another transit key", strings.Replace(good, "transit/orders", "keys/orders", 1), 0o600, `was wrapped by Vault's transit key "keys/orders", but [store] key names "transit/orders"`},
		{"no text", strings.Replace(good, text, "", 1), 0o600, "holds no wrapped key"},
		{"damaged text", strings.Replace(good, text, "vault:v1:"+canary, 1), 0o600, "holds no wrapped key"},
		{"two texts", good + text + "\n", 0o600, "holds more than one wrapped text"},
		{"two public keys", good + public + "\n", 0o600, "holds more than one public key"},
		{"something else", canary, 0o600, "holds no wrapped key"},
		{"something else wrapped", strings.Replace(good, text, junk, 1), 0o600, "holds no key of a store"},
		{"huge", good + strings.Repeat("#\n", maxWrapped), 0o600, "is larger than 64 KiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.key")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			_, err := LoadOrMakeWrapped(t.Context(), path, b)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("error %v, want %q and the path", err, tc.want)
			}
			for _, secret := range []string{canary, clearKey[20:40], lineOf(t, second, "vault:v1:")} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error quotes the file: %v", err)
				}
			}
			if mustRead(t, path) != tc.content {
				t.Error("the file was changed")
			}
		})
	}
}

// lineOf gives the line of text that begins with start.
func lineOf(t *testing.T, text, start string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, start) {
			return strings.TrimSuffix(line, "\n")
		}
	}
	t.Fatalf("no line begins with %q", start)
	return ""
}

// A wrapped key where one in the clear is wanted is told as that.
func TestLoadRefusesWrapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.key")
	mustWrap(t, path, newBox(t, "keys/orders"))
	_, _, byLoad := Load(path)
	_, byMake := LoadOrMake(path)
	for _, err := range []error{byLoad, byMake} {
		if err == nil || !strings.Contains(err.Error(), `wrapped by Vault's transit key "keys/orders"; set [store] key = "transit:keys/orders"`) ||
			!strings.Contains(err.Error(), "sallyport export") {
			t.Errorf("%v, want how to go on", err)
		}
	}
}

// A wrapped key that the operator provides may be a mount or a link, for all to read.
func TestLoadWrapped(t *testing.T) {
	dir := t.TempDir()
	b := newBox(t, "transit/orders")
	path, link := filepath.Join(dir, "store.key"), filepath.Join(dir, "link")
	if _, err := LoadWrapped(t.Context(), path, b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v, want fs.ErrNotExist", err)
	}
	want := mustWrap(t, path, b).Fingerprint()
	if err := os.Symlink("store.key", link); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrMakeWrapped(t.Context(), link, b); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("LK-14: our own file is a link: %v, want it refused", err)
	}
	for _, mode := range []os.FileMode{0o400, 0o640, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if s, err := LoadWrapped(t.Context(), link, b); err != nil || s.Fingerprint() != want {
			t.Errorf("mode %04o: %v, want the key", mode, err)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadWrapped(t.Context(), link, b); err == nil || !strings.Contains(err.Error(), "writable by everybody") {
		t.Errorf("LK-14: mode 0666: %v", err)
	}
}

// CheckWrapped asks nobody.
func TestCheckWrapped(t *testing.T) {
	dir := t.TempDir()
	b := newBox(t, "transit/orders")
	path := filepath.Join(dir, "store.key")
	if err := CheckWrapped(path, b); err != nil {
		t.Errorf("no file yet: %v", err)
	}
	mustWrap(t, path, b)
	mustMake(t, filepath.Join(dir, "clear"))
	b.away, b.unwraps = true, 0
	if err := CheckWrapped(path, b); err != nil || b.unwraps != 0 {
		t.Errorf("a good file: %v after %d calls", err, b.unwraps)
	}
	if err := CheckWrapped(filepath.Join(dir, "clear"), b); !errors.Is(err, errClear) {
		t.Errorf("a key in the clear: %v", err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckWrapped(pipe, b); err != nil {
		t.Errorf("a pipe: %v, want it left for later", err)
	}
	if err := CheckWrapped(dir, b); err == nil {
		t.Error("a folder was taken")
	}
	if err := CheckWrapped(path, newBox(t, "transit/other")); err == nil || !strings.Contains(err.Error(), "transit/other") {
		t.Errorf("another key: %v", err)
	}
}

// Everybody who makes the key at once gets the same one.
func TestMakeWrappedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.key")
	b := newBox(t, "transit/orders")
	prints := make([]string, 16)
	var wg sync.WaitGroup
	for i := range prints {
		wg.Go(func() {
			if s, err := LoadOrMakeWrapped(t.Context(), path, b); err != nil {
				t.Error(err)
			} else {
				prints[i] = s.Fingerprint()
			}
		})
	}
	wg.Wait()
	wantOne(t, path, prints)
}

// What the parser takes is what it gives back, and no error quotes the file.
func FuzzWrapped(f *testing.F) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	public := "# public key: " + key.Recipient().String()
	for _, seed := range []string{
		"", "\n", "#\n", public, public + "\n# transit key: transit/a\nvault:v1:YWJj\n", public + "\r\n# transit key: a/b/c\r\nvault:v12:YQ==\r\n",
		"AGE-SECRET-KEY-1", "vault:v1:YQ==", "# public key: \n# public key: \n", "# transit key: ../..\n", "\xff\x00", "vault:v1:YQ==\nvault:v1:YQ==",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseWrapped(data)
		if err != nil {
			for line := range bytes.Lines(data) {
				if line = bytes.TrimSpace(line); len(line) > 24 && strings.Contains(err.Error(), string(line)) {
					t.Errorf("the error quotes the file: %v", err)
				}
			}
			return
		}
		if !textForm.MatchString(k.text) || !nameForm.MatchString(k.name) || !strings.HasPrefix(k.public, "age1") {
			t.Fatalf("%+v was taken", k)
		}
		again, err := parseWrapped(k.format(time.Unix(0, 0)))
		if err != nil || *again != *k {
			t.Fatalf("%+v comes back as %+v, %v", k, again, err)
		}
	})
}
