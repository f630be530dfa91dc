// Package seal encrypts what Sallyport keeps on the disk: with a key in a file
// of its own (age, X25519), in the clear or wrapped by a key of Vault.
package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/sallyport/sallyport/internal/file"
)

// What Open fails with. Its errors say nothing of what is sealed.
var (
	ErrOtherKey = errors.New("was sealed with another key")
	ErrDamaged  = errors.New("is cut short or damaged")
)

// Sealer encrypts and decrypts with one key. Many goroutines may use it at once.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
	// Open fails with ErrOtherKey or ErrDamaged.
	Open(sealed []byte) ([]byte, error)
	// Fingerprint tells keys apart: 16 hex digits, no secret.
	Fingerprint() string
}

// maxPlain bounds what Open gives.
const maxPlain = 16 << 20

// LoadOrMake reads the age identity file at path, or makes it with a new key if
// there is none (and its folder). Processes that make it at once end with one
// key. The file must be our own, no link, and nobody else's to read.
func LoadOrMake(path string) (Sealer, error) {
	data, err := file.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return nil, fmt.Errorf("store key: %w", err)
		}
		data, err = file.ReadPrivate(path)
	}
	if err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	key, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("store key: %s: %w", path, err)
	}
	return newAge(key), nil
}

// Load reads an age identity file that the operator provides: a mount or a link
// is fine, world-writable is refused, and readable tells whether the world may
// read it. One that is not there is fs.ErrNotExist.
func Load(path string) (s Sealer, readable bool, err error) {
	data, readable, err := file.ReadOperator(path)
	if err != nil {
		return nil, false, fmt.Errorf("store key: %w", err)
	}
	key, err := parse(data)
	if err != nil {
		return nil, false, fmt.Errorf("store key: %s: %w", path, err)
	}
	return newAge(key), readable, nil
}

// makeKey leaves alone a file that another process made meanwhile.
func makeKey(path string) error {
	if err := makeFolder(path); err != nil {
		return err
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("# The key of Sallyport's store. Without it the stored credentials cannot be opened: keep a copy in a safe place.\n"+
		"# created: %s\n# public key: %s\n%s\n", time.Now().UTC().Format(time.RFC3339), key.Recipient(), key)
	if err := file.Create(path, []byte(text), file.Private); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// makeFolder makes the folder that path is to lie in; one that is there is the operator's.
func makeFolder(path string) error {
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return file.MakeDir(dir)
}

// parse wants one key. age's own errors may quote the line, so they are not told.
func parse(data []byte) (*age.X25519Identity, error) {
	const remedy = "put the copy of the key back; a new key cannot open what this one has sealed"
	if err := wrappedNow(data); err != nil {
		return nil, err
	}
	ids, err := age.ParseIdentities(bytes.NewReader(data))
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errors.New("is empty; " + remedy)
	case err != nil:
		return nil, errors.New("holds no valid AGE-SECRET-KEY-1 line, or a cut or changed one; " + remedy)
	case len(ids) != 1:
		return nil, fmt.Errorf("holds %d keys; leave the one that sealed the store", len(ids))
	}
	key, ok := ids[0].(*age.X25519Identity)
	if !ok {
		return nil, errors.New("holds an age key of another kind; only X25519 (AGE-SECRET-KEY-1) is supported")
	}
	return key, nil
}

// ageSealer seals to its own key.
type ageSealer struct {
	key         *age.X25519Identity
	fingerprint string
}

func newAge(key *age.X25519Identity) *ageSealer {
	sum := sha256.Sum256([]byte(key.Recipient().String()))
	return &ageSealer{key, hex.EncodeToString(sum[:8])}
}

// Fingerprint implements Sealer: of the public key.
func (a *ageSealer) Fingerprint() string { return a.fingerprint }

// Seal implements Sealer.
func (a *ageSealer) Seal(plain []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, a.key.Recipient())
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Open implements Sealer. age's own errors may quote what they read, so they are not told.
func (a *ageSealer) Open(sealed []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), a.key)
	if other := (*age.NoIdentityMatchError)(nil); errors.As(err, &other) {
		return nil, ErrOtherKey
	}
	if err != nil {
		return nil, ErrDamaged
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxPlain+1))
	if err != nil || len(plain) > maxPlain {
		return nil, ErrDamaged
	}
	return plain, nil
}
