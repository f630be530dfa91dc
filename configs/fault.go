package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	File   string // empty: no file
	Line   int    // 0: the key stands in no file
	Key    string // path of the key, or the name of an environment variable; empty: the file as a whole
	Detail string // what is wrong and what would be right
}

// Faults are all that is wrong, by line. They are Load's error.
type Faults []Fault

// String is FILE:LINE: KEY: DETAIL, without the parts that are not known.
func (f Fault) String() string {
	var b strings.Builder
	switch {
	case f.File != "" && f.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", f.File, f.Line)
	case f.File != "":
		b.WriteString(f.File + ": ")
	}
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	return b.String() + f.Detail
}

// Error lists the faults, one a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// report gathers faults by the path of their key.
type report struct {
	file  string
	lines map[string]int    // of keys in the file
	names map[string]string // of array elements: provider[0] -> provider.crm
	env   map[string]string // keys that the environment has set -> its variable
	list  Faults

	warnings []string // what is no fault
}

// FaultAt is a fault of a key of c that only a use of c can show.
func (c *Config) FaultAt(key, detail string) Fault {
	r := report{lines: c.lines}
	return Fault{File: c.Path, Line: r.line(key), Key: key, Detail: detail}
}

// add tells a fault of the key at path, which is written with indices.
func (r *report) add(path, format string, args ...any) {
	f := Fault{File: r.file, Line: r.line(path), Key: r.display(path), Detail: fmt.Sprintf(format, args...)}
	if name, ok := r.env[path]; ok {
		f.File, f.Line, f.Detail = "", 0, f.Detail+" (set by "+name+")"
	}
	if !slices.Contains(r.list, f) {
		r.list = append(r.list, f)
	}
}

// line of the key, or of the nearest table that the file has.
func (r *report) line(path string) int {
	for path != "" {
		if n, ok := r.lines[path]; ok {
			return n
		}
		path = parent(path)
	}
	return 0
}

// display gives array elements their names.
func (r *report) display(path string) string {
	if i := strings.IndexByte(path, ']'); i >= 0 {
		if name, ok := r.names[path[:i+1]]; ok {
			return name + path[i+1:]
		}
	}
	return path
}

// err gives the faults by line, or nil.
func (r *report) err() error {
	if len(r.list) == 0 {
		return nil
	}
	slices.SortStableFunc(r.list, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key)) })
	return r.list
}
