package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// signer is a key in PEM, and what an authorization server knows of it (RFC 7517).
func signer(t *testing.T) (private, set string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:]))
}

// Assertions that a key signs, and clients that prove themselves by it, are taken
// by a certified server; its tokens carry a runner's requests.
func TestSignedGrants(t *testing.T) {
	t.Parallel()
	private, set := signer(t)
	ca := testserver.NewCA(t)
	_, cert := ca.Leaf(t, "127.0.0.1")
	as := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: 3 * time.Second, Cert: cert, Key: cert, ClientKeys: set})
	api := newResource(t, ca, as)
	subject := filepath.Join(t.TempDir(), "subject")
	d := testserver.Sallyport(t, open+`
[[provider]]
name = "api"
hosts = ["`+api.Addr+`"]
base_url = "https://`+api.Addr+`"
type = "oauth2_client_credentials"
types = ["oauth2_jwt_bearer", "oauth2_token_exchange"]
ca_file = "`+ca.File+`"
[provider.oauth2]
token_url = "`+as.TokenURL+`"
client_auth = "private_key_jwt"
scopes = ["api:read"]
[provider.verify]
path = "/me"
`)
	d.Put(t, "default/production/api/client", "oauth2_client_credentials", map[string]string{"client_id": "signed", "private_key": private, "key_id": "k1"})
	d.Put(t, "default/production/api/assertion", "oauth2_jwt_bearer", map[string]string{
		"client_id": "signed", "issuer": "robot@example.test", "subject": "alice", "key_id": "k1", "private_key": strings.ReplaceAll(private, "\n", `\n`),
	})
	api.mu.Lock()
	token := api.last
	api.mu.Unlock()
	if err := os.WriteFile(subject, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Put(t, "default/production/api/exchange", "oauth2_token_exchange", map[string]string{
		"client_id": "signed", "key_id": "k1", "private_key": private, "subject_token_file": subject,
	})
	api.take()
	client := d.Client(t)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for _, name := range []string{"client", "assertion"} {
			if status := askAs(t, client, "https://"+api.Addr+"/things", name); status != http.StatusOK {
				t.Fatalf("%s: status %d; %s", name, status, d.Log())
			}
		}
	}
	grants := as.Grants(t, api.client)
	if n := grants["urn:ietf:params:oauth:grant-type:jwt-bearer:ok"]; n < 2 || n > 8 {
		t.Errorf("grants %v; want a few: tokens of three seconds for five", grants)
	}
	for _, part := range []string{strings.Split(private, "\n")[1], token} {
		if strings.Contains(d.Log(), part) {
			t.Error("the log shows a secret")
		}
	}
}

// askAs makes a request with the credential of that name.
func askAs(t *testing.T, client *http.Client, url, name string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sallyport-Credential", name)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// A login that the configuration describes gives the token; when the API ends the
// session the login is repeated within the request.
func TestLoginDescribedByData(t *testing.T) {
	const password = canary + `-p"a\s&s`
	var session atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/login", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ User, Password string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.User != "robot" || in.Password != password || r.Header.Get("X-Version") != "2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, `{"data":{"sessions":[{"id":"s-%d"}]}}`, session.Add(1))
	})
	mux.HandleFunc("GET /v1/things", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Session") != fmt.Sprintf("s-%d", session.Load()) || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	ca := testserver.NewCA(t)
	leaf, _ := ca.Leaf(t, "localhost")
	s := httptest.NewUnstartedServer(mux)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{leaf}}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	base := "https://localhost:" + port
	d := testserver.Sallyport(t, open+`
[[provider]]
name = "crm"
hosts = ["localhost:`+port+`"]
base_url = "`+base+`/v1"
type = "two_step"
ca_file = "`+ca.File+`"
[provider.headers]
X-Version = "2"
[[provider.place]]
in = "header"
name = "X-Session"
value = "{access_token}"
[provider.login]
path = "/login"
body = '{"user":"{username}","password":"{password}"}'
token = "data.sessions[0].id"
expires_in = "1h"
`)
	d.Put(t, "default/production/crm/main", "two_step", map[string]string{"username": "robot", "password": password})
	client := d.Client(t)
	for _, what := range []string{"the first", "the second"} {
		if status := askAs(t, client, base+"/v1/things", "main"); status != http.StatusOK {
			t.Errorf("%s request: status %d; %s", what, status, d.Log())
		}
	}
	before := session.Load()
	session.Add(1) // every session that was given has ended
	if status := askAs(t, client, base+"/v1/things", "main"); status != http.StatusOK || session.Load() != before+2 {
		t.Errorf("after the session's end: status %d, %d logins", status, session.Load()-before-1)
	}
	if strings.Contains(d.Log(), canary) {
		t.Error("the log shows the password")
	}
}
