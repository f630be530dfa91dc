package main

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Version, commit and Go version of this binary",
		Args:  cobra.NoArgs,
		RunE:  noArgs(func(context.Context) error { return c.version() }),
	}
}

func (c *cli) version() error {
	v := readBuild()
	if c.json {
		return c.printJSON(v)
	}
	t := c.table()
	t.row("version", v.Version)
	t.row("commit", v.Commit)
	t.row("go", v.Go)
	return t.flush()
}

// buildInfo says what this binary was built from.
type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "-dirty" behind it: with changes of its own
	Go      string `json:"go"`
}

// readBuild reads the build information of the running binary.
func readBuild() buildInfo {
	b := buildInfo{Version: version, Commit: "unknown", Go: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	var dirty bool
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty {
		b.Commit += "-dirty"
	}
	return b
}

// String gives one line, for logs.
func (b buildInfo) String() string { return fmt.Sprintf("%s (%s, %s)", b.Version, b.Commit, b.Go) }
