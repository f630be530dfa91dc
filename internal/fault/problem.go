package fault

import (
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// ContentType of a problem (RFC 9457 section 3).
const ContentType = "application/problem+json"

// Problem is a fault as the runner or the admin reads it (RFC 9457).
type Problem struct {
	Type       string   `json:"type"`
	Title      string   `json:"title"`
	Status     int      `json:"status"`
	Detail     string   `json:"detail"`
	Code       Code     `json:"code"`
	Cause      string   `json:"cause"`
	Remedy     []string `json:"remedy"`
	Actor      Actor    `json:"actor"`
	Credential string   `json:"credential,omitempty"`
	Provider   string   `json:"provider,omitempty"`
	RequestID  string   `json:"request_id,omitempty"`
}

// Problem gives the fault's problem. A code that has no status of its own is a 502.
func (f *Fault) Problem(requestID string) Problem {
	d := f.Diagnosis()
	detail := f.Detail
	if detail == "" {
		detail = d.Cause
	}
	return Problem{
		Type: "urn:sallyport:fault:" + string(d.Code), Title: d.Title, Status: f.Status(), Detail: detail,
		Code: d.Code, Cause: d.Cause, Remedy: f.Remedy(), Actor: d.Actor,
		Credential: f.Credential, Provider: f.Provider, RequestID: requestID,
	}
}

// reference is what stands in remedies for the credential's.
var reference = regexp.MustCompile(`\bREF\b|\bWORKSPACE/ENVIRONMENT/PROVIDER/NAME\b`)

// Remedy is the diagnosis', with the credential named where it is known.
func (f *Fault) Remedy() []string {
	remedy := f.Diagnosis().Remedy
	if f.Credential == "" {
		return remedy
	}
	named := make([]string, len(remedy))
	for i, s := range remedy {
		named[i] = reference.ReplaceAllLiteralString(s, f.Credential)
	}
	return named
}

// Status of our answer: the diagnosis', or 502 where it has none.
func (f *Fault) Status() int {
	if s := f.Diagnosis().Status; s != 0 {
		return s
	}
	return http.StatusBadGateway
}

// Write answers a request with the fault. Headers that the caller has set stay.
func (f *Fault) Write(w http.ResponseWriter, requestID string) {
	f.Header(w.Header())
	w.WriteHeader(f.Status())
	_, _ = w.Write(f.Body(requestID))
}

// Header sets the fields of the fault's answer: Content-Type, Proxy-Status,
// Cache-Control and, where it is known, Retry-After.
func (f *Fault) Header(h http.Header) {
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Proxy-Status", f.ProxyStatus())
	if f.RetryAfter > 0 {
		h.Set("Retry-After", RetryAfter(f.RetryAfter))
	}
}

// Body is the problem as JSON.
func (f *Fault) Body(requestID string) []byte {
	b, err := json.Marshal(f.Problem(requestID))
	if err != nil { // a struct of strings cannot fail
		return nil
	}
	return append(b, '\n')
}

// ProxyStatus is the Proxy-Status field value of our own answer (RFC 9209).
func (f *Fault) ProxyStatus() string {
	d := f.Diagnosis()
	s := "sallyport"
	if d.Token != "" {
		s += "; error=" + d.Token
	}
	return s + `; details="` + string(d.Code) + `"`
}

// ReceivedStatus is the Proxy-Status field value that is added to an upstream's
// answer; code may be empty.
func ReceivedStatus(status int, code Code) string {
	s := "sallyport; received-status=" + strconv.Itoa(status)
	if code != "" {
		s += `; details="` + string(code) + `"`
	}
	return s
}

// RetryAfter gives d as whole seconds, rounded up (RFC 9110 section 10.2.3).
func RetryAfter(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}
