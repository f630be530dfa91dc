package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/sallyport/sallyport/internal/secret"
)

// lowWork makes a passphrase's lock that opens at once.
func lowWork(t *testing.T, passphrase string) Lock {
	t.Helper()
	l, err := lockBy(secret.New(passphrase), 4)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func knows(passphrase string) Key {
	return KeyBy(func() (secret.Value, error) { return secret.New(passphrase), nil })
}

// keyPair gives a lock and the file of the key that opens it.
func keyPair(t *testing.T) (Lock, string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	l, err := LockTo([]string{id.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	return l, writeFile(t, "# a comment\n"+id.String()+"\n")
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustReadKey(t *testing.T, path string) Key {
	t.Helper()
	k, _, err := ReadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustEncrypt(t *testing.T, l Lock, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := l.Encrypt(&b)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(k Key, sealed io.Reader) ([]byte, error) {
	r, err := k.Decrypt(sealed)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestPortable(t *testing.T) {
	plain := bytes.Repeat([]byte(canary), 20_000) // several chunks
	toKey, path := keyPair(t)
	for name, c := range map[string]struct {
		lock Lock
		key  Key
	}{
		"recipient":  {toKey, mustReadKey(t, path)},
		"passphrase": {lowWork(t, "correct horse"), knows("correct horse")},
	} {
		t.Run(name, func(t *testing.T) {
			sealed := mustEncrypt(t, c.lock, plain)
			if bytes.Contains(sealed, []byte(canary)) {
				t.Error("it is in clear")
			}
			if got, err := open(c.key, bytes.NewReader(sealed)); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
			var armored bytes.Buffer
			w := armor.NewWriter(&armored)
			_, _ = w.Write(sealed)
			_ = w.Close()
			if got, err := open(c.key, &armored); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("of the armored one %d bytes came back, %v", len(got), err)
			}
			for _, n := range []int{len(sealed) - 1, len(sealed) / 2, 100} {
				if _, err := open(c.key, bytes.NewReader(sealed[:n])); !errors.Is(err, ErrDamaged) {
					t.Errorf("cut to %d of %d bytes: %v, want ErrDamaged", n, len(sealed), err)
				}
			}
			if _, err := open(c.key, io.MultiReader(bytes.NewReader(sealed), strings.NewReader("x"))); !errors.Is(err, ErrDamaged) {
				t.Errorf("with a byte behind it: %v, want ErrDamaged", err)
			}
		})
	}
}

func TestDecryptTellsWhatIsWrong(t *testing.T) {
	toKey, path := keyPair(t)
	_, otherPath := keyPair(t)
	ours, other := mustReadKey(t, path), mustReadKey(t, otherPath)
	byKey := mustEncrypt(t, toKey, []byte(canary))
	byPassphrase := mustEncrypt(t, lowWork(t, "correct horse"), []byte(canary))
	heavy := bytes.Replace(byPassphrase, []byte(" 4\n"), []byte(" 21\n"), 1)
	silent := KeyBy(func() (secret.Value, error) { return secret.Value{}, io.ErrClosedPipe })
	never := KeyBy(func() (secret.Value, error) { t.Error("it was asked"); return secret.Value{}, nil })
	for _, c := range []struct {
		name   string
		key    Key
		sealed []byte
		want   error
	}{
		{"another key", other, byKey, ErrOtherKey},
		{"a key for a passphrase", ours, byPassphrase, ErrWantsPassphrase},
		{"a passphrase for a key", never, byKey, ErrWantsIdentity},
		{"another passphrase", knows("wrong horse!"), byPassphrase, ErrWrongPassphrase},
		{"an empty passphrase", knows(""), byPassphrase, ErrWrongPassphrase},
		{"nobody answers", silent, byPassphrase, io.ErrClosedPipe},
		{"too much work", never, heavy, ErrWork},
		{"nothing", ours, nil, ErrNotSealed},
		{"no age file", never, []byte(canary), ErrNotSealed},
		{"a header only", ours, byKey[:40], ErrDamaged},
		{"a wrong MAC", ours, bytes.Replace(byKey, []byte("\n--- "), []byte("\n--- AAAA"), 1), ErrDamaged},
		{"armor only", ours, []byte(armor.Header + "\n" + canary), ErrNotSealed},
	} {
		_, err := open(c.key, bytes.NewReader(c.sealed))
		if !errors.Is(err, c.want) || strings.Contains(fmt.Sprint(err), canary) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	broken := io.MultiReader(bytes.NewReader(byKey[:len(byKey)-1]), iotest.ErrReader(io.ErrNoProgress))
	if _, err := open(ours, broken); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that fails: %v, want its error", err)
	}
}

func TestDecryptIsBounded(t *testing.T) {
	s := &source{r: strings.NewReader(strings.Repeat("x", 100)), left: 50}
	if _, err := io.ReadAll(s); !errors.Is(err, ErrTooLarge) || !errors.Is(s.err, ErrTooLarge) {
		t.Errorf("100 bytes where 50 are the most: %v", err)
	}
}

func TestRecipientsRefused(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	good := id.Recipient().String()
	for name, bad := range map[string]string{
		"a secret key": id.String(), "nothing": "", "a comment": "# x", "two": good + "\n" + good,
		"a mistyped one": good[:len(good)-1] + "b", "another kind": "ssh-ed25519 " + canary,
	} {
		_, err := LockTo([]string{good, bad})
		if err == nil || !strings.Contains(err.Error(), "recipient 2 is no age recipient") || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct{ content, want string }{
		"empty":        {"\n# only this\n", "holds no age recipient"},
		"a secret key": {good + "\n" + id.String(), "a line is no age recipient"},
	} {
		_, err := ReadRecipients(writeFile(t, c.content))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), id.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, err := ReadRecipients(writeFile(t, "# ours\n"+good+"\r\n\n"+good))
	if err != nil || len(list) != 2 {
		t.Errorf("a good file: %q, %v", list, err)
	}
	if _, err := (Lock{}).Encrypt(io.Discard); err == nil {
		t.Error("the zero Lock encrypts to nobody")
	}
	if _, err := LockBy(secret.Value{}); err == nil {
		t.Error("an empty passphrase locks")
	}
}

func TestKeysRefused(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"empty":      {"", "holds no valid age identity"},
		"cut":        {"AGE-SECRET-KEY-1" + strings.ToUpper(canary), "holds no valid age identity"},
		"encrypted":  {"age-encryption.org/v1\n" + canary, "is itself encrypted"},
		"armored":    {armor.Header + "\n" + canary, "is itself encrypted"},
		"of another": {"-----BEGIN OPENSSH PRIVATE KEY-----\n" + canary, "holds no valid age identity"},
	} {
		_, _, err := ReadKey(writeFile(t, c.content))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(strings.ToLower(err.Error()), strings.ToLower(canary)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := ReadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
