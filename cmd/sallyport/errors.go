package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// failure ends the command with a code of its own.
type failure struct {
	code int
	err  error // nil: what there was to tell is told
}

// Error implements error.
func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

// Unwrap gives the cause, with its remedies.
func (f *failure) Unwrap() error { return f.err }

// usage is the code of a wrong command line.
const usage = 2

// usagef makes a usage error.
func usagef(format string, a ...any) error { return &failure{usage, fmt.Errorf(format, a...)} }

// asUsage makes err a usage error, unless it has a code of its own.
func asUsage(err error) error { return withCode(usage, err) }

// withCode gives err an exit code, unless it has one of its own.
func withCode(code int, err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &failure{code, err}
}

// remedied is an error with what to do about it, apart from its text.
type remedied struct {
	err error
	try []string
}

// Error implements error.
func (e *remedied) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *remedied) Unwrap() error { return e.err }

// try adds remedies to an error, behind those that it has.
func try(err error, remedies ...string) error {
	var r *remedied
	if errors.As(err, &r) {
		remedies = append(slices.Clone(r.try), remedies...)
	}
	return &remedied{err, remedies}
}

// report tells err on w, as "sallyport: ..." and "try: ..." lines, and gives the
// exit code: 0 done, 1 failed, 2 usage, or the command's own.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	f := &failure{code: 1, err: err}
	if errors.As(err, &f) && f.err == nil {
		return f.code
	}
	tell(w, err)
	return f.code
}

// tell prints err with its remedies.
func tell(w io.Writer, err error) {
	text, remedies := explained(err)
	fmt.Fprintf(w, "sallyport: %s\n", indent(clean(text)))
	for _, r := range remedies {
		fmt.Fprintf(w, "try: %s\n", clean(r))
	}
}

// explained gives an error's text and its remedies. A fault's are its
// diagnosis'; those that were added to the error come first.
func explained(err error) (string, []string) {
	var r *remedied
	var p *problem
	var f *fault.Fault
	var remedies []string
	if errors.As(err, &r) {
		remedies = r.try
	}
	switch {
	case errors.As(err, &p):
		return p.Error(), append(remedies, p.Remedy...)
	case errors.As(err, &f) && f.Code != fault.Internal:
		return faultText(f), append(remedies, f.Diagnosis().Remedy...)
	default:
		return err.Error(), remedies
	}
}

func faultText(f *fault.Fault) string {
	p := f.Problem("")
	s := fmt.Sprintf("%s (%s): %s", p.Title, p.Code, p.Detail)
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// indent sets the further lines of a message off from the first.
func indent(s string) string {
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}
