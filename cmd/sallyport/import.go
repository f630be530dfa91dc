package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/seal"
)

// importFlags say how to open an export, and what to do with what is there.
type importFlags struct {
	identity, passphraseFile string
	overwrite                bool
}

func newImportCommand(c *cli) *cobra.Command {
	var from importFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Store the credentials that export wrote to a file",
		Long: `Store the credentials that export wrote to FILE; - is standard input. A file for
the owner of a key is opened with --identity, one with a passphrase with
--passphrase-file or at the terminal. Files that the age tool made of such lines
of JSON are read too.

The whole file is read and compared with the store first. Records that are there
already and equal are left alone; if others are there already, they are told and
nothing is written, unless --overwrite replaces them; fields of others in them
stay. A record that somebody changes meanwhile is not overwritten. After a failure the same import can be run
again: it goes on with what is missing.

No request is sent to any provider: sallyport check tries the credentials. The
store is written directly, also beside a running daemon, which is told to look
again; other daemons notice after cache_ttl.`,
		Args: arg("file"),
		RunE: action(func(ctx context.Context, args []string) error { return c.importFile(ctx, args[0], &from) }),
	}
	f := cmd.Flags()
	f.StringVar(&from.identity, "identity", "", "`FILE` with the age secret key that opens it")
	f.StringVar(&from.passphraseFile, "passphrase-file", "", "`FILE` with the passphrase; a newline at its end does not count")
	f.BoolVar(&from.overwrite, "overwrite", false, "replace credentials that are there already and differ")
	return cmd
}

// importFile brings what path holds into the store.
func (c *cli) importFile(ctx context.Context, path string, from *importFlags) error {
	if err := c.notRemote("import"); err != nil {
		return err
	}
	archive, err := c.readExport(ctx, path, from)
	if err != nil {
		return err
	}
	store, cfg, done, err := c.openStoreDirect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = done() }()
	if cfg.Store.Backend == "vault" {
		if err := c.judgeNumbers(archive.Records); err != nil {
			return err
		}
	}
	plan, err := c.compare(ctx, store, archive.Records)
	if err != nil {
		return err
	}
	if len(plan.different) > 0 && !from.overwrite {
		return plan.conflicts(len(archive.Records))
	}
	c.remark(archive, cfg)
	err = c.carryOut(ctx, store, plan)
	if len(plan.written) > 0 {
		c.tellDaemon(ctx)
	}
	return errors.Join(c.tellImported(plan, err), err)
}

// readExport reads the whole export before anything else is done.
func (c *cli) readExport(ctx context.Context, path string, from *importFlags) (*credential.Archive, error) {
	key, err := c.importKey(ctx, path, from)
	if err != nil {
		return nil, err
	}
	r, name := c.stdin, "standard input"
	if path != "-" {
		f, _, err := file.OpenOperator(path) // the world may read what is encrypted
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		r, name = f, path
	}
	archive, err := decrypt(r, key)
	if err != nil {
		return nil, hinted(fmt.Errorf("%s: %w", name, err))
	}
	return archive, nil
}

func decrypt(r io.Reader, key seal.Key) (*credential.Archive, error) {
	plain, err := key.Decrypt(r)
	if err != nil {
		return nil, err
	}
	return credential.ReadArchive(plain)
}

// judgeNumbers refuses what Vault would store and never give back, and warns of
// what it would round.
func (c *cli) judgeNumbers(records []*credential.Credential) error {
	var failed failures
	for _, r := range records {
		rounded, tooLarge := r.Inexact()
		if len(tooLarge) > 0 {
			failed.add(r.Ref.String(), errors.New(strings.Join(tooLarge, ", ")))
		}
		if len(rounded) > 0 {
			c.warn("%s: KV version 2 of Vault rounds numbers to double precision: %s", r.Ref, strings.Join(rounded, ", "))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return failed.error("%d of %d credentials hold numbers that Vault cannot keep; nothing was written", len(failed), len(records))
}

// importPlan is what an import has to do, and what it did.
type importPlan struct {
	missing, different []*credential.Credential // with the Version to write over
	equal              int
	written, left      []*credential.Credential // what became of them
	overwritten        int                      // of the written
}

// compare finds out what of the records the store lacks, or tells all that it
// could not compare.
func (c *cli) compare(ctx context.Context, store credential.Store, records []*credential.Credential) (*importPlan, error) {
	there := make([]*credential.Credential, len(records))
	p := c.progress("%d of %d credentials compared", len(records))
	errs, err := forEach(ctx, len(records), func(i int) (err error) {
		defer p.step()
		there[i], err = store.Get(ctx, records[i].Ref)
		return err
	})
	p.end()
	if err != nil {
		return nil, err
	}
	plan := &importPlan{}
	var failed failures
	for i, r := range records {
		switch {
		case errors.Is(errs[i], fault.CredentialNotFound):
			plan.missing = append(plan.missing, r)
		case errs[i] != nil:
			failed.add(r.Ref.String(), errs[i])
		case there[i].Equal(adopt(r, there[i])):
			plan.equal++
		default:
			r.Version = there[i].Version
			plan.different = append(plan.different, r)
		}
	}
	if len(failed) > 0 {
		return nil, failed.error("what is stored for %d of %d credentials cannot be read; nothing was written", len(failed), len(records))
	}
	return plan, nil
}

// adopt puts into r what others keep in the record that is there, and the archive
// does not know.
func adopt(r, there *credential.Credential) *credential.Credential {
	if r.Rest == nil {
		r.Rest = map[string]json.RawMessage{}
	}
	for _, name := range there.Names() {
		if r.Field(name).Empty() && r.Rest[name] == nil && !ownField(name) {
			r.Set(name, there.Field(name))
		}
	}
	for name, raw := range there.Rest {
		if r.Rest[name] == nil && !ownField(name) && (r.Field(name).Empty() || r.Field(name).Equal(there.Field(name))) {
			r.Rest[name] = raw
		}
	}
	return r
}

// ownField reports whether a field is one of ours in some type of credential.
func ownField(name string) bool {
	return name == credential.StateField || slices.Contains(credential.TokenFields, name) ||
		slices.ContainsFunc(auth.Kinds(), func(k auth.Kind) bool { return slices.Contains(k.Fields(), name) })
}

// conflicts tells what is there already and differs.
func (p *importPlan) conflicts(all int) error {
	text := fmt.Sprintf("%d of %d credentials are there already and differ; nothing was written\n%s",
		len(p.different), all, strings.Join(names(p.different), "\n"))
	return try(errors.New(text), "add --overwrite to replace them", "sallyport credential show REF tells what is there")
}

func names(records []*credential.Credential) []string {
	list := []string{}
	for _, r := range records {
		list = append(list, r.Ref.String())
	}
	return list
}

// remark tells what may surprise in what is about to be stored.
func (c *cli) remark(archive *credential.Archive, cfg *configs.Config) {
	types, hidden := map[string]bool{}, map[credential.Ref]bool{}
	for _, r := range cfg.Credentials {
		hidden[r.Ref] = true
	}
	for _, r := range archive.Records {
		if known, _ := credentialType(r.Type); !known && r.Type != "" {
			types[r.Type] = true
		}
		if hidden[r.Ref] {
			c.warn("%s is stored, but [[credential]] of the configuration hides it", r.Ref)
		}
		if fields := archive.Trimmed[r.Ref]; len(fields) > 0 {
			c.note("%s: a trailing newline was trimmed: %s", r.Ref, strings.Join(fields, ", "))
		}
	}
	if len(types) > 0 {
		c.warn("this version does not know the credential types %s; they are stored as they are", strings.Join(slices.Sorted(maps.Keys(types)), ", "))
	}
}

// imported is what an import has done, as --json prints it.
type imported struct {
	Imported    int      `json:"imported"` // were not there
	Overwritten int      `json:"overwritten"`
	Unchanged   int      `json:"unchanged"`
	Written     []string `json:"written"`
	NotWritten  []string `json:"not_written"`
}
