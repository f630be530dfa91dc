package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// printJSON prints v on standard output, indented.
func (c *cli) printJSON(v any) error { return writeJSON(c.stdout, v) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table prints rows of cells in columns on standard output.
type table struct{ w *tabwriter.Writer }

func (c *cli) table() *table {
	return &table{tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)}
}

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = clean(cell)
	}
	fmt.Fprintln(t.w, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
}

func (t *table) flush() error { return t.w.Flush() }

// clean makes control characters visible, but for newlines: what a store or an
// upstream holds must not steer the terminal.
func clean(s string) string {
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if control(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func control(r rune) bool {
	return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// firstOnly labels the first of several lines.
func firstOnly(label string, i int) string {
	if i > 0 {
		return ""
	}
	return label
}

// when prints a time for a person; "-" for none.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
