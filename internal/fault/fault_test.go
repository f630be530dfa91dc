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
	"regexp"
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
		sentences(t, string(c), append([]string{d.Cause}, d.Remedy...)...)
		if d.Title == "" || strings.TrimSpace(d.Title) != d.Title || strings.HasSuffix(d.Title, ".") {
			t.Errorf("%s: %q is not a title", c, d.Title)
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

// told are the codes that are told outside, by the parts of docs/faults.md's
// tables: a flow, a script or a dashboard may rely on each.
var told = strings.Fields(`
	proxy_auth_required no_route not_allowed private_address misdirected no_credential ambiguous_credential credential_not_found
	cleartext_refused invalid_request method_not_allowed uri_too_long header_too_large loop_detected overloaded rate_limited

	field_missing token_expired reauthorization_required invalid_client invalid_grant invalid_scope token_endpoint_unreachable
	redirect_uri_mismatch access_denied authorization_incomplete store_conflict in_use check_failed vault_unreachable vault_sealed
	vault_denied

	credentials_rejected credential_misplaced insufficient_scope insufficient_permission sso_required app_not_verified quota_exceeded
	organization_policy upstream_rate_limited account_inactive account_unpaid wrong_surface api_disabled resource_not_shared
	expires_soon

	connection_refused dns_failure timeout tls_certificate connection_reset upstream_invalid

	unauthorized not_found origin_refused internal`)

// No code is missing, none is there that nobody outside knows of.
func TestCodesAreThoseThatAreTold(t *testing.T) {
	want := make([]Code, 0, len(told))
	for _, c := range told {
		want = append(want, Code(c))
	}
	slices.Sort(want)
	if got := Codes(); !slices.Equal(got, want) {
		t.Errorf("the codes are %v, want %v", got, want)
	}
}

// Every kind has a cause and a remedy of its own, and the fault that has it tells
// those.
func TestKinds(t *testing.T) {
	for _, c := range Codes() {
		plain, seen := New(c, "", nil), map[Kind]bool{}
		for _, v := range Diagnose(c).Kinds {
			d := plain.Of(v.Kind).Diagnosis()
			if v.Kind == "" || seen[v.Kind] || d.Cause != v.Cause || !slices.Equal(d.Remedy, v.Remedy) || d.Cause == plain.Diagnosis().Cause {
				t.Errorf("%s: kind %q has no diagnosis of its own: %+v", c, v.Kind, d)
			}
			if d.Code != c || d.Status != plain.Diagnosis().Status || d.Actor == "" {
				t.Errorf("%s: kind %q changes what is its code's: %+v", c, v.Kind, d)
			}
			sentences(t, string(c)+" "+string(v.Kind), append([]string{v.Cause}, v.Remedy...)...)
			seen[v.Kind] = true
		}
		if got := plain.Of("no_such_kind").Diagnosis().Cause; got != plain.Diagnosis().Cause {
			t.Errorf("%s: an unknown kind tells %q", c, got)
		}
	}
}

// acts are words that tell somebody to do something, or that there is nothing to do.
var acts = regexp.MustCompile(`^(If|Else|For a|A |Of a|In |Its owner must|The daemon goes on|Store|Set|Send|Make|Check|Add|Ask|Open|Share|Call|Compare|Copy|Enable|Finish|Give|Have|Let|Log in|Look|Mend|Move|Name|Read|Run|Settle|Start|Store|Switch|Try|Unseal|Use|Verify|Wait|Widen|Authorize|Connect|Correct|Invite|Or have|Raise|Register|Spread)`)

// sentences checks that texts are sentences that say something.
func sentences(t *testing.T, what string, texts ...string) {
	t.Helper()
	if len(texts) < 2 {
		t.Errorf("%s: a cause and a remedy are wanted: %q", what, texts)
	}
	for i, s := range texts {
		if len(s) < 10 || strings.TrimSpace(s) != s || s[0] < 'A' || s[0] > 'Z' || s[len(s)-1] != '.' {
			t.Errorf("%s: %q is not a sentence", what, s)
		}
		if i > 0 && !acts.MatchString(s) {
			t.Errorf("%s: the remedy %q names nothing to do", what, s)
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
