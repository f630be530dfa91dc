package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/sallyport/sallyport/internal/fault"
)

// description is openapi.json as the tests of this package hold every exchange to it.
type description struct {
	*openapi3.T
	routers.Router
}

var describe = sync.OnceValues(func() (*description, error) {
	for _, kind := range []string{"application/openmetrics-text", "application/x-pem-file", "text/html"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.PlainBodyDecoder)
	}
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background(), openapi3.EnableSchemaFormatValidation(), openapi3.EnableExamplesValidation()); err != nil {
		return nil, err
	}
	doc.Servers = nil // the tests' servers have names of their own
	router, err := legacy.NewRouter(doc)
	return &description{doc, router}, err
})

func described(t testing.TB) *description {
	t.Helper()
	d, err := describe()
	if err != nil {
		t.Fatal("openapi.json: ", err)
	}
	return d
}

// hold compares an exchange with the description: the answer always, the
// request where it was taken. It gives what of the description took part.
func (d *description) hold(req *http.Request, status int, header http.Header, body []byte) (seen []string, err error) {
	if req.Method == http.MethodHead {
		return nil, nil // GET's, without its body
	}
	route, params, err := d.FindRoute(req)
	if err != nil {
		return nil, d.problem(status, body)
	}
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: carries, IncludeResponseStatus: true, RejectWhenRequestBodyNotSpecified: true, SkipSettingDefaults: true,
		},
	}
	if header.Get("Content-Type") != fault.ContentType {
		if err := openapi3filter.ValidateRequest(req.Context(), in); err != nil {
			return nil, fmt.Errorf("a request that was taken: %w", err)
		}
		for name := range req.URL.Query() {
			seen = append(seen, route.Operation.OperationID+" ?"+name)
		}
	}
	out := (&openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: status, Header: header, Options: in.Options}).SetBodyBytes(body)
	answers := route.Operation.Responses
	if documented := answers.Status(status); documented != nil && len(documented.Value.Content) == 0 && len(body) > 0 {
		return nil, fmt.Errorf("%d has a body, which is not described", status)
	}
	return append(seen, fmt.Sprint(route.Operation.OperationID, " ", status)), openapi3filter.ValidateResponse(req.Context(), out)
}

// problem holds what is no operation's answer to the form of all errors.
func (d *description) problem(status int, body []byte) error {
	var v any
	if err := json.Unmarshal(body, &v); err != nil || status < http.StatusBadRequest {
		return fmt.Errorf("%d for what is not described: %s", status, body)
	}
	return d.Components.Schemas["Problem"].Value.VisitJSON(v)
}

// carries reports whether the request has the scheme's kind of Authorization.
func carries(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	scheme, _, _ := strings.Cut(in.RequestValidationInput.Request.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, in.SecurityScheme.Scheme) {
		return in.NewError(fmt.Errorf("Authorization is %q", scheme))
	}
	return nil
}

// held is an exchange of b, and holds it to the description.
func (b *bench) held(req *http.Request, w *httptest.ResponseRecorder, body string) {
	b.t.Helper()
	req.Body = io.NopCloser(strings.NewReader(body)) // the handler has read the first
	if body == "" {
		req.Body = nil
	}
	seen, err := described(b.t).hold(req, w.Code, w.Header(), bytes.Clone(w.Body.Bytes()))
	if err != nil {
		b.t.Errorf("%s %s is not as openapi.json says: %v", req.Method, req.URL.RequestURI(), err)
	}
	b.seen = append(b.seen, seen...)
}

// operations calls f for each operation of the description.
func (d *description) operations(f func(method, path string, item *openapi3.PathItem, op *openapi3.Operation)) {
	for path, item := range d.Paths.Map() {
		for method, op := range item.Operations() {
			f(method, path, item, op)
		}
	}
}

// The description has the routes that there are, each with its methods, and says
// which of them are open.
func TestDescriptionHasTheRoutes(t *testing.T) {
	d := described(t)
	var got, want []string
	d.operations(func(method, path string, _ *openapi3.PathItem, op *openapi3.Operation) {
		requires := d.Security
		if op.Security != nil {
			requires = *op.Security
		}
		admin := slices.ContainsFunc(requires, func(r openapi3.SecurityRequirement) bool { return r["adminToken"] != nil })
		got = append(got, fmt.Sprint(method, " ", path, " ", !admin))
	})
	for _, r := range newBench(t).Resources() {
		for _, method := range r.Methods {
			want = append(want, fmt.Sprint(method, " ", r.Pattern, " ", r.Open))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("openapi.json has\n%s\nand the routes are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDescriptionIsServed(t *testing.T) {
	b := newBench(t)
	want, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	w := b.do(call{method: "GET", path: "/api/v1/openapi.json"})
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || !bytes.Equal(w.Body.Bytes(), want) {
		t.Errorf("GET: %d, %s, %d bytes", w.Code, w.Header().Get("Content-Type"), w.Body.Len())
	}
	wantProblem(t, b.do(call{method: "GET", path: "/api/v1/openapi.json", header: []string{"Authorization", ""}}), 401, fault.Unauthorized)
}

// Objects of ours take and show no member that is not described.
func TestDescribedObjectsAreClosed(t *testing.T) {
	for name, s := range described(t).Components.Schemas {
		closed := s.Value.AdditionalProperties.Has != nil && !*s.Value.AdditionalProperties.Has
		if s.Value.Type.Is("object") && !closed {
			t.Errorf("schema %s lacks additionalProperties: false", name)
		}
	}
}
