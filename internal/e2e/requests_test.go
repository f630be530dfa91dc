package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// told is one of the last requests, as the API shows it.
type told struct {
	ID, Time, Caller, Method, Scheme, Host, Path, Provider, Credential, Outcome, Code string

	Status, Tries int
	Refused       bool
	TookMS        int64 `json:"took_ms"`
}

// requests waits for a request with that path, or host of CONNECT, to be told
// of, and gives all that the query asks for, newest first.
func (w *world) requests(t *testing.T, query, last string) []told {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		status, body := w.Call(t, http.MethodGet, "/api/v1/requests?"+query, nil)
		var page struct{ Items []told }
		if err := json.Unmarshal([]byte(body), &page); err != nil || status != http.StatusOK {
			t.Fatalf("GET /api/v1/requests?%s: %d %s", query, status, body)
		}
		if slices.ContainsFunc(page.Items, func(r told) bool { return r.Path == last || r.Method == http.MethodConnect && r.Host == last }) {
			return page.Items
		}
		time.Sleep(20 * time.Millisecond) // it is told of when its answer has gone
	}
	t.Fatalf("%s is not among the requests", last)
	return nil
}

// logged waits for a text in the log, whose lines come by a pipe.
func (w *world) logged(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if strings.Contains(w.Log(), text) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the log has no %q", text)
}

// The requests of real clients are told of with what became of them, tunnels too.
func TestRequestsAreTold(t *testing.T) {
	w := newWorld(t, open)
	ca, _ := w.CA(t)
	curl := func(url string, args ...string) {
		_, _, _ = testserver.Curl(t, []string{"https_proxy=" + w.ProxyURL(t, "default").String(), "http_proxy=" + w.ProxyURL(t, "default").String()},
			append([]string{"-o", os.DevNull, "--cacert", ca, url}, args...)...)
	}
	curl("https://" + w.api.Addr + "/good?q=hidden")
	curl("https://"+w.api.Addr+"/status?code=503", "-X", "POST")
	curl("http://"+w.plain.Addr+"/nobody", "-H", "Sallyport-Credential: nobody")
	curl("https://"+w.other.Addr+"/hidden", "--cacert", w.ca.File)
	curl("https://localhost:1/hidden")
	curl("https://"+w.api.Addr+"/distrusted", "--cacert", w.ca.File)
	all := w.requests(t, "", w.api.Addr)
	slices.Reverse(all)
	wants := []told{
		{Method: "GET", Scheme: "https", Host: w.api.Addr, Path: "/good", Provider: "api", Credential: "default/production/api/default", Status: 200, Outcome: "ok", Tries: 1},
		{Method: "POST", Scheme: "https", Host: w.api.Addr, Path: "/status", Provider: "api", Credential: "default/production/api/default", Status: 503, Outcome: "upstream_5xx", Tries: 1},
		{Method: "GET", Scheme: "http", Host: w.plain.Addr, Path: "/nobody", Provider: "plain", Status: 404, Outcome: "credential_not_found", Code: "credential_not_found", Refused: true},
		{Method: "CONNECT", Host: w.other.Addr, Status: 200, Outcome: "ok"},
		{Method: "CONNECT", Host: "localhost:1", Status: 502, Outcome: "connection_refused", Code: "connection_refused", Refused: true},
		{Method: "CONNECT", Host: w.api.Addr, Provider: "api", Status: 200, Outcome: "canceled"},
	}
	if len(all) != len(wants) {
		t.Fatalf("%d requests are told of, want %d: %+v", len(all), len(wants), all)
	}
	for i, want := range wants {
		got := all[i]
		if at, err := time.Parse("2006-01-02T15:04:05.000Z", got.Time); err != nil || time.Since(at) > time.Minute || got.ID == "" || got.Caller != "default" {
			t.Errorf("%s %s: at %q, id %q, caller %q", got.Method, got.Host+got.Path, got.Time, got.ID, got.Caller)
		}
		want.ID, want.Time, want.Caller, want.TookMS = got.ID, got.Time, got.Caller, got.TookMS
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		w.logged(t, "request_id="+got.ID+" ")
	}
	if got := w.requests(t, "credential=api&failed=true", "/status"); len(got) != 1 {
		t.Errorf("failed ones of api: %+v", got)
	}
}

// A failure is still told of after more good requests than are kept, and the
// command shows it; a bundle holds it.
func TestFailureIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open)
	w.raw(t).send(t, get("http://"+w.plain.Addr+"/early", w.plain.Addr, w.auth(t)+"Sallyport-Credential: nobody\r\n"))
	p := w.raw(t)
	for range 2500 {
		p.send(t, get("http://"+w.plain.Addr+"/good", w.plain.Addr, w.auth(t))).status(t, "a good request", http.StatusOK)
	}
	if all := w.requests(t, "", "/early"); len(all) < 1000 || len(all) > 1100 || all[len(all)-1].Path != "/early" {
		t.Errorf("%d requests are kept; the oldest is %+v", len(all), all[len(all)-1])
	}
	out, errs, exit := w.Run(t, "requests", "--failed")
	if exit != 0 || strings.Count(out, "\n") != 2 || !strings.Contains(out, "/early  none of plain  404     credential_not_found") {
		t.Errorf("exit %d\n%s%s", exit, out, errs)
	}
	path := filepath.Join(t.TempDir(), "support.zip")
	if _, errs, exit := w.Run(t, "requests", "--bundle", path); exit != 0 {
		t.Fatalf("exit %d %s", exit, errs)
	}
	var s seen
	files := s.addBundle(t, path)
	var all []told
	if err := json.Unmarshal([]byte(files["requests.json"]), &all); err != nil || len(all) < 1000 || all[len(all)-1].Path != "/early" {
		t.Errorf("the bundle holds %d requests, %v", len(all), err)
	}
	s.clean(t, canary)
}
