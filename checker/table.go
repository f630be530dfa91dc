package checker

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// marks are what a terminal shows before a status.
var marks = map[Status]string{OK: "✓ ", Warning: "⚠ ", Unverifiable: "⚠ ", Error: "✗ ", Unknown: "? "}

// WriteTable writes the reports for people, with marks if tty says that a
// terminal shows them. Below a credential that is not ok stand cause and remedy.
func WriteTable(w io.Writer, reports []*Report, tty bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CREDENTIAL\tPROVIDER\tTYPE\tSTATUS\tDETAIL")
	for _, r := range reports {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Credential, r.Provider, clean(r.Type), mark(r.Status, tty), clean(r.details()))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return writeDiagnoses(w, reports, tty)
}

func writeDiagnoses(w io.Writer, reports []*Report, tty bool) error {
	var b strings.Builder
	for _, r := range reports {
		if r.Status == OK || r.Fault == nil {
			continue
		}
		fmt.Fprintf(&b, "\n%s: %s\n  cause:  %s\n", r.Credential, mark(r.Status, tty), clean(r.Fault.Cause))
		for _, line := range r.Fault.Remedy {
			fmt.Fprintf(&b, "  remedy: %s\n", clean(line))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mark(s Status, tty bool) string {
	if !tty {
		return string(s)
	}
	return marks[s] + string(s)
}

// details gives one line for all checks.
func (r *Report) details() string {
	var parts []string
	if r.Account != nil {
		parts = append(parts, "account "+strings.TrimSpace(r.Account.Login+" "+r.Account.Kind))
	}
	for _, l := range r.Checks {
		parts = append(parts, l.Name+": "+l.Detail)
	}
	return strings.Join(parts, "; ")
}

// clean keeps what a provider wrote from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
}

// ExitCode of a command that shows the reports: 0 all ok, 1 a warning, 2 an
// error, 3 one could not be checked. 2 beats 3 beats 1.
func ExitCode(reports []*Report) int {
	worst := OK
	for _, r := range reports {
		if severity[r.Status] > severity[worst] {
			worst = r.Status
		}
	}
	return exits[worst]
}

// severity orders the statuses of reports.
var severity = map[Status]int{OK: 0, Warning: 1, Unknown: 2, Error: 3}

var exits = map[Status]int{OK: 0, Warning: 1, Error: 2, Unknown: 3}
