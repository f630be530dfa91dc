package checker_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
)

// What a use has shown stands until another record is checked, whichever of the two
// has the greater version: KV version 1 has sums for versions, and a secret that was
// removed for good begins with 1 again.
func TestUseStandsUntilAnotherRecordIsChecked(t *testing.T) {
	seen := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name    string
		used    int // version
		checked int
		at      time.Time
		want    checker.Status
	}{
		{"the same record", 3, 3, seen.Add(time.Minute), checker.Error},
		{"a newer one", 3, 4, seen.Add(time.Minute), checker.OK},
		{"one made anew", 3, 1, seen.Add(time.Minute), checker.OK},
		{"an earlier one", 4, 3, seen.Add(-time.Minute), checker.Error},
		{"an earlier one with a greater sum", 3, 4, seen.Add(-time.Minute), checker.Error},
		{"nobody knows which", 0, 4, seen.Add(time.Minute), checker.Error},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := prometheus.NewPedanticRegistry()
			h := checker.NewHistory(reg)
			rep := onMain(checker.OK, checker.OK)
			rep.CheckedAt = c.at
			h.Replace(rep, c.checked)
			use := checker.Use{Fault: fault.New(fault.InvalidClient, "", nil), At: seen, Version: c.used}
			h.Watch(func() map[string]checker.Use { return map[string]checker.Use{mainRef: use} })
			if got := current(t, reg); got != c.want {
				t.Errorf("the metric tells %s, want %s", got, c.want)
			}
			if got := checker.Standing(use.Stands(h.Last(mainRef)), use.Good, h.Last(mainRef)); got != c.want {
				t.Errorf("the API tells %s, want %s", got, c.want)
			}
		})
	}
}

// A refusal that a check found is over when a request has gone well since; what else
// is wrong is not.
func TestRefusalIsOvertaken(t *testing.T) {
	checked := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name string
		code fault.Code
		good time.Time
		want checker.Status
	}{
		{"no request", fault.CredentialsRejected, time.Time{}, checker.Error},
		{"one before it", fault.CredentialsRejected, checked.Add(-time.Second), checker.Error},
		{"one while it went on", fault.CredentialsRejected, checked.Add(time.Second), checker.Error},
		{"one after it", fault.CredentialsRejected, checked.Add(3 * time.Second), checker.OK},
		{"another fault", fault.WrongSurface, checked.Add(3 * time.Second), checker.Error},
		{"a dead grant", fault.ReauthorizationRequired, checked.Add(3 * time.Second), checker.Reauthorize},
	} {
		rep := onMain(checker.Error, checker.Error)
		rep.CheckedAt, rep.TookMS, rep.Fault = checked, 2000, checker.NewFault(fault.New(c.code, "", nil))
		if got := checker.Standing(nil, c.good, rep); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// current gives the status that the metrics tell of the one credential.
func current(t *testing.T, reg *prometheus.Registry) (status checker.Status) {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if family.GetName() == "sallyport_credential_status" && m.GetGauge().GetValue() == 1 {
				status = checker.Status(m.GetLabel()[1].GetValue())
			}
		}
	}
	return status
}
