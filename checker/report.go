// Package checker tries a credential before a flow needs it, and says what
// failed, why, and what to do.
package checker

import (
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// Status of a report or of one of its checks.
type Status string

// The statuses. Unverifiable is a check's only and counts as a warning; Unknown
// is a report's only: the provider was throttling or out of reach.
const (
	OK           Status = "ok"
	Warning      Status = "warning"
	Error        Status = "error"
	Unverifiable Status = "unverifiable"
	Unknown      Status = "unknown"
)

// Report is what a check of one credential found. It holds no secret. Nobody
// changes it once it is made.
type Report struct {
	Credential string     `json:"credential"` // full reference
	Provider   string     `json:"provider"`
	Type       string     `json:"type"`
	Status     Status     `json:"status"`
	Account    *Account   `json:"account"` // nil: the provider does not tell
	Checks     []Line     `json:"checks"`
	ExpiresAt  *time.Time `json:"expires_at"` // nil: not known, or never
	Fault      *Fault     `json:"fault"`      // nil: nothing is wrong, or no code fits
	Steps      []Step     `json:"steps"`
	CheckedAt  time.Time  `json:"checked_at"`
	TookMS     int64      `json:"took_ms"`

	ends    time.Time // when somebody must act; zero: not known, or never
	version int       // of the record; 0: it was not stored

	restored bool // it was made before this start
}

// code of the fault; empty where there is none.
func (r *Report) code() string {
	if r.Fault == nil {
		return ""
	}
	return string(r.Fault.Code)
}

// Account is whom the provider knows the credential as.
type Account struct {
	Login string `json:"login"`
	Kind  string `json:"kind"` // in the provider's words; may be empty
}

// Line is the result of one check.
type Line struct {
	Name    string   `json:"name"`
	Status  Status   `json:"status"`
	Detail  string   `json:"detail"`
	Missing []string `json:"missing"`         // never nil
	Count   *int     `json:"count,omitempty"` // nil: nothing is counted
}

// Fault is a diagnosis as a report and a credential show it.
type Fault struct {
	Code   fault.Code  `json:"code"`
	Cause  string      `json:"cause"`
	Remedy []string    `json:"remedy"`
	Actor  fault.Actor `json:"actor"`
	Detail string      `json:"detail,omitempty"`
}

// NewFault gives the summary of f, nil for nil.
func NewFault(f *fault.Fault) *Fault {
	if f == nil {
		return nil
	}
	d := f.Diagnosis()
	return &Fault{Code: d.Code, Cause: d.Cause, Remedy: f.Remedy(), Actor: d.Actor, Detail: f.Detail}
}

// Step is one request that the check sent, or a part of a database's login, redacted.
type Step struct {
	Name            string            `json:"name"` // token, verify, probe, discovery or introspection; connect, tls or login
	Method          string            `json:"method"`
	URL             string            `json:"url"`
	Status          int               `json:"status"` // 0: no answer
	TookMS          int64             `json:"took_ms"`
	Detail          string            `json:"detail"`
	RequestHeaders  map[string]string `json:"request_headers"` // 4 KiB at most, as are the answer's
	RequestBody     string            `json:"request_body"`
	ResponseHeaders map[string]string `json:"response_headers"`
	ResponseExcerpt string            `json:"response_excerpt"` // 2 KiB at most
}
