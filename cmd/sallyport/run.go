package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newRunCommand(c *cli) *cobra.Command {
	var caller string
	cmd := &cobra.Command{
		Use:   "run [flags] -- CMD [ARG...]",
		Short: "Run a command with its HTTP traffic going through the daemon",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("run needs a command: sallyport run -- CMD [ARG...]")
			}
			return nil
		},
		RunE: action(func(ctx context.Context, args []string) error { return c.run(ctx, caller, args) }),
	}
	cmd.Flags().StringVar(&caller, "caller", "", callerUsage)
	cmd.Flags().SetInterspersed(false) // what follows the command is its own
	return cmd
}

// run replaces this process by the command: its signals and its exit code are
// then its own. It returns only if that fails.
func (c *cli) run(ctx context.Context, caller string, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	vars, err := c.runnerVariables(caller)
	if err != nil {
		return err
	}
	if ctx.Err() != nil { // a signal that came before was for the command
		return errors.New("interrupted")
	}
	if err := c.exec(path, args, withVariables(c.environ, vars)); err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}

// withVariables gives environ with vars in place of those of their names.
func withVariables(environ []string, vars []variable) []string {
	env := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.ContainsFunc(vars, func(v variable) bool { return v.name == name })
	})
	for _, v := range vars {
		env = append(env, v.name+"="+v.value)
	}
	return env
}
