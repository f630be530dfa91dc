// Command sallyport is a forward proxy that gives integration flows
// authenticated egress without handing them a secret.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker of a release build; empty: the build
// information of the binary tells.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(report(os.Stderr, err))
}

// run carries out one command line. It never ends the process, with one
// exception: the run command replaces it when it succeeds. The error decides the
// exit code and what is told about it: see report.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	c := newCLI(stdin, stdout, stderr)
	root := newRootCommand(c)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !c.started { // cobra's own faults: an unknown command, a wrong flag
		return asUsage(err)
	}
	return err
}
