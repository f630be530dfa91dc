package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/file"
)

const (
	// couldNotCheck is the exit code of a check that said neither yes nor no.
	couldNotCheck = 3
	// checksAtOnce bounds how many credentials are tried at a time.
	checksAtOnce = 4
)

// checkFlags are the flags of check.
type checkFlags struct{ format, output, caller string }

func newCheckCommand(c *cli) *cobra.Command {
	var in checkFlags
	cmd := &cobra.Command{
		Use:   "check [REF...]",
		Short: "Try credentials at their providers; without REF all of them",
		Long: `Try credentials at their providers; without REF all of them.
Exit codes: 0 all ok, 1 a warning, 2 an error, 3 could not check (2 beats 3 beats 1).`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.json && !cmd.Flags().Changed("format") {
				in.format = "json"
			}
			return c.check(cmd.Context(), args, in)
		},
	}
	cmd.Flags().StringVar(&in.format, "format", "table", "`FORMAT` of the report: table, json or csv")
	cmd.Flags().StringVar(&in.output, "output", "", "write the report to `FILE` instead of standard output")
	cmd.Flags().StringVar(&in.caller, "caller", "", "only what this caller needs")
	_ = cmd.Flags().MarkHidden("caller") // fails for a flag that is not there
	return cmd
}

func (c *cli) check(ctx context.Context, args []string, in checkFlags) error {
	if in.caller != "" {
		return notBuilt("check --caller")
	}
	if formats := []string{"table", "json", "csv"}; !slices.Contains(formats, in.format) {
		return asUsage(unknown("format", in.format, formats))
	}
	var refs []credential.Ref
	for _, arg := range args {
		ref, err := parseRef(arg)
		if err != nil {
			return err
		}
		refs = append(refs, ref)
	}
	reports, failed, err := c.runChecks(ctx, refs)
	if err != nil {
		return withCode(couldNotCheck, err)
	}
	if err := c.writeReports(reports, in); err != nil {
		return withCode(couldNotCheck, err)
	}
	code := checker.ExitCode(reports)
	for _, err := range failed {
		tell(c.stderr, err)
		if code != 2 {
			code = couldNotCheck
		}
	}
	if code != 0 {
		return &failure{code: code}
	}
	return nil
}

// runChecks checks the credentials, all of them if refs is empty. failed are
// those that could not be tried at all.
func (c *cli) runChecks(ctx context.Context, refs []credential.Ref) (reports []*checker.Report, failed []error, err error) {
	cl, err := c.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = cl.close() }()
	if len(refs) == 0 {
		if refs, err = cl.credentials(ctx); err != nil {
			return nil, nil, err
		}
		if len(refs) == 0 {
			c.note("the store holds no credential")
		}
	}
	all, errs := make([]*checker.Report, len(refs)), make([]error, len(refs))
	var g errgroup.Group
	g.SetLimit(checksAtOnce)
	for i, ref := range refs {
		g.Go(func() error {
			all[i], errs[i] = cl.check(ctx, ref)
			return nil
		})
	}
	_ = g.Wait() // none of them fails as a whole
	isNil := func(r *checker.Report) bool { return r == nil }
	noError := func(err error) bool { return err == nil }
	return slices.DeleteFunc(all, isNil), slices.DeleteFunc(errs, noError), nil
}

func (cl *client) credentials(ctx context.Context) ([]credential.Ref, error) {
	views, err := list[credentialView](ctx, cl, "/api/v1/credentials", url.Values{})
	if err != nil {
		return nil, err
	}
	var refs []credential.Ref
	for _, v := range views {
		refs = append(refs, credential.Ref{Workspace: v.Workspace, Environment: v.Environment, Provider: v.Provider, Name: v.Name})
	}
	return refs, nil
}

func (cl *client) check(ctx context.Context, ref credential.Ref) (*checker.Report, error) {
	var r checker.Report
	if _, err := cl.call(ctx, http.MethodPost, credentialPath(ref)+"/check", nil, nil, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

func (c *cli) writeReports(reports []*checker.Report, in checkFlags) error {
	var b bytes.Buffer
	if err := encodeReports(&b, reports, in.format, in.output == "" && isTerminal(c.stdout)); err != nil {
		return err
	}
	if in.output == "" || in.output == "-" {
		_, err := c.stdout.Write(b.Bytes())
		return err
	}
	return writeOutput(in.output, b.Bytes())
}

func encodeReports(w io.Writer, reports []*checker.Report, format string, tty bool) error {
	switch format {
	case "csv":
		return checker.WriteCSV(w, reports)
	case "json":
		if reports == nil {
			reports = []*checker.Report{}
		}
		return writeJSON(w, reports)
	default:
		return checker.WriteTable(w, reports, tty)
	}
}

// writeOutput replaces a file whole; what is no file, like a pipe, is written to.
func writeOutput(path string, data []byte) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, data, 0)
	}
	return file.Write(path, data, 0o644)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
