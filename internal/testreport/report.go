// Command testreport reads what `go test -json` prints. It prints what `go test`
// itself would, and then which tests were skipped, with their reasons, and which
// real servers and clients took part.
//
//	go test -json ./... | testreport REAL REQUIRED
//
// REAL is the file that internal/testserver writes to, lines "WHAT: TEST" or, of what no server here has,
// "wire only, WHAT: TEST".
// REQUIRED has one beginning of WHAT a line, without which the run fails. The
// exit code is 1 if anything failed or a required one took no part.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go test -json ./... | testreport REAL REQUIRED")
		os.Exit(2)
	}
	ok, err := run(os.Stdin, os.Stdout, os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, real, required string) (ok bool, err error) {
	r := &report{out: out, output: map[test][]string{}}
	if err := r.read(in); err != nil {
		return false, err
	}
	for _, s := range r.skipped {
		fmt.Fprintf(out, "skipped: %s\n", s)
	}
	missing, err := r.took(real, required)
	if err != nil {
		return false, err
	}
	for _, name := range missing {
		fmt.Fprintf(out, "FAILED: %s took no part\n", name)
	}
	if r.failed > 0 {
		fmt.Fprintf(out, "FAILED: %d tests and packages\n", r.failed)
	}
	if ok = r.failed == 0 && len(missing) == 0; ok {
		fmt.Fprintf(out, "all %d tests passed, %d skipped\n", r.passed, len(r.skipped))
	}
	return ok, nil
}

// event is a line of go test -json (go doc test2json) or of go build -json.
type event struct{ Action, Package, Test, Output, ImportPath string }

type test struct{ pkg, name string }

type report struct {
	out            io.Writer
	output         map[test][]string // of tests that have not ended
	skipped        []string
	passed, failed int
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(r.out, lines.Text()) // the go command's own words
			continue
		}
		r.event(e)
	}
	return lines.Err()
}

func (r *report) event(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		if e.Test != "" {
			r.output[t] = append(r.output[t], e.Output)
		} else if e.Output != "PASS\n" {
			fmt.Fprint(r.out, e.Output)
		}
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass":
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			r.passed++
		}
		delete(r.output, t)
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, e.Package+" "+e.Test+": "+reason(r.output[t]))
		}
		delete(r.output, t)
	case "fail":
		r.fail(t)
	}
}

// fail prints what the failed test printed, or the tests that a failed package left unfinished.
func (r *report) fail(t test) {
	r.failed++
	for _, u := range slices.SortedFunc(maps.Keys(r.output), func(a, b test) int { return strings.Compare(a.name, b.name) }) {
		if u == t || t.name == "" && u.pkg == t.pkg {
			fmt.Fprint(r.out, strings.Join(r.output[u], ""))
			delete(r.output, u)
		}
	}
}

// reason is what a skipped test said, without the frame around it.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		if text := strings.TrimSpace(line); !strings.HasPrefix(text, "===") && !strings.HasPrefix(text, "---") {
			said = append(said, text)
		}
	}
	return strings.Join(said, " ")
}

// took prints who took part and gives the required who did not.
func (r *report) took(real, required string) (missing []string, err error) {
	tests, onWire := map[string]int{}, map[string]int{}
	for line := range linesOf(real, &err) {
		what, _, _ := strings.Cut(line, ": ")
		if unreal, ok := strings.CutPrefix(what, "wire only, "); ok {
			onWire[unreal]++
			continue
		}
		tests[what]++
	}
	r.count("real servers and clients that took part", tests)
	if len(onWire) > 0 {
		r.count("no server here has these; they were tested on the wire only", onWire)
	}
	for name := range linesOf(required, &err) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(tests)), func(what string) bool { return strings.HasPrefix(what, name) }) {
			missing = append(missing, name)
		}
	}
	return missing, err
}

func (r *report) count(title string, tests map[string]int) {
	fmt.Fprintf(r.out, "\n%s:\n", title)
	for _, what := range slices.Sorted(maps.Keys(tests)) {
		fmt.Fprintf(r.out, "  %s, in %d tests\n", what, tests[what])
	}
}

// linesOf gives the lines of a file that are not empty; err keeps the first error.
func linesOf(path string, err *error) func(func(string) bool) {
	return func(yield func(string) bool) {
		b, e := os.ReadFile(path)
		if e != nil && *err == nil {
			*err = e
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !yield(line) {
				return
			}
		}
	}
}
