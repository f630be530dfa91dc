package checker

import (
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// Reauthorize is the status of a credential whose grant waits for a person's
// consent. It is no report's and no check's.
const Reauthorize Status = "reauthorization_required"

// Use is what the use of a credential has shown.
type Use struct {
	Fault   *fault.Fault // of the last use; nil: it was good, or there was none
	At      time.Time    // when Fault was seen last; zero: there is none
	Ends    time.Time    // when somebody must act; zero: not known, or never
	Type    string       // of the credential; empty: not known
	Version int          // of the record that was used; 0: not known
	Good    time.Time    // when the last request began that went well; zero: none did
}

// standing is the status of a credential by its use and its last report, which may
// be nil.
func (u Use) standing(rep *Report) Status { return Standing(u.Stands(rep), u.Good, rep) }

// Stands gives the fault of the use, unless another record was checked since, which
// somebody may have mended. rep may be nil. Versions tell that records differ, not
// which one is newer: KV version 1 has none, and version 2 begins anew where a secret
// was removed for good.
func (u Use) Stands(rep *Report) *fault.Fault {
	if rep != nil && u.Version != 0 && rep.version != 0 && rep.version != u.Version && rep.CheckedAt.After(u.At) {
		return nil
	}
	return u.Fault
}

// Taken reports whether the check has shown that the provider takes the credential,
// whatever else is wrong with it.
func (r *Report) Taken() bool {
	if r.Status != OK && r.Status != Warning {
		return false
	}
	l, _ := r.line(Authorization)
	return l.Status == OK || l.Status == Warning
}

// Overtaken reports whether the provider refused the credential in a check, and took
// it in a request that went well after that; good is when the last such began.
func (r *Report) Overtaken(good time.Time) bool {
	refused := r.Status == Error && r.Fault != nil && r.Fault.Code == fault.CredentialsRejected
	return refused && good.After(r.CheckedAt.Add(time.Duration(r.TookMS)*time.Millisecond))
}

// Standing is the status of a credential: what its use has shown, then what its
// last check has. used and rep may be nil; good is when the last request began that
// went well, zero: none did.
func Standing(used *fault.Fault, good time.Time, rep *Report) Status {
	if used != nil {
		switch {
		case used.Code == fault.ReauthorizationRequired:
			return Reauthorize
		case !used.Diagnosis().Transient:
			return Error
		}
	}
	switch {
	case rep == nil:
		return Unknown
	case rep.Fault != nil && rep.Fault.Code == fault.ReauthorizationRequired:
		return Reauthorize
	case rep.Overtaken(good):
		return OK
	}
	return rep.Status
}
