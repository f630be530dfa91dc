package seal

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/secret"
)

// maxWorkFactor bounds the work that a file asks for before its passphrase can
// be tried: 2^20 takes seconds and 1 GiB of memory. Locks and the age tool use 2^18.
const maxWorkFactor = 20

// maxPortable bounds what Decrypt reads, in bytes.
const maxPortable = 512 << 20

// What Decrypt fails with, besides ErrOtherKey and ErrDamaged.
var (
	ErrNotSealed       = errors.New("is no age file")
	ErrWantsPassphrase = errors.New("was encrypted with a passphrase")
	ErrWantsIdentity   = errors.New("was encrypted to the holders of keys, not with a passphrase")
	ErrWrongPassphrase = errors.New("was encrypted with another passphrase")
	ErrWork            = errors.New("asks for too much work to try its passphrase")
	ErrTooLarge        = fmt.Errorf("is larger than %d MiB", maxPortable>>20)
)

// Lock encrypts a file that leaves this machine. The zero Lock encrypts to nobody, which fails.
type Lock struct{ to []age.Recipient }

// LockTo locks for the holders of keys: recipients are age1... strings. Errors
// tell which is wrong and do not quote it: it may be a secret key by mistake.
func LockTo(recipients []string) (Lock, error) {
	var l Lock
	for i, s := range recipients {
		r, err := age.ParseRecipients(strings.NewReader(s))
		if err != nil || len(r) != 1 {
			return Lock{}, fmt.Errorf("recipient %d is no age recipient; it is one word that begins with age1", i+1)
		}
		l.to = append(l.to, r...)
	}
	return l, nil
}

// ReadRecipients reads an operator's file of recipients for LockTo: one a line,
// # begins a comment.
func ReadRecipients(path string) ([]string, error) {
	data, _, err := file.ReadOperator(path)
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if _, err := LockTo([]string{line}); err != nil {
			return nil, fmt.Errorf("%s: a line is no age recipient; it is one word that begins with age1", path)
		}
		list = append(list, line)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: holds no age recipient (a line that begins with age1)", path)
	}
	return list, nil
}

// LockBy locks with a passphrase, which must not be empty.
func LockBy(passphrase secret.Value) (Lock, error) { return lockBy(passphrase, 18) }

func lockBy(passphrase secret.Value, workFactor int) (Lock, error) {
	r, err := age.NewScryptRecipient(passphrase.Reveal())
	if err != nil {
		return Lock{}, errors.New("the passphrase is empty")
	}
	r.SetWorkFactor(workFactor)
	return Lock{[]age.Recipient{r}}, nil
}

// Encrypt gives a writer that encrypts to w. Its Close ends the file: without it
// nobody can open what was written.
func (l Lock) Encrypt(w io.Writer) (io.WriteCloser, error) { return age.Encrypt(w, l.to...) }

// Key opens what a Lock has closed.
type Key struct{ ids []age.Identity }

// ReadKey reads the operator's file of age identities, AGE-SECRET-KEY-1... lines.
// readable tells whether the world may read it.
func ReadKey(path string) (k Key, readable bool, err error) {
	data, readable, err := file.ReadOperator(path)
	if err != nil {
		return Key{}, false, err
	}
	if Sealed(data) || bytes.HasPrefix(data, []byte(armor.Header)) {
		return Key{}, false, fmt.Errorf("%s: is itself encrypted; decrypt it first with age --decrypt", path)
	}
	ids, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil { // age's own errors may quote the line
		return Key{}, false, fmt.Errorf("%s: holds no valid age identity (a line that begins with AGE-SECRET-KEY-1)", path)
	}
	return Key{ids}, readable, nil
}

// KeyBy opens with a passphrase. ask is called at most once, and only for a file
// that was encrypted with one.
func KeyBy(ask func() (secret.Value, error)) Key { return Key{[]age.Identity{passphrase{ask}}} }

// passphrase is an age.Identity that asks when it is needed.
type passphrase struct {
	ask func() (secret.Value, error)
}

// Unwrap implements age.Identity.
func (p passphrase) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" {
		return nil, age.ErrIncorrectIdentity
	}
	if args := stanzas[0].Args; len(args) == 2 {
		if work, err := strconv.Atoi(args[1]); err == nil && work > maxWorkFactor {
			return nil, fmt.Errorf("%w: 2^%d, the most is 2^%d", ErrWork, work, maxWorkFactor)
		}
	}
	v, err := p.ask()
	if err != nil {
		return nil, askError{err}
	}
	id, err := age.NewScryptIdentity(v.Reveal())
	if err != nil { // it is empty
		return nil, age.ErrIncorrectIdentity
	}
	id.SetMaxWorkFactor(maxWorkFactor)
	return id.Unwrap(stanzas)
}

// askError is why there is no passphrase.
type askError struct{ error }

// Decrypt gives what was encrypted into r, with or without age's armor. Decrypt
// and the reader fail with the errors above, or with that of r: age's own may
// quote what they read.
func (k Key) Decrypt(r io.Reader) (io.Reader, error) {
	src := &source{r: r, left: maxPortable}
	sealed := bufio.NewReader(unarmored(src))
	if head, _ := sealed.Peek(len(intro)); !Sealed(head) {
		return nil, cmp.Or(src.err, ErrNotSealed)
	}
	plain, err := age.Decrypt(sealed, k.ids...)
	if err != nil {
		return nil, cmp.Or(src.err, k.reason(err))
	}
	return &opened{plain, src}, nil
}

// intro begins every age file.
const intro = "age-encryption.org/"

// Sealed reports whether head is the beginning of an age file.
func Sealed(head []byte) bool { return bytes.HasPrefix(head, []byte(intro)) }

// unarmored takes age's armor off, where there is one.
func unarmored(r io.Reader) io.Reader {
	b := bufio.NewReader(r)
	if head, _ := b.Peek(len(armor.Header)); string(head) == armor.Header {
		return armor.NewReader(b)
	}
	return b
}

// reason gives our own error for one of age.Decrypt's.
func (k Key) reason(err error) error {
	var asked askError
	other := (*age.NoIdentityMatchError)(nil)
	switch {
	case errors.As(err, &asked):
		return asked.error
	case errors.Is(err, ErrWork):
		return err
	case errors.As(err, &other):
		return k.mismatch(slices.Contains(other.StanzaTypes, "scrypt"))
	}
	return ErrDamaged
}

// mismatch tells why none of the identities opens the file.
func (k Key) mismatch(byPassphrase bool) error {
	_, asks := k.ids[0].(passphrase)
	switch {
	case asks && byPassphrase:
		return ErrWrongPassphrase
	case asks:
		return ErrWantsIdentity
	case byPassphrase:
		return ErrWantsPassphrase
	}
	return ErrOtherKey
}

// source bounds a reader, and keeps its error apart from what age makes of it.
type source struct {
	r    io.Reader
	left int   // bytes
	err  error // nil: none, or the end
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.left -= n; s.left < 0 {
		err = ErrTooLarge
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// opened reads what is decrypted.
type opened struct {
	plain io.Reader
	src   *source
}

// Read implements io.Reader.
func (o *opened) Read(p []byte) (int, error) {
	n, err := o.plain.Read(p)
	if err != nil && err != io.EOF {
		err = cmp.Or(o.src.err, ErrDamaged)
	}
	return n, err
}
