package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/near"
)

func newExplainCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "explain CODE",
		Short: "Cause and remedy of one fault code",
		Args:  arg("fault code"),
		RunE:  action(func(_ context.Context, args []string) error { return c.explain(args[0]) }),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return codeNames(), cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func (c *cli) explain(code string) error {
	code = strings.TrimPrefix(code, "urn:sallyport:fault:")
	if !fault.Known(fault.Code(code)) {
		return unknown("fault code", code, codeNames())
	}
	d := fault.Diagnose(fault.Code(code))
	if c.json {
		return c.printJSON(newDiagnosis(d))
	}
	t := c.table()
	t.row("code", string(d.Code))
	t.row("title", d.Title)
	t.row("cause", d.Cause)
	for i, r := range d.Remedy {
		t.row(firstOnly("remedy", i), r)
	}
	for _, v := range d.Kinds {
		t.row("if "+strings.ReplaceAll(string(v.Kind), "_", " "), v.Cause)
		for i, r := range v.Remedy {
			t.row(firstOnly("  remedy", i), r)
		}
	}
	t.row("actor", string(d.Actor))
	t.row("status", statusText(d.Status))
	t.row("token", orDash(d.Token))
	return t.flush()
}

// diagnosis is a fault.Diagnosis as it is printed.
type diagnosis struct {
	Code      fault.Code  `json:"code"`
	Title     string      `json:"title"`
	Cause     string      `json:"cause"`
	Remedy    []string    `json:"remedy"`
	Actor     fault.Actor `json:"actor"`
	Status    int         `json:"status"`    // 0: no answer of ours has this code
	Token     string      `json:"token"`     // RFC 9209; may be empty
	Transient bool        `json:"transient"` // the same request may work later
	Kinds     []variant   `json:"kinds"`
}

// variant is a fault.Variant as it is printed.
type variant struct {
	Kind   fault.Kind `json:"kind"`
	Cause  string     `json:"cause"`
	Remedy []string   `json:"remedy"`
}

func newDiagnosis(d fault.Diagnosis) diagnosis {
	kinds := make([]variant, 0, len(d.Kinds))
	for _, v := range d.Kinds {
		kinds = append(kinds, variant{v.Kind, v.Cause, v.Remedy})
	}
	return diagnosis{d.Code, d.Title, d.Cause, d.Remedy, d.Actor, d.Status, d.Token, d.Transient, kinds}
}

func statusText(status int) string {
	if status == 0 {
		return "none: it describes an upstream's answer or a report"
	}
	return fmt.Sprint(status)
}

func codeNames() []string {
	var names []string
	for _, c := range fault.Codes() {
		names = append(names, string(c))
	}
	return names
}

// unknown is the error for a name that is not among known ones; it suggests
// those that are near.
func unknown(what, name string, known []string) error {
	err := fmt.Errorf("unknown %s %q", what, name)
	switch near := nearest(name, known); {
	case len(near) > 0:
		return try(err, "did you mean "+strings.Join(near, " or ")+"?")
	case len(known) > 0:
		return try(err, "one of "+strings.Join(known, ", "))
	}
	return err
}

// nearest gives up to three known names, nearest first: those that contain
// name, or that differ from it in at most a third of its letters.
func nearest(name string, known []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	for _, k := range known {
		d := near.Distance(name, k)
		if len(name) >= 3 && (strings.Contains(k, name) || strings.Contains(name, k)) {
			d = min(d, 1)
		}
		if d <= max(1, len(name)/3) {
			found = append(found, candidate{k, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.distance - b.distance })
	var names []string
	for _, f := range found[:min(3, len(found))] {
		names = append(names, f.name)
	}
	return names
}
