package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

func newCredentialAddCommand(c *cli) *cobra.Command {
	var in recordFlags
	cmd := &cobra.Command{
		Use:   "add REF",
		Short: "Store a credential after trying it",
		Long: `Store a credential after trying it at its provider. What the type needs and no
flag gives is asked for at a terminal, else read as a JSON object of fields from
standard input. A credential that its check rejects is not stored, unless --force.`,
		Args: arg("reference"),
		RunE: action(func(ctx context.Context, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			return c.credentialAdd(ctx, ref, &in)
		}),
	}
	in.register(cmd)
	return cmd
}

func newCredentialEditCommand(c *cli) *cobra.Command {
	var in recordFlags
	cmd := &cobra.Command{
		Use:   "edit REF",
		Short: "Change a credential's type, description or some of its fields",
		Long: `Change a credential: the fields that are given replace those of that name, the
others stay. Without any change on the command line the required fields are asked
for at a terminal, where an empty answer keeps the old value, else read as a JSON
object of fields from standard input.`,
		Args: arg("reference"),
		RunE: action(func(ctx context.Context, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			return c.credentialEdit(ctx, ref, &in)
		}),
	}
	in.register(cmd)
	cmd.Flags().StringArrayVar(&in.unset, "unset", nil, "remove the field `F` (repeatable)")
	return cmd
}

// credentialAdd stores a new credential, or with --force replaces one.
func (c *cli) credentialAdd(ctx context.Context, ref credential.Ref, in *recordFlags) error {
	given, err := c.given(in)
	if err != nil {
		return err
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	p, err := cl.provider(ctx, ref.Provider)
	if err != nil {
		return err
	}
	if err := cl.free(ctx, ref, in.force); err != nil {
		return err
	}
	rec, err := c.complete(ctx, given, p)
	if err != nil {
		return err
	}
	body := map[string]any{"type": rec.typ, "fields": revealed(rec.fields)}
	if rec.description != nil {
		body["description"] = *rec.description
	}
	return c.write(ctx, cl, http.MethodPut, ref, in.force, body)
}

// free refuses a reference that is taken: adding is not for replacing.
func (cl *client) free(ctx context.Context, ref credential.Ref, force bool) error {
	if force {
		return nil
	}
	err := cl.get(ctx, credentialPath(ref), nil, nil)
	if errors.Is(err, fault.CredentialNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return try(fmt.Errorf("%s exists already", ref),
		"sallyport credential edit "+ref.String(), "add --force to replace it whole")
}

// credentialEdit changes what is given and keeps the rest.
func (c *cli) credentialEdit(ctx context.Context, ref credential.Ref, in *recordFlags) error {
	given, err := c.given(in)
	if err != nil {
		return err
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	var old credentialView
	if err := cl.get(ctx, credentialPath(ref), nil, &old); err != nil {
		return err
	}
	p, err := cl.provider(ctx, ref.Provider)
	if err != nil {
		return err
	}
	rec, err := c.changes(ctx, given, p, old)
	if err != nil {
		return err
	}
	body := map[string]any{}
	if rec.typ != "" {
		body["type"] = rec.typ
	}
	if rec.description != nil {
		body["description"] = *rec.description
	}
	if len(rec.fields) > 0 {
		body["fields"] = revealed(rec.fields)
	}
	return c.write(ctx, cl, http.MethodPatch, ref, in.force, body)
}

// write sends the record and tells what its check found.
func (c *cli) write(ctx context.Context, cl *client, method string, ref credential.Ref, force bool, body any) error {
	var raw json.RawMessage
	_, err := cl.call(ctx, method, credentialPath(ref), forced(force), body, &raw)
	var p *problem
	if errors.As(err, &p) && p.Code == fault.CheckFailed {
		return c.checkFailed(ref, p)
	}
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(raw)
	}
	var made struct {
		Credential credentialView  `json:"credential"`
		Report     *checker.Report `json:"report"`
	}
	if err := json.Unmarshal(raw, &made); err != nil {
		return fmt.Errorf("%s: the answer is not a credential: %w", ref, err)
	}
	fmt.Fprintf(c.stdout, "stored %s (%s, version %d)\n", ref, clean(made.Credential.Type), made.Credential.Version)
	c.tellReport(made.Report)
	return nil
}

// tellReport prints what a check found; anything but ok is a warning, with its
// cause and remedy.
func (c *cli) tellReport(r *checker.Report) {
	if r == nil {
		return
	}
	fmt.Fprintf(c.stdout, "check: %s%s\n", r.Status, account(r))
	if r.Status == checker.OK {
		return
	}
	for _, line := range r.Checks {
		if line.Status != checker.OK {
			c.warn("%s", strings.TrimSuffix(fmt.Sprintf("%s is %s: %s", line.Name, line.Status, line.Detail), ": "))
		}
	}
	if r.Fault != nil {
		c.warn("%s: %s", r.Fault.Code, r.Fault.Cause)
		for _, remedy := range r.Fault.Remedy {
			fmt.Fprintf(c.stderr, "try: %s\n", clean(remedy))
		}
	}
}

func account(r *checker.Report) string {
	if r.Account == nil || r.Account.Login == "" {
		return ""
	}
	return clean(" (" + strings.TrimSpace(r.Account.Kind+" "+r.Account.Login) + ")")
}

// checkFailed tells why nothing was stored: the cause and remedy that the report found.
func (c *cli) checkFailed(ref credential.Ref, p *problem) error {
	var more struct {
		Report *checker.Report `json:"report"`
	}
	p.more(&more)
	if c.json && more.Report != nil {
		if err := c.printJSON(more.Report); err != nil {
			return err
		}
	}
	force := "add --force to store it all the same"
	if more.Report == nil || more.Report.Fault == nil {
		return try(p, force)
	}
	f := more.Report.Fault
	text := fmt.Sprintf("%s was not stored: its check failed\n%s: %s", ref, f.Code, f.Cause)
	for _, line := range more.Report.Checks {
		if line.Status != checker.OK && line.Detail != "" {
			text += "\n" + line.Name + ": " + line.Detail
		}
	}
	return try(errors.New(text), append(f.Remedy, force)...)
}

// record is what a command line says of a credential.
type record struct {
	typ         string                   // empty: not said
	description *string                  // nil: not said
	fields      map[string]*secret.Value // nil: to be removed
}
