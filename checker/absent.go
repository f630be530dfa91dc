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

// hidden is the report of a credential that the store holds and does not give.
func hidden(ref credential.Ref, err error) *Report {
	rep := Absent(ref, "the store does not give it")
	rep.Status, rep.Checks[0].Status = Unknown, Unverifiable
	rep.Fault = NewFault(fault.From(err).On(ref.String(), ref.Provider))
	return rep
}
