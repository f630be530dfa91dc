package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

const (
	// couldNotCheck is the exit code of a check that said neither yes nor no.
	couldNotCheck = 3
	// checksAtOnce bounds how many credentials are tried at a time.
	checksAtOnce = 4
)

// checkFlags are the flags of check.
type checkFlags struct {
	format, output, caller string
	history                bool
	args                   []string // the references as they were given
}

func newCheckCommand(c *cli) *cobra.Command {
	var in checkFlags
	cmd := &cobra.Command{
		Use:   "check [REF...]",
		Short: "Try credentials at their providers; without REF all of them",
		Long: `Try credentials at their providers; without REF all of them. With --caller those that
the caller may use, by the scopes and permissions that its needs name, before it runs:
of a caller with needs, those of the providers that it needs; one that it has no
credential for is an error. What a short REF leaves out is then the caller's.
Exit codes: 0 all ok, 1 a warning, 2 an error, 3 could not check (2 beats 3 beats 1);
with --history by the newest report of each credential.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.json && !cmd.Flags().Changed("format") {
				in.format = "json"
			}
			in.args = args
			return c.check(cmd.Context(), in)
		},
	}
	cmd.Flags().StringVar(&in.format, "format", "table", "`FORMAT` of the report: table, json or csv")
	cmd.Flags().StringVar(&in.output, "output", "", "write the report to `FILE` instead of standard output")
	cmd.Flags().StringVar(&in.caller, "caller", "", "what the caller `NAME` may use, by what it needs")
	cmd.Flags().BoolVar(&in.history, "history", false, "ask nobody: show the reports that the daemon keeps, failures longer")
	return cmd
}

func (c *cli) check(ctx context.Context, in checkFlags) error {
	if formats := []string{"table", "json", "csv"}; !slices.Contains(formats, in.format) {
		return asUsage(unknown("format", in.format, formats))
	}
	if in.history && in.caller != "" {
		return usagef("--history shows reports by what providers' entries ask for; it does not go with --caller")
	}
	refs, err := parseRefs(in.args, credential.DefaultWorkspace, credential.DefaultEnvironment)
	if err != nil {
		return err
	}
	reports, failed, err := c.reports(ctx, refs, in)
	if err != nil {
		return withCode(couldNotCheck, err)
	}
	if err := c.writeReports(reports, in); err != nil {
		return withCode(couldNotCheck, err)
	}
	if in.history {
		reports = latest(reports)
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

// reports gives the reports that were asked for. failed tells of those
// credentials that could not be tried at all.
func (c *cli) reports(ctx context.Context, refs []credential.Ref, in checkFlags) (reports []*checker.Report, failed []error, err error) {
	if in.history {
		reports, err = c.kept(ctx, refs)
		return reports, nil, err
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = cl.close() }()
	refs, lacks, err := cl.checkable(ctx, refs, in)
	if err != nil {
		return nil, nil, err
	}
	if len(refs)+len(lacks) == 0 {
		c.note("%s", nothingToCheck[in.caller == ""])
	}
	reports, failed = c.checkAll(ctx, cl, refs, in)
	return append(lacks, reports...), failed, nil
}

// nothingToCheck is told where no credential is there: of a caller, or at all.
var nothingToCheck = map[bool]string{true: "the store holds no credential", false: "the caller may use no credential"}

// parseRefs reads references, each once; short ones are of the workspace and
// environment.
func parseRefs(args []string, workspace, environment string) ([]credential.Ref, error) {
	var refs []credential.Ref
	for _, arg := range args {
		ref, err := credential.ParseRefIn(arg, workspace, environment)
		if err != nil {
			return nil, asUsage(err)
		}
		if !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// checkable gives what is checked: what is named, else all, or what the caller
// may use. lacks are the reports of providers that it needs and has no credential
// of.
func (cl *client) checkable(ctx context.Context, named []credential.Ref, in checkFlags) (refs []credential.Ref, lacks []*checker.Report, err error) {
	switch {
	case in.caller == "" && len(named) > 0:
		return named, nil, nil
	case in.caller == "":
		refs, err = cl.credentials(ctx, nil)
		return refs, nil, err
	}
	who, err := cl.caller(ctx, in.caller)
	if err != nil {
		return nil, nil, err
	}
	if len(named) > 0 {
		refs, err = parseRefs(in.args, who.Workspace, who.Environment)
		return refs, nil, err
	}
	if refs, err = cl.credentials(ctx, url.Values{"caller": {who.Name}}); err != nil {
		return nil, nil, err
	}
	refs, lacks = needed(who, refs)
	return refs, lacks, nil
}

func (cl *client) caller(ctx context.Context, name string) (admin.CallerInfo, error) {
	callers, err := list[admin.CallerInfo](ctx, cl, "/api/v1/callers", nil)
	if err != nil {
		return admin.CallerInfo{}, err
	}
	i := slices.IndexFunc(callers, func(k admin.CallerInfo) bool { return k.Name == name })
	if i < 0 {
		return admin.CallerInfo{}, try(fmt.Errorf("there is no caller %s", name), "sallyport caller list")
	}
	return callers[i], nil
}

// needed leaves the credentials of the providers that a caller needs; all where
// it names none.
func needed(who admin.CallerInfo, refs []credential.Ref) ([]credential.Ref, []*checker.Report) {
	if len(who.Needs) == 0 {
		return refs, nil
	}
	refs = slices.DeleteFunc(refs, func(r credential.Ref) bool { _, ok := who.Needs[r.Provider]; return !ok })
	var lacks []*checker.Report
	for _, name := range slices.Sorted(maps.Keys(who.Needs)) {
		if !slices.ContainsFunc(refs, func(r credential.Ref) bool { return r.Provider == name }) {
			ref := credential.Ref{Workspace: who.Workspace, Environment: who.Environment, Provider: name, Name: credential.DefaultName}
			lacks = append(lacks, checker.Absent(ref, "caller "+who.Name+" needs "+name+" and has no credential of it"))
		}
	}
	return refs, lacks
}

// checkAll checks the credentials, some at once, and tells how far it is. What was
// not named and is removed meanwhile is left out; failed tells what is not about
// one credential.
func (c *cli) checkAll(ctx context.Context, cl *client, refs []credential.Ref, in checkFlags) (reports []*checker.Report, failed []error) {
	all, errs := make([]*checker.Report, len(refs)), make([]error, len(refs))
	done := c.progress("%d of %d credentials checked", len(refs))
	defer done.end()
	var g errgroup.Group
	g.SetLimit(checksAtOnce)
	for i, ref := range refs {
		g.Go(func() error {
			all[i], errs[i] = cl.check(ctx, ref, in.caller)
			done.step()
			return nil
		})
	}
	_ = g.Wait() // none of them fails as a whole
	for i, ref := range refs {
		var p *problem
		switch err := errs[i]; {
		case err == nil:
			reports = append(reports, all[i])
		case len(in.args) == 0 && errors.Is(err, fault.CredentialNotFound):
			c.note("%s was removed meanwhile", ref)
		case errors.As(err, &p) && p.Credential != "":
			reports = append(reports, checker.Untried(ref, p.diagnosis()))
		default:
			failed = append(failed, err)
		}
	}
	return reports, failed
}

// diagnosis is the problem as a report shows it.
func (p *problem) diagnosis() *checker.Fault {
	return &checker.Fault{Code: p.Code, Cause: p.Cause, Remedy: p.Remedy, Actor: p.Actor, Detail: p.Detail}
}

// kept gives the reports that a running daemon keeps: of refs all, the newest
// first, without refs the last of each credential.
func (c *cli) kept(ctx context.Context, refs []credential.Ref) ([]*checker.Report, error) {
	cl, err := c.daemon()
	if err != nil {
		return nil, err
	}
	if cl == nil {
		return nil, fmt.Errorf("only a running daemon keeps reports: %w", c.notRunning())
	}
	defer func() { _ = cl.close() }()
	if len(refs) == 0 {
		return list[*checker.Report](ctx, cl, "/api/v1/report", nil)
	}
	var all []*checker.Report
	for _, ref := range refs {
		of, err := list[*checker.Report](ctx, cl, "/api/v1/report", url.Values{"credential": {ref.String()}, "history": {"true"}})
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	return all, nil
}

// latest leaves the first report of each credential, which is its newest.
func latest(reports []*checker.Report) []*checker.Report {
	seen := map[string]bool{}
	return slices.DeleteFunc(reports, func(r *checker.Report) bool {
		older := seen[r.Credential]
		seen[r.Credential] = true
		return older
	})
}

func (cl *client) credentials(ctx context.Context, query url.Values) ([]credential.Ref, error) {
	views, err := list[credentialView](ctx, cl, "/api/v1/credentials", query)
	if err != nil {
		return nil, err
	}
	var refs []credential.Ref
	for _, v := range views {
		refs = append(refs, credential.Ref{Workspace: v.Workspace, Environment: v.Environment, Provider: v.Provider, Name: v.Name})
	}
	return refs, nil
}

func (cl *client) check(ctx context.Context, ref credential.Ref, caller string) (*checker.Report, error) {
	query := url.Values{}
	if caller != "" {
		query.Set("caller", caller)
	}
	var r checker.Report
	if _, err := cl.call(ctx, http.MethodPost, credentialPath(ref)+"/check", query, nil, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return &r, nil
}
