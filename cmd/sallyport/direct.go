package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// openStoreDirect opens the configured store for a command that needs what the
// admin API never gives: the secrets. A daemon may run beside it. Whoever gets
// the store calls the function at the end.
func (c *cli) openStoreDirect(ctx context.Context) (credential.Store, *configs.Config, func() error, error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, nil, nil, err
	}
	dir, err := c.stateDir()
	if err != nil {
		return nil, nil, nil, err
	}
	token, err := vaultToken(cfg, c.getenv)
	if err != nil {
		return nil, nil, nil, err
	}
	log := slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})) // it tells of values that are trimmed
	store, v, err := openStore(cfg, dir, token, log, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	if cfg.Store.Backend != "vault" && cfg.Store.Key == "" { // Vault holds others' secrets, if anything
		return store, cfg, func() error { return nil }, nil
	}
	if err := ownSecretID(cfg); err != nil {
		return nil, nil, nil, err
	}
	logout, err := logIn(ctx, v)
	if err != nil {
		return nil, nil, nil, err
	}
	return store, cfg, logout, nil
}

// notRemote refuses --admin for a command that opens the store itself.
func (c *cli) notRemote(command string) error {
	if c.adminURL == "" && c.adminTokenFile == "" {
		return nil
	}
	return try(usagef("%s does not work with --admin: the admin API never gives a secret away", command),
		"run it where the store can be opened, with that daemon's --config and --state-dir")
}

// storeAtOnce bounds the calls to the store that are under way.
const storeAtOnce = 8

// forEach runs do for 0 to n-1, storeAtOnce of them at a time, and gives their
// errors by number. After one that dooms the others it starts no more: those
// have errNotTried, and err says why.
func forEach(ctx context.Context, n int, do func(i int) error) (errs []error, err error) {
	var g errgroup.Group
	var mu sync.Mutex
	g.SetLimit(storeAtOnce)
	errs = slices.Repeat([]error{errNotTried}, n)
	stopped := func() error {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil { // what fails then fails for that reason
			err = errors.New("interrupted")
		}
		return err
	}
	for i := range n {
		g.Go(func() error {
			if stopped() != nil {
				return nil
			}
			errs[i] = do(i)
			if dooms(errs[i]) {
				mu.Lock()
				err = errs[i]
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait()
	return errs, stopped()
}

var errNotTried = errors.New("not tried")

// dooms reports whether what failed so will fail for every record.
func dooms(err error) bool {
	return errors.Is(err, fault.VaultUnreachable) || errors.Is(err, fault.VaultSealed)
}

// everyRef finds all records, folder by folder: a wide List leaves out what a
// policy hides, and here that counts. failed are the folders that it could not
// look into.
func everyRef(ctx context.Context, s credential.Store) (refs []credential.Ref, failed failures, err error) {
	folders := []credential.Ref{{}}
	for range 3 { // workspaces, environments, providers
		var next []credential.Ref
		found := make([][]string, len(folders))
		errs, err := forEach(ctx, len(folders), func(i int) (err error) {
			found[i], err = s.Folders(ctx, folders[i])
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		for i, f := range folders {
			failed.add(strings.TrimRight(f.String(), "/")+"/", errs[i])
			for _, name := range found[i] {
				next = append(next, within(f, name))
			}
		}
		folders = next
	}
	found := make([][]credential.Ref, len(folders))
	errs, err := forEach(ctx, len(folders), func(i int) (err error) {
		found[i], err = s.List(ctx, folders[i])
		return err
	})
	for i, f := range folders {
		failed.add(f.String(), errs[i])
	}
	return slices.Concat(found...), failed, err
}

// within gives the folder name in folder.
func within(folder credential.Ref, name string) credential.Ref {
	for _, part := range []*string{&folder.Workspace, &folder.Environment, &folder.Provider} {
		if *part == "" {
			*part = name
			break
		}
	}
	return folder
}

// failures are what went wrong with several records or folders.
type failures []failed

type failed struct {
	name string
	err  error
}

// add notes err, if there is one.
func (f *failures) add(name string, err error) {
	if err != nil {
		*f = append(*f, failed{name, err})
	}
}

// error tells all of them, below a first line.
func (f failures) error(format string, a ...any) error {
	lines := []string{fmt.Sprintf(format, a...)}
	var remedies []string
	for _, one := range f {
		text, try := explained(one.err)
		lines = append(lines, one.name+": "+text)
		for _, r := range try {
			if !slices.Contains(remedies, r) {
				remedies = append(remedies, r)
			}
		}
	}
	return try(errors.New(strings.Join(lines, "\n")), remedies...)
}

// progress tells on standard error how far a long command is: at a terminal in
// a line of its own, else now and then.
type progress struct {
	w    io.Writer
	what string // with two verbs: done, total
	all  int
	tty  bool

	mu   sync.Mutex
	done int
	next time.Time // nothing is told before
	told bool
}

func (c *cli) progress(what string, all int) *progress {
	f, ok := c.stderr.(*os.File)
	p := &progress{w: c.stderr, what: what, all: all, tty: ok && term.IsTerminal(int(f.Fd()))}
	p.next = time.Now().Add(p.pause())
	return p
}

func (p *progress) pause() time.Duration {
	if p.tty {
		return 200 * time.Millisecond
	}
	return 5 * time.Second
}

// step counts one more.
func (p *progress) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if time.Now().Before(p.next) {
		return
	}
	p.next, p.told = time.Now().Add(p.pause()), true
	line := fmt.Sprintf("sallyport: "+p.what, p.done, p.all)
	if p.tty {
		fmt.Fprintf(p.w, "\r%s\x1b[K", line)
		return
	}
	fmt.Fprintln(p.w, line)
}

// end clears the terminal's line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tty && p.told {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
