package checker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

const minted = "m1nted-t0ken"

// issuer is a token endpoint and an API in one. token answers /token.
func issuer(t *testing.T, token http.HandlerFunc) (*provider.Provider, *atomic.Int32) {
	t.Helper()
	var mints atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/token":
			mints.Add(1)
			token(w, r)
		case r.Header.Get("Authorization") != "Bearer "+minted:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			fmt.Fprintf(w, `{"username":"robot","token":%q}`, minted)
		}
	}))
	t.Cleanup(s.Close)
	p := api(s.URL)
	p.OAuth2.TokenURL = s.URL + "/token"
	return p, &mints
}

func grants(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, minted)
}

func TestMintedTokens(t *testing.T) {
	cred := record("oauth2_client_credentials", "client_id", "id-1", "client_secret", canary, "scope", "read")
	for _, how := range []string{"basic", "body"} {
		p, mints := issuer(t, grants)
		p.OAuth2.ClientAuth = how
		r := newChecker(transport(t)).Check(t.Context(), p, cred)
		if r.Status != checker.OK || len(r.Steps) != 2 || r.Steps[0].Name != "token" || r.Steps[1].Name != "verify" || mints.Load() != 1 {
			t.Fatalf("%s: %s, steps %+v, want a token and a verify request", how, r.Status, r.Steps)
		}
		if body := r.Steps[0].RequestBody; !strings.Contains(body, "grant_type=client_credentials") || !strings.Contains(body, "scope=read") {
			t.Errorf("%s: the token request's body is %q", how, body)
		}
		if r.ExpiresAt == nil || time.Until(*r.ExpiresAt) < 50*time.Minute || r.Account == nil || r.Account.Login != "robot" {
			t.Errorf("%s: expires %v, account %v", how, r.ExpiresAt, r.Account)
		}
		wantNoSecret(t, r, "c4n4ry", minted)
	}
}

func wantNoSecret(t *testing.T, r *checker.Report, secrets ...string) {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if strings.Contains(string(b), s) {
			t.Errorf("LK-06: the report holds a secret: %s", b)
		}
	}
}

// Without a verify request the token itself is the proof, and it is asked for anew.
func TestMintingIsTheCheck(t *testing.T) {
	p, mints := issuer(t, grants)
	p.Verify = provider.Verify{}
	held := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	cred := record("oauth2_client_credentials", "client_id", "id-1", "client_secret", canary, "access_token", "held", "expires_at", held)
	r := newChecker(transport(t)).Check(t.Context(), p, cred)
	if r.Status != checker.OK || len(r.Steps) != 1 || mints.Load() != 1 {
		t.Errorf("report %+v after %d requests, want ok after one", r, mints.Load())
	}
}

func TestTokenEndpointSaysNo(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		status checker.Status
		code   fault.Code
	}{
		{"invalid_client", refusal(401, `{"error":"invalid_client"}`), checker.Error, fault.InvalidClient},
		{"invalid_request", refusal(400, `{"error":"invalid_request"}`), checker.Error, fault.InvalidClient},
		{"unauthorized_client", refusal(400, `{"error":"unauthorized_client"}`), checker.Error, fault.InvalidClient},
		{"unsupported_grant_type", refusal(400, `{"error":"unsupported_grant_type"}`), checker.Error, fault.InvalidClient},
		{"invalid_grant", refusal(400, `{"error":"invalid_grant"}`), checker.Error, fault.InvalidGrant},
		{"invalid_scope", refusal(400, `{"error":"invalid_scope"}`), checker.Error, fault.InvalidScope},
		{"200 with an error, GitHub", refusal(200, `{"error":"incorrect_client_credentials","error_description":"The client_id and/or client_secret passed are incorrect."}`), checker.Error, fault.InvalidClient},
		{"200 with an error, Slack", refusal(200, `{"ok":false,"error":"bad_client_secret"}`), checker.Error, fault.InvalidClient},
		{"503", refusal(503, `<html>away</html>`), checker.Unknown, fault.TokenEndpointUnreachable},
		{"500 with an error", refusal(500, `{"error":"invalid_client"}`), checker.Unknown, fault.TokenEndpointUnreachable},
		{"a page", refusal(200, `<html>welcome</html>`), checker.Unknown, fault.TokenEndpointUnreachable},
		{"nobody answers", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, checker.Unknown, fault.TokenEndpointUnreachable},
		{"429", refusal(429, `{}`), checker.Unknown, fault.TokenEndpointUnreachable},
		{"RE-08: without end", func(w http.ResponseWriter, _ *http.Request) {
			for chunk := make([]byte, 64<<10); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, checker.Unknown, ""},
		{"our secret sent back", func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":"%s %s %s"}`, canary, r.Header.Get("Authorization"), r.Form)
		}, checker.Error, fault.InvalidClient},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := issuer(t, c.answer)
			r := newChecker(transport(t)).Check(t.Context(), p, record("oauth2_client_credentials", "client_id", "id-1", "client_secret", canary))
			if r.Status != c.status || r.Fault == nil || c.code != "" && r.Fault.Code != c.code {
				t.Errorf("status %s, fault %+v, want %s, %s", r.Status, r.Fault, c.status, c.code)
			}
			if actor := tokenActors[c.code]; c.code != "" && (r.Fault.Actor != actor || actor == "") {
				t.Errorf("%s is to act, want %q", r.Fault.Actor, actor)
			}
			if len(r.Steps) == 0 || r.Steps[0].RequestHeaders["Authorization"] != secret.Redacted {
				t.Errorf("steps %+v", r.Steps)
			}
			wantNoSecret(t, r, "c4n4ry")
		})
	}
}

// tokenActors are who must act: of a client that is refused nobody's consent helps.
var tokenActors = map[fault.Code]fault.Actor{
	fault.InvalidClient: fault.Operator, fault.InvalidGrant: fault.User, fault.InvalidScope: fault.User, fault.TokenEndpointUnreachable: fault.Nobody,
}

func refusal(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func transport(t *testing.T) *http.Transport {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// A refresh token is never spent to find out; what there is besides it is tried.
func TestRefreshTokensAreNotSpent(t *testing.T) {
	later, ago := time.Now().Add(time.Hour).UTC().Format(time.RFC3339), time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	base := []string{"client_id", "id-1", "client_secret", canary, "refresh_token", "rt-" + canary}
	for _, tc := range []struct {
		name   string
		fields []string
		verify string
		status checker.Status
		line   checker.Status
		steps  int
		code   fault.Code
	}{
		{"no access token", nil, "/user", checker.Warning, checker.Unverifiable, 0, ""},
		{"one that has ended", []string{"access_token", minted, "expires_at", ago}, "/user", checker.Warning, checker.Unverifiable, 0, ""},
		{"one that lives", []string{"access_token", minted, "expires_at", later}, "/user", checker.OK, checker.OK, 1, ""},
		{"one that lives, and nothing to send but the question what its server offers", []string{"access_token", minted, "expires_at", later}, "", checker.Warning, checker.Unverifiable, 2, ""},
		{"one that is refused", []string{"access_token", "other-token", "expires_at", later}, "/user", checker.Warning, checker.Unverifiable, 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, mints := issuer(t, grants)
			p.Verify.Path = tc.verify
			r := newChecker(transport(t)).Check(t.Context(), p, record("oauth2_authorization_code", append(tc.fields, base...)...))
			if r.Status != tc.status || r.Checks[0].Status != tc.line || len(r.Steps) != tc.steps || mints.Load() != 0 {
				t.Errorf("status %s, authorization %+v, %d steps, %d token requests", r.Status, r.Checks[0], len(r.Steps), mints.Load())
			}
			if (r.Fault == nil) != (tc.code == "") || r.Fault != nil && r.Fault.Code != tc.code {
				t.Errorf("fault %+v, want %s", r.Fault, tc.code)
			}
			if tc.line == checker.Unverifiable && !strings.Contains(r.Checks[0].Detail, "not spent") && tc.verify != "" {
				t.Errorf("the detail is %q", r.Checks[0].Detail)
			}
			wantNoSecret(t, r, "c4n4ry", minted)
		})
	}
}

// A grant that its server has ended is told without asking again.
func TestDeadGrant(t *testing.T) {
	p, mints := issuer(t, refusal(400, `{"error":"invalid_grant"}`))
	p.Refresh.Rotates = true
	store := &credtest.Store{}
	c := store.Add("acme/production/api/main", "oauth2_refresh_token", "refresh_token", "rt-"+canary, "client_id", "id-1", "client_secret", canary)
	keeper := auth.NewKeeper(auth.KeeperOptions{Store: store})
	if _, err := keeper.Obtain(t.Context(), auth.Demand{Provider: p, Client: client(transport(t)), Record: c}); !errors.Is(err, fault.ReauthorizationRequired) {
		t.Fatalf("Obtain: %v", err)
	}
	c, err := store.Get(t.Context(), c.Ref)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	h := checker.NewHistory(reg)
	r := newChecker(transport(t)).Check(t.Context(), p, c)
	h.Put(r)
	if r.Status != checker.Error || r.Fault == nil || r.Fault.Code != fault.ReauthorizationRequired || mints.Load() != 1 || checker.Standing(nil, time.Time{}, r) != checker.Reauthorize {
		t.Errorf("report %+v, fault %+v after %d token requests", r, r.Fault, mints.Load())
	}
	want := `# HELP sallyport_credential_status 1 for the credential's status, by its use and its last check, 0 for the others.
# TYPE sallyport_credential_status gauge
sallyport_credential_status{credential="acme/production/api/main",status="error"} 0
sallyport_credential_status{credential="acme/production/api/main",status="ok"} 0
sallyport_credential_status{credential="acme/production/api/main",status="reauthorization_required"} 1
sallyport_credential_status{credential="acme/production/api/main",status="unknown"} 0
sallyport_credential_status{credential="acme/production/api/main",status="warning"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "sallyport_credential_status"); err != nil {
		t.Error(err)
	}
	wantNoSecret(t, r, "c4n4ry")
}

// What the use of a credential has shown is told beside the reports.
func TestUses(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	h := checker.NewHistory(reg)
	h.Put(&checker.Report{Credential: "a/b/c/checked", Status: checker.OK})
	end := time.Unix(1900000000, 0)
	h.Watch(func() map[string]checker.Use {
		return map[string]checker.Use{
			"a/b/c/checked": {Fault: fault.New(fault.InvalidClient, "", nil)},
			"a/b/c/dead":    {Fault: fault.New(fault.ReauthorizationRequired, "", nil)},
			"a/b/c/ends":    {Ends: end},
			"a/b/c/away":    {Fault: fault.New(fault.TokenEndpointUnreachable, "", nil)},
			"a/b/c/good":    {},
		}
	})
	mfs, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, mf := range mfs {
		for _, m := range mf.GetMetric() {
			name := mf.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if m.GetGauge().GetValue() != 0 {
				got[name] = m.GetGauge().GetValue()
			}
		}
	}
	want := map[string]float64{
		"sallyport_credential_status a/b/c/checked error":                 1,
		"sallyport_credential_status a/b/c/dead reauthorization_required": 1,
		"sallyport_credential_expiry_timestamp_seconds a/b/c/ends":        1900000000,
	}
	if !maps.Equal(got, want) {
		t.Errorf("the metrics tell %v, want %v", got, want)
	}
}
