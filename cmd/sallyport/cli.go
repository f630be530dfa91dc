package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/configs"
)

// cli is one command line: its global flags, its streams and its environment.
type cli struct {
	configPath     string // --config; empty: searched
	stateDirFlag   string // --state-dir; empty: searched
	adminURL       string // --admin; empty: the local daemon or none
	adminTokenFile string
	json           bool

	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	exec           func(path string, argv, environ []string) error

	redirect string // where consent pages redirect to while this process waits for one; empty: nobody waits
	started  bool   // the command line was accepted
}

func newCLI(stdin io.Reader, stdout, stderr io.Writer) *cli {
	return &cli{stdin: stdin, stdout: stdout, stderr: stderr, environ: os.Environ(), exec: syscall.Exec}
}

// getenv gives a variable of the environment the command was started with.
func (c *cli) getenv(name string) string {
	v, _ := c.lookupEnv(name)
	return v
}

// lookupEnv is os.LookupEnv on that environment; of a name that is there twice
// the last counts, as in a shell.
func (c *cli) lookupEnv(name string) (string, bool) {
	for i := len(c.environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(c.environ[i], name+"="); ok {
			return v, true
		}
	}
	return "", false
}

// stateDir is where the daemon keeps what it makes. It is not made here.
func (c *cli) stateDir() (string, error) {
	dir := c.stateDirFlag
	for _, found := range []string{
		c.getenv("SALLYPORT_STATE_DIR"),
		strings.SplitN(c.getenv("STATE_DIRECTORY"), ":", 2)[0], // systemd separates several with a colon
		under(c.getenv("XDG_STATE_HOME"), "sallyport"),
		under(c.getenv("HOME"), ".local/state/sallyport"),
	} {
		if dir == "" {
			dir = found
		}
	}
	if dir == "" {
		return "", try(errors.New("no state directory: $HOME is not set"), "give --state-dir DIR or set SALLYPORT_STATE_DIR")
	}
	return filepath.Abs(dir)
}

func under(dir, sub string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, sub)
}

// loadConfig finds and loads the configuration. Its warnings go to the log of
// the daemon and to "config check"; other commands do not repeat them.
func (c *cli) loadConfig() (*configs.Config, error) { return configs.Load(c.configOptions()) }

// loadWhole is loadConfig for the daemon, which needs the operator's files too.
func (c *cli) loadWhole() (*configs.Config, error) {
	o := c.configOptions()
	o.Files = true
	return configs.Load(o)
}

func (c *cli) configOptions() configs.Options {
	return configs.Options{Path: configs.Find(c.configPath, c.getenv), Environ: c.environ, Types: credentialType}
}

// credentialType tells the configuration which types there are.
func credentialType(name string) (known, built bool) {
	_, ok := auth.Lookup(name)
	return ok, ok
}

func (c *cli) warn(format string, a ...any) {
	fmt.Fprintf(c.stderr, "sallyport: warning: %s\n", clean(fmt.Sprintf(format, a...)))
}

func (c *cli) note(format string, a ...any) {
	fmt.Fprintf(c.stderr, "sallyport: note: %s\n", clean(fmt.Sprintf(format, a...)))
}

// action is a cobra.Command's RunE with its context.
func action(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error { return f(cmd.Context(), args) }
}
