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
