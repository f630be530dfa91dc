package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// What a check of a credential sends to each built-in provider: its token
// request, if it has one, and the verify request with the credential in its
// place. A person reads the diff of -update.
func TestCatalogueChecks(t *testing.T) {
	var b strings.Builder
	for _, p := range builtin(t) {
		for _, typ := range append([]string{p.Type}, p.Types...) {
			kind, _ := auth.Lookup(typ)
			if kind.Name == auth.DatabaseType || p.Name == "ftp" { // a login, which is no HTTP
				continue
			}
			fmt.Fprintf(&b, "%s %s\n", p.Name, typ)
			wire := checkedOn(t, p, kind)
			for _, r := range wire.seen {
				b.WriteString(r)
			}
			if len(wire.seen) == 0 {
				b.WriteString("  nothing\n")
			}
		}
	}
	path := filepath.Join("testdata", "catalogue-checks.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("%s is not what checks send: %s; run this test with -update and read the difference", path, firstDifference(got, string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d is %q", i+1, g[i])
		}
	}
	return "it is shorter"
}

// checkedOn checks a record of that kind, on a wire that ends here.
func checkedOn(t *testing.T, p *provider.Provider, kind auth.Kind) *wire {
	t.Helper()
	c := recordFor(t, p, kind)
	for _, name := range provider.TemplateFields(p.Verify.Path + p.Verify.Body) {
		if c.Field(name).Empty() {
			t.Errorf("%s: the command line does not ask for %s", p.Name, name)
		}
	}
	if strings.HasPrefix(kind.Name, "oauth2_") {
		c.Set("access_token", secret.New("xaccess-token"))
		c.Set("expires_at", secret.New(time.Now().Add(time.Hour).Format(time.RFC3339)))
	}
	w := &wire{t: t, verify: p.Verify, record: c}
	if kind.Verify.Path != "" {
		w.verify = kind.Verify
	}
	if p.Name == "microsoft" && kind.Name == auth.ClientCredentialsType { // /me is somebody's, and the token is the app's own
		w.verify.Path = "/organization"
	}
	client := &http.Client{Transport: w, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r := checker.New(checker.Options{Client: func(*provider.Provider) *http.Client { return client }}).Check(t.Context(), p, c)
	want := checker.Error
	if !c.Field("refresh_token").Empty() { // the grant may live
		want = checker.Warning
	}
	if p.Verify.Path != "" && (w.verified != 1 || r.Status != want) {
		t.Errorf("%s %s: %d verify requests; a 401 is %s: %+v", p.Name, kind.Name, w.verified, r.Status, r.Checks)
	}
	return w
}

// wire answers 401 to the verify request and gives a token for any other.
type wire struct {
	t        *testing.T
	verify   provider.Verify
	record   *credential.Credential
	seen     []string
	verified int
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if w.verified == 0 { // what it asks beyond that is each probe's own test
		w.seen = append(w.seen, w.show(req))
	}
	path, _, _ := strings.Cut(w.verify.Path, "?")
	plain, err := provider.Expand(path, w.record.Text)
	if err != nil {
		return nil, err
	}
	status, body := http.StatusCreated, `{"access_token":"xaccess-token","token":"xaccess-token","token_type":"bearer","expires_in":3600,"expires_at":"2999-01-01T00:00:00Z"}`
	if w.verify.Path != "" && strings.HasSuffix(req.URL.Path, plain) {
		w.verified++
		status, body = http.StatusUnauthorized, `{}`
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

// unsteady are the headers of which only the name is shown.
var unsteady = []string{"X-Amz-Date", "X-Amz-Content-Sha256", "Content-Length"}

// show writes a request down with {field} where a field of the record stands.
func (w *wire) show(req *http.Request) string {
	w.t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "  %s %s\n", req.Method, w.fields(strings.ReplaceAll(req.URL.String(), "%7E", "~")))
	var names []string
	for name := range req.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v := req.Header.Get(name)
		user, password, isBasic := req.BasicAuth()
		switch {
		case slices.Contains(unsteady, name), strings.HasPrefix(v, "AWS4-"):
			v, _, _ = strings.Cut(v, " ")
			if slices.Contains(unsteady, name) {
				v = "..."
			}
		case name == "Authorization" && isBasic:
			v = "Basic " + user + ":" + password
		case name == "Authorization" && strings.HasPrefix(v, "Bearer ey"):
			v = "Bearer JWT"
		}
		fmt.Fprintf(&b, "    %s: %s\n", name, w.fields(v))
	}
	if body := w.body(req); body != "" {
		fmt.Fprintf(&b, "    %s\n", w.fields(body))
	}
	return b.String()
}

func (w *wire) body(req *http.Request) string {
	if req.Body == nil {
		return ""
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	text := string(body)
	if before, assertion, ok := strings.Cut(text, "assertion=ey"); ok {
		_, after, _ := strings.Cut(assertion, "&")
		text = before + "assertion=JWT&" + after
	}
	if strings.HasPrefix(text, "{") && !json.Valid(body) {
		w.t.Errorf("a body begins like JSON and is none: %s", text)
	}
	return text
}

// fields puts {field} in the place of the record's values.
func (w *wire) fields(s string) string {
	s = strings.ReplaceAll(s, "xaccess-token", "{access_token}")
	for _, name := range w.record.Names() {
		if v := w.record.Text(name); strings.HasPrefix(v, "x") && len(v) > 2 {
			s = strings.ReplaceAll(s, v, "{"+name+"}")
		}
	}
	return s
}
