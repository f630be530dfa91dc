package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

var update = flag.Bool("update", false, "write the golden files")

var ref = credential.Ref{Workspace: "acme", Environment: "production", Provider: "api", Name: "main"}

func TestPutCreatesAndReplaces(t *testing.T) {
	b := newBench(t)
	w := b.do(call{method: "PUT", path: one, body: `{"type":"bearer","description":"ann's","fields":{"token":"` + canary + `"}}`})
	if w.Code != 201 || w.Header().Get("ETag") != `"1"` {
		t.Fatalf("PUT: %d %v %s", w.Code, w.Header(), w.Body)
	}
	m := object(t, w)
	c, rep := m["credential"].(map[string]any), m["report"].(map[string]any)
	if c["version"] != 1.0 || c["status"] != "ok" || c["type"] != "bearer" || rep["status"] != "ok" || rep["account"].(map[string]any)["login"] != "ann" {
		t.Errorf("PUT answers %s", w.Body)
	}
	if !slices.Equal(b.daemon.changed, []credential.Ref{ref}) {
		t.Errorf("the daemon was told of %v", b.daemon.changed)
	}
	// A second one replaces ours, keeps what others have put there, and drops what we held.
	rec, _ := b.store.Get(t.Context(), ref)
	for _, name := range []string{"access_token", "refresh_token", "expires_at", credential.StateField, "team"} {
		rec.Set(name, rec.Field("token"))
	}
	rec.Rest = map[string]json.RawMessage{"tags": json.RawMessage(`["a"]`)}
	if err := b.store.Put(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	w = b.do(call{method: "PUT", path: one, body: `{"type":"api_key_url","fields":{"api_key":"good","url":"https://eu.example.com"}}`})
	if w.Code != 200 || w.Header().Get("ETag") != `"3"` {
		t.Fatalf("PUT: %d %v %s", w.Code, w.Header(), w.Body)
	}
	rec, _ = b.store.Get(t.Context(), ref)
	if want := []string{"api_key", "team", "url"}; !slices.Equal(rec.Names(), want) || string(rec.Rest["tags"]) != `["a"]` || rec.Description != "" {
		t.Errorf("the record has %v %v %q, want %v, the tags and no description", rec.Names(), rec.Rest, rec.Description, want)
	}
}

func TestPatchMerges(t *testing.T) {
	b := newBench(t)
	b.put(t, one, `{"type":"api_key_url","description":"old","fields":{"api_key":"good","url":"https://eu.example.com"}}`)
	w := b.do(call{method: "PATCH", path: one, body: `{"fields":{"url":"https://us.example.com"}}`})
	if w.Code != 200 {
		t.Fatalf("PATCH: %d %s", w.Code, w.Body)
	}
	rec, _ := b.store.Get(t.Context(), ref)
	if rec.Text("url") != "https://us.example.com" || rec.Text("api_key") != "good" || rec.Description != "old" {
		t.Errorf("the record is %v %q", rec.Names(), rec.Description)
	}
	if w := b.do(call{method: "PATCH", path: one, body: `{"description":null}`}); w.Code != 200 {
		t.Errorf("PATCH: %d %s", w.Code, w.Body)
	}
	if rec, _ = b.store.Get(t.Context(), ref); rec.Description != "" {
		t.Errorf("null left the description %q", rec.Description)
	}
	m := wantProblem(t, b.do(call{method: "PATCH", path: one, body: `{"fields":{"url":null}}`}), 400, fault.InvalidRequest)
	if !strings.Contains(m["detail"].(string), "url") {
		t.Errorf("removing a required field: %v", m["detail"])
	}
	if w := b.do(call{method: "PATCH", path: one, body: `{"type":"bearer","fields":{"url":null,"api_key":null,"token":"good"}}`}); w.Code != 200 {
		t.Errorf("PATCH of the type: %d %s", w.Code, w.Body)
	}
	if rec, _ = b.store.Get(t.Context(), ref); !slices.Equal(rec.Names(), []string{"token"}) || rec.Type != "bearer" {
		t.Errorf("the record is %s %v", rec.Type, rec.Names())
	}
	wantProblem(t, b.do(call{method: "PATCH", path: strings.Replace(one, "main", "gone", 1), body: `{}`}), 404, fault.CredentialNotFound)
}

func TestVerifyFirst(t *testing.T) {
	b := newBench(t)
	b.upstream.answers["narrow"], b.upstream.answers["throttled"] = 403, 429
	w := b.do(call{method: "PUT", path: one, body: `{"fields":{"token":"` + canary + `-wrong"}}`})
	m := wantProblem(t, w, 422, fault.CheckFailed)
	rep, _ := m["report"].(map[string]any)
	if rep == nil || rep["status"] != "error" || rep["fault"].(map[string]any)["code"] != "credentials_rejected" {
		t.Errorf("the problem's report is %v", m["report"])
	}
	if _, err := b.store.Get(t.Context(), ref); !errors.Is(err, fault.CredentialNotFound) || len(b.daemon.changed) > 0 || b.history.Last(ref.String()) != nil {
		t.Error("a refused PUT has left something")
	}
	for key, want := range map[string]string{"narrow": "warning", "throttled": "unknown"} {
		m := b.put(t, one, `{"fields":{"token":"`+key+`"}}`)
		if got := m["report"].(map[string]any)["status"]; got != want {
			t.Errorf("%s: stored with %v, want %s", key, got, want)
		}
	}
	m = b.put(t, one+"?force=true", `{"fields":{"token":"wrong"}}`)
	if c := m["credential"].(map[string]any); c["status"] != "error" || c["last_error"].(map[string]any)["code"] != "credentials_rejected" {
		t.Errorf("forced: %v", c)
	}
	m = b.put(t, "/api/v1/credentials/acme/production/silent/main", `{"fields":{"token":"x"}}`)
	if rep := m["report"].(map[string]any); rep["status"] != "warning" || rep["checks"].([]any)[0].(map[string]any)["status"] != "unverifiable" {
		t.Errorf("a provider without a verify request: %v", rep)
	}
	wantProblem(t, b.do(call{method: "PUT", path: one + "?force=maybe", body: `{"fields":{"token":"x"}}`}), 400, fault.InvalidRequest)
	// A refused PATCH leaves the record as it is.
	b.put(t, one, `{"fields":{"token":"good"}}`)
	wantProblem(t, b.do(call{method: "PATCH", path: one, body: `{"fields":{"token":"wrong"}}`}), 422, fault.CheckFailed)
	if rec, _ := b.store.Get(t.Context(), ref); rec.Text("token") != "good" || b.history.Last(ref.String()).Status != checker.OK {
		t.Error("a refused PATCH has changed something")
	}
}

func TestBadBodies(t *testing.T) {
	b := newBench(t)
	const at = "/api/v1/credentials/acme/production/"
	for _, c := range []struct{ name, path, body, names string }{
		{"no JSON", one, `{`, "body"},
		{"two values", one, `{}{}`, "body"},
		{"an array", one, `[]`, "body"},
		{"null", one, `null`, "body"},
		{"nothing", one, ` `, "body"},
		{"not UTF-8", one, "{\"type\":\"\xff\"}", "body"},
		{"an unknown member", one, `{"tokn":"` + canary + `"}`, "tokn"},
		{"another case", one, `{"Fields":{"token":"` + canary + `"}}`, "Fields"},
		{"a type that is a number", one, `{"type":7}`, "type"},
		{"fields as an array", one, `{"fields":["` + canary + `"]}`, "fields"},
		{"a number as a field", one, `{"fields":{"token":7654321}}`, "token"},
		{"an object as a field", one, `{"fields":{"token":{"a":"` + canary + `"}}}`, "token"},
		{"an unknown type", one, `{"type":"pigeon","fields":{"token":"` + canary + `"}}`, "type"},
		{"a type that the provider does not take", one, `{"type":"api_key_secret","fields":{"api_key":"` + canary + `","api_secret":"x"}}`, "type"},
		{"a missing field", one, `{"type":"bearer","fields":{}}`, "token"},
		{"an empty field", one, `{"type":"bearer","fields":{"token":""}}`, "token"},
		{"a field of no use", one, `{"type":"bearer","fields":{"token":"good","scpe":"` + canary + `"}}`, "scpe"},
		{"our own field", one, `{"type":"bearer","fields":{"token":"good","sallyport_state":"` + canary + `"}}`, "sallyport_state"},
		{"type as a field", one, `{"fields":{"token":"good","type":"x"}}`, "type"},
		{"a control character", one, `{"fields":{"token":"` + canary + `\u0007x"}}`, "token"},
		{"a line break inside", one, `{"fields":{"token":"` + canary + `\r\nX-Evil: 1"}}`, "token"},
		{"a NUL", one, `{"fields":{"token":"` + canary + `\u0000"}}`, "token"},
		{"a control character in the description", one, `{"description":"a\nb","fields":{"token":"good"}}`, "description"},
		{"a long description", one, `{"description":"` + strings.Repeat("x", 2000) + `","fields":{"token":"good"}}`, "description"},
		{"an unknown provider", at + "nobody/main", `{"fields":{"token":"good"}}`, "provider"},
		{"no field for the template", at + "shop/main", `{"fields":{"token":"good"}}`, "shop"},
		{"a template field that is no label", at + "shop/main", `{"fields":{"token":"good","shop":"evil.com/` + canary + `"}}`, "shop"},
		{"a url that is no URL", one, `{"type":"api_key_url","fields":{"api_key":"good","url":"` + canary + `"}}`, "url"},
		{"a url with a password", one, `{"type":"api_key_url","fields":{"api_key":"good","url":"https://u:` + canary + `@eu.example.com"}}`, "url"},
		{"a url of another scheme", one, `{"type":"api_key_url","fields":{"api_key":"good","url":"ftp://eu.example.com"}}`, "url"},
		{"a url with an odd port", one, `{"type":"api_key_url","fields":{"api_key":"good","url":"https://eu.example.com:0443"}}`, "url"},
		{"a url on another provider's host", one, `{"type":"api_key_url","fields":{"api_key":"good","url":"https://other.example.com"}}`, "url"},
		{"a url below another provider's host", one, `{"type":"api_key_url","fields":{"api_key":"good","url":"https://eu.OTHER.example.com./x"}}`, "url"},
		{"a url on it in cleartext", one, `{"type":"api_key_url","fields":{"api_key":"good","url":"http://other.example.com"}}`, "url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := b.do(call{method: "PUT", path: c.path, body: c.body})
			m := wantProblem(t, w, 400, fault.InvalidRequest)
			if !strings.Contains(m["detail"].(string), c.names) {
				t.Errorf("the detail %q does not name %s", m["detail"], c.names)
			}
			if strings.Contains(w.Body.String(), canary) || strings.Contains(w.Body.String(), "7654321") {
				t.Errorf("LK-02: the answer quotes a value: %s", w.Body)
			}
		})
	}
	if refs, _ := b.store.List(t.Context(), credential.Ref{}); len(refs) > 0 || b.upstream.asked > 0 {
		t.Errorf("stored %v, asked %d times", refs, b.upstream.asked)
	}
	w := b.do(call{method: "PUT", path: one, body: `{"fields":{"token":"` + strings.Repeat("x", 1<<20) + `"}}`})
	if m := wantProblem(t, w, 400, fault.InvalidRequest); !strings.Contains(m["detail"].(string), "1 MiB") {
		t.Errorf("a large body: %v", m["detail"])
	}
}

func TestURLOfAnotherRecord(t *testing.T) {
	b := newBench(t)
	b.put(t, "/api/v1/credentials/acme/production/other/main", `{"type":"api_key_url","fields":{"api_key":"good","url":"https://crm.internal.example:8443"}}`)
	b.put(t, "/api/v1/credentials/acme/production/shop/main", `{"fields":{"token":"good","shop":"corner"}}`)
	for url, ok := range map[string]bool{
		"https://crm.internal.example:8443/x": false, "https://crm.internal.example": true, "https://corner.shops.example.com": false, "https://mall.shops.example.com": true,
	} {
		w := b.do(call{method: "PUT", path: one, body: `{"type":"api_key_url","fields":{"api_key":"good","url":"` + url + `"}}`})
		if ok && w.Code != 200 && w.Code != 201 {
			t.Errorf("%s: %d %s", url, w.Code, w.Body)
		}
		if !ok {
			wantProblem(t, w, 400, fault.InvalidRequest)
		}
	}
	b.put(t, "/api/v1/credentials/acme/staging/api/main", `{"type":"api_key_url","fields":{"api_key":"good","url":"https://crm.internal.example:8443"}}`)
}

// A url takes the place of the field that the provider's hosts are made of.
func TestURLInPlaceOfHosts(t *testing.T) {
	b := newBench(t)
	const path = "/api/v1/credentials/acme/production/shop/"
	b.put(t, path+"url", `{"type":"api_key_url","fields":{"api_key":"good","url":"https://shop.own.example/api"}}`)
	b.put(t, path+"field", `{"fields":{"token":"good","shop":"corner"}}`)
	wantProblem(t, b.do(call{method: "PUT", path: path + "neither", body: `{"fields":{"token":"good"}}`}), 400, fault.InvalidRequest)
}

func TestOneAccount(t *testing.T) {
	b := newBench(t)
	const first = "/api/v1/credentials/acme/production/single/main"
	b.put(t, first, `{"fields":{"token":"good"}}`)
	b.put(t, first, `{"fields":{"token":"good"}}`)
	m := wantProblem(t, b.do(call{method: "PUT", path: "/api/v1/credentials/acme/production/single/second", body: `{"fields":{"token":"good"}}`}), 400, fault.InvalidRequest)
	if !strings.Contains(m["detail"].(string), "acme/production/single/main") {
		t.Errorf("detail %v, want the one that exists", m["detail"])
	}
	b.put(t, "/api/v1/credentials/acme/staging/single/second", `{"fields":{"token":"good"}}`)
}

func TestVersions(t *testing.T) {
	b := newBench(t)
	body := `{"fields":{"token":"good"}}`
	wantProblem(t, b.do(call{method: "PUT", path: one, body: body, header: []string{"If-Match", `"1"`}}), 409, fault.StoreConflict)
	b.put(t, one, body)
	for _, c := range []struct {
		method, name, value string
		want                int
	}{
		{"PUT", "If-Match", `"7"`, 409}, {"PUT", "If-Match", `"1"`, 200}, {"PUT", "If-Match", "2", 200}, {"PATCH", "If-Match", `W/"3"`, 409},
		{"PATCH", "If-Match", `W/"3", "3"`, 200}, {"PUT", "If-None-Match", `W/"4"`, 409}, {"PUT", "If-None-Match", `W/"9"`, 200},
		{"PUT", "If-Match", "*", 200}, {"PUT", "If-None-Match", "*", 409}, {"PATCH", "If-Match", "x", 409}, {"DELETE", "If-Match", `"1"`, 409}, {"DELETE", "If-Match", `"6"`, 204},
	} {
		cl := call{method: c.method, path: one, body: body, header: []string{c.name, c.value}}
		if c.method == "DELETE" {
			cl.body = ""
		}
		w := b.do(cl)
		if w.Code != c.want {
			t.Errorf("%s with %s: %s: %d, want %d: %s", c.method, c.name, c.value, w.Code, c.want, w.Body)
		}
		if w.Code == 409 {
			wantProblem(t, w, 409, fault.StoreConflict)
		}
	}
}

// racing writes the record while it is being checked.
type racing struct {
	*upstream
	write func()
}

func (r racing) RoundTrip(req *http.Request) (*http.Response, error) {
	r.write()
	return r.upstream.RoundTrip(req)
}

func TestWrittenMeanwhile(t *testing.T) {
	b := newBench(t)
	b.put(t, one, `{"fields":{"token":"good"}}`)
	b.upstream.answers["slow"] = 200
	again := newBenchWith(t, b, racing{b.upstream, func() { b.store.Add(ref.String(), "bearer", "token", "theirs") }})
	w := again.do(call{method: "PUT", path: one, body: `{"fields":{"token":"slow"}}`})
	wantProblem(t, w, 409, fault.StoreConflict)
	if rec, _ := b.store.Get(t.Context(), ref); rec.Text("token") != "theirs" {
		t.Error("the other write is lost")
	}
}

func TestNobodyWaits(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	again := newBenchWith(t, b, racing{b.upstream, cancel})
	req := httptest.NewRequest(http.MethodPut, one, strings.NewReader(`{"fields":{"token":"good"}}`)).WithContext(ctx)
	req.Header.Set("Content-Type", "application/json")
	again.Socket().ServeHTTP(httptest.NewRecorder(), req)
	if _, err := b.store.Get(t.Context(), ref); !errors.Is(err, fault.CredentialNotFound) {
		t.Error("stored though the client left during the check")
	}
}

func TestDelete(t *testing.T) {
	b := newBench(t)
	b.put(t, one, `{"fields":{"token":"good"}}`)
	b.daemon.usedBy[ref] = []string{"orders", "configuration"}
	m := wantProblem(t, b.do(call{method: "DELETE", path: one}), 409, fault.InUse)
	if got, _ := json.Marshal(m["used_by"]); string(got) != `["orders","configuration"]` {
		t.Errorf("used_by %s", got)
	}
	if w := b.do(call{method: "DELETE", path: one + "?force=true"}); w.Code != 204 || w.Body.Len() > 0 {
		t.Errorf("DELETE: %d %s", w.Code, w.Body)
	}
	if b.history.Last(ref.String()) != nil || len(b.daemon.changed) != 2 {
		t.Errorf("after DELETE: report %v, told of %v", b.history.Last(ref.String()), b.daemon.changed)
	}
	wantProblem(t, b.do(call{method: "DELETE", path: one}), 404, fault.CredentialNotFound)
	wantProblem(t, b.do(call{method: "GET", path: one}), 404, fault.CredentialNotFound)
	wantProblem(t, b.do(call{method: "POST", path: one + "/check"}), 404, fault.CredentialNotFound)
}

func TestCheckAsksAnew(t *testing.T) {
	b := newBench(t)
	b.put(t, one, `{"fields":{"token":"good"}}`)
	delete(b.upstream.answers, "good")
	w := b.do(call{method: "POST", path: one + "/check"})
	if m := object(t, w); w.Code != 200 || m["status"] != "error" || m["credential"] != ref.String() {
		t.Errorf("check: %d %s", w.Code, w.Body)
	}
	if m := object(t, b.do(call{method: "GET", path: one})); m["status"] != "error" {
		t.Errorf("after a failed check the status is %v", m["status"])
	}
	b.store.Add("acme/production/gone/main", "bearer", "token", "t")
	wantProblem(t, b.do(call{method: "POST", path: "/api/v1/credentials/acme/production/gone/main/check"}), 400, fault.InvalidRequest)
}

func TestListAndPages(t *testing.T) {
	b := newBench(t)
	for _, r := range []string{"acme/production/api/a", "acme/production/api/b", "acme/production/other/a", "acme/staging/api/a", "zoo/production/api/a"} {
		b.store.Add(r, "bearer", "token", canary)
	}
	for query, want := range map[string]int{
		"": 5, "?workspace=acme": 4, "?workspace=acme&environment=production": 3, "?workspace=acme&environment=production&provider=api": 2,
		"?provider=api": 4, "?environment=staging": 1, "?workspace=nobody": 0,
	} {
		m := object(t, b.do(call{method: "GET", path: "/api/v1/credentials" + query}))
		if items, ok := m["items"].([]any); !ok || len(items) != want || m["next"] != "" {
			t.Errorf("%s: %d items, next %v, want %d", query, len(items), m["next"], want)
		}
	}
	var names []string
	for path := "/api/v1/credentials?limit=2"; path != ""; {
		m := object(t, b.do(call{method: "GET", path: path}))
		for _, it := range m["items"].([]any) {
			names = append(names, it.(map[string]any)["workspace"].(string)+it.(map[string]any)["name"].(string))
		}
		if path = ""; m["next"] != "" {
			path = "/api/v1/credentials?limit=2&cursor=" + m["next"].(string)
		}
	}
	if len(names) != 5 {
		t.Errorf("the pages hold %v", names)
	}
	for _, query := range []string{"?limit=0", "?limit=x", "?cursor=nobody", "?workspace=../x"} {
		wantProblem(t, b.do(call{method: "GET", path: "/api/v1/credentials" + query}), 400, fault.InvalidRequest)
	}
}

func TestGoldenCredential(t *testing.T) {
	b := newBench(t)
	b.store.Add(ref.String(), "bearer", "token", canary, credential.StateField, canary)
	b.daemon.usedBy[ref] = []string{"orders"}
	b.daemon.status[ref] = admin.Status{
		ExpiresAt: at.Add(time.Hour), LastUsed: at, LastRefresh: at.Add(-time.Minute), NextRefresh: at.Add(time.Minute),
		LastError: fault.New(fault.ReauthorizationRequired, "the refresh token is gone", errors.New(canary)),
	}
	b.store.Add("acme/production/other/main", "bearer", "token", canary)
	var out bytes.Buffer
	for _, path := range []string{one, "/api/v1/credentials"} {
		if err := json.Indent(&out, b.do(call{method: "GET", path: path}).Body.Bytes(), "", "  "); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join("testdata", "credential.json")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got %s\nwant %s", out.String(), want)
	}
}

func TestStatus(t *testing.T) {
	b := newBench(t)
	b.store.Add(ref.String(), "bearer", "token", "t")
	rep := func(s checker.Status) *checker.Report { return &checker.Report{Credential: ref.String(), Status: s} }
	for _, c := range []struct {
		err  *fault.Fault
		rep  *checker.Report
		want string
	}{
		{nil, nil, "unknown"},
		{nil, rep(checker.OK), "ok"},
		{nil, rep(checker.Warning), "warning"},
		{fault.New(fault.InvalidClient, "", nil), rep(checker.OK), "error"},
		{fault.New(fault.TokenEndpointUnreachable, "", nil), rep(checker.OK), "ok"},
		{fault.New(fault.ReauthorizationRequired, "", nil), rep(checker.OK), "reauthorization_required"},
	} {
		b.daemon.status[ref] = admin.Status{LastError: c.err}
		b.history.Forget(ref.String())
		if c.rep != nil {
			b.history.Put(c.rep)
		}
		if m := object(t, b.do(call{method: "GET", path: one})); m["status"] != c.want {
			t.Errorf("error %v, report %v: status %v, want %s", c.err, c.rep, m["status"], c.want)
		}
	}
}

func TestReports(t *testing.T) {
	b := newBench(t)
	b.put(t, one, `{"fields":{"token":"good"}}`)
	b.put(t, "/api/v1/credentials/zoo/production/api/main", `{"fields":{"token":"good"}}`)
	for query, want := range map[string]int{
		"": 2, "?workspace=acme": 1, "?credential=acme/production/api/main": 1, "?credential=api": 0, "?workspace=zoo&credential=acme/production/api/main": 0,
	} {
		m := object(t, b.do(call{method: "GET", path: "/api/v1/report" + query}))
		if items := m["items"].([]any); len(items) != want || m["next"] != "" {
			t.Errorf("report%s: %d items, want %d", query, len(items), want)
		}
		w := b.do(call{method: "GET", path: "/api/v1/report.csv" + query})
		if n := strings.Count(w.Body.String(), ",provider,"); n != want || !strings.HasPrefix(w.Body.String(), "credential,property,value\n") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") {
			t.Errorf("report.csv%s: %s", query, w.Body)
		}
	}
	wantProblem(t, b.do(call{method: "GET", path: "/api/v1/report?credential=a/b/c/d/e"}), 400, fault.InvalidRequest)
}

// However large reports are, an answer with them can be read: the rest is on the next page.
func TestReportsArePaged(t *testing.T) {
	const all, answer = 100, 16 << 20
	b := newBench(t)
	put := func(i, size int) {
		b.history.Put(&checker.Report{
			Credential: fmt.Sprintf("acme/production/api/n%03d", i), Status: checker.OK, CheckedAt: time.Now(), Checks: []checker.Line{},
			Steps: []checker.Step{{Name: "verify", ResponseExcerpt: strings.Repeat("x", size)}},
		})
	}
	for i := range all {
		put(i, 200<<10)
	}
	ask := func(query string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		b.Socket().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/api/v1/report"+query, nil))
		return w
	}
	var refs []string
	pages := 0
	for next := ""; pages == 0 || next != ""; pages++ {
		w := ask("?cursor=" + next)
		if n := w.Body.Len(); n > answer+1<<10 || pages > 10 {
			t.Fatalf("page %d has %d bytes", pages, n)
		}
		m := object(t, w)
		for _, item := range m["items"].([]any) {
			refs = append(refs, item.(map[string]any)["credential"].(string))
		}
		next = m["next"].(string)
	}
	if pages != 2 || len(refs) != all || !slices.IsSorted(refs) || len(slices.Compact(refs)) != all {
		t.Errorf("%d reports on %d pages, want each of %d once, on 2", len(refs), pages, all)
	}
	put(0, answer)
	if m := object(t, ask("")); len(m["items"].([]any)) != 1 || m["next"] != "acme/production/api/n000" {
		t.Errorf("%d items, next %v; want the one that is larger than a page", len(m["items"].([]any)), m["next"])
	}
}

// Reports of the same moment are told once each, page by page.
func TestHistoryIsPaged(t *testing.T) {
	b := newBench(t)
	at := time.Now().Add(-time.Minute)
	for i, took := range []int64{1, 2, 3} {
		b.history.Put(&checker.Report{
			Credential: "acme/production/api/main", Status: checker.OK, CheckedAt: at.Add(time.Duration((i+1)/2) * time.Millisecond),
			Checks: []checker.Line{}, Steps: []checker.Step{}, TookMS: took,
		})
	}
	var seen []float64
	next := ""
	for range 4 {
		m := object(t, b.do(call{method: "GET", path: "/api/v1/report?credential=acme/production/api/main&history=true&limit=1&cursor=" + url.QueryEscape(next)}))
		for _, item := range m["items"].([]any) {
			seen = append(seen, item.(map[string]any)["took_ms"].(float64))
		}
		if next = m["next"].(string); next == "" {
			break
		}
	}
	slices.Sort(seen)
	if !slices.Equal(seen, []float64{1, 2, 3}) || next != "" {
		t.Errorf("the pages hold %v, want each report once; next %q", seen, next)
	}
}

// White space around a key that was pasted is left out, and warned of once; around
// a password it stays.
func TestPastedSpace(t *testing.T) {
	for pasted, want := range map[string]string{" good": "warning", "good\t": "warning", " good \n ": "warning", "good\n": "ok", "good": "ok"} {
		b := newBench(t)
		text, _ := json.Marshal(pasted)
		rep, _ := b.put(t, one, `{"fields":{"token":`+string(text)+`}}`)["report"].(map[string]any)
		if said, _ := json.Marshal(rep["checks"]); rep["status"] != want || strings.Contains(string(said), "was left out") != (want == "warning") {
			t.Errorf("%q: %v %s, want %s", pasted, rep["status"], said, want)
		}
		if rec, _ := b.store.Get(t.Context(), ref); rec.Text("token") != "good" {
			t.Errorf("%q: the white space was stored", pasted)
		}
		if got := object(t, b.do(call{method: "GET", path: one})); got["status"] != "ok" {
			t.Errorf("%q: the stored key has the status %v", pasted, got["status"])
		}
	}
	b := newBench(t)
	b.put(t, one+"?force=true", `{"type":"basic","fields":{"username":"u","password":" good "}}`)
	if rec, _ := b.store.Get(t.Context(), ref); rec.Text("password") != " good " {
		t.Error("a password lost its white space")
	}
}

func TestTrimmedNewline(t *testing.T) {
	b := newBench(t)
	m := b.put(t, one, `{"fields":{"token":"good\n"}}`)
	if got, _ := json.Marshal(m["trimmed"]); string(got) != `["token"]` {
		t.Errorf("trimmed %s, want the token told", got)
	}
	if rec, _ := b.store.Get(t.Context(), ref); rec.Text("token") != "good" {
		t.Error("the newline was stored")
	}
}

// LK-05, LK-06, LT-17: no way of asking gives a value back.
func TestValuesNeverLeave(t *testing.T) {
	b := newBench(t)
	var out bytes.Buffer
	keep := func(c call) {
		w := b.do(c)
		out.WriteString(w.Body.String())
		_ = w.Header().Write(&out)
	}
	body := `{"fields":{"token":"` + canary + `"}}`
	keep(call{method: "PUT", path: one, body: body})
	keep(call{method: "PUT", path: one, body: body})
	keep(call{method: "PATCH", path: one, body: `{"description":"x"}`})
	keep(call{method: "PUT", path: one, body: `{"fields":{"token":"` + canary + `-refused"}}`})
	keep(call{method: "PUT", path: one, body: `{"fields":{"token":"` + canary + `-refused"}}`, header: []string{"If-Match", "77"}})
	for _, path := range []string{one, "/api/v1/credentials", "/api/v1/report", "/api/v1/report.csv", "/api/v1/providers", "/metrics", "/api/v1/callers"} {
		keep(call{method: "GET", path: path})
	}
	keep(call{method: "POST", path: one + "/check"})
	keep(call{method: "POST", path: one + "/check?token=" + canary[:3]})
	b.store.Fail(errors.New("broken"))
	keep(call{method: "GET", path: one})
	keep(call{method: "PUT", path: one, body: body})
	for what, text := range map[string]string{"an answer": out.String(), "the log": b.log.String()} {
		if i := strings.Index(text, canary); i >= 0 {
			t.Errorf("LK-05: %s holds a secret: …%s…", what, text[max(0, i-200):i])
		}
		if strings.Contains(text, token) {
			t.Errorf("LK-05: %s holds the admin token", what)
		}
	}
}

// LT-17: who may ask gets the same answer for what was never there and what is
// no longer there.
func TestUnknownIsUnknown(t *testing.T) {
	b := newBench(t)
	b.put(t, one, `{"fields":{"token":"good"}}`)
	b.do(call{method: "DELETE", path: one})
	gone := wantProblem(t, b.do(call{method: "POST", path: one + "/check"}), 404, fault.CredentialNotFound)
	never := wantProblem(t, b.do(call{method: "POST", path: strings.Replace(one, "main", "nope", 1) + "/check"}), 404, fault.CredentialNotFound)
	gone["request_id"], never["request_id"] = nil, nil
	if gone["credential"] != "acme/production/api/main" || gone["provider"] != "api" {
		t.Errorf("the problem names %v of %v, want what was asked for", gone["credential"], gone["provider"])
	}
	for _, asked := range []string{"detail", "credential"} {
		gone[asked], never[asked] = nil, nil
	}
	a, _ := json.Marshal(gone)
	z, _ := json.Marshal(never)
	if !bytes.Equal(a, z) {
		t.Errorf("LT-17: %s and %s", a, z)
	}
}

func FuzzPut(f *testing.F) {
	for _, s := range []string{
		`{"type":"bearer","fields":{"token":"good"}}`, `{"fields":{"token":null}}`, `{"type":"api_key_url","fields":{"api_key":"k","url":"https://x"}}`,
		`{"description":null}`, `[]`, `{"fields":{"":"x"}}`, "{\"fields\":{\"token\":\"\xff\"}}", `{"fields":{"token":"a"},"fields":{"token":"b"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := newBench(t)
		for _, method := range []string{"PUT", "PATCH"} {
			req := httptest.NewRequest(method, one, bytes.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			b.Socket().ServeHTTP(w, req)
			if !json.Valid(w.Body.Bytes()) || w.Code >= 500 {
				t.Errorf("%s %q: %d %s", method, body, w.Code, w.Body)
			}
			if c, err := b.store.Get(t.Context(), ref); err == nil {
				if _, err := credential.Encode(c); err != nil {
					t.Errorf("%s %q stored what no store can hold: %v", method, body, err)
				}
			}
		}
	})
}
