package e2e

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// resource is an API that asks the authorization server about every token it is shown.
type resource struct {
	Addr   string
	as     *testserver.OIDC
	client *http.Client

	mu     sync.Mutex
	last   string // token
	bodies []string
	status []int
	known  map[string]bool // tokens that it asks about no more, and whether it takes them; nil: it asks each time
}

func newResource(t *testing.T, ca *testserver.CA, as *testserver.OIDC) *resource {
	t.Helper()
	r := &resource{as: as, client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}}
	leaf, _ := ca.Leaf(t, "localhost")
	s := httptest.NewUnstartedServer(r)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	r.Addr = "localhost:" + port
	return r
}

// ServeHTTP implements http.Handler.
func (r *resource) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	status := http.StatusOK
	if !r.accepts(token) {
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.bodies, r.status = token, append(r.bodies, string(body)), append(r.status, status)
	w.WriteHeader(status)
}

// accepts asks whether the token is active, unless that is known.
func (r *resource) accepts(token string) bool {
	r.mu.Lock()
	takes, known := r.known[token]
	r.mu.Unlock()
	if known || !r.active(token) {
		return takes
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known != nil {
		r.known[token] = true
	}
	return true
}

// active asks the authorization server (RFC 7662).
func (r *resource) active(token string) bool {
	var answer struct{ Active bool }
	resp, err := r.post("/token/introspection", "rs", "s3cr3t-rs", token)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(&answer) == nil && answer.Active
}

func (r *resource) post(path, id, secret, token string) (*http.Response, error) {
	form := url.Values{"token": {token}}.Encode()
	req, err := http.NewRequest(http.MethodPost, r.as.Issuer+path, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.client.Do(req)
}

// revoke ends the token that was shown last (RFC 7009).
func (r *resource) revoke(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	token := r.last
	r.mu.Unlock()
	resp, err := r.post("/token/revocation", "m2m", "s3cr3t-m2m", token)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || r.active(token) {
		t.Fatalf("the token was not revoked: status %d", resp.StatusCode)
	}
}

func (r *resource) take() (bodies []string, status []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bodies, status = r.bodies, r.status
	r.bodies, r.status = nil, nil
	return bodies, status
}

// A certified OpenID provider as the token endpoint: tokens of a short life are
// renewed in time, and one that ended early is replaced within the request. The
// provider counts lives from whole seconds, so that a token's ends up to one
// second early; the daemon's margin of a fifth is more than that here.
func TestOIDC(t *testing.T) {
	t.Parallel()
	ca := testserver.NewCA(t)
	_, pem := ca.Leaf(t, "127.0.0.1")
	as := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: 10 * time.Second, Cert: pem, Key: pem})
	api := newResource(t, ca, as)
	d := testserver.Sallyport(t, open+`
[[provider]]
name = "api"
hosts = ["`+api.Addr+`"]
base_url = "https://`+api.Addr+`"
type = "oauth2_client_credentials"
ca_file = "`+ca.File+`"
[provider.oauth2]
token_url = "`+as.TokenURL+`"
`)
	d.Put(t, "default/production/api/default", "oauth2_client_credentials",
		map[string]string{"client_id": "m2m", "client_secret": "s3cr3t-m2m", "scope": "api:read"})
	client := d.Client(t)
	grants := func() int { return as.Grants(t, api.client)["client_credentials:ok"] }
	post := func(body string) int {
		t.Helper()
		resp, err := client.Post("https://"+api.Addr+"/things", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}

	before := grants()
	for start := time.Now(); time.Since(start) < 12*time.Second; time.Sleep(200 * time.Millisecond) {
		if status := post("{}"); status != http.StatusOK {
			t.Fatalf("status %d after %v", status, time.Since(start))
		}
	}
	if _, status := api.take(); slices.Contains(status, http.StatusUnauthorized) {
		t.Error("a token was used past its life of 10 s")
	}
	if n := grants() - before; n < 1 || n > 4 {
		t.Errorf("%d tokens were fetched in 12 s with a life of 10 s, want 1 to 4", n)
	}

	api.revoke(t)
	if status := post(`{"amount":12}`); status != http.StatusOK {
		t.Errorf("status %d after the token was revoked, want 200 from the second try", status)
	}
	bodies, status := api.take()
	if len(status) != 2 || status[0] != http.StatusUnauthorized || status[1] != http.StatusOK {
		t.Errorf("the tries ended with %v, want 401 and 200", status)
	}
	for _, body := range bodies {
		if body != `{"amount":12}` {
			t.Errorf("a try had the body %q", body)
		}
	}
	if strings.Contains(d.Log(), "s3cr3t-m2m") || strings.Contains(d.Log(), api.last) {
		t.Error("LK-01: the log contains a secret")
	}
}

// Many runners at once share one fetch of a token.
func TestOneTokenForMany(t *testing.T) {
	t.Parallel()
	ca := testserver.NewCA(t)
	_, pem := ca.Leaf(t, "127.0.0.1")
	as := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Minute, Cert: pem, Key: pem})
	api := newResource(t, ca, as)
	d := testserver.Sallyport(t, open+`
[[provider]]
name = "api"
hosts = ["`+api.Addr+`"]
base_url = "https://`+api.Addr+`"
type = "oauth2_client_credentials"
ca_file = "`+ca.File+`"
[provider.oauth2]
token_url = "`+as.TokenURL+`"
`)
	d.Put(t, "default/production/api/default", "oauth2_client_credentials",
		map[string]string{"client_id": "odd:id", "client_secret": "p@ss/w+rd %", "scope": "api:read"})
	client := d.Client(t)
	before := as.Grants(t, api.client)["client_credentials:ok"]
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := client.Get("https://" + api.Addr + "/x")
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	wg.Wait()
	if n := as.Grants(t, api.client)["client_credentials:ok"] - before; n > 1 {
		t.Errorf("OA-06: %d tokens were fetched for 20 requests at once, want 1 at most", n)
	}
}
