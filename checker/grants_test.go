package checker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func privateKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Types without a refresh token are verified by asking for a token; neither it
// nor what it was asked for by is shown, whatever the server sends back.
func TestGrantsAreVerifiedByMinting(t *testing.T) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	app, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("f1le-t0ken"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		cred *credential.Credential
		path string
	}{
		{record("oauth2_jwt_bearer", "private_key", privateKey(t, signer), "issuer", "i", "subject", "s"), "/token"},
		{record("oauth2_token_exchange", "subject_token", canary), "/token"},
		{record("oauth2_token_exchange", "subject_token_file", file), "/token"},
		{record("github_app", "app_id", "7", "installation_id", "42", "private_key", privateKey(t, app)), "/app/installations/42/access_tokens"},
		{record("two_step", "username", "robot", "password", canary), "/login"},
	} {
		for _, how := range []struct {
			status   int
			encoding string
		}{{200, ""}, {401, ""}, {401, "json"}} {
			t.Run(fmt.Sprint(tc.cred.Type, how), func(t *testing.T) {
				status := how.status
				e := &echoing{status: status}
				s := httptest.NewServer(e)
				t.Cleanup(s.Close)
				p := api(s.URL)
				p.Verify = provider.Verify{}
				p.OAuth2 = provider.OAuth2{TokenURL: s.URL + "/token", ClientAuth: "none", Encoding: how.encoding}
				p.Login = provider.Login{Path: "/login", Body: `{"user":"{username}","password":"{password}"}`, Token: "token"}
				r := newChecker(transport(t)).Check(t.Context(), p, tc.cred)
				if len(r.Steps) != 1 || r.Steps[0].Name != "token" || !strings.HasSuffix(r.Steps[0].URL, tc.path) {
					t.Fatalf("steps %+v, want one to %s", r.Steps, tc.path)
				}
				switch {
				case status == 200 && r.Status != checker.OK:
					t.Errorf("%s: %+v", r.Status, r.Fault)
				case status == 401 && (r.Status != checker.Error || r.Fault == nil || r.Fault.Code != fault.InvalidClient && r.Fault.Code != fault.InvalidGrant):
					t.Errorf("%s: %+v, want an error about the grant", r.Status, r.Fault)
				}
				secrets := append(strings.Split(strings.TrimSpace(tc.cred.Field("private_key").Reveal()), "\n")[1:], "c4n4ry", "f1le-t0ken", minted)
				wantNoSecret(t, r, append(secrets, e.proofs...)...)
			})
		}
	}
}

// echoing answers a token, or sends back what it was sent.
type echoing struct {
	status int

	mu     sync.Mutex
	proofs []string
}

func (e *echoing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	_ = r.ParseForm()
	object := map[string]string{}
	_ = json.Unmarshal(body, &object)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range []string{r.PostForm.Get("assertion"), r.PostForm.Get("subject_token"), object["assertion"], object["subject_token"], strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")} {
		if v != "" {
			e.proofs = append(e.proofs, v)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	if e.status == http.StatusOK {
		fmt.Fprintf(w, `{"access_token":%q,"token":%q,"expires_in":60}`, minted, minted)
		return
	}
	fmt.Fprintf(w, `{"error":"invalid_grant","error_description":%q}`, string(body)+r.Header.Get("Authorization")+strings.Join(e.proofs, " "))
}

// An installation is no user: GET /user, which proves GitHub's other types, would refuse it.
func TestInstallationIsVerified(t *testing.T) {
	app, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token":%q,"expires_at":"2099-01-01T00:00:00Z"}`, minted)
		case r.URL.String() == "/installation/repositories?per_page=1" && r.Header.Get("Authorization") == "Bearer "+minted:
			_, _ = io.WriteString(w, `{"total_count":1,"repositories":[{"id":1,"owner":{"login":"acme"}}]}`)
		default:
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"Resource not accessible by integration"}`)
		}
	}))
	t.Cleanup(s.Close)
	p := api(s.URL)
	r := newChecker(transport(t)).Check(t.Context(), p, record("github_app", "app_id", "7", "installation_id", "42", "private_key", privateKey(t, app)))
	if r.Status != checker.OK || len(r.Steps) != 2 || p.Verify.Path != "/user" {
		t.Errorf("%s, fault %+v, steps %+v", r.Status, r.Fault, r.Steps)
	}
	wantNoSecret(t, r, minted)
}
