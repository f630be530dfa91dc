package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// shells that completion can be made for, as cobra writes it.
var completions = map[string]func(*cobra.Command, *cli) error{
	"bash":       func(root *cobra.Command, c *cli) error { return root.GenBashCompletionV2(c.stdout, true) },
	"zsh":        func(root *cobra.Command, c *cli) error { return root.GenZshCompletion(c.stdout) },
	"fish":       func(root *cobra.Command, c *cli) error { return root.GenFishCompletion(c.stdout, true) },
	"powershell": func(root *cobra.Command, c *cli) error { return root.GenPowerShellCompletionWithDesc(c.stdout) },
}

func newCompletionCommand(c *cli) *cobra.Command {
	shells := []string{"bash", "fish", "powershell", "zsh"}
	return &cobra.Command{
		Use:       "completion SHELL",
		Short:     "Completion script for " + strings.Join(shells, ", "),
		Args:      arg("shell"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(shells, args[0]) {
				return asUsage(unknown("shell", args[0], shells))
			}
			return completions[args[0]](cmd.Root(), c)
		},
	}
}
