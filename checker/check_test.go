package checker_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

const canary = "c4n4ry-S3cr3t/+&<>"

// record makes a credential of provider api.
func record(typ string, fields ...string) *credential.Credential {
	c := &credential.Credential{Ref: credential.Ref{Workspace: "acme", Environment: "production", Provider: "api", Name: "main"}, Type: typ}
	for i := 0; i < len(fields); i += 2 {
		c.Set(fields[i], secret.New(fields[i+1]))
	}
	return c
}

func client(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func newChecker(rt http.RoundTripper) *checker.Checker {
	return checker.New(checker.Options{Client: func(*provider.Provider) *http.Client { return client(rt) }})
}

// api is a provider at base whose verify request is GET /user.
func api(base string) *provider.Provider {
	return &provider.Provider{
		Name: "api", BaseURL: base, AllowCleartext: true,
		Verify: provider.Verify{Method: http.MethodGet, Path: "/user"},
	}
}

// answering is a round tripper that gives one answer to everything.
type answering struct {
	status int
	header http.Header
	body   io.Reader
	err    error
}

func (a answering) RoundTrip(req *http.Request) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	h := a.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(a.body), Request: req}, nil
}

func answer(status int, contentType, body string, fields ...string) answering {
	h := http.Header{}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	for i := 0; i < len(fields); i += 2 {
		h.Set(fields[i], fields[i+1])
	}
	return answering{status: status, header: h, body: strings.NewReader(body)}
}

type endless struct{ n int }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	e.n += len(b)
	return len(b), nil
}

func TestWhatAnswersMean(t *testing.T) {
	slack := []provider.Signal{
		{Status: 200, Body: `"error":"invalid_auth"`, Means: provider.Invalid},
		{Status: 200, Body: `"error":"missing_scope"`, Means: provider.Scope},
		{Status: 403, Body: "ip allow list", Means: provider.Policy},
		{Status: 403, Body: "daily limit", Means: provider.Quota},
		{Status: 404, Body: "not shared", Means: provider.NotShared},
		{Status: 403, Body: "not active", Means: provider.Inactive},
		{Status: 403, Body: "does not have the required permissions", Means: provider.Permission},
	}
	const asJSON = "application/json"
	for _, c := range []struct {
		name    string
		answer  answering
		overall checker.Status
		line    checker.Status
		code    fault.Code
	}{
		{"200", answer(200, asJSON, `{}`), checker.OK, checker.OK, ""},
		{"204", answer(204, "", ""), checker.OK, checker.OK, ""},
		{"401", answer(401, asJSON, `{"message":"Bad credentials"}`), checker.Error, checker.Error, fault.CredentialsRejected},
		{"Slack 200 ok:false", answer(200, asJSON, `{"ok": false, "error": "invalid_auth"}`), checker.Error, checker.Error, fault.CredentialsRejected},
		{"Slack scope", answer(200, asJSON, `{"ok":false,"error":"missing_scope"}`), checker.Warning, checker.OK, fault.InsufficientScope},
		{"Slack, an error we do not know", answer(200, asJSON, `{"ok":false,"error":"org_login_required"}`), checker.Warning, checker.Unverifiable, ""},
		{"Stripe 403: the key is valid", answer(403, asJSON, `{"error":{"message":"does not have the required permissions"}}`), checker.Warning, checker.OK, fault.InsufficientPermission},
		{"403 for a reason that nobody knows", answer(403, asJSON, `{"message":"Forbidden"}`), checker.Warning, checker.Unverifiable, fault.InsufficientPermission},
		{"scope on 401", answer(401, asJSON, `{"code":401,"message":"Unauthorized; scope does not match"}`), checker.Warning, checker.OK, fault.InsufficientScope},
		{"policy", answer(403, asJSON, `{"message":"ip allow list"}`), checker.Error, checker.Error, fault.OrganizationPolicy},
		{"a quota condemns no key", answer(403, asJSON, `{"message":"daily limit"}`), checker.Unknown, checker.Unverifiable, fault.QuotaExceeded},
		{"not shared with the account", answer(404, asJSON, `{"message":"not shared"}`), checker.Warning, checker.Warning, fault.ResourceNotShared},
		{"the account is not active", answer(403, asJSON, `{"message":"not active"}`), checker.Error, checker.Error, fault.AccountInactive},
		{"429", answer(429, asJSON, `{}`), checker.Unknown, checker.Unverifiable, fault.UpstreamRateLimited},
		{"throttled 403 condemns no key", answer(403, asJSON, `{}`, "X-RateLimit-Remaining", "0"), checker.Unknown, checker.Unverifiable, fault.UpstreamRateLimited},
		{"503", answer(503, "text/plain", "away"), checker.Unknown, checker.Unverifiable, ""},
		{"a login page", answer(200, "text/html; charset=utf-8", "<form>"), checker.Warning, checker.Unverifiable, ""},
		{"a redirect", answer(302, "", "", "Location", "https://elsewhere.example/login"), checker.Warning, checker.Unverifiable, ""},
		{"a firewall's page", answer(403, "text/html", "<h1>no</h1>"), checker.Warning, checker.Unverifiable, ""},
		{"404", answer(404, asJSON, `{}`), checker.Error, checker.Error, fault.WrongSurface},
		{"402", answer(402, asJSON, `{}`), checker.Warning, checker.Warning, fault.AccountUnpaid},
		{"407", answer(407, "", ""), checker.Warning, checker.Unverifiable, fault.UpstreamInvalid},
		{"RE-08: an answer without end", answering{status: 200, body: &endless{}}, checker.Warning, checker.Unverifiable, ""},
		{"RE-08: an answer of a gigabyte", answer(200, asJSON, `{"login":`, "Content-Length", "1073741824"), checker.Warning, checker.Unverifiable, ""},
		{"broken JSON", answer(200, asJSON, `{"login":`), checker.Warning, checker.Unverifiable, ""},
		{"an answer cut off", answering{status: 200, body: io.MultiReader(strings.NewReader("{"), broken{})}, checker.Unknown, checker.Unverifiable, fault.ConnectionReset},
		{"nobody there", answering{err: fault.New(fault.ConnectionRefused, "", nil)}, checker.Unknown, checker.Unverifiable, fault.ConnectionRefused},
		{"no such name", answering{err: fault.New(fault.DNSFailure, "", nil)}, checker.Unknown, checker.Unverifiable, fault.DNSFailure},
		{"another certificate", answering{err: fault.New(fault.TLSCertificate, "", nil)}, checker.Unknown, checker.Unverifiable, fault.TLSCertificate},
		{"private address", answering{err: fault.New(fault.PrivateAddress, "", nil)}, checker.Unknown, checker.Unverifiable, fault.PrivateAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := api("https://api.example.com")
			p.Signals = slack
			r := newChecker(c.answer).Check(t.Context(), p, record("bearer", "token", canary))
			if r.Status != c.overall || r.Checks[0].Status != c.line || r.Checks[0].Name != checker.Authorization {
				t.Errorf("status %s, checks %+v; want %s and %s", r.Status, r.Checks, c.overall, c.line)
			}
			if c.code == "" && r.Fault != nil || c.code != "" && (r.Fault == nil || r.Fault.Code != c.code || r.Fault.Cause == "" || len(r.Fault.Remedy) == 0 || r.Fault.Actor == "") {
				t.Errorf("fault %+v, want %q with cause, remedy and actor", r.Fault, c.code)
			}
			if r.Checks[0].Detail == "" {
				t.Error("the check says nothing")
			}
			if b, _ := json.Marshal(r); len(b) > 64<<10 {
				t.Errorf("the report has %d bytes", len(b))
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// RE-08: of an answer of any length only the first MiB is read.
func TestReadsLittle(t *testing.T) {
	body := &endless{}
	newChecker(answering{status: 200, body: body}).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", "t"))
	if body.n > 1<<20 {
		t.Errorf("RE-08: read %d bytes", body.n)
	}
}

// RE-08: a check ends after 10 s, whatever the provider does.
func TestTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := newChecker(hanging{}).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", "t"))
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("RE-08: the check took %s, want 10s", took)
		}
		if r.Status != checker.Unknown || r.Fault == nil || r.Fault.Code != fault.Timeout || r.TookMS != 10000 {
			t.Errorf("report %+v fault %+v, want unknown and timeout", r, r.Fault)
		}
	})
}

type hanging struct{}

func (hanging) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// echo answers with everything it was asked, in several spellings.
func echo(t *testing.T, seen *http.Request) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*seen = *r.Clone(context.Background())
		w.Header().Set("Set-Cookie", "session=server-"+canary)
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Header, r.URL, canary, url.QueryEscape(canary), base64.StdEncoding.EncodeToString([]byte(canary)))
		_ = json.NewEncoder(w).Encode(canary)
	}))
	t.Cleanup(s.Close)
	return s
}

// LK-02, LK-06: whatever a provider sends back, no report holds our secret.
func TestRedaction(t *testing.T) {
	var seen http.Request
	s := echo(t, &seen)
	for name, c := range map[string]struct {
		cred  *credential.Credential
		place provider.Place
	}{
		"bearer": {cred: record("bearer", "token", canary)},
		"basic":  {cred: record("basic", "username", "ann", "password", canary)},
		"query":  {record("api_key", "api_key", canary), provider.Place{In: provider.InQuery, Name: "key", Value: "{api_key}"}},
		"cookie": {record("api_key", "api_key", "c4n4ry-S3cr3t"), provider.Place{In: provider.InCookie, Name: "key", Value: "{api_key}"}},
		"header": {record("api_key", "api_key", canary), provider.Place{In: provider.InHeader, Name: "X-Key", Value: "Token {api_key}"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := api(s.URL)
			if c.place.In != "" {
				p.Places = []provider.Place{c.place}
			}
			r := newChecker(s.Client().Transport).Check(t.Context(), p, c.cred)
			if r.Status != checker.Error || len(r.Steps) != 1 || r.Steps[0].ResponseExcerpt == "" {
				t.Fatalf("report %+v, want an error with one step and its excerpt", r)
			}
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := checker.WriteTable(&text, []*checker.Report{r}, true); err != nil {
				t.Fatal(err)
			}
			if err := checker.WriteCSV(&text, []*checker.Report{r}); err != nil {
				t.Fatal(err)
			}
			text.Write(b)
			for _, leak := range []string{"c4n4ry", "S3cr3t", base64.StdEncoding.EncodeToString([]byte("ann:" + canary)), "server-"} {
				if strings.Contains(text.String(), leak) {
					t.Errorf("LK-06: the report holds %q:\n%s", leak, text.String())
				}
			}
		})
	}
	if seen.Header.Get("User-Agent") == "" {
		t.Error("no User-Agent was sent")
	}
}

func TestSteps(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"login":"octocat","type":"User","padding":"`+strings.Repeat("é", 4096)+`"}`)
	}))
	defer s.Close()
	p := api(s.URL + "/v1")
	p.Headers = []provider.Header{{Name: "X-Version", Value: "2"}}
	p.Verify.Path = "/user?fields=id"
	r := newChecker(s.Client().Transport).Check(t.Context(), p, record("bearer", "token", canary))
	if len(r.Steps) != 1 {
		t.Fatalf("steps %+v, want one", r.Steps)
	}
	st := r.Steps[0]
	if st.Name != "verify" || st.Method != http.MethodGet || st.URL != s.URL+"/v1/user?fields=id" || st.Status != 200 {
		t.Errorf("step %+v", st)
	}
	if st.RequestHeaders["Authorization"] != secret.Redacted || st.RequestHeaders["X-Version"] != "2" {
		t.Errorf("request headers %v", st.RequestHeaders)
	}
	if n := len(st.ResponseExcerpt); n > 2048 || n < 2040 || strings.ContainsRune(st.ResponseExcerpt, '\uFFFD') {
		t.Errorf("excerpt of %d bytes, want 2 KiB of whole characters", n)
	}
	if r.Account == nil || r.Account.Login != "octocat" || r.Account.Kind != "User" {
		t.Errorf("account %+v, want octocat, User", r.Account)
	}
	if r.Credential != "acme/production/api/main" || r.Provider != "api" || r.Type != "bearer" || r.CheckedAt.IsZero() {
		t.Errorf("report %+v", r)
	}
}

// A secret that the end of the peek or of the excerpt cuts in two leaves no half.
func TestCutSecrets(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 64)
	for _, before := range []int{2040, 2000, 65536 - 500} {
		body := strings.Repeat(" ", before) + long
		r := newChecker(answer(401, "text/plain", body)).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", long))
		if x := r.Steps[0].ResponseExcerpt; strings.Contains(x, "0123") {
			t.Errorf("%d bytes before the secret: the excerpt holds a part of it", before)
		}
	}
	all := strings.Repeat(long, 65536/len(long)+1)[100:] // shrinks to little, ends within a secret
	r := newChecker(answer(401, "text/plain", long[100:]+all)).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", long))
	if x := r.Steps[0].ResponseExcerpt; strings.HasSuffix(x, "0") || strings.Count(x, "0123456789abcdef") > 2*64 {
		t.Errorf("the excerpt ends within a secret: …%s", x[max(0, len(x)-40):])
	}
}

func TestWithoutVerifyRequest(t *testing.T) {
	p := api("https://api.example.com")
	p.Verify = provider.Verify{}
	r := newChecker(answering{err: fault.New(fault.Internal, "must not be asked", nil)}).Check(t.Context(), p, record("bearer", "token", "t"))
	if r.Status != checker.Warning || r.Checks[0].Status != checker.Unverifiable || len(r.Steps) != 0 {
		t.Errorf("report %+v, want unverifiable and nothing sent", r)
	}
}

func TestRecordsThatCannotBeTried(t *testing.T) {
	for _, c := range []struct {
		name string
		cred *credential.Credential
		p    func(*provider.Provider)
		code fault.Code
	}{
		{"no field", record("bearer"), nil, fault.FieldMissing},
		{"no such type", record("carrier_pigeon"), nil, fault.FieldMissing},
		{"cleartext", record("bearer", "token", "t"), func(p *provider.Provider) { p.BaseURL, p.AllowCleartext = "http://api.example.com", false }, fault.CleartextRefused},
		{"a url in cleartext", record("api_key_url", "api_key", "k", "url", "http://api.example.com"), func(p *provider.Provider) { p.AllowCleartext = false }, fault.CleartextRefused},
		{"an unfilled host", record("bearer", "token", "t"), func(p *provider.Provider) { p.BaseURL = "https://{shop}.example.com" }, fault.FieldMissing},
		{"an unfilled verify path", record("bearer", "token", "t"), func(p *provider.Provider) { p.Verify.Path = "/orgs/{org}" }, fault.FieldMissing},
		{"a secret in the verify path", record("bearer", "token", "t"), func(p *provider.Provider) { p.Verify.Path = "/{token}/me" }, fault.FieldMissing},
		{"a secret in the host", record("bearer", "token", "t"), func(p *provider.Provider) { p.BaseURL = "https://{token}.example.com" }, fault.FieldMissing},
		{"a field that is a path", record("bearer", "token", "t", "shop", "evil.com/"), func(p *provider.Provider) { p.BaseURL = "https://{shop}.example.com" }, fault.FieldMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := api("https://api.example.com")
			if c.p != nil {
				c.p(p)
			}
			sent := answering{err: fault.New(fault.Internal, "must not be asked", nil)}
			r := newChecker(sent).Check(t.Context(), p, c.cred)
			if r.Status != checker.Error || r.Fault == nil || r.Fault.Code != c.code || len(r.Steps) != 0 {
				t.Errorf("status %s fault %+v steps %d, want error, %s and nothing sent", r.Status, r.Fault, len(r.Steps), c.code)
			}
		})
	}
}

func TestUpstreamOfTheCredential(t *testing.T) {
	var path string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		_, _ = w.Write([]byte("{}"))
	}))
	defer s.Close()
	r := newChecker(s.Client().Transport).Check(t.Context(), api("https://api.example.com"), record("api_key_url", "api_key", "k", "url", s.URL+"/base/"))
	if r.Status != checker.OK || path != "/base/user" {
		t.Errorf("status %s, path %q; want ok at /base/user", r.Status, path)
	}
}

func TestFieldInTheVerifyPath(t *testing.T) {
	var uri string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uri = r.RequestURI
		_, _ = w.Write([]byte("{}"))
	}))
	defer s.Close()
	p := api(s.URL)
	p.Verify.Path = "/orgs/{org}/me?limit=1"
	r := newChecker(s.Client().Transport).Check(t.Context(), p, record("bearer", "token", canary, "org", "acme-1"))
	if r.Status != checker.OK || uri != "/orgs/acme-1/me?limit=1" || r.Steps[0].URL != s.URL+uri {
		t.Errorf("status %s, asked %q, told %q", r.Status, uri, r.Steps[0].URL)
	}
}

func TestPlaceInTheBody(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = string(b)
		_, _ = w.Write([]byte("{}"))
	}))
	defer s.Close()
	p := api(s.URL)
	p.Places = []provider.Place{{In: provider.InBody, Name: "key", Value: "{api_key}"}}
	cred := record("api_key", "api_key", "k1")
	if r := newChecker(s.Client().Transport).Check(t.Context(), p, cred); r.Checks[0].Status != checker.Unverifiable {
		t.Errorf("GET: %+v, want unverifiable", r.Checks)
	}
	p.Verify.Method = http.MethodPost
	if r := newChecker(s.Client().Transport).Check(t.Context(), p, cred); r.Status != checker.OK || got != `{"key":"k1"}` {
		t.Errorf("POST: %s, body %s", r.Status, got)
	}
}

func TestDuration(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := checker.New(checker.Options{Client: func(*provider.Provider) *http.Client { return client(answer(200, "", "")) }, Registerer: reg})
	c.Check(t.Context(), api("https://api.example.com"), record("bearer", "token", "t"))
	if n, err := testutil.GatherAndCount(reg, "sallyport_check_duration_seconds"); n != 1 || err != nil {
		t.Errorf("check_duration_seconds has %d series, %v", n, err)
	}
}
