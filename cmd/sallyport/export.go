package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/seal"
)

// exportFlags say who will be able to open an export.
type exportFlags struct {
	recipients                     []string
	recipientsFile, passphraseFile string
}

func newExportCommand(c *cli) *cobra.Command {
	var to exportFlags
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write all credentials to a file, encrypted (age)",
		Long: `Write all credentials of the store to FILE, encrypted in the age format; - is
standard output. Type, description, fields, what others keep in the records and
Sallyport's own bookkeeping are in it, so import into another store gives the
same records. A FILE that holds an older export is replaced whole, any other is
left alone. On any failure nothing is written: a record that cannot be read fails
the export.

Who may open it is told by --recipient or --recipients-file (age public keys) or
--passphrase-file; else a passphrase is asked for at the terminal. The age tool
opens it too: age --decrypt --identity KEY FILE prints lines of JSON.

The store is opened directly, also beside a running daemon. A token that the
daemon refreshes later is not in the file: where a provider takes a refresh
token only once, stop the daemon before an export that is to be imported.
Secrets that [[credential]] of the configuration refers to lie elsewhere in
Vault and are not exported.`,
		Args: arg("file"),
		RunE: action(func(ctx context.Context, args []string) error { return c.export(ctx, args[0], &to) }),
	}
	f := cmd.Flags()
	f.StringArrayVar(&to.recipients, "recipient", nil, "public key whose owner may open it, as `age1...` (repeatable)")
	f.StringVar(&to.recipientsFile, "recipients-file", "", "`FILE` with public keys, one a line")
	f.StringVar(&to.passphraseFile, "passphrase-file", "", "`FILE` with the passphrase; a newline at its end does not count")
	return cmd
}

// exported is what an export has done, as --json prints it.
type exported struct {
	Exported   int      `json:"exported"`
	File       string   `json:"file"`
	Referenced []string `json:"referenced"` // by the configuration, so not exported
	Deleted    []string `json:"deleted"`    // still listed by Vault, without content
}

// export writes the whole store to path.
func (c *cli) export(ctx context.Context, path string, to *exportFlags) error {
	if err := c.notRemote("export"); err != nil {
		return err
	}
	write, err := c.outlet(path, "export", seal.Sealed)
	if err != nil {
		return err
	}
	lock, err := c.exportLock(ctx, to)
	if err != nil {
		return err
	}
	store, cfg, done, err := c.openStoreDirect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = done() }()
	out := exported{File: path, Referenced: referenced(cfg), Deleted: []string{}}
	records, err := c.readStore(ctx, store, &out)
	if err != nil {
		return err
	}
	var sealed bytes.Buffer
	if err := encrypt(&sealed, lock, records); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	if err := write(sealed.Bytes()); err != nil {
		return err
	}
	out.Exported = len(records)
	return c.tellExported(out)
}

// outlet checks where an export, or what else it is, goes before anything is
// read, and gives what writes it there. older tells an older one by its first
// bytes: nothing else is replaced.
func (c *cli) outlet(path, what string, older func(head []byte) bool) (func([]byte) error, error) {
	if path == "-" {
		return c.standardOutlet(what)
	}
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		target = path
		_, err = os.Stat(filepath.Dir(path))
	} else if err == nil {
		err = replaceable(target, what, older)
	}
	if err != nil {
		return nil, err
	}
	return func(b []byte) error { return file.Write(target, b, file.Private) }, nil
}

// replaceable refuses to replace what is no older one.
func replaceable(path, what string, older func(head []byte) bool) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return try(fmt.Errorf("%s: is not a regular file", path), "give a file, or - for standard output")
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	head, err := io.ReadAll(io.LimitReader(f, 64))
	if err == nil && len(head) > 0 && !older(head) {
		err = try(fmt.Errorf("%s: exists and is no %s", path, what), "give another FILE")
	}
	return err
}

func (c *cli) standardOutlet(what string) (func([]byte) error, error) {
	if c.json {
		return nil, usagef("--json and FILE - both want standard output")
	}
	if f, ok := c.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return nil, try(usagef("standard output is a terminal, and the %s is not text", what), "redirect it, or give a FILE")
	}
	return func(b []byte) error {
		_, err := c.stdout.Write(b)
		return err
	}, nil
}

// referenced names what the configuration refers to.
func referenced(cfg *configs.Config) []string {
	names := []string{}
	for _, r := range cfg.Credentials {
		names = append(names, r.Ref.String())
	}
	return names
}

// readStore reads every record, or tells all that it could not read.
func (c *cli) readStore(ctx context.Context, store credential.Store, out *exported) ([]*credential.Credential, error) {
	refs, failed, err := everyRef(ctx, store)
	if err != nil {
		return nil, err
	}
	if len(failed) > 0 {
		return nil, failed.error("folders of the store that cannot be listed: %d; nothing was written", len(failed))
	}
	found := make([]*credential.Credential, len(refs))
	p := c.progress("%d of %d credentials read", len(refs))
	errs, err := forEach(ctx, len(refs), func(i int) (err error) {
		defer p.step()
		found[i], err = store.Get(ctx, refs[i])
		return err
	})
	p.end()
	if err != nil {
		return nil, err
	}
	records := found[:0]
	for i, ref := range refs {
		switch {
		case errs[i] == nil:
			records = append(records, found[i])
		case errors.Is(errs[i], fault.CredentialNotFound):
			out.Deleted = append(out.Deleted, ref.String())
		default:
			failed.add(ref.String(), errs[i])
		}
	}
	if len(failed) > 0 {
		return nil, failed.error("%d of %d credentials cannot be read; nothing was written", len(failed), len(refs))
	}
	if len(records) == 0 {
		return nil, try(errors.New("the store holds no credentials; nothing was written"),
			"sallyport config show tells which store that is; --config and --state-dir choose another")
	}
	return records, nil
}

func encrypt(sealed *bytes.Buffer, lock seal.Lock, records []*credential.Credential) error {
	w, err := lock.Encrypt(sealed)
	if err != nil {
		return err
	}
	if err := credential.WriteArchive(w, time.Now(), records); err != nil {
		return err
	}
	return w.Close()
}

// tellExported tells what was done: on standard error where the export itself
// went to standard output.
func (c *cli) tellExported(out exported) error {
	if c.json {
		return c.printJSON(out)
	}
	if len(out.Deleted) > 0 {
		c.note("left out, since they were deleted: %s", strings.Join(out.Deleted, ", "))
	}
	if len(out.Referenced) > 0 {
		c.note("left out, since the configuration only refers to them: %s", strings.Join(out.Referenced, ", "))
	}
	if out.File == "-" {
		c.note("exported %s", count(out.Exported))
		return nil
	}
	fmt.Fprintf(c.stdout, "exported %s to %s\n", count(out.Exported), clean(out.File))
	return nil
}

func count(n int) string {
	if n == 1 {
		return "1 credential"
	}
	return fmt.Sprintf("%d credentials", n)
}
