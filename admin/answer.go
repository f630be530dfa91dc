package admin

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
)

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
	return nil
}

// detailed is a fault with further members of its problem.
type detailed struct {
	*fault.Fault

	report  *checker.Report
	usedBy  []string
	further []Fault
}

// Unwrap makes the fault findable.
func (d detailed) Unwrap() error { return d.Fault }

// problem is what an error looks like: RFC 9457 with our extension members.
type problem struct {
	fault.Problem
	Report *checker.Report `json:"report,omitempty"`
	UsedBy []string        `json:"used_by,omitempty"`
	Faults []Fault         `json:"faults,omitempty"`
}

// writeError answers with the error's problem, which names the credential that
// the path does. What the fault wraps is for the log only.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, id string, err error) {
	f := fault.From(err)
	if ref, malformed := refOf(r); malformed == nil && f.Credential == "" && f.Code != fault.Unauthorized {
		f = f.On(ref.String(), ref.Provider)
	}
	p := problem{Problem: f.Problem(id)}
	var d detailed
	if errors.As(err, &d) {
		p.Report, p.UsedBy, p.Faults = d.report, d.usedBy, d.further
	}
	b, err := json.Marshal(p)
	if err != nil {
		b = f.Body(id)
	}
	f.Header(w.Header())
	if f.Code == fault.Unauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport"`)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n'))
}

func invalid(detail string) error { return fault.New(fault.InvalidRequest, detail, nil) }
