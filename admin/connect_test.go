package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
)

// connector is an admin.Connector that says what the test says.
type connector struct {
	asked    []admin.ConnectRequest
	queries  []string
	pasted   []string
	answer   admin.Connect
	err      error
	canceled string
}

func (c *connector) Begin(_ context.Context, r admin.ConnectRequest) (admin.ConnectBegun, error) {
	c.asked = append(c.asked, r)
	return admin.ConnectBegun{ID: "ID1", AuthorizationURL: "https://auth.example.com/authorize?a=b&c=d"}, c.err
}

func (c *connector) Connect(string) (admin.Connect, error) { return c.answer, c.err }

func (c *connector) Callback(_ context.Context, query string) (admin.Connect, error) {
	c.queries = append(c.queries, query)
	return c.answer, c.err
}

func (c *connector) Paste(_ context.Context, _, url string) (admin.Connect, error) {
	c.pasted = append(c.pasted, url)
	return c.answer, c.err
}

func (c *connector) Cancel(id string) error {
	c.canceled = id
	return c.err
}

func TestConnectBegins(t *testing.T) {
	b := newBench(t)
	w := b.do(call{method: "POST", path: one + "/connect"})
	var got admin.ConnectBegun
	if w.Code != http.StatusAccepted || json.Unmarshal(w.Body.Bytes(), &got) != nil || got.ID != "ID1" || got.AuthorizationURL != "https://auth.example.com/authorize?a=b&c=d" {
		t.Fatalf("POST connect: %d %s", w.Code, w.Body)
	}
	body := `{"scopes":["a","b"],"client_id":"web","client_secret":"` + canary + `","flow":"device","test":true}`
	if w := b.do(call{method: "POST", path: one + "/connect", body: body}); w.Code != http.StatusAccepted {
		t.Fatalf("POST connect: %d %s", w.Code, w.Body)
	}
	asked := b.connects.asked[1]
	if asked.Provider.Name != "api" || asked.Ref != ref || asked.ClientID != "web" || asked.ClientSecret.Reveal() != canary || asked.Flow != "device" || !asked.Test || len(asked.Scopes) != 2 {
		t.Errorf("asked %s by %s with %q", asked.Ref, asked.ClientID, asked.Scopes)
	}
	b.do(call{method: "POST", path: "/api/v1/credentials/acme/production/shop/main/connect", body: `{"fields":{"shop":"flowers"}}`})
	if asked := b.connects.asked[2]; asked.Fields["shop"] != "flowers" {
		t.Errorf("fields %v", asked.Fields)
	}
	if strings.Contains(b.log.String(), canary) {
		t.Error("the log holds a secret")
	}
}

func TestConnectBadRequests(t *testing.T) {
	b := newBench(t)
	single := "/api/v1/credentials/acme/production/single/"
	b.put(t, single+"main", `{"fields":{"token":"good"}}`)
	for _, c := range []struct{ name, path, body, says string }{
		{"unknown provider", "/api/v1/credentials/acme/production/nowhere/main", "", "provider"},
		{"a second account", single + "other", "", "one account"},
		{"a secret without its client", one, `{"client_secret":"` + canary + `"}`, "client_id"},
		{"a scope with a space", one, `{"scopes":["a b"]}`, "scopes"},
		{"a field of no URL", one, `{"fields":{"token":"` + canary + `"}}`, "fields.token"},
		{"an unknown member", one, `{"state":"x"}`, "state"},
		{"no field of the hosts", "/api/v1/credentials/acme/production/shop/main", "", "shop"},
		{"not JSON", one, `{`, "body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := wantProblem(t, b.do(call{method: "POST", path: c.path + "/connect", body: c.body}), 400, fault.InvalidRequest)
			if detail := m["detail"].(string); !strings.Contains(detail, c.says) || strings.Contains(detail, canary) {
				t.Errorf("detail %q", detail)
			}
		})
	}
	if len(b.connects.asked) > 0 {
		t.Errorf("%d connects began", len(b.connects.asked))
	}
}

func TestConnectIsFollowed(t *testing.T) {
	b := newBench(t)
	b.connects.answer = admin.Connect{ID: "ID1", State: "pending", Steps: []checker.Step{{Name: "token", Status: 200}}, Warnings: []string{}}
	w := b.do(call{method: "GET", path: "/api/v1/connects/ID1"})
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"state":"pending"`) || !strings.Contains(w.Body.String(), `"fault":null`) {
		t.Errorf("GET: %d %s", w.Code, w.Body)
	}
	w = b.do(call{method: "POST", path: "/api/v1/connects/ID1/callback", body: `{"url":"http://127.0.0.1/oauth/callback?code=x&state=y"}`})
	if w.Code != 200 || len(b.connects.pasted) != 1 || b.connects.pasted[0] != "http://127.0.0.1/oauth/callback?code=x&state=y" {
		t.Errorf("paste: %d %s; got %q", w.Code, w.Body, b.connects.pasted)
	}
	if w := b.do(call{method: "DELETE", path: "/api/v1/connects/ID1"}); w.Code != 204 || b.connects.canceled != "ID1" {
		t.Errorf("DELETE: %d %s", w.Code, w.Body)
	}
	for _, c := range []call{{method: "GET", path: "/api/v1/connects/ID1"}, {method: "POST", path: one + "/connect"}, {method: "GET", path: "/api/v1/apps"}} {
		c.header = []string{"Authorization", "Bearer wrong"}
		wantProblem(t, b.do(c), 401, fault.Unauthorized)
	}
}

// page asks for the callback as a browser does that a consent page redirects.
func (b *bench) page(query string, header ...string) *httptest.ResponseRecorder {
	header = append([]string{"Authorization", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, header...)
	return b.do(call{method: "GET", path: "/oauth/callback?" + query, header: header})
}

// The page runs and loads nothing, and nothing that came in stands in it as it came.
func TestCallbackPage(t *testing.T) {
	b := newBench(t)
	b.connects.answer = admin.Connect{Credential: "acme/production/api/main", State: "done", Warnings: []string{"<b>less</b> was granted"}}
	w := b.page("code=" + canary + "&state=s")
	body := w.Body.String()
	if w.Code != 200 || !strings.Contains(body, "Connected: acme/production/api/main") || !strings.Contains(body, "&lt;b&gt;less&lt;/b&gt;") {
		t.Errorf("%d %s", w.Code, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if b.connects.queries[0] != "code="+canary+"&state=s" {
		t.Errorf("the query is %q", b.connects.queries[0])
	}
	b.connects.answer = admin.Connect{State: "failed", Fault: checker.NewFault(fault.New(fault.AccessDenied, `<script>alert("x")</script>`, nil))}
	body = b.page("error=x").Body.String()
	if strings.Contains(body, "<script") || !strings.Contains(body, "&lt;script&gt;") || !strings.Contains(body, "Not connected") {
		t.Errorf("a failure is %s", body)
	}
	b.connects.err = fault.New(fault.AuthorizationIncomplete, "begin again", nil)
	if w := b.page("state=" + canary); w.Code != 400 || strings.Contains(w.Body.String(), canary) || !strings.Contains(w.Body.String(), "begin again") {
		t.Errorf("an unknown state: %d %s", w.Code, w.Body)
	}
	if strings.Contains(b.log.String(), canary) || strings.Contains(b.log.String(), "state=") {
		t.Errorf("the log holds what came in:\n%s", b.log)
	}
}

// Only a browser that shows the page as one of its own may bring a redirect.
func TestCallbackGuard(t *testing.T) {
	for name, header := range map[string][]string{
		"an image":     {"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		"a frame":      {"Sec-Fetch-Dest", "iframe"},
		"a script":     {"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Origin", "https://evil.example"},
		"a form's":     {"Origin", "https://evil.example"},
		"another Host": {"Host", "evil.example"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if w := b.page("code=x&state=y", header...); w.Code != 403 && w.Code != 421 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if len(b.connects.queries) > 0 {
				t.Error("the code was used")
			}
		})
	}
	b := newBench(t)
	wantProblem(t, b.do(call{method: "POST", path: "/oauth/callback", body: "{}"}), 405, fault.MethodNotAllowed)
	if w := b.do(call{method: "HEAD", path: "/oauth/callback?code=x&state=y"}); w.Code != 405 || len(b.connects.queries) > 0 {
		t.Errorf("HEAD: %d, and %d codes were used", w.Code, len(b.connects.queries))
	}
	w := httptest.NewRecorder()
	b.Callback().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1:3129/api/v1/credentials", nil))
	wantProblem(t, w, 404, fault.NotFound)
}

func FuzzCallbackPage(f *testing.F) {
	f.Add("acme/production/api/main", `"><script>alert(1)</script>`, "a\x00b")
	f.Fuzz(func(t *testing.T, credential, detail, warning string) {
		b := newBench(t)
		b.connects.answer = admin.Connect{Credential: credential, Warnings: []string{warning}, Fault: &checker.Fault{Code: fault.AccessDenied, Cause: "c", Detail: detail}}
		body := b.page("state=" + url.QueryEscape(detail)).Body.String()
		want := 13 + 2 // of the frame, and of the cause
		for _, text := range []string{detail, warning} {
			if text != "" {
				want += 2
			}
		}
		if got := strings.Count(body, "<"); got != want {
			t.Fatalf("%d tags, want %d: %q", got, want, body)
		}
	})
}

func TestApps(t *testing.T) {
	b := newBench(t)
	put := func(query, body string, want int) map[string]any {
		t.Helper()
		w := b.do(call{method: "PUT", path: "/api/v1/apps/api" + query, body: body})
		if w.Code != want || strings.Contains(w.Body.String(), canary) {
			t.Fatalf("PUT %s: %d %s", query, w.Code, w.Body)
		}
		m := map[string]any{}
		_ = json.Unmarshal(w.Body.Bytes(), &m)
		return m
	}
	secret := fmt.Sprintf(`{"client_id":"web","client_secret":"%s\n"}`, canary)
	if m := put("", secret, 201); m["client_id"] != "web" || m["shared"] != true || m["workspace"] != "" || m["public"] != false {
		t.Errorf("made %v", m)
	}
	put("", `{"client_id":"web2","client_secret":"x"}`, 200)
	if m := put("?workspace=acme", `{"client_id":"own"}`, 201); m["shared"] != false || m["workspace"] != "acme" || m["public"] != true {
		t.Errorf("made %v", m)
	}
	if w := b.do(call{method: "GET", path: "/api/v1/apps/api"}); w.Code != 200 || !strings.Contains(w.Body.String(), "web2") || strings.Contains(w.Body.String(), "client_secret") {
		t.Errorf("GET: %d %s", w.Code, w.Body)
	}
	var all struct{ Items []map[string]any }
	w := b.do(call{method: "GET", path: "/api/v1/apps"})
	if json.Unmarshal(w.Body.Bytes(), &all) != nil || len(all.Items) != 2 || all.Items[0]["shared"] != true {
		t.Errorf("list: %d %s", w.Code, w.Body)
	}
	wantProblem(t, b.do(call{method: "PUT", path: "/api/v1/apps/api", body: `{"client_id":"z"}`, header: []string{"If-Match", `"99"`}}), 409, fault.StoreConflict)
	for name, c := range map[string]call{
		"unknown provider": {method: "PUT", path: "/api/v1/apps/nowhere", body: `{"client_id":"x"}`},
		"no client":        {method: "PUT", path: "/api/v1/apps/api", body: `{"client_secret":"` + canary + `"}`},
		"a control":        {method: "PUT", path: "/api/v1/apps/api", body: `{"client_id":"a\u0000b"}`},
		"a space":          {method: "PUT", path: "/api/v1/apps/api", body: `{"client_id":"a","client_secret":" ` + canary + `"}`},
		"no name":          {method: "GET", path: "/api/v1/apps/api?workspace=.."},
		"another member":   {method: "PUT", path: "/api/v1/apps/api", body: `{"client_id":"x","redirect_uri":"y"}`},
	} {
		if m := wantProblem(t, b.do(c), 400, fault.InvalidRequest); strings.Contains(m["detail"].(string), canary) {
			t.Errorf("%s: %v", name, m["detail"])
		}
	}
	if w := b.do(call{method: "DELETE", path: "/api/v1/apps/api?workspace=acme"}); w.Code != 204 {
		t.Errorf("DELETE: %d %s", w.Code, w.Body)
	}
	wantProblem(t, b.do(call{method: "GET", path: "/api/v1/apps/api?workspace=acme"}), 404, fault.NotFound)
	wantProblem(t, b.do(call{method: "DELETE", path: "/api/v1/apps/api?workspace=acme"}), 404, fault.NotFound)
	if strings.Contains(b.log.String(), canary) {
		t.Error("the log holds a secret")
	}
}
