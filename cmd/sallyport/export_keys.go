package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/internal/secret"
)

// leastPassphrase is the least length of a passphrase that is typed.
const leastPassphrase = 12

// exportLock makes the lock that the flags or, at a terminal, the answers ask for.
func (c *cli) exportLock(ctx context.Context, to *exportFlags) (seal.Lock, error) {
	keys := len(to.recipients) > 0 || to.recipientsFile != ""
	switch {
	case keys && to.passphraseFile != "":
		return seal.Lock{}, usagef("--passphrase-file does not go with recipients: an age file has either")
	case keys:
		return recipientsLock(to)
	case to.passphraseFile != "":
		v, err := c.readPassphrase(to.passphraseFile)
		if err != nil {
			return seal.Lock{}, err
		}
		return seal.LockBy(v)
	}
	v, err := c.newPassphrase(ctx)
	if err != nil {
		return seal.Lock{}, err
	}
	return seal.LockBy(v)
}

func recipientsLock(to *exportFlags) (seal.Lock, error) {
	if _, err := seal.LockTo(to.recipients); err != nil {
		return seal.Lock{}, usagef("--recipient: %w", err)
	}
	if to.recipientsFile == "" {
		return seal.LockTo(to.recipients)
	}
	more, err := seal.ReadRecipients(to.recipientsFile)
	if err != nil {
		return seal.Lock{}, fmt.Errorf("--recipients-file: %w", err)
	}
	return seal.LockTo(append(more, to.recipients...))
}

// readPassphrase takes the operator's file as it is, but for newlines at its end.
func (c *cli) readPassphrase(path string) (secret.Value, error) {
	data, readable, err := file.ReadOperator(path)
	if err != nil {
		return secret.Value{}, fmt.Errorf("--passphrase-file: %w", err)
	}
	if readable {
		c.warn("%s is readable by everybody; run chmod 600 on it", path)
	}
	v := secret.New(strings.TrimRight(string(data), "\r\n"))
	if v.Empty() {
		return v, fmt.Errorf("--passphrase-file: %s: is empty", path)
	}
	return v, nil
}

// newPassphrase asks for a passphrase twice.
func (c *cli) newPassphrase(ctx context.Context) (secret.Value, error) {
	tty := c.terminal()
	if tty == nil {
		return secret.Value{}, try(usagef("nobody is told who may open the export, and there is no terminal to ask for a passphrase"),
			"--recipient age1... for the owner of that key (age-keygen makes one)", "--recipients-file FILE", "--passphrase-file FILE")
	}
	first, err := c.ask(ctx, tty, fmt.Sprintf("passphrase (at least %d characters)", leastPassphrase), true)
	if err != nil {
		return secret.Value{}, err
	}
	if n := utf8.RuneCountInString(first); n < leastPassphrase {
		return secret.Value{}, try(fmt.Errorf("the passphrase has %d characters, which is too short: whoever gets the file can try as many as he likes", n),
			fmt.Sprintf("take %d or more, such as five random words", leastPassphrase))
	}
	again, err := c.ask(ctx, tty, "the same again", true)
	if err != nil {
		return secret.Value{}, err
	}
	v := secret.New(first)
	if !v.Equal(secret.New(again)) {
		return secret.Value{}, errors.New("the two passphrases differ")
	}
	return v, nil
}

// hinted adds what to do about a file that cannot be opened.
func hinted(err error) error {
	for target, remedy := range map[error]string{
		seal.ErrWantsPassphrase:    "give --passphrase-file FILE in place of --identity, or neither at a terminal",
		seal.ErrWantsIdentity:      "give --identity FILE, the secret key of one of its recipients",
		seal.ErrOtherKey:           "give --identity FILE, the secret key of one of its recipients",
		seal.ErrDamaged:            "take another copy of the file",
		seal.ErrWork:               "make the export anew; Sallyport and the age tool ask for less",
		credential.ErrNewerArchive: "import it with that version",
	} {
		if errors.Is(err, target) {
			return try(err, remedy)
		}
	}
	return err
}

// importKey finds the key. A passphrase is asked for once the file is known to
// want one.
func (c *cli) importKey(ctx context.Context, path string, from *importFlags) (seal.Key, error) {
	tty := c.terminal()
	switch {
	case from.identity != "" && from.passphraseFile != "":
		return seal.Key{}, usagef("--identity and --passphrase-file exclude each other: an age file has either")
	case path == "-" && tty != nil:
		return seal.Key{}, try(usagef("standard input is a terminal"), "redirect it, or give a FILE")
	case from.identity != "":
		return c.readIdentity(from.identity)
	case from.passphraseFile != "":
		v, err := c.readPassphrase(from.passphraseFile)
		return seal.KeyBy(func() (secret.Value, error) { return v, nil }), err
	case tty == nil:
		return seal.Key{}, try(usagef("nothing is told to open the export with, and there is no terminal to ask for a passphrase"),
			"--identity FILE with the secret key of one of its recipients", "--passphrase-file FILE")
	}
	return seal.KeyBy(func() (secret.Value, error) {
		s, err := c.ask(ctx, tty, "passphrase", true)
		return secret.New(s), err
	}), nil
}

func (c *cli) readIdentity(path string) (seal.Key, error) {
	key, readable, err := seal.ReadKey(path)
	if err != nil {
		return key, fmt.Errorf("--identity: %w", err)
	}
	if readable {
		c.warn("%s is readable by everybody; run chmod 600 on it", path)
	}
	return key, nil
}
