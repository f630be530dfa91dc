package admin_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// step is one exchange of the conversation below.
type step struct {
	ask  string // METHOD PATH
	body string
	want int
	set  func(*bench) // before it
	head []string
}

const (
	app     = "/api/v1/apps/api"
	connect = "/api/v1/connects/ID1"
	callers = "/api/v1/callers"
	good    = `{"fields":{"token":"good"}}`
	bad     = `{"fields":{"token":"bad"}}`
	extra   = `{"x":1}`
)

var (
	stale   = []string{"If-Match", `"99"`}
	created = []string{"If-None-Match", "*"}
	asked   = []string{"Authorization", "Bearer one"}
)

// away and back are what a store does between steps.
func away(b *bench) {
	b.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
	b.apps.Fail(fault.New(fault.VaultUnreachable, "", nil))
}

func back(b *bench) {
	b.store.Fail(nil)
	b.apps.Fail(nil)
}

func unknown(b *bench) { b.connects.err = fault.New(fault.NotFound, "", nil) }

func begun(b *bench) {
	b.connects.err = nil
	b.connects.answer = admin.Connect{ID: "ID1", State: "pending", Steps: []checker.Step{{Name: "token", Status: 200}}, Warnings: []string{}}
}

// callerOne is a caller that may use everything of acme/production, and needs a scope.
func callerOne(b *bench) {
	may := admin.Rights{
		Workspace: "acme", Environment: "production", MayUse: func(credential.Ref) bool { return true },
		Needs: map[string]provider.Needs{"api": {Scopes: []string{"read"}}},
	}
	b.daemon.tokens.callers = map[string]admin.Rights{"Bearer one": may, "one": may}
}

// conversation drives each operation to each answer that openapi.json has of it
// alone; what all have in common is asked for by TestEveryAnswerIsDescribed.
var conversation = []step{
	{ask: "GET /livez", want: 200},
	{ask: "GET /readyz", want: 200},
	{ask: "GET /readyz", want: 200, set: func(b *bench) { b.daemon.away = []string{"vault"} }},
	{ask: "GET /readyz", want: 503, set: func(b *bench) { b.daemon.notOK = true }},
	{ask: "GET /metrics", want: 200},
	{ask: "GET /metrics", want: 200, head: []string{"Accept", "application/openmetrics-text; version=1.0.0"}},
	{ask: "GET /ca.pem", want: 200},
	{ask: "GET /oauth/callback?state=s&code=c&iss=https%3A%2F%2Fauth.example.com", want: 200, set: begun},
	{ask: "GET /oauth/callback?state=s&error=access_denied&error_description=no", want: 400, set: unknown},

	{ask: "PUT " + one, body: good, want: 201, head: created},
	{ask: "PUT " + one + "?force=true", body: `{"type":"bearer","description":"x","fields":{"token":"good\n"}}`, want: 200, head: []string{"If-Match", "1"}},
	{ask: "PUT " + one, body: extra, want: 400},
	{ask: "PUT " + one, body: good, want: 409, head: created},
	{ask: "PUT " + one, body: bad, want: 422},
	{ask: "PATCH " + one, body: `{"description":null}`, want: 200, head: []string{"Content-Type", "application/merge-patch+json"}},
	{ask: "PATCH " + one + "?force=true", body: bad, want: 200},
	{ask: "PATCH " + one, body: extra, want: 400},
	{ask: "PATCH " + one, body: good, want: 409, head: stale},
	{ask: "PATCH " + one, body: bad, want: 422},
	{ask: "GET " + one, want: 200},
	{ask: "GET /api/v1/credentials/A/production/api/main", want: 400},
	{ask: "GET /api/v1/credentials?workspace=acme&environment=production&provider=api&limit=1", want: 200},
	{ask: "GET /api/v1/credentials?cursor=acme/production/api/main", want: 200},
	{ask: "GET /api/v1/credentials?next=acme/production/api/main", want: 200},
	{ask: "GET /api/v1/credentials?limit=0", want: 400},
	{ask: "POST " + one + "/check", want: 200},
	{ask: "POST " + one + "/check?caller=one", want: 200, set: callerOne},
	{ask: "POST " + one + "/check?caller=nobody", want: 400},
	{ask: "POST " + one + "/check", body: extra, want: 400},
	{ask: "GET /api/v1/credentials?caller=one", want: 200},
	{ask: "POST " + one + "/refresh", body: "{}", want: 200},
	{ask: "POST " + one + "/refresh", body: extra, want: 400},
	{ask: "GET /api/v1/report?workspace=acme&credential=acme/production/api/main&limit=1", want: 200},
	{ask: "GET /api/v1/report?credential=acme/production/api/main&history=true", want: 200},
	{ask: "GET /api/v1/report.csv?credential=acme/production/api/main&history=true", want: 200},
	{ask: "GET /api/v1/report?cursor=acme/production/api/main", want: 200},
	{ask: "GET /api/v1/report?next=acme/production/api/main", want: 200},
	{ask: "GET /api/v1/report?credential=,", want: 400},
	{ask: "GET /api/v1/report.csv?workspace=acme&credential=acme/production/api/main", want: 200},
	{ask: "GET /api/v1/report.csv?workspace=,", want: 400},
	{ask: "DELETE " + one, body: extra, want: 400},
	{ask: "DELETE " + one, want: 409, set: func(b *bench) { b.daemon.usedBy[ref] = []string{"orders"} }},
	{ask: "DELETE " + one + "?force=true&revoke=true", want: 204},
	{ask: "GET " + one, want: 404},
	{ask: "PATCH " + one, body: good, want: 404},
	{ask: "DELETE " + one, want: 404},
	{ask: "POST " + one + "/check", want: 404},
	{ask: "POST " + one + "/refresh", want: 404},

	{ask: "POST " + one + "/connect", want: 202, set: begun},
	{ask: "POST " + one + "/connect", body: `{"scopes":["a"],"client_id":"web","client_secret":"` + canary + `","flow":"device","test":true}`, want: 202},
	{ask: "POST " + one + "/connect", body: extra, want: 400},
	{ask: "GET " + connect, want: 200},
	{ask: "GET " + connect, want: 200, set: func(b *bench) {
		b.connects.answer.State, b.connects.answer.Fault = "failed", checker.NewFault(fault.New(fault.AccessDenied, "no", nil))
	}},
	{ask: "POST " + connect + "/callback", body: `{"url":"http://127.0.0.1/oauth/callback?state=s&code=c"}`, want: 200},
	{ask: "POST " + connect + "/callback", body: extra, want: 400},
	{ask: "DELETE " + connect, want: 204},
	{ask: "DELETE " + connect, body: extra, want: 400},
	{ask: "GET " + connect, want: 404, set: unknown},
	{ask: "POST " + connect + "/callback", body: `{"url":"x"}`, want: 404},
	{ask: "DELETE " + connect, want: 404},

	{ask: "GET /api/v1/providers?workspace=acme&environment=production&provider=api&limit=1", want: 200},
	{ask: "GET /api/v1/providers?cursor=api", want: 200},
	{ask: "GET /api/v1/providers?next=api", want: 200},
	{ask: "GET /api/v1/providers?cursor=nothing", want: 400},

	{ask: "GET " + app, want: 404},
	{ask: "DELETE " + app, want: 404},
	{ask: "PUT " + app, body: `{"client_id":"web","client_secret":"` + canary + `"}`, want: 201, head: created},
	{ask: "PUT " + app, body: `{"client_id":"web"}`, want: 200, head: []string{"If-Match", "1"}},
	{ask: "PUT " + app + "?workspace=acme", body: `{"client_id":"web"}`, want: 201},
	{ask: "PUT " + app, body: extra, want: 400},
	{ask: "PUT " + app, body: `{"client_id":"web"}`, want: 409, head: stale},
	{ask: "GET " + app + "?workspace=acme", want: 200},
	{ask: "GET " + app + "?workspace=..", want: 400},
	{ask: "GET /api/v1/apps?workspace=acme&limit=1", want: 200},
	{ask: "GET /api/v1/apps?cursor=api", want: 200},
	{ask: "GET /api/v1/apps?next=api", want: 200},
	{ask: "GET /api/v1/apps?limit=x", want: 400},
	{ask: "DELETE " + app, body: extra, want: 400},
	{ask: "DELETE " + app, want: 409, head: stale},
	{ask: "DELETE " + app + "?workspace=acme", want: 204},

	{ask: "POST " + callers, body: `{"name":"orders","workspace":"acme","environment":"staging"}`, want: 201},
	{ask: "POST " + callers, body: extra, want: 400},
	{ask: "GET " + callers + "?limit=1", want: 200},
	{ask: "GET " + callers + "?cursor=orders", want: 200},
	{ask: "GET " + callers + "?next=orders", want: 200},
	{ask: "GET " + callers + "?limit=x", want: 400},
	{ask: "DELETE " + callers + "/orders", want: 204},
	{ask: "DELETE " + callers + "/orders", body: extra, want: 400},
	{ask: "DELETE " + callers + "/nobody", want: 404},

	{ask: "GET /api/v1/decision?caller=orders&credential=main&method=GET&url=https%3A%2F%2Fapi.example.com%2F", want: 200},
	{ask: "GET /api/v1/decision", want: 400},
	{ask: "GET /api/v1/requests?next=9", want: 200},
	{ask: "GET /api/v1/requests?credential=acme/production/api/main&caller=orders&failed=true&limit=1&cursor=9", want: 200, set: func(b *bench) {
		b.daemon.passed = []admin.Request{{Seq: 1, ID: "A", Time: at, Caller: "orders", Credential: ref.String(), Outcome: "no_route", Code: fault.NoRoute, Failed: true}}
	}},
	{ask: "GET /api/v1/requests?failed=perhaps", want: 400},
	{ask: "POST /api/v1/reload", want: 200},
	{ask: "POST /api/v1/reload", want: 400, set: func(b *bench) { b.daemon.reload = faulty{} }},
	{ask: "GET /api/v1/openapi.json", want: 200},
	{ask: "GET /api/v1/mine?limit=1", want: 200, head: asked, set: func(b *bench) {
		b.store.Add("acme/production/api/a", "bearer", "token", "good")
		b.store.Add("acme/production/api/b", "bearer", "token", "good")
	}},
	{ask: "GET /api/v1/mine?cursor=acme/production/api/a", want: 200, head: asked},
	{ask: "GET /api/v1/mine?next=acme/production/api/a", want: 200, head: asked},
	{ask: "GET /api/v1/mine?limit=x", want: 400, head: asked},

	{ask: "GET /api/v1/credentials", want: 503, set: away},
	{ask: "GET " + one, want: 503},
	{ask: "PUT " + one, body: good, want: 503},
	{ask: "PATCH " + one, body: good, want: 503},
	{ask: "DELETE " + one, want: 503},
	{ask: "POST " + one + "/check", want: 503},
	{ask: "POST " + one + "/refresh", want: 503},
	{ask: "POST " + one + "/connect", want: 503},
	{ask: "GET /api/v1/providers", want: 503},
	{ask: "GET /api/v1/apps", want: 503},
	{ask: "GET " + app, want: 503},
	{ask: "PUT " + app, body: `{"client_id":"web"}`, want: 503},
	{ask: "DELETE " + app, want: 503},
	{ask: "GET /api/v1/mine", want: 503, head: asked},
	{ask: "GET " + callers, want: 200, set: back},
}

// Every operation gives each answer and takes each query parameter that is
// described, and no other.
func TestEveryAnswerIsDescribed(t *testing.T) {
	b := newBench(t)
	begun(b)
	for _, s := range conversation {
		if s.set != nil {
			s.set(b)
		}
		method, path, _ := strings.Cut(s.ask, " ")
		if w := b.do(call{method, path, s.body, s.head}); w.Code != s.want {
			t.Errorf("%s %s: %d %s, want %d", s.ask, s.body, w.Code, w.Body, s.want)
		}
	}
	inCommon(b)
	d := described(t)
	var want []string
	d.operations(func(_, _ string, item *openapi3.PathItem, op *openapi3.Operation) {
		for status := range op.Responses.Map() {
			if status != "default" {
				want = append(want, op.OperationID+" "+status)
			}
		}
		for _, p := range slices.Concat(item.Parameters, op.Parameters) {
			if p.Value.In == "query" {
				want = append(want, op.OperationID+" ?"+p.Value.Name)
			}
		}
	})
	for _, s := range want {
		if !slices.Contains(b.seen, s) {
			t.Errorf("openapi.json has %q, and no exchange here has shown it", s)
		}
	}
	for _, s := range slices.Compact(slices.Sorted(slices.Values(b.seen))) {
		if !slices.Contains(want, s) {
			t.Errorf("%q is not in openapi.json", s)
		}
	}
}

// inCommon asks every operation without a token, under a foreign Host and for a
// foreign page.
func inCommon(b *bench) {
	d := described(b.t)
	fill := strings.NewReplacer("{workspace}", "acme", "{environment}", "production", "{provider}", "api", "{name}", "main", "{id}", "ID1")
	d.operations(func(method, path string, _ *openapi3.PathItem, op *openapi3.Operation) {
		for want, head := range map[int][]string{
			http.StatusUnauthorized:       {"Authorization", ""},
			http.StatusForbidden:          {"Origin", "https://evil.example"},
			http.StatusMisdirectedRequest: {"Host", "evil.example"},
		} {
			if open := op.Security != nil && len(*op.Security) == 0; open && want == http.StatusUnauthorized {
				continue
			}
			if w := b.do(call{method: method, path: fill.Replace(path), header: head}); w.Code != want {
				b.t.Errorf("%s %s with %s: %d, want %d", method, path, head, w.Code, want)
			}
		}
	})
}

// What is not described is found: in an answer, in a request that was taken, in a status.
func TestDescriptionIsStrict(t *testing.T) {
	d := described(t)
	header := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"x"}}
	for name, tc := range map[string]struct {
		body, header, answer string
		status               int
	}{
		"a member of the answer":  {`{"name":"a"}`, "Bearer x", `{"name":"a","token":"t","more":1}`, 201},
		"a missing member":        {`{"name":"a"}`, "Bearer x", `{"name":"a"}`, 201},
		"a member of the request": {`{"name":"a","more":1}`, "Bearer x", `{"name":"a","token":"t"}`, 201},
		"a status":                {`{"name":"a"}`, "Bearer x", `{"name":"a","token":"t"}`, 202},
		"no token":                {`{"name":"a"}`, "", `{"name":"a","token":"t"}`, 201},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/api/v1/callers", strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {tc.header}}
		if _, err := d.hold(req, tc.status, header, []byte(tc.answer)); err == nil {
			t.Errorf("%s is not found", name)
		}
	}
}

// The lists of words in the description are those of the code.
func TestDescribedWords(t *testing.T) {
	words := func(dir, typ string) []string {
		return constants(t, filepath.Join("..", dir), func(s *ast.ValueSpec) bool { return fmt.Sprint(s.Type) == typ })
	}
	var codes []string
	for _, c := range fault.Codes() {
		codes = append(codes, string(c))
	}
	statuses := words("checker", "Status")
	without := func(left ...string) []string {
		return slices.DeleteFunc(slices.Clone(statuses), func(s string) bool { return slices.Contains(left, s) })
	}
	for name, want := range map[string][]string{
		"FaultCode":        codes,
		"Actor":            words(filepath.Join("internal", "fault"), "Actor"),
		"CredentialStatus": without("unverifiable"),
		"ReportStatus":     without("unverifiable", "reauthorization_required"),
		"CheckStatus":      without("unknown", "reauthorization_required"),
		"CheckName":        {checker.Authorization, checker.Scopes, checker.Permissions, checker.Projects, checker.Expiry},
	} {
		var got []string
		for _, v := range described(t).Components.Schemas[name].Value.Enum {
			got = append(got, fmt.Sprint(v))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, and the code %v", name, got, want)
		}
	}
}

// The steps of a check are described by their names.
func TestDescribedSteps(t *testing.T) {
	told := described(t).Components.Schemas["Step"].Value.Properties["name"].Value.Description
	names := constants(t, filepath.Join("..", "checker"), func(s *ast.ValueSpec) bool { return strings.HasPrefix(s.Names[0].Name, "step") })
	if len(names) < 8 {
		t.Fatalf("steps %v, want all of them", names)
	}
	for _, name := range names {
		if !slices.Contains(strings.FieldsFunc(told, func(c rune) bool { return !unicode.IsLetter(c) }), name) {
			t.Errorf("the description of a step's name lacks %s: %s", name, told)
		}
	}
}

// constants gives the values of the string constants of a package that are asked for.
func constants(t *testing.T, dir string, asked func(*ast.ValueSpec) bool) (values []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !asked(spec) {
				return true
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == gotoken.STRING {
				s, _ := strconv.Unquote(lit.Value)
				values = append(values, s)
			}
			return true
		})
	}
	return values
}
