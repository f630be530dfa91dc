package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newRootCommand(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "A forward proxy that gives integration flows authenticated egress without handing them a secret",
		Args:  commandKnown,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		// Whatever fails before this is the command line's fault.
		PersistentPreRun: func(*cobra.Command, []string) { c.started = true },
	}
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&c.configPath, "config", "", "configuration `FILE` (default $SALLYPORT_CONFIG, ./sallyport.toml, $XDG_CONFIG_HOME/sallyport/sallyport.toml, built-in defaults)")
	flags.StringVar(&c.stateDirFlag, "state-dir", "", "state `DIR` (default $SALLYPORT_STATE_DIR, $STATE_DIRECTORY, $XDG_STATE_HOME/sallyport, ~/.local/state/sallyport)")
	flags.BoolVar(&c.json, "json", false, "print JSON")
	flags.StringVar(&c.adminURL, "admin", "", "`URL` of a remote daemon's admin API")
	flags.StringVar(&c.adminTokenFile, "admin-token-file", "", "`FILE` with the token for --admin")
	for _, newCommand := range commands {
		root.AddCommand(newCommand(c))
	}
	return root
}

// commands of the program, in the order of its manual.
var commands = []func(*cli) *cobra.Command{
	newServeCommand,
	newRunCommand,
	newEnvCommand,
	newCredentialCommand,
	newCheckCommand,
	newProviderCommand,
	newAppCommand,
	newCallerCommand,
	newDecideCommand,
	newRequestsCommand,
	newExplainCommand,
	newVaultCommand,
	newExportCommand,
	newImportCommand,
	newConfigCommand,
	newCACommand,
	newHealthcheckCommand,
	newCompletionCommand,
	newVersionCommand,
	newDemoCommand,
}

// group is a command that only holds others. Without one of them, or with an
// unknown one, it is a usage error that names them.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: commandKnown}
	cmd.AddCommand(subs...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return try(usagef("%s needs a command", cmd.CommandPath()), "one of "+strings.Join(subcommands(cmd), ", "))
	}
	return cmd
}

// commandKnown refuses arguments of a command that holds others: they are names
// that it does not have.
func commandKnown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknown(cmd.CommandPath()+" command", args[0], subcommands(cmd))
}

// subcommands are the names of those that the help shows.
func subcommands(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// arg checks that there is exactly one argument and says what it is.
func arg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s takes one %s, not %d arguments", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}

// noArgs is for RunE functions that take none.
func noArgs(f func(ctx context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error { return f(cmd.Context()) }
}
