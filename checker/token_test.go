package checker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/checker"
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
		{"invalid_scope", refusal(400, `{"error":"invalid_scope"}`), checker.Error, fault.InvalidScope},
		{"503", refusal(503, `<html>away</html>`), checker.Unknown, fault.TokenEndpointUnreachable},
		{"429", refusal(429, `{}`), checker.Unknown, ""},
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
			if len(r.Steps) == 0 || r.Steps[0].RequestHeaders["Authorization"] != secret.Redacted {
				t.Errorf("steps %+v", r.Steps)
			}
			wantNoSecret(t, r, "c4n4ry")
		})
	}
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
