package checker_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

func samples() []*checker.Report {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	expires := at.Add(time.Hour)
	line := func(s checker.Status, detail string) []checker.Line {
		return []checker.Line{{Name: checker.Authorization, Status: s, Detail: detail, Missing: []string{}}}
	}
	twelve, none := 12, 0
	return []*checker.Report{
		{
			Credential: "acme/production/github/lacking", Provider: "github", Type: "api_key", Status: checker.Warning,
			Account: &checker.Account{Login: "hubot", Kind: "User"},
			Checks: []checker.Line{
				{Name: checker.Authorization, Status: checker.OK, Detail: "the provider answered 200 OK", Missing: []string{}},
				{Name: checker.Scopes, Status: checker.Warning, Detail: "missing: read:org, repo; granted: gist", Missing: []string{"read:org", "repo"}},
				{Name: checker.Projects, Status: checker.Warning, Detail: "it reaches no repository", Missing: []string{}, Count: &none},
				{Name: checker.Expiry, Status: checker.Warning, Detail: "it ends in 60 minutes, on 2026-03-04", Missing: []string{}},
			},
			ExpiresAt: &expires, Fault: checker.NewFault(fault.New(fault.InsufficientScope, "missing: read:org, repo; granted: gist", nil)),
			Steps: []checker.Step{}, CheckedAt: at,
		},
		{
			Credential: "acme/production/github/fine", Provider: "github", Type: "api_key", Status: checker.Warning,
			Checks: []checker.Line{
				{Name: checker.Authorization, Status: checker.OK, Detail: "the provider answered 200 OK", Missing: []string{}},
				{Name: checker.Permissions, Status: checker.Unverifiable, Detail: "the provider does not show: members", Missing: []string{}},
				{Name: checker.Projects, Status: checker.OK, Detail: "repositories", Missing: []string{}, Count: &twelve},
			},
			Steps: []checker.Step{}, CheckedAt: at,
		},
		{
			Credential: "acme/production/github/main", Provider: "github", Type: "bearer", Status: checker.OK,
			Account: &checker.Account{Login: "octocat", Kind: "User"}, Checks: line(checker.OK, "the provider answered 200 OK"),
			ExpiresAt: &expires, CheckedAt: at, TookMS: 12,
			Steps: []checker.Step{{
				Name: "verify", Method: "GET", URL: "https://api.github.com/user", Status: 200, TookMS: 11,
				RequestHeaders:  map[string]string{"Authorization": "[redacted]"},
				ResponseHeaders: map[string]string{"Content-Type": "application/json"}, ResponseExcerpt: `{"login":"octocat"}`,
			}},
		},
		{
			Credential: "acme/production/slack/main", Provider: "slack", Type: "=cmd|' /C calc'!A0", Status: checker.Error,
			Checks: line(checker.Error, "the provider answered 200 OK"), Fault: checker.NewFault(fault.New(fault.CredentialsRejected, "", nil)),
			Steps: []checker.Step{}, CheckedAt: at,
		},
		{
			Credential: "acme/production/stripe/main", Provider: "stripe", Type: "bearer", Status: checker.Unknown,
			Checks: line(checker.Unverifiable, "-1 answers"), Steps: []checker.Step{}, CheckedAt: at,
		},
	}
}

func TestGolden(t *testing.T) {
	asJSON, err := json.MarshalIndent(samples(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", asJSON)
	for name, write := range map[string]func(*bytes.Buffer) error{
		"report.csv":     func(b *bytes.Buffer) error { return checker.WriteCSV(b, samples()) },
		"report.txt":     func(b *bytes.Buffer) error { return checker.WriteTable(b, samples(), false) },
		"report-tty.txt": func(b *bytes.Buffer) error { return checker.WriteTable(b, samples(), true) },
		"history.txt":    func(b *bytes.Buffer) error { return checker.WriteHistory(b, samples(), false) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
}

func TestFormulaInjection(t *testing.T) {
	for _, bad := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"} {
		var b bytes.Buffer
		if err := checker.WriteCSV(&b, []*checker.Report{{Credential: "a/b/c/d", Type: bad}}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if row[2] != "" && strings.ContainsAny(row[2][:1], "=+-@\t\r") {
				t.Errorf("the value %q is a formula", row[2])
			}
			if row[1] == "type" && !strings.HasPrefix(row[2], "'"+bad[:1]) {
				t.Errorf("type is %q, want ' before it", row[2])
			}
		}
	}
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		statuses []checker.Status
		want     int
	}{
		{nil, 0},
		{[]checker.Status{checker.OK, checker.OK}, 0},
		{[]checker.Status{checker.OK, checker.Warning}, 1},
		{[]checker.Status{checker.Warning, checker.Unknown}, 3},
		{[]checker.Status{checker.Unknown, checker.Error, checker.Warning}, 2},
	} {
		var rs []*checker.Report
		for _, s := range c.statuses {
			rs = append(rs, &checker.Report{Status: s})
		}
		if got := checker.ExitCode(rs); got != c.want {
			t.Errorf("ExitCode(%v) = %d, want %d", c.statuses, got, c.want)
		}
	}
}

func TestHistory(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	h := checker.NewHistory(reg)
	h.Put(&checker.Report{Credential: "a/b/c/d", Status: checker.Error})
	h.Put(&checker.Report{Credential: "a/b/c/d", Status: checker.OK})
	h.Put(&checker.Report{Credential: "a/b/c/a", Status: checker.Warning})
	if r := h.Last("a/b/c/d"); r == nil || r.Status != checker.OK {
		t.Errorf("Last = %+v, want the good one", r)
	}
	if r := h.LastFailure("a/b/c/d"); r == nil || r.Status != checker.Error {
		t.Errorf("LastFailure = %+v, want the error before", r)
	}
	if all := h.All(); len(all) != 2 || all[0].Credential != "a/b/c/a" {
		t.Errorf("All = %+v, want two, sorted", all)
	}
	want := `# HELP sallyport_credential_status 1 for the credential's status, by its use and its last check, 0 for the others.
# TYPE sallyport_credential_status gauge
sallyport_credential_status{credential="a/b/c/a",status="error"} 0
sallyport_credential_status{credential="a/b/c/a",status="ok"} 0
sallyport_credential_status{credential="a/b/c/a",status="reauthorization_required"} 0
sallyport_credential_status{credential="a/b/c/a",status="unknown"} 0
sallyport_credential_status{credential="a/b/c/a",status="warning"} 1
sallyport_credential_status{credential="a/b/c/d",status="error"} 0
sallyport_credential_status{credential="a/b/c/d",status="ok"} 1
sallyport_credential_status{credential="a/b/c/d",status="reauthorization_required"} 0
sallyport_credential_status{credential="a/b/c/d",status="unknown"} 0
sallyport_credential_status{credential="a/b/c/d",status="warning"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "sallyport_credential_status"); err != nil {
		t.Error(err)
	}
	h.Forget("a/b/c/d")
	if h.Last("a/b/c/d") != nil || h.LastFailure("a/b/c/d") != nil {
		t.Error("Forget has forgotten nothing")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := checker.NewHistory(nil)
	h.Put(&checker.Report{Credential: "first", Status: checker.Error})
	for i := range 5000 {
		h.Put(&checker.Report{Credential: fmt.Sprint(i), Status: checker.OK})
	}
	if n := len(h.All()); n != 4096 {
		t.Errorf("the history keeps %d reports, want 4096", n)
	}
	if h.Last("first") == nil {
		t.Error("the failure went before good reports did")
	}
}

// Steps are kept of the newest reports, and of failures longer.
func TestStepsAreBounded(t *testing.T) {
	h := checker.NewHistory(nil)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	put := func(ref string, s checker.Status, second int) *checker.Report {
		r := &checker.Report{Credential: ref, Status: s, CheckedAt: at.Add(time.Duration(second) * time.Second), Steps: []checker.Step{{Name: "verify"}}}
		h.Put(r)
		return r
	}
	failed := put("failed", checker.Error, 0)
	first := put("first", checker.OK, 1)
	for i := range 600 {
		put(fmt.Sprint(i), checker.OK, 2+i)
	}
	n := 0
	for _, r := range h.All() {
		n += len(r.Steps)
	}
	if n != 512+1 || len(h.Last("failed").Steps) != 1 || len(h.Last("599").Steps) != 1 {
		t.Errorf("steps of %d reports are kept; want those of the newest 512 and of the failure", n)
	}
	if r := h.Last("first"); r == nil || r.Status != checker.OK || r.Steps == nil || len(r.Steps) != 0 {
		t.Errorf("the oldest good report is %+v, want it without steps", r)
	}
	for i := range 512 {
		put("bad"+fmt.Sprint(i), checker.Error, 1000+i)
	}
	if r := h.Last("failed"); len(r.Steps) != 0 || h.LastFailure("failed") != r || len(h.Of("failed")) != 1 {
		t.Errorf("the oldest failure is %+v and %+v, want it once, without steps", r, h.LastFailure("failed"))
	}
	if len(first.Steps) != 1 || len(failed.Steps) != 1 {
		t.Error("a report was changed that somebody may be reading")
	}
}

// Failures are kept longer than good reports, and the newest comes first.
func TestEarlierReports(t *testing.T) {
	h := checker.NewHistory(nil)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	put := func(ref string, s checker.Status, minute int) {
		h.Put(&checker.Report{Credential: ref, Status: s, CheckedAt: at.Add(time.Duration(minute) * time.Minute)})
	}
	put("a/b/c/d", checker.Error, 0)
	put("a/b/c/d", checker.OK, 1)
	for i := range 2000 {
		put("a/b/c/other", checker.OK, 2+i)
	}
	put("a/b/c/d", checker.Warning, 3000)
	var got []checker.Status
	for _, r := range h.Of("a/b/c/d") {
		got = append(got, r.Status)
	}
	if len(got) != 2 || got[0] != checker.Warning || got[1] != checker.Error {
		t.Errorf("kept %v; want the warning, then the error, which outlived the good reports", got)
	}
	if n := len(h.Of("a/b/c/other")); n != 511 {
		t.Errorf("%d reports of the other are kept; want 511", n)
	}
	h.Forget("a/b/c/d")
	if n := len(h.Of("a/b/c/d")); n != 0 {
		t.Errorf("%d reports are kept of a credential that is gone", n)
	}
}
