package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

// tokens are the proxy error types of RFC 9209 section 2.3.
var tokens = strings.Fields(`dns_timeout dns_error destination_not_found destination_unavailable destination_ip_prohibited
	destination_ip_unroutable connection_refused connection_terminated connection_timeout connection_read_timeout
	connection_write_timeout connection_limit_reached tls_protocol_error tls_certificate_error tls_alert_received
	http_request_error http_request_denied http_response_incomplete http_response_header_section_size
	http_response_header_size http_response_body_size http_response_trailer_section_size http_response_trailer_size
	http_response_transfer_coding http_response_content_coding http_response_timeout http_upgrade_failed http_protocol_error
	proxy_internal_response proxy_internal_error proxy_configuration_error proxy_loop_detected`)

func TestEveryCodeHasADiagnosis(t *testing.T) {
	codes := declared(t)
	if len(codes) != len(table) {
		t.Errorf("%d codes are declared, the table has %d", len(codes), len(table))
	}
	for _, c := range codes {
		d := Diagnose(c)
		if d.Code != c || !Known(c) {
			t.Errorf("%s has no diagnosis", c)
			continue
		}
		for what, text := range map[string]string{"title": d.Title + ".", "cause": d.Cause, "remedy": strings.Join(d.Remedy, "\n")} {
			for line := range strings.SplitSeq(text, "\n") {
				if line == "" || strings.TrimSpace(line) != line || line[0] < 'A' || line[0] > 'Z' {
					t.Errorf("%s: %s %q is not a sentence", c, what, line)
				}
			}
		}
		if !slices.Contains([]Actor{User, VendorAdmin, Operator, Nobody}, d.Actor) {
			t.Errorf("%s: actor %q", c, d.Actor)
		}
		if d.Token != "" && !slices.Contains(tokens, d.Token) {
			t.Errorf("%s: %q is no proxy error type of RFC 9209", c, d.Token)
		}
		if d.Status != 0 && (d.Status < 400 || d.Status > 599) {
			t.Errorf("%s: status %d", c, d.Status)
		}
	}
}

// declared reads the constants of codes.go.
func declared(t *testing.T) (codes []Code) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok {
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, Code(s))
		}
		return true
	})
	return codes
}

func TestWrite(t *testing.T) {
	for _, c := range Codes() {
		f := New(c, "", nil).On("acme/production/github/main", "github")
		f.RetryAfter = 1500 * time.Millisecond
		w := httptest.NewRecorder()
		f.Write(w, "id")
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if p.Code != c || p.Status != w.Code || p.Type != "urn:sallyport:fault:"+string(c) || p.Detail == "" || p.RequestID != "id" ||
			p.Credential != "acme/production/github/main" || p.Provider != "github" {
			t.Errorf("%s: problem %+v with status %d", c, p, w.Code)
		}
		if h := w.Header(); h.Get("Content-Type") != ContentType || h.Get("Retry-After") != "2" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: header %v", c, h)
		}
		if _, err := httpsfv.UnmarshalList(w.Header()["Proxy-Status"]); err != nil {
			t.Errorf("%s: Proxy-Status %q is not a structured field: %v", c, w.Header().Get("Proxy-Status"), err)
		}
	}
	if _, err := httpsfv.UnmarshalList([]string{ReceivedStatus(401, CredentialsRejected)}); err != nil {
		t.Errorf("ReceivedStatus: %v", err)
	}
}

func TestFrom(t *testing.T) {
	inner := New(NoRoute, "", nil)
	for _, tc := range []struct {
		err  error
		want Code
	}{
		{fmt.Errorf("provider x: %w", inner), NoRoute},
		{fmt.Errorf("x: %w", DNSFailure), DNSFailure},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), Timeout},
		{errors.New("anything"), Internal},
	} {
		if got := From(tc.err); got.Code != tc.want || !errors.Is(got, tc.want) {
			t.Errorf("From(%v) is %s, want %s", tc.err, got.Code, tc.want)
		}
	}
	if d := Diagnose("no_such_code"); d.Code != Internal {
		t.Errorf("an unknown code is diagnosed as %s", d.Code)
	}
}

// What went wrong inside is for the log; the problem does not tell it.
func TestProblemHidesTheChain(t *testing.T) {
	f := New(ConnectionRefused, "", errors.New("dial tcp 10.0.0.7:5432: refused"))
	if body := string(f.Body("id")); strings.Contains(body, "10.0.0.7") {
		t.Errorf("the problem tells the chain: %s", body)
	}
	if !strings.Contains(f.Error(), "10.0.0.7") {
		t.Errorf("the log does not tell the chain: %s", f.Error())
	}
}
