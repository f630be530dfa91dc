package checker

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"
)

// WriteCSV writes the reports in the long form: one line for each property of a
// credential, the same properties for all, empty where nothing is known.
func WriteCSV(w io.Writer, reports []*Report) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"credential", "property", "value"}) // Flush tells
	for _, r := range reports {
		for _, p := range r.properties() {
			_ = c.Write([]string{guard(r.Credential), p.name, guard(p.value)})
		}
	}
	c.Flush()
	return c.Error()
}

type property struct{ name, value string }

func (r *Report) properties() []property {
	ps := []property{{"provider", r.Provider}, {"type", r.Type}, {"status", string(r.Status)}}
	for _, name := range []string{Authorization, Scopes, Permissions, Projects} {
		l, _ := r.line(name)
		ps = append(ps, property{name, string(l.Status)})
	}
	scopes, _ := r.line(Scopes)
	permissions, _ := r.line(Permissions)
	projects, _ := r.line(Projects)
	cause, remedy := r.diagnosis()
	return append(ps,
		property{"missing_scopes", named(scopes.Missing)},
		property{"missing_permissions", named(permissions.Missing)},
		property{"project_count", count(projects.Count)},
		property{"expires_at", stamp(r.ExpiresAt)},
		property{"cause", cause},
		property{"remedy", named(remedy)},
		property{"checked_at", stamp(&r.CheckedAt)},
	)
}

func count(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// diagnosis is the fault's; without one, the detail of the first check that is not ok.
func (r *Report) diagnosis() (cause string, remedy []string) {
	if r.Fault != nil {
		return r.Fault.Cause, r.Fault.Remedy
	}
	for _, l := range r.Checks {
		if l.Status != OK {
			return l.Detail, nil
		}
	}
	return "", nil
}

// guard keeps spreadsheets from taking a value for a formula.
func guard(s string) string {
	if s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
