package checker

import (
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Absent is the report of a credential that is needed and not there.
func Absent(ref credential.Ref, detail string) *Report {
	return &Report{
		Credential: ref.String(), Provider: ref.Provider, Status: Error,
		Checks: []Line{{Name: Authorization, Status: Error, Detail: detail, Missing: []string{}}},
		Fault:  NewFault(fault.New(fault.NoCredential, detail, nil).On(ref.String(), ref.Provider)),
		Steps:  []Step{}, CheckedAt: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// Untried is the report of a credential that could not be tried: why says what was
// in the way.
func Untried(ref credential.Ref, why *Fault) *Report {
	rep := Absent(ref, "it could not be tried")
	rep.Status, rep.Checks[0].Status, rep.Fault = Unknown, Unverifiable, why
	return rep
}

// hidden is the report of a credential that the store holds and does not give.
func hidden(ref credential.Ref, err error) *Report {
	return Untried(ref, NewFault(fault.From(err).On(ref.String(), ref.Provider)))
}
