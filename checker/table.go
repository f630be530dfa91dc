package checker

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// marks are what a terminal shows before a status.
var marks = map[Status]string{OK: "✓ ", Warning: "⚠ ", Unverifiable: "⚠ ", Error: "✗ ", Unknown: "? "}

// WriteTable writes the reports for people, with marks if tty says that a
// terminal shows them: one line for each credential, with a column for each check
// that one of them has; below, for those that are not ok, what was found, the
// cause and the remedy; last how many there are of each status. Of no report it
// writes nothing.
func WriteTable(w io.Writer, reports []*Report, tty bool) error {
	return layout{tty: tty}.write(w, reports)
}

// WriteHistory is WriteTable for reports that were kept, also several of one
// credential: it has a column for when each was made, in UTC.
func WriteHistory(w io.Writer, reports []*Report, tty bool) error {
	return layout{tty: tty, dated: true}.write(w, reports)
}

// layout of a table.
type layout struct {
	tty   bool // with marks
	dated bool // with the times of the reports
}

func (l layout) write(w io.Writer, reports []*Report) error {
	if len(reports) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	names := checksOf(reports)
	fmt.Fprintf(t, "CREDENTIAL\t%sTYPE\tSTATUS\t%sACCOUNT\n", l.date("CHECKED\t"), headings(names))
	for _, r := range reports {
		fmt.Fprintf(t, "%s\t%s%s\t%s\t%s%s\n", r.Credential, l.date(stamp(&r.CheckedAt)+"\t"), cmp.Or(r.Type, "-"), mark(r.Status, string(r.Status), l.tty), r.cells(names, l.tty), r.who())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	for _, r := range reports {
		r.explain(&b, l)
	}
	if len(reports) > 1 {
		b.WriteString("\n" + l.summary(reports) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// date gives text where the times of the reports are shown.
func (l layout) date(text string) string {
	if !l.dated {
		return ""
	}
	return text
}

// checksOf gives the names of the checks that one of the reports has, in their order.
func checksOf(reports []*Report) []string {
	return slices.DeleteFunc(slices.Clone(lineNames), func(name string) bool {
		return !slices.ContainsFunc(reports, func(r *Report) bool { _, ok := r.line(name); return ok })
	})
}

func headings(names []string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString(strings.ToUpper(name) + "\t")
	}
	return b.String()
}

func (r *Report) line(name string) (Line, bool) {
	i := slices.IndexFunc(r.Checks, func(l Line) bool { return l.Name == name })
	if i < 0 {
		return Line{}, false
	}
	return r.Checks[i], true
}

// cells gives a short word for each check.
func (r *Report) cells(names []string, tty bool) string {
	var b strings.Builder
	for _, name := range names {
		l, ok := r.line(name)
		switch {
		case !ok:
			b.WriteString("-\t")
		default:
			b.WriteString(mark(l.Status, r.word(l), tty) + "\t")
		}
	}
	return b.String()
}

// word says the most of a check in a few letters.
func (r *Report) word(l Line) string {
	switch {
	case len(l.Missing) > 0:
		return strconv.Itoa(len(l.Missing)) + " missing"
	case l.Count != nil:
		return strconv.Itoa(*l.Count)
	case l.Name == Expiry && r.ExpiresAt != nil:
		return r.ExpiresAt.UTC().Format(time.DateOnly)
	}
	return string(l.Status)
}

func (r *Report) who() string {
	if r.Account == nil {
		return "-"
	}
	return strings.TrimSpace(r.Account.Login + " " + r.Account.Kind)
}

// actors in words.
var actors = map[fault.Actor]string{
	fault.User: "who owns the credential", fault.VendorAdmin: "the administrator of the account at the provider",
	fault.Operator: "the operator of Sallyport, or of the OAuth client", fault.Nobody: "nobody: it passes",
}

// explain tells what is not ok, why, what to do and who can.
func (r *Report) explain(b *strings.Builder, l layout) {
	if r.Status == OK {
		return
	}
	fmt.Fprintf(b, "\n%s%s: %s\n", r.Credential, l.date(", "+stamp(&r.CheckedAt)), mark(r.Status, string(r.Status), l.tty))
	for _, c := range r.Checks {
		if c.Status != OK {
			fmt.Fprintf(b, "  %s: %s\n", c.Name, c.Detail)
		}
	}
	if r.Fault == nil {
		return
	}
	fmt.Fprintf(b, "  cause: %s\n", r.Fault.Cause)
	if d := r.Fault.Detail; d != "" && !slices.ContainsFunc(r.Checks, func(l Line) bool { return strings.Contains(l.Detail, d) }) {
		fmt.Fprintf(b, "  detail: %s\n", d)
	}
	for _, line := range r.Fault.Remedy {
		fmt.Fprintf(b, "  remedy: %s\n", line)
	}
	if who := actors[r.Fault.Actor]; who != "" {
		fmt.Fprintf(b, "  acts: %s\n", who)
	}
}

// summary counts the reports: "3 credentials: 1 ok, 1 warning, 1 error"; in a history
// they are "3 reports".
func (l layout) summary(reports []*Report) string {
	count := map[Status]int{}
	for _, r := range reports {
		count[r.Status]++
	}
	var parts []string
	for _, s := range []Status{OK, Warning, Error, Unknown} {
		if n := count[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	things := "credentials"
	if l.dated {
		things = "reports"
	}
	return fmt.Sprintf("%d %s: %s", len(reports), things, strings.Join(parts, ", "))
}

func mark(s Status, word string, tty bool) string {
	if !tty {
		return word
	}
	return marks[s] + word
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
