// Package fault is the closed list of what can go wrong, with the diagnosis of
// each, and its forms: an error, a problem (RFC 9457), a Proxy-Status (RFC 9209).
package fault

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Code names one kind of fault. It is the errors.Is target, the metric label,
// the log attribute and the last part of the problem's type.
type Code string

// Error makes a Code a target for errors.Is.
func (c Code) Error() string { return string(c) }

// Actor is who must act for a fault to go away.
type Actor string

// The actors.
const (
	User        Actor = "user"         // whoever owns the credential or wrote the flow
	VendorAdmin Actor = "vendor_admin" // an administrator of the account at the provider
	Operator    Actor = "operator"     // whoever runs Sallyport and its OAuth clients
	Nobody      Actor = "nobody"       // it passes by itself
)

// Diagnosis is what a Code means and what to do about it.
type Diagnosis struct {
	Code      Code
	Status    int    // of our own answer; 0: the code only describes an upstream's answer or a report
	Token     string // RFC 9209 section 2.3 proxy error type; empty: details only
	Transient bool   // the same request may work later unchanged
	Actor     Actor
	Title     string
	Cause     string
	Remedy    []string
	Kinds     []Variant // of its faults that have causes of their own; nil: none
}

// Fault is an error with a Code. Detail is shown to the runner and the admin and
// must hold no secret and no internals; Err goes to the log only.
type Fault struct {
	Code       Code
	Kind       Kind // empty: none
	Detail     string
	Credential string        // reference, if one was chosen
	Provider   string        // name, if one was found
	RetryAfter time.Duration // of rate_limited and the like; 0: none
	Err        error
}

// New makes a fault. detail may be empty: the diagnosis' cause is then told.
func New(code Code, detail string, err error) *Fault {
	return &Fault{Code: code, Detail: detail, Err: err}
}

// Error gives the code, the detail and the wrapped chain, for the log.
func (f *Fault) Error() string {
	if g, ok := f.Err.(*Fault); ok && g.Code == f.Code && (f.Detail == "" || f.Detail == g.Detail) { //nolint:errorlint // the very next in the chain
		return g.Error() // it says as much, and more
	}
	s := string(f.Code)
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Is makes errors.Is(err, fault.NoCredential) true for a fault of that code.
func (f *Fault) Is(target error) bool { return target == f.Code }

// Diagnosis of the fault: its code's, or its kind's where that has one of its own.
func (f *Fault) Diagnosis() Diagnosis { return Diagnose(f.Code).of(f.Kind) }

// Of gives the fault a kind of its code; it changes a copy.
func (f *Fault) Of(k Kind) *Fault {
	g := *f
	g.Kind = k
	return &g
}

// On tells which credential and provider a fault is about; it changes a copy.
func (f *Fault) On(credential, provider string) *Fault {
	g := *f
	g.Credential, g.Provider = credential, provider
	return &g
}

// From gives the fault in err's chain. An error without one is Internal; a
// passed deadline is Timeout.
func From(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	var c Code
	if errors.As(err, &c) {
		return New(c, "", err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return New(Timeout, "", err)
	}
	return New(Internal, "", err)
}

// Diagnose gives the diagnosis of a code; one that is not in the table is Internal's.
func Diagnose(c Code) Diagnosis {
	d, ok := table[c]
	if !ok {
		d = table[Internal]
	}
	d.Kinds = kinds[d.Code]
	return d
}

// Known reports whether c is in the table.
func Known(c Code) bool {
	_, ok := table[c]
	return ok
}

// Codes gives every code of the table, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(table)) }
