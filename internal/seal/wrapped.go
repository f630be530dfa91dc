package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"filippo.io/age"

	"github.com/sallyport/sallyport/internal/file"
)

// Wrapper keeps a key that never leaves it, such as one of Vault's transit
// engine, and encrypts the store's key with it. Its errors quote no plain text.
type Wrapper interface {
	// Wrap gives text of the form vault:vVERSION:BASE64.
	Wrap(ctx context.Context, plain []byte) (string, error)
	// Unwrap gives what Wrap was given; the caller may overwrite it.
	Unwrap(ctx context.Context, wrapped string) ([]byte, error)
	// Name of the key that wraps, to be kept beside what it has wrapped.
	Name() string
}

// LoadOrMakeWrapped is LoadOrMake for a key that lies in its file wrapped by w:
// who has the file alone can open nothing. The key is unwrapped here, once, and
// must be that of the public key in the file before anything is sealed: else
// whoever can write the file could have the next records sealed for himself.
// Nothing of a file that w does not open is changed.
func LoadOrMakeWrapped(ctx context.Context, path string, w Wrapper) (Sealer, error) {
	data, err := file.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeWrapped(ctx, path, w); err != nil {
			return nil, fmt.Errorf("store key: %w", err)
		}
		data, err = file.ReadPrivate(path)
	}
	if err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	return unwrap(ctx, path, data, w)
}

// LoadWrapped is Load for a wrapped key: a file that the operator provides. It
// holds no secret, so it does not matter who can read it.
func LoadWrapped(ctx context.Context, path string, w Wrapper) (Sealer, error) {
	data, _, err := file.ReadOperator(path)
	if err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	return unwrap(ctx, path, data, w)
}

// CheckWrapped tells, without asking w, whether the file at path can be one that
// w has wrapped. One that is not there yet is fine; a pipe, which can be read only
// once, is left for later.
func CheckWrapped(path string, w Wrapper) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Type()&fs.ModeNamedPipe != 0 {
		return nil
	}
	data, _, err := file.ReadOperator(path)
	if err == nil {
		_, err = parseFor(path, data, w)
	}
	if err != nil {
		return fmt.Errorf("store key: %w", err)
	}
	return nil
}

// makeWrapped leaves alone a file that another process made meanwhile.
func makeWrapped(ctx context.Context, path string, w Wrapper) error {
	if err := makeFolder(path); err != nil {
		return err
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	text, err := w.Wrap(ctx, []byte(key.String()))
	if err != nil {
		return err
	}
	k := wrappedKey{public: key.Recipient().String(), name: w.Name(), text: text}
	if !textForm.MatchString(text) || !nameForm.MatchString(k.name) {
		return errors.New("what was to wrap the key has given something else than a wrapped text; no key was made")
	}
	if err := file.Create(path, k.format(time.Now()), file.Private); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func unwrap(ctx context.Context, path string, data []byte, w Wrapper) (Sealer, error) {
	k, err := parseFor(path, data, w)
	if err != nil {
		return nil, fmt.Errorf("store key: %w", err)
	}
	plain, err := w.Unwrap(ctx, k.text)
	if err != nil {
		return nil, fmt.Errorf("store key: %s: %w", path, err)
	}
	defer clear(plain)
	key, err := k.identity(plain)
	if err != nil {
		return nil, fmt.Errorf("store key: %s: %w", path, err)
	}
	return newAge(key), nil
}

// identity is the key that was unwrapped. age's own errors may quote it, so they
// are not told.
func (k *wrappedKey) identity(plain []byte) (*age.X25519Identity, error) {
	key, err := age.ParseX25519Identity(string(bytes.TrimSpace(plain)))
	if err != nil {
		return nil, errors.New("holds no key of a store: what was wrapped is something else; put the copy of the file back")
	}
	if key.Recipient().String() != k.public {
		return nil, errors.New("was changed: its public key is not that of the key which it holds wrapped; put the copy of the file back")
	}
	return key, nil
}
