package seal

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"filippo.io/age"
)

// maxWrapped bounds the file of a wrapped key in bytes.
const maxWrapped = 64 << 10

// wrappedKey is what the file of a wrapped key holds: comment lines that say what
// it is, two of which count, and the wrapped text.
//
//	# public key: age1...
//	# transit key: MOUNT/KEY
//	vault:v1:BASE64
type wrappedKey struct {
	public string // age's recipient
	name   string // Wrapper.Name of what has wrapped it
	text   string
}

var (
	textForm = regexp.MustCompile(`^vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]+={0,2}$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9._/-]{1,512}$`)
)

// errClear and wrappedNow's error tell the way from one kind of key file to the other.
var errClear = errors.New(`holds a key in the clear, but [store] key is set to have it wrapped; ` +
	`to change over, unset it, save everything with sallyport export, ` +
	`set it again with another key_file and dir, and sallyport import what was saved`)

func (k *wrappedKey) format(created time.Time) []byte {
	return fmt.Appendf(nil, "# The key of Sallyport's store, wrapped by Vault's transit engine. "+
		"Without this file and that key of Vault the stored credentials cannot be opened: keep a copy of both.\n"+
		"# created: %s\n# public key: %s\n# transit key: %s\n%s\n", created.UTC().Format(time.RFC3339), k.public, k.name, k.text)
}

// parseFor is parseWrapped for a file that w is to open. Its errors begin with the path.
func parseFor(path string, data []byte, w Wrapper) (*wrappedKey, error) {
	k, err := parseWrapped(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if k.name != w.Name() {
		return nil, fmt.Errorf("%s: was wrapped by Vault's transit key %q, but [store] key names %q; name the first, "+
			"or, if Vault knows it by the second name now, correct the line \"# transit key:\" of the file", path, k.name, w.Name())
	}
	return k, nil
}

// parseWrapped reads the file of a wrapped key. Its errors quote nothing of it.
func parseWrapped(data []byte) (*wrappedKey, error) {
	if len(data) > maxWrapped {
		return nil, fmt.Errorf("is larger than %d KiB, so it holds no wrapped key", maxWrapped>>10)
	}
	var k wrappedKey
	for line := range strings.Lines(string(data)) {
		if err := k.add(strings.TrimSpace(line)); err != nil {
			return nil, err
		}
	}
	return &k, k.complete()
}

// add takes in one line.
func (k *wrappedKey) add(line string) error {
	label, value, _ := strings.Cut(line, ": ")
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-"):
		return errClear
	case line != "" && line[0] != '#':
		return once(&k.text, line, "wrapped text")
	case label == "# public key":
		return once(&k.public, strings.TrimSpace(value), "public key")
	case label == "# transit key":
		return once(&k.name, strings.TrimSpace(value), "transit key")
	}
	return nil
}

func once(p *string, value, what string) error {
	if *p != "" {
		return fmt.Errorf("holds more than one %s; put the copy of the file back", what)
	}
	*p = value
	return nil
}

func (k *wrappedKey) complete() error {
	const remedy = "; put the copy of the file back: a new key cannot open what this one has sealed"
	if *k == (wrappedKey{}) {
		return errors.New("is empty" + remedy)
	}
	if !textForm.MatchString(k.text) {
		return errors.New("holds no wrapped key (vault:v1:...), or a changed one" + remedy)
	}
	if r, err := age.ParseX25519Recipient(k.public); err != nil || r.String() != k.public {
		return errors.New(`has no line "# public key: age1...", or a changed one` + remedy)
	}
	if !nameForm.MatchString(k.name) {
		return errors.New(`has no line "# transit key: MOUNT/KEY", or a changed one` + remedy)
	}
	return nil
}

// wrappedNow tells a file of a wrapped key where one in the clear is wanted; nil if it is none.
func wrappedNow(data []byte) error {
	k, err := parseWrapped(data)
	if err != nil {
		return nil //nolint:nilerr // whatever it is, it is no wrapped key
	}
	return fmt.Errorf("holds a key that is wrapped by Vault's transit key %q; set [store] key = %q; "+
		"to do without, save everything with sallyport export while it is set, unset it and set another key_file and dir, and sallyport import what was saved",
		k.name, "transit:"+k.name)
}
