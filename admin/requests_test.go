package admin_test

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/internal/fault"
)

// passedBy are n requests, newest first; every third failed, every second is of
// the default credential of github.
func passedBy(n int) []admin.Request {
	var all []admin.Request
	for i := n; i > 0; i-- {
		r := admin.Request{
			Seq: uint64(i), ID: "id" + strconv.Itoa(i), Time: time.Date(2026, 1, 2, 3, 4, 5, 60_000_000, time.FixedZone("", 3600)), Caller: "orders",
			Method: "GET", Scheme: "https", Host: "api.github.com:443", Path: "/user", Provider: "github", Status: 200, Outcome: "ok",
			Tries: 1, Took: 1_500_000 * time.Nanosecond, Upstream: time.Millisecond,
		}
		if i%3 == 0 {
			r.Status, r.Outcome, r.Code, r.Failed = 403, "upstream_4xx", fault.InsufficientScope, true
		}
		if i%2 == 0 {
			r.Credential = "default/production/github/default"
		}
		all = append(all, r)
	}
	return all
}

func (b *bench) requestIDs(t *testing.T, query string) (ids string, next string) {
	t.Helper()
	w := b.do(call{method: "GET", path: "/api/v1/requests?" + query})
	if w.Code != 200 {
		t.Fatalf("GET ?%s: %d %s", query, w.Code, w.Body)
	}
	var all []string
	m := object(t, w)
	for _, it := range m["items"].([]any) {
		all = append(all, strings.TrimPrefix(it.(map[string]any)["id"].(string), "id"))
	}
	return strings.Join(all, " "), m["next"].(string)
}

func TestRequests(t *testing.T) {
	b := newBench(t)
	if w := b.do(call{method: "GET", path: "/api/v1/requests"}); strings.TrimSpace(w.Body.String()) != `{"items":[],"next":""}` {
		t.Errorf("none: %s", w.Body)
	}
	b.daemon.passed = passedBy(6)
	w := b.do(call{method: "GET", path: "/api/v1/requests?limit=1"})
	want := `{"items":[{"id":"id6","time":"2026-01-02T02:04:05.060Z","caller":"orders","method":"GET","scheme":"https","host":"api.github.com:443",` +
		`"path":"/user","provider":"github","credential":"default/production/github/default","status":403,"outcome":"upstream_4xx","code":"insufficient_scope",` +
		`"refused":false,"tries":1,"took_ms":1,"upstream_ms":1}],"next":"6"}`
	if got := strings.TrimSpace(w.Body.String()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	b.daemon.passed[1].Caller = "other"
	for query, want := range map[string]string{
		"":                  "6 5 4 3 2 1",
		"credential=github": "6 4 2",
		"credential=default/production/github/default": "6 4 2",
		"credential=acme/production/github/default":    "",
		"caller=other":  "5",
		"caller=nobody": "",
		"failed=true":   "6 3",
		"failed=false":  "6 5 4 3 2 1",
		"failed=true&credential=github&caller=orders": "6",
		"cursor=3":    "2 1",
		"next=3":      "2 1",
		"limit=10000": "6 5 4 3 2 1",
	} {
		if got, next := b.requestIDs(t, query); got != want || next != "" {
			t.Errorf("?%s: %q, next %q, want %q", query, got, next, want)
		}
	}
}

// Pages go on where the last one ended, whatever came or went meanwhile.
func TestRequestPages(t *testing.T) {
	b := newBench(t)
	b.daemon.passed = passedBy(5)
	first, next := b.requestIDs(t, "limit=2")
	b.daemon.passed = passedBy(9)
	b.daemon.passed = append(b.daemon.passed[:5], b.daemon.passed[6:]...) // the last one shown is gone
	second, end := b.requestIDs(t, "limit=2&cursor="+next)
	third, none := b.requestIDs(t, "limit=2&cursor="+end)
	if first != "5 4" || second != "3 2" || third != "1" || none != "" {
		t.Errorf("pages: %q, %q, %q, next %q", first, second, third, none)
	}
}

func TestRequestsNameWhatIsWrong(t *testing.T) {
	b := newBench(t)
	for query, name := range map[string]string{
		"credential=" + url.QueryEscape("a/b/c/d/e"): "credential", "credential=..": "credential", "credential=A": "credential",
		"caller=" + url.QueryEscape("a/b"): "caller", "failed=maybe": "failed", "limit=0": "limit", "limit=x": "limit", "limit=10001": "limit",
		"cursor=x": "cursor", "cursor=-1": "cursor",
	} {
		m := wantProblem(t, b.do(call{method: "GET", path: "/api/v1/requests?" + query}), 400, fault.InvalidRequest)
		if !strings.HasPrefix(m["detail"].(string), name+": ") {
			t.Errorf("?%s: %v", query, m["detail"])
		}
	}
}
