package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	token  = "adm1n-t0ken"
	canary = "c4n4ry-S3cr3t"
	one    = "/api/v1/credentials/acme/production/api/main"
)

// daemon is an admin.Daemon that tells what the test says.
type daemon struct {
	mu      sync.Mutex
	status  map[credential.Ref]admin.Status
	usedBy  map[credential.Ref][]string
	changed []credential.Ref
	callers []admin.CallerInfo
	passed  []admin.Request
	reload  error
	notOK   bool
	away    []string
	asked   []string
	tokens  fakeTokens
}

func (d *daemon) Status(c *credential.Credential) admin.Status { return d.status[c.Ref] }

func (d *daemon) UsedBy(ref credential.Ref) []string { return d.usedBy[ref] }

func (d *daemon) Changed(ref credential.Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed = append(d.changed, ref)
}

func (d *daemon) Decide(_ context.Context, caller, cred, method, url string) (admin.Decision, error) {
	d.asked = []string{caller, cred, method, url}
	return admin.Decision{Action: "intercept", Provider: "api", Credential: "acme/production/api/main"}, nil
}

func (d *daemon) Reload(context.Context) error { return d.reload }

func (d *daemon) Ready() (string, []string, bool) {
	switch {
	case d.notOK:
		return "draining", nil, false
	case d.away != nil:
		return "degraded", d.away, true
	}
	return "ok", nil, true
}

func (d *daemon) Requests() []admin.Request { return slices.Clone(d.passed) }

func (d *daemon) Callers() []admin.CallerInfo { return d.callers }

func (d *daemon) AddCaller(name, workspace, environment string) (secret.Value, error) {
	d.callers = append(d.callers, admin.CallerInfo{Name: name, Workspace: workspace, Environment: environment})
	return secret.New("the-callers-token"), nil
}

func (d *daemon) RemoveCaller(name string) error {
	if name != "orders" {
		return fault.New(fault.NotFound, "there is no caller of that name", nil)
	}
	return nil
}

type faulty struct{}

func (faulty) Error() string { return "sallyport.toml:3: proxy.listn: " + canary }

func (faulty) Faults() []admin.Fault {
	return []admin.Fault{{Line: 3, Key: "proxy.listn", Detail: "is not a key"}}
}

// upstream answers verify requests: 200 for the key that is good, and what the
// test says for others.
type upstream struct {
	mu      sync.Mutex
	answers map[string]int // by key; absent: 401
	asked   int
}

func (u *upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked++
	key := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	status, ok := u.answers[key]
	if !ok {
		status = http.StatusUnauthorized
	}
	return &http.Response{
		StatusCode: status, Request: req, Header: http.Header{"Content-Type": {"application/json"}, "X-Echo": {key}},
		Body: io.NopCloser(strings.NewReader(`{"login":"ann","echo":"` + key + `"}`)),
	}, nil
}

// bench is a server with all that it needs.
type bench struct {
	*admin.Server
	store    *credtest.Store
	daemon   *daemon
	upstream *upstream
	history  *checker.History
	apps     *credtest.Apps
	connects *connector
	log      *bytes.Buffer

	t    *testing.T
	seen []string // of openapi.json
}

func providers() []*provider.Provider {
	verify := provider.Verify{Method: http.MethodGet, Path: "/me"}
	return []*provider.Provider{
		{
			Name: "api", Hosts: []string{"api.example.com"}, BaseURL: "https://api.example.com", Type: "bearer", Verify: verify,
			Types: []string{"api_key_url", "oauth2_client_credentials", "oauth2_authorization_code", "basic"}, Builtin: true,
			OAuth2: provider.OAuth2{TokenURL: "https://auth.example.com/token"},
		},
		{Name: "single", Hosts: []string{"single.example.com"}, BaseURL: "https://single.example.com", Type: "bearer", OneAccount: true, Verify: verify},
		{Name: "other", Hosts: []string{"other.example.com", "*.other.example.com"}, BaseURL: "https://other.example.com", Type: "bearer", Types: []string{"api_key_url"}, Verify: verify},
		{Name: "shop", Hosts: []string{"{shop}.shops.example.com"}, BaseURL: "https://{shop}.shops.example.com", Type: "bearer", Types: []string{"api_key_url"}, Verify: verify},
		{Name: "silent", Hosts: []string{"silent.example.com"}, BaseURL: "https://silent.example.com", Type: "bearer"},
	}
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchWith(t, &bench{
		store:    &credtest.Store{},
		daemon:   &daemon{status: map[credential.Ref]admin.Status{}, usedBy: map[credential.Ref][]string{}},
		upstream: &upstream{answers: map[string]int{canary: 200, "good": 200}},
	}, nil)
}

// newBenchWith makes a server over the store of another, whose checks go through
// rt; nil: the other's upstream.
func newBenchWith(t *testing.T, other *bench, rt http.RoundTripper) *bench {
	t.Helper()
	if rt == nil {
		rt = other.upstream
	}
	table, conflicts := provider.NewTable(providers())
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	b := &bench{
		t: t, store: other.store, daemon: other.daemon, upstream: other.upstream, log: &bytes.Buffer{},
		apps: &credtest.Apps{}, connects: &connector{},
	}
	reg := prometheus.NewPedanticRegistry()
	b.history = checker.NewHistory(reg)
	b.Server = admin.New(admin.Options{
		Store: b.store, Apps: b.apps, Connects: b.connects, Daemon: b.daemon, Table: func() *provider.Table { return table }, History: b.history, Gatherer: reg,
		Checker: checker.New(checker.Options{
			Client:     func(*provider.Provider) *http.Client { return &http.Client{Transport: rt} },
			Registerer: reg,
		}),
		Token: secret.New(token), CAPEM: func() []byte { return []byte("-----BEGIN CERTIFICATE-----\n") },
		Hosts: []string{"sallyport.internal"}, Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return b
}

// call is one request to the TCP handler, with the token unless the header says otherwise.
type call struct {
	method, path, body string
	header             []string // name, value pairs; Host too
}

func (b *bench) do(c call) *httptest.ResponseRecorder {
	b.t.Helper()
	req := httptest.NewRequest(c.method, "http://localhost:3129"+c.path, strings.NewReader(c.body))
	if c.body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(c.header); i += 2 {
		if c.header[i] == "Host" {
			req.Host = c.header[i+1]
		} else {
			req.Header.Set(c.header[i], c.header[i+1])
		}
	}
	w := httptest.NewRecorder()
	b.TCP().ServeHTTP(w, req)
	b.held(req, w, c.body)
	return w
}

func (b *bench) put(t *testing.T, path, body string) map[string]any {
	t.Helper()
	w := b.do(call{method: "PUT", path: path, body: body})
	if w.Code != 200 && w.Code != 201 {
		t.Fatalf("PUT %s: %d %s", path, w.Code, w.Body)
	}
	return object(t, w)
}

func object(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return m
}

// wantProblem holds an answer to the form of all our errors.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code fault.Code) map[string]any {
	t.Helper()
	if w.Code != status || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("status %d, %s, want %d and a problem:\n%s", w.Code, w.Header().Get("Content-Type"), status, w.Body)
	}
	m := object(t, w)
	if m["code"] != string(code) || m["type"] != "urn:sallyport:fault:"+string(code) {
		t.Fatalf("code %v, want %s:\n%s", m["code"], code, w.Body)
	}
	for _, member := range []string{"title", "detail", "cause", "remedy", "actor", "request_id"} {
		if v := m[member]; v == nil || v == "" {
			t.Errorf("%s: the problem has no %s", code, member)
		}
	}
	if m["request_id"] != w.Header().Get("X-Request-Id") || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%s: header %v", code, w.Header())
	}
	return m
}

func TestOpenResources(t *testing.T) {
	b := newBench(t)
	for path, want := range map[string]string{
		"/livez": `{"status":"ok"}`, "/readyz": `{"status":"ok"}`, "/metrics": "# ", "/ca.pem": "-----BEGIN CERTIFICATE-----",
	} {
		if path == "/metrics" {
			b.history.Put(&checker.Report{Credential: "acme/production/api/main", Status: checker.OK})
		}
		w := b.do(call{method: "GET", path: path, header: []string{"Authorization", ""}})
		if w.Code != 200 || !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("GET %s without a token: %d %s", path, w.Code, w.Body)
		}
	}
	b.daemon.away = []string{"vault"}
	if w := b.do(call{method: "GET", path: "/readyz"}); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"status":"degraded","degraded":["vault"]}` {
		t.Errorf("degraded: %d %s", w.Code, w.Body)
	}
	b.daemon.notOK = true
	if w := b.do(call{method: "GET", path: "/readyz"}); w.Code != 503 || strings.TrimSpace(w.Body.String()) != `{"status":"draining"}` {
		t.Errorf("draining: %d %s", w.Code, w.Body)
	}
}

// everyRoute is every resource of the API that asks for the token.
var everyRoute = []call{
	{method: "GET", path: "/api/v1/credentials"},
	{method: "GET", path: one}, {method: "PUT", path: one, body: "{}"}, {method: "PATCH", path: one, body: "{}"}, {method: "DELETE", path: one},
	{method: "POST", path: one + "/check"}, {method: "POST", path: one + "/refresh"}, {method: "POST", path: one + "/connect"},
	{method: "GET", path: "/api/v1/connects/1"}, {method: "GET", path: "/api/v1/report"}, {method: "GET", path: "/api/v1/report.csv"},
	{method: "GET", path: "/api/v1/providers"}, {method: "GET", path: "/api/v1/apps/api"}, {method: "PUT", path: "/api/v1/apps/api"},
	{method: "DELETE", path: "/api/v1/apps/api"}, {method: "GET", path: "/api/v1/callers"}, {method: "POST", path: "/api/v1/callers", body: "{}"},
	{method: "DELETE", path: "/api/v1/callers/orders"}, {method: "GET", path: "/api/v1/decision"}, {method: "GET", path: "/api/v1/requests"},
	{method: "POST", path: "/api/v1/reload"}, {method: "GET", path: "/api/v1/openapi.json"},
}

// LT-07: a flow that is made to call the loopback address has no token, and
// learns nothing. LT-04: that holds on every address.
func TestTokenIsAskedEverywhere(t *testing.T) {
	b := newBench(t)
	b.store.Add("acme/production/api/main", "bearer", "token", canary)
	for _, c := range everyRoute {
		for name, header := range map[string]string{
			"none": "", "wrong": "Bearer nope", "another scheme": "Basic " + token, "bare": token, "longer": "Bearer " + token + "x", "empty": "Bearer ",
		} {
			c.header = []string{"Authorization", header, "X-Forwarded-For", "127.0.0.1"}
			w := b.do(c)
			wantProblem(t, w, 401, fault.Unauthorized)
			if w.Header().Get("WWW-Authenticate") == "" || strings.Contains(w.Body.String(), token) {
				t.Errorf("LT-07 %s %s, token %s: %v %s", c.method, c.path, name, w.Header(), w.Body)
			}
		}
	}
	if b.store.Gets.Load()+b.store.Lists.Load() != 0 {
		t.Error("LT-07: the store was asked for somebody without a token")
	}
	if w := b.do(call{method: "GET", path: "/api/v1/callers", header: []string{"Authorization", "bearer " + token}}); w.Code != 200 {
		t.Errorf("the scheme's case matters: %d", w.Code)
	}
}

func TestWithoutATokenNobodyGetsIn(t *testing.T) {
	s := admin.New(admin.Options{})
	for _, header := range []string{"", "Bearer ", "Bearer"} {
		req := httptest.NewRequest(http.MethodGet, "http://localhost/api/v1/callers", nil)
		req.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		s.TCP().ServeHTTP(w, req)
		wantProblem(t, w, 401, fault.Unauthorized)
	}
}

func TestSocketAsksForNothing(t *testing.T) {
	b := newBench(t)
	req := httptest.NewRequest(http.MethodGet, "http://whatever/api/v1/callers", nil)
	w := httptest.NewRecorder()
	b.Socket().ServeHTTP(w, req)
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"items":[],"next":""}` {
		t.Errorf("GET over the socket: %d %s", w.Code, w.Body)
	}
}

// LT-05: no web page reaches the API, by whatever name it has the browser come.
func TestWebPages(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		name   string
		header []string
		status int
		code   fault.Code
	}{
		{"rebinding", []string{"Host", "evil.com"}, 421, fault.Misdirected},
		{"rebinding with the port", []string{"Host", "evil.com:3129"}, 421, fault.Misdirected},
		{"0.0.0.0", []string{"Host", "0.0.0.0:3129"}, 421, fault.Misdirected},
		{"below localhost", []string{"Host", "localhost.evil.com"}, 421, fault.Misdirected},
		{"user information", []string{"Host", "localhost@evil.com"}, 421, fault.Misdirected},
		{"no Host", []string{"Host", ""}, 421, fault.Misdirected},
		{"a page's origin", []string{"Origin", "https://evil.com"}, 403, fault.OriginRefused},
		{"Origin: null", []string{"Origin", "null"}, 403, fault.OriginRefused},
		{"another port of this machine", []string{"Origin", "http://localhost:8080"}, 403, fault.OriginRefused},
		{"cross-site", []string{"Sec-Fetch-Site", "cross-site"}, 403, fault.OriginRefused},
		{"same-site", []string{"Sec-Fetch-Site", "same-site"}, 403, fault.OriginRefused},
		{"both agree on evil", []string{"Host", "evil.com", "Origin", "http://evil.com"}, 421, fault.Misdirected},
	} {
		for _, path := range []string{"/livez", "/readyz", "/metrics", "/ca.pem", "/oauth/callback", "/api/v1/credentials", one, "/nothing"} {
			t.Run(c.name+" "+path, func(t *testing.T) {
				w := b.do(call{method: "GET", path: path, header: c.header})
				wantProblem(t, w, c.status, c.code)
				if len(w.Header().Values("Access-Control-Allow-Origin")) > 0 {
					t.Error("LT-05: the answer allows another origin")
				}
			})
		}
	}
	for _, header := range [][]string{
		{"Host", "127.0.0.1:3129"}, {"Host", "[::1]:3129"}, {"Host", "LOCALHOST"}, {"Host", "sallyport.internal:80"}, {"Host", "127.0.0.2"},
		{"Origin", "http://localhost:3129"}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"},
	} {
		if w := b.do(call{method: "GET", path: "/api/v1/callers", header: header}); w.Code != 200 {
			t.Errorf("LT-05: %v is refused: %s", header, w.Body)
		}
	}
}

// LT-05: what a form or a simple fetch can send is no body of ours.
func TestBodiesMustBeJSON(t *testing.T) {
	b := newBench(t)
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/json-not"} {
		for _, c := range []call{
			{method: "PUT", path: one, body: `{"fields":{"token":"good"}}`}, {method: "PATCH", path: one, body: `{}`},
			{method: "POST", path: "/api/v1/callers", body: `{"name":"x"}`}, {method: "POST", path: "/api/v1/reload", body: "x"},
			{method: "POST", path: one + "/check", body: "x"}, {method: "DELETE", path: one, body: "x"}, {method: "DELETE", path: "/api/v1/callers/orders", body: "x"},
		} {
			b.store.Add("acme/production/api/main", "bearer", "token", "good")
			c.header = []string{"Content-Type", kind}
			m := wantProblem(t, b.do(c), 400, fault.InvalidRequest)
			if !strings.Contains(m["detail"].(string), "Content-Type") {
				t.Errorf("LT-05 %s with %q: %v", c.method, kind, m["detail"])
			}
		}
	}
	for _, kind := range []string{"application/json; charset=utf-8", "application/merge-patch+json"} {
		if w := b.do(call{method: "PATCH", path: one, body: `{"description":"x"}`, header: []string{"Content-Type", kind}}); w.Code != 200 {
			t.Errorf("%s: %d %s", kind, w.Code, w.Body)
		}
	}
}

// LT-09: the metrics listener has health and metrics, whoever asks.
func TestMetricsHandler(t *testing.T) {
	b := newBench(t)
	for _, c := range append(everyRoute, call{method: "GET", path: "/ca.pem"}, call{method: "GET", path: "/debug/pprof/"}, call{method: "GET", path: "/api/v1/mine"}, call{method: "GET", path: "/"}) {
		req := httptest.NewRequest(c.method, "http://localhost"+c.path, strings.NewReader(c.body))
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		b.Metrics().ServeHTTP(w, req)
		if w.Code != 404 {
			t.Errorf("LT-09 %s %s: %d, want 404", c.method, c.path, w.Code)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		req := httptest.NewRequest(http.MethodGet, "http://10.1.2.3:9090"+path, nil) // a probe's Host
		w := httptest.NewRecorder()
		b.Metrics().ServeHTTP(w, req)
		if w.Code != 200 {
			t.Errorf("LT-09 GET %s: %d, want 200", path, w.Code)
		}
	}
}

// LT-10: one spelling of each path, and none is put right. LK-08: nothing of the
// process is shown: no profile, no variables.
func TestOddPaths(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{
		"/", "//livez", "/livez/", "/./livez", "/x/../livez", "/%6civez", "/livez%2f", "/%2e%2e/livez", "/LIVEZ", "/metrics/x",
		"//api/v1/credentials", "/api/v1/credentials/", "/api/v1//credentials", "/api/v1/credentials/acme", "/api/v1/credentials/acme/production/api",
		"/api/v1/../v1/credentials", "/api/v1/%63redentials", one + "/", one + "/check/", one + "/nothing", "/api/v1/credentials/acme/production/api/..%2fx",
		"/config", "/config/../api/v1/credentials", "/debug/pprof/", "/debug/vars", "/api/v2/credentials", "/api/v1/credentials\\", "/api/v1/credentials/00",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "TRACE"} {
			if w := b.do(call{method: method, path: path}); w.Code != 404 || w.Header().Get("Location") != "" {
				t.Errorf("LT-10 %s %s: %d %v, want 404", method, path, w.Code, w.Header())
			}
		}
	}
	for _, path := range []string{"/api/v1/credentials/Acme/production/api/main", "/api/v1/credentials/a/b/c/-x", "/api/v1/credentials/a/b/c/x..y"} {
		wantProblem(t, b.do(call{method: "GET", path: path}), 400, fault.InvalidRequest)
	}
}

func TestMethods(t *testing.T) {
	b := newBench(t)
	for path, allow := range map[string]string{
		"/livez": "GET, HEAD", "/metrics": "GET, HEAD", one: "DELETE, GET, HEAD, PATCH, PUT", one + "/check": "POST",
		"/api/v1/callers": "GET, HEAD, POST", "/api/v1/callers/orders": "DELETE", "/api/v1/reload": "POST",
	} {
		for _, method := range []string{"OPTIONS", "TRACE", "BREW", "get"} {
			w := b.do(call{method: method, path: path})
			wantProblem(t, w, 405, fault.MethodNotAllowed)
			if got := w.Header().Get("Allow"); got != allow {
				t.Errorf("%s %s: Allow %q, want %q", method, path, got, allow)
			}
		}
	}
	if w := b.do(call{method: "HEAD", path: "/api/v1/callers"}); w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
}

// PR-01: what a client invents is no label.
func TestNoLabelFromRequests(t *testing.T) {
	b := newBench(t)
	for _, c := range []call{{method: "X-CANARY", path: "/metrics"}, {method: "GET", path: "/x-canary"}, {method: "GET", path: one + "-x-canary"}} {
		b.do(c)
	}
	if w := b.do(call{method: "GET", path: "/metrics"}); strings.Contains(strings.ToLower(w.Body.String()), "canary") {
		t.Errorf("PR-01: the metrics hold what a client invented:\n%s", w.Body)
	}
}

func TestCallers(t *testing.T) {
	b := newBench(t)
	w := b.do(call{method: "POST", path: "/api/v1/callers", body: `{"name":"orders","workspace":"acme"}`})
	if w.Code != 201 || strings.TrimSpace(w.Body.String()) != `{"name":"orders","token":"the-callers-token"}` {
		t.Fatalf("POST: %d %s", w.Code, w.Body)
	}
	w = b.do(call{method: "GET", path: "/api/v1/callers"})
	if got := strings.TrimSpace(w.Body.String()); got != `{"items":[{"name":"orders","workspace":"acme","environment":"production","configured":false,"needs":{}}],"next":""}` {
		t.Errorf("GET: %s", got)
	}
	if w := b.do(call{method: "DELETE", path: "/api/v1/callers/orders"}); w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("DELETE: %d %s", w.Code, w.Body)
	}
	wantProblem(t, b.do(call{method: "DELETE", path: "/api/v1/callers/nobody"}), 404, fault.NotFound)
	for _, body := range []string{`{}`, `{"name":"A"}`, `{"name":"a","workspace":"../x"}`, `{"name":7}`, `{"name":"a","admin":true}`} {
		wantProblem(t, b.do(call{method: "POST", path: "/api/v1/callers", body: body}), 400, fault.InvalidRequest)
	}
	if strings.Contains(b.log.String(), "the-callers-token") {
		t.Error("the log holds the caller's token")
	}
}

func TestDecision(t *testing.T) {
	b := newBench(t)
	w := b.do(call{method: "GET", path: "/api/v1/decision?caller=orders&credential=main&url=https%3A%2F%2Fapi.example.com%2F"})
	if got := strings.TrimSpace(w.Body.String()); got != `{"action":"intercept","provider":"api","credential":"acme/production/api/main","code":"","why":[]}` {
		t.Errorf("decision: %s", got)
	}
	if want := []string{"orders", "main", "GET", "https://api.example.com/"}; !slices.Equal(b.daemon.asked, want) {
		t.Errorf("asked %q, want %q", b.daemon.asked, want)
	}
	wantProblem(t, b.do(call{method: "GET", path: "/api/v1/decision"}), 400, fault.InvalidRequest)
}

func TestReload(t *testing.T) {
	b := newBench(t)
	if w := b.do(call{method: "POST", path: "/api/v1/reload"}); w.Code != 200 {
		t.Errorf("reload: %d %s", w.Code, w.Body)
	}
	b.daemon.reload = faulty{}
	w := b.do(call{method: "POST", path: "/api/v1/reload", body: "{}"})
	m := wantProblem(t, w, 400, fault.InvalidRequest)
	if got, _ := json.Marshal(m["faults"]); string(got) != `[{"detail":"is not a key","key":"proxy.listn","line":3}]` {
		t.Errorf("faults %s", got)
	}
	if strings.Contains(w.Body.String(), canary) {
		t.Error("LK-02: the answer holds the error's own text")
	}
}

// LK-02: what an error wraps stays inside.
func TestErrorsTellNoInternals(t *testing.T) {
	b := newBench(t)
	b.store.Fail(errors.New("dial tcp 10.0.0.1:8200: " + canary))
	for _, c := range []call{
		{method: "GET", path: one}, {method: "GET", path: "/api/v1/credentials"}, {method: "GET", path: "/api/v1/providers"},
		{method: "PUT", path: one, body: `{"fields":{"token":"good"}}`}, {method: "DELETE", path: one},
	} {
		w := b.do(c)
		wantProblem(t, w, 500, fault.Internal)
		if strings.Contains(w.Body.String(), canary) || strings.Contains(w.Body.String(), "10.0.0.1") {
			t.Errorf("LK-02 %s %s: %s", c.method, c.path, w.Body)
		}
	}
	b.store.Fail(fault.New(fault.VaultUnreachable, "", errors.New(canary)))
	wantProblem(t, b.do(call{method: "GET", path: one}), 503, fault.VaultUnreachable)
}

func TestProviders(t *testing.T) {
	b := newBench(t)
	b.store.Add("acme/production/api/main", "bearer", "token", "t")
	b.store.Add("acme/staging/api/main", "bearer", "token", "t")
	b.store.Add("other/production/api/main", "bearer", "token", "t")
	for query, want := range map[string]float64{"": 3, "?workspace=acme": 2, "?workspace=nobody": 0} {
		m := object(t, b.do(call{method: "GET", path: "/api/v1/providers" + query}))
		items := m["items"].([]any)
		first := items[0].(map[string]any)
		if len(items) != 5 || first["name"] != "api" || first["credentials"] != want || first["verify"] != "GET /me" {
			t.Errorf("providers%s: %d items, first %v, want %v credentials", query, len(items), first, want)
		}
	}
}

var at = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
