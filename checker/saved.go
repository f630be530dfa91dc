package checker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
)

// maxSaved bounds the reports of a file, in bytes: it must be possible to read it
// again.
const maxSaved = 8 << 20

// saved is a History as it is kept over a restart.
type saved struct {
	Reports  []json.RawMessage  `json:"reports"`  // savedReport: the last of each credential
	Failures []json.RawMessage  `json:"failures"` // savedReport: the last failure of those whose last report is another
	Cooling  map[string]cooling `json:"cooling"`  // by full reference
}

// savedReport is a report without its steps.
type savedReport struct {
	Credential string     `json:"credential"`
	Provider   string     `json:"provider"`
	Type       string     `json:"type"`
	Status     Status     `json:"status"`
	Account    *Account   `json:"account,omitempty"`
	Checks     []Line     `json:"checks"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	Fault      *Fault     `json:"fault,omitempty"`
	CheckedAt  time.Time  `json:"checked_at"`
	TookMS     int64      `json:"took_ms"`
	Ends       time.Time  `json:"ends,omitzero"`
	Version    int        `json:"version"`
}

func (r *Report) save() ([]byte, error) {
	return json.Marshal(savedReport{
		Credential: r.Credential, Provider: r.Provider, Type: r.Type, Status: r.Status, Account: r.Account, Checks: r.Checks,
		ExpiresAt: r.ExpiresAt, Fault: r.Fault, CheckedAt: r.CheckedAt, TookMS: r.TookMS, Ends: r.ends, Version: r.version,
	})
}

// report gives the report that was saved; nil: it is none that this program makes.
func (s *savedReport) report(now time.Time) *Report {
	statuses := []Status{OK, Warning, Error, Unknown}
	if !isRef(s.Credential) || !slices.Contains(statuses, s.Status) || s.CheckedAt.IsZero() {
		return nil
	}
	r := &Report{
		Credential: s.Credential, Provider: s.Provider, Type: s.Type, Status: s.Status, Account: s.Account, Checks: s.Checks, Steps: []Step{},
		ExpiresAt: s.ExpiresAt, Fault: s.Fault, CheckedAt: earlier(s.CheckedAt, now), TookMS: s.TookMS, ends: s.Ends, version: s.Version, restored: true,
	}
	for i := range r.Checks {
		r.Checks[i].Missing = append([]string{}, r.Checks[i].Missing...)
	}
	return r
}

func isRef(s string) bool {
	ref, err := credential.ParseRef(s)
	return err == nil && ref.String() == s
}

// encode gives the file of reports, failures and coolings. Where there is too much
// the oldest good reports are left out, and before these the oldest failures.
func encode(last, failures []*Report, cools map[string]cooling) ([]byte, error) {
	left := maxSaved
	reports, err := fitting(last, &left)
	if err != nil {
		return nil, err
	}
	failed, err := fitting(failures, &left)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(saved{reports, failed, cools})
	return append(b, '\n'), err
}

// fitting gives as many as fit into what is left: those that are not ok, then the
// newest first.
func fitting(list []*Report, left *int) ([]json.RawMessage, error) {
	slices.SortFunc(list, func(a, b *Report) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), b.CheckedAt.Compare(a.CheckedAt))
	})
	out := make([]json.RawMessage, 0, len(list))
	for _, r := range list {
		b, err := r.save()
		if err != nil {
			return nil, err
		}
		if *left -= len(b); *left < 0 {
			break
		}
		out = append(out, b)
	}
	return out, nil
}

func rank(r *Report) int {
	if r.Status == OK {
		return 1
	}
	return 0
}

// decode gives what a file holds, reports oldest first.
func decode(b []byte, now time.Time) (last, failures []*Report, cools map[string]cooling, err error) {
	var s saved
	if err = json.Unmarshal(b, &s); err != nil {
		return nil, nil, nil, err
	}
	if last, err = s.reports(s.Reports, now); err != nil {
		return nil, nil, nil, err
	}
	if failures, err = s.reports(s.Failures, now); err != nil {
		return nil, nil, nil, err
	}
	cools = map[string]cooling{}
	for ref, c := range s.Cooling {
		if isRef(ref) && c.Pause > 0 && len(cools) < maxReports {
			cools[ref] = c.within(now)
		}
	}
	return last, failures, cools, nil
}

func (*saved) reports(raw []json.RawMessage, now time.Time) ([]*Report, error) {
	var list []*Report
	for i, b := range raw {
		var s savedReport
		if err := json.Unmarshal(b, &s); err != nil {
			return nil, fmt.Errorf("report %d: %w", i, err)
		}
		if r := s.report(now); r != nil {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b *Report) int { return a.CheckedAt.Compare(b.CheckedAt) })
	return list, nil
}
