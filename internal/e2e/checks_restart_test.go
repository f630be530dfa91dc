package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// A restart forgets no report, and sends no refused token: providers lock accounts
// that come again and again with one.
func TestReportsOverRestarts(t *testing.T) {
	t.Parallel()
	api := newCounted(t)
	w := &world{Daemon: testserver.Sallyport(t, api.api("[provider.verify]\npath = \"/me\"\n[checks]\ninterval = \"5s\"\n"))}
	const good, bad, other = "default/production/api/good", "default/production/api/bad", "default/production/api/other"
	token := func(ref string) string { return canary + "-" + ref[strings.LastIndex(ref, "/")+1:] }
	for _, ref := range []string{good, bad, other} {
		w.Put(t, ref, "bearer", map[string]string{"token": token(ref)})
	}
	api.take(token(good), token(other))
	eventually(t, "it is refused", patience, func() bool { return status(t, w.Daemon, bad) == "error" })
	refused := api.asked(token(bad))
	report := w.lastReport(t, bad)
	var kept struct {
		At string `json:"checked_at"`
	}
	_ = json.Unmarshal([]byte(report), &kept)
	eventually(t, "it is saved", patience, func() bool {
		text, err := os.ReadFile(filepath.Join(w.State, "reports.json"))
		return err == nil && kept.At != "" && strings.Contains(string(text), kept.At)
	})
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		w.Signal(t, how)
		w.Wait(t, time.Minute)
		w.Serve(t)
		for ref, want := range map[string]string{good: "ok", bad: "error", other: "ok"} {
			if got := status(t, w.Daemon, ref); got != want {
				t.Errorf("%v: %s is %s right after the restart, want %s", how, ref, got, want)
			}
			if w.metric(t, `sallyport_credential_status{credential="`+ref+`",status="`+want+`"}`) != "1" {
				t.Errorf("%v: the metric of %s does not say %s", how, ref, want)
			}
		}
		if got := w.lastReport(t, bad); got != report {
			t.Errorf("%v: the report is\n%s, want\n%s", how, got, report)
		}
		time.Sleep(6 * time.Second) // more than a turn
	}
	last := refused[len(refused)-1]
	for _, at := range api.asked(token(bad))[len(refused):] {
		if d := at.Sub(last); d < 50*time.Second { // ten turns
			t.Errorf("the refused token was sent again after %s", d)
		}
	}
	w.removedWhileDown(t, other)
	if out, errs, exit := w.Run(t, "check", "--history", bad); exit != 2 || !strings.Contains(out+errs, "authorization: the provider answered 401") {
		t.Errorf("check --history: exit %d: %s%s", exit, out, errs)
	}
	w.spoiltReports(t, bad)
}

// lastReport gives the last report of a credential without its steps.
func (w *world) lastReport(t *testing.T, ref string) string {
	t.Helper()
	var page struct{ Items []map[string]any }
	_, body := w.Call(t, http.MethodGet, "/api/v1/report?credential="+ref, nil)
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Items) != 1 {
		t.Errorf("%v: %s", err, body)
		return ""
	}
	delete(page.Items[0], "steps")
	b, _ := json.Marshal(page.Items[0])
	return string(b)
}

// removedWhileDown checks that a credential which was removed while no daemon ran
// leaves no report.
func (w *world) removedWhileDown(t *testing.T, ref string) {
	t.Helper()
	w.Signal(t, syscall.SIGTERM)
	w.Wait(t, time.Minute)
	if out, errs, exit := w.Run(t, "credential", "rm", "--force", ref); exit != 0 {
		t.Fatalf("remove: %s%s", out, errs)
	}
	w.Serve(t)
	eventually(t, "its report is gone", patience, func() bool {
		_, body := w.Call(t, http.MethodGet, "/api/v1/report", nil)
		_, metrics := w.Call(t, http.MethodGet, "/metrics", nil)
		return !strings.Contains(body+metrics, ref)
	})
}

// spoiltReports checks that a file which cannot be read is told of, and holds nothing up.
func (w *world) spoiltReports(t *testing.T, ref string) {
	t.Helper()
	w.Signal(t, syscall.SIGKILL)
	w.Wait(t, time.Minute)
	place(t, filepath.Join(w.State, "reports.json"), `{"reports":[`)
	w.Serve(t)
	w.waitForLog(t, `level=WARN msg="reports of checks before this start are not known"`)
	eventually(t, "it is checked anew", patience, func() bool { return status(t, w.Daemon, ref) == "error" })
}
