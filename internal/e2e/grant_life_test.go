package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// lifeRef is the grant whose life these tests follow.
const lifeRef = "default/production/crm/default"

// lifeWorld is a daemon whose provider crm is the real authorization server, an API that asks it about tokens, and a
// stored grant that a person has given to the client web.
type lifeWorld struct {
	*testserver.Daemon
	as  *testserver.OIDC
	api *resource
}

// newLifeWorld runs the daemon with extra lines of configuration, and stores a fresh grant.
func newLifeWorld(t *testing.T, o testserver.OIDCOptions, extra string) *lifeWorld {
	t.Helper()
	ca := testserver.NewCA(t)
	w := &lifeWorld{as: testserver.StartOIDC(t, o)}
	w.api = newResource(t, ca, w.as)
	w.Daemon = testserver.Sallyport(t, open+extra+`
[[caller]]
name = "default"
[[caller]]
name = "narrow"
[[caller.allow]]
credentials = ["crm/other"]
[[provider]]
name = "crm"
hosts = ["`+w.api.Addr+`"]
base_url = "https://`+w.api.Addr+`"
type = "oauth2_authorization_code"
ca_file = "`+ca.File+`"
allow_networks = ["127.0.0.0/8", "::1/128"]
[provider.oauth2]
token_url = "`+w.as.TokenURL+`"
revocation_url = "`+w.as.Issuer+`/token/revocation"
[provider.verify]
path = "/me"
`)
	w.store(t)
	return w
}

// store puts a grant that was given just now, and gives its refresh token.
func (w *lifeWorld) store(t *testing.T) string {
	t.Helper()
	rt := w.consent(t)
	status, body := w.Call(t, http.MethodPut, "/api/v1/credentials/"+lifeRef, map[string]any{
		"fields": map[string]string{"client_id": "web", "client_secret": "s3cr3t-web", "refresh_token": rt},
	})
	if status/100 != 2 || !strings.Contains(body, `"name":"authorization","status":"unverifiable"`) {
		t.Fatalf("PUT: %d %s", status, body)
	}
	return rt
}

// consent gives a refresh token of the client web.
func (w *lifeWorld) consent(t *testing.T) string {
	t.Helper()
	const redirect = "http://127.0.0.1/cb"
	back, err := url.Parse(testserver.NewPerson(t, nil).Consent(w.as.Issuer + "/auth?" + url.Values{
		"client_id": {"web"}, "response_type": {"code"}, "redirect_uri": {redirect}, "scope": {"openid offline_access"}, "prompt": {"consent"},
	}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirect}}
	req, err := http.NewRequest(http.MethodPost, w.as.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("web", "s3cr3t-web")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var m map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	rt, _ := m["refresh_token"].(string)
	if rt == "" {
		t.Fatalf("the authorization server answered %v", m)
	}
	return rt
}

// request sends one through the proxy and gives its status, the code of our own fault, and the token that arrived.
func (w *lifeWorld) request(t *testing.T) (status int, code, token string) {
	t.Helper()
	resp, err := w.Client(t).Get("https://" + w.api.Addr + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var p struct{ Code string }
	_ = json.NewDecoder(resp.Body).Decode(&p) // an answer of the API has none
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	return resp.StatusCode, p.Code, w.api.last
}

func (w *lifeWorld) served(t *testing.T) string {
	t.Helper()
	status, code, token := w.request(t)
	if status != http.StatusOK {
		t.Fatalf("a request is answered %d %s; the log:\n%s", status, code, w.Log())
	}
	return token
}

// view is the credential as the admin API shows it.
func (w *lifeWorld) view(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if status, body := w.Call(t, http.MethodGet, "/api/v1/credentials/"+lifeRef, nil); status != http.StatusOK || json.Unmarshal([]byte(body), &m) != nil {
		t.Fatalf("GET: %d %s", status, body)
	}
	return m
}

func (w *lifeWorld) refreshes(t *testing.T) int { return w.as.Grants(t, plain)["refresh_token:ok"] }

// stores are where a grant may lie.
var stores = map[string]func(t *testing.T) string{
	"file": func(*testing.T) string { return "" },
	"vault": func(t *testing.T) string {
		v := testserver.StartVault(t, testserver.VaultOptions{})
		v.Policy(t, "sallyport", vaultPolicy)
		lines, _ := tokenFile(t, v.NewToken(t, map[string]any{"policies": []string{"sallyport"}, "ttl": "10m"}))
		return "[store]\nbackend = \"vault\"\n[vault]\naddress = \"" + v.Address + "\"\n[vault.auth]\n" + lines
	},
}

// A grant from the day it is stored to the day it is revoked, with the words that a person sees on the way.
func TestGrantLife(t *testing.T) {
	t.Parallel()
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			w := newLifeWorld(t, testserver.OIDCOptions{AccessTTL: time.Hour}, store(t))
			if n := w.refreshes(t); n != 0 {
				t.Errorf("%d refresh tokens were spent to verify", n)
			}
			first := w.served(t)
			if v := w.view(t); v["expires_at"] == nil || v["last_refresh_at"] == nil || v["next_refresh_at"] == nil || v["last_error"] != nil {
				t.Errorf("after the first request: %v", v)
			}
			w.renews(t, first)
			w.mine(t)
			w.dies(t)
			w.store(t)
			if v := w.view(t); v["status"] == "reauthorization_required" || v["last_error"] != nil {
				t.Errorf("after a new grant: %v", v)
			}
			w.served(t)
			w.ends(t)
			for _, secret := range []string{"s3cr3t-web", first} {
				if strings.Contains(w.Log(), secret) {
					t.Error("LK-01: the log contains a secret")
				}
			}
		})
	}
}

// renews gets new tokens on demand, young as the old ones are; the next request carries them.
func (w *lifeWorld) renews(t *testing.T, first string) {
	t.Helper()
	before := w.refreshes(t)
	status, body := w.Call(t, http.MethodPost, "/api/v1/credentials/"+lifeRef+"/refresh", nil)
	if status != http.StatusOK || !strings.Contains(body, `"name":"default"`) || strings.Contains(body, first) {
		t.Fatalf("refresh: %d %s", status, body)
	}
	second := w.served(t)
	if second == first {
		t.Error("the request after a refresh carries the old token")
	}
	if stdout, stderr, exit := w.Run(t, "credential", "refresh", "crm"); exit != 0 || !strings.HasPrefix(stdout, "refreshed "+lifeRef) {
		t.Fatalf("credential refresh: exit %d %s%s", exit, stdout, stderr)
	}
	if third := w.served(t); third == second || !w.api.active(third) {
		t.Error("the request after credential refresh carries the old token")
	}
	if n := w.refreshes(t) - before; n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
}

// mine is what a caller learns: its own credentials, by its own token only.
func (w *lifeWorld) mine(t *testing.T) {
	t.Helper()
	item := `{"workspace":"default","environment":"production","provider":"crm","name":"default","status":"`
	for _, c := range []struct {
		what string
		auth func(*http.Request)
		want int
		body string
	}{
		{"Bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+w.Token(t, "default")) }, 200, `{"items":[` + item},
		{"Basic", func(r *http.Request) { r.SetBasicAuth("default", w.Token(t, "default")) }, 200, `{"items":[` + item},
		{"a narrow caller", func(r *http.Request) { r.SetBasicAuth("narrow", w.Token(t, "narrow")) }, 200, `{"items":[],"next":""}`},
		{"another's token", func(r *http.Request) { r.SetBasicAuth("narrow", w.Token(t, "default")) }, 401, `"code":"unauthorized"`},
		{"none", func(*http.Request) {}, 401, `"code":"unauthorized"`},
		{"a wrong one", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, `"code":"unauthorized"`},
	} {
		req, err := http.NewRequest(http.MethodGet, "http://"+w.Admin+"/api/v1/mine", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.auth(req)
		rec := httptest.NewRecorder()
		resp, err := plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Write(rec)
		_ = resp.Body.Close()
		if resp.StatusCode != c.want || !strings.Contains(rec.Body.String(), c.body) || strings.Contains(rec.Body.String(), "client_id") {
			t.Errorf("mine with %s: %s", c.what, rec.Body)
		}
	}
}

// dies has the authorization server end the grant: one request finds out, everybody is told, nobody asks again.
func (w *lifeWorld) dies(t *testing.T) {
	t.Helper()
	w.api.mu.Lock()
	token := w.api.last
	w.api.mu.Unlock()
	resp, err := w.api.post("/token/revocation", "web", "s3cr3t-web", token) // and with it the whole grant
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if status, code, _ := w.request(t); status != http.StatusBadGateway || code != "reauthorization_required" {
		t.Fatalf("a request with a dead grant is answered %d %s; the log:\n%s", status, code, w.Log())
	}
	asked := w.as.Grants(t, plain)["refresh_token:invalid_grant"]
	if status, code, _ := w.request(t); status != http.StatusUnauthorized && code != "reauthorization_required" { // the API's own no, or ours
		t.Errorf("RT-13: the next request is answered %d %s", status, code)
	}
	v := w.view(t)
	f, _ := v["last_error"].(map[string]any)
	if v["status"] != "reauthorization_required" || f["code"] != "reauthorization_required" || v["next_refresh_at"] != nil {
		t.Errorf("the credential is shown as %v", v)
	}
	for status, want := range map[string]string{"reauthorization_required": "1", "error": "0", "ok": "0"} {
		if got := (&world{Daemon: w.Daemon}).metric(t, `sallyport_credential_status{credential="`+lifeRef+`",status="`+status+`"}`); got != want {
			t.Errorf("credential_status %s is %q, want %s", status, got, want)
		}
	}
	for _, c := range []struct {
		method, path string
		status       int
	}{{http.MethodPost, "/refresh", http.StatusBadGateway}, {http.MethodPost, "/check", http.StatusOK}} {
		if status, body := w.Call(t, c.method, "/api/v1/credentials/"+lifeRef+c.path, nil); status != c.status || !strings.Contains(body, `"reauthorization_required"`) {
			t.Errorf("%s: %d %s", c.path, status, body)
		}
	}
	if n := w.as.Grants(t, plain)["refresh_token:invalid_grant"]; n != asked || n != 1 {
		t.Errorf("RT-13: the dead refresh token was sent %d times", n)
	}
}

// ends revokes the grant with its credential: not while the server is away, unless it must be.
func (w *lifeWorld) ends(t *testing.T) {
	t.Helper()
	token := w.served(t)
	if _, stderr, exit := w.Run(t, "credential", "rm", "--revoke", "crm"); exit != 1 || !strings.Contains(stderr, "in_use") || !w.api.active(token) {
		t.Errorf("rm --revoke of a credential in use: exit %d %s", exit, stderr)
	}
	if _, stderr, exit := w.Run(t, "credential", "rm", "--revoke", "--force", "crm"); exit != 0 || strings.Contains(stderr, "warning") {
		t.Errorf("rm --revoke --force: exit %d %s", exit, stderr)
	}
	if w.api.active(token) {
		t.Error("the token lives after its credential was removed and revoked")
	}
	w.store(t)
	w.served(t)
	w.as.Stop()
	path := "/api/v1/credentials/" + lifeRef + "?revoke=true"
	if status, body := w.Call(t, http.MethodDelete, path+"&force=false", nil); status != http.StatusConflict {
		t.Errorf("in use: %d %s", status, body)
	}
	if status, body := w.Call(t, http.MethodDelete, path+"&force=true", nil); status != http.StatusNoContent {
		t.Errorf("DELETE with the server away, forced: %d %s", status, body)
	}
	told := func() bool { return strings.Contains(w.Log(), "its tokens are not revoked") }
	for end := time.Now().Add(patience); !told() && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
	}
	if !told() {
		t.Errorf("the log does not tell that the tokens are not revoked:\n%s", w.Log())
	}
}

// quit ends the daemon as an operator does.
func (w *lifeWorld) quit(t *testing.T) {
	t.Helper()
	w.Signal(t, syscall.SIGTERM)
	if code := w.Wait(t, 30*time.Second); code != 0 {
		t.Fatalf("the daemon ends with %d:\n%s", code, w.Log())
	}
}

// Without a daemon the command does the same by itself, with a journal of its own.
func TestGrantLifeWithoutADaemon(t *testing.T) {
	t.Parallel()
	w := newLifeWorld(t, testserver.OIDCOptions{AccessTTL: time.Hour}, "")
	first := w.served(t)
	w.quit(t)
	for range 2 {
		if stdout, stderr, exit := w.Run(t, "credential", "refresh", "crm"); exit != 0 || !strings.HasPrefix(stdout, "refreshed ") {
			t.Fatalf("credential refresh: exit %d %s%s", exit, stdout, stderr)
		}
	}
	w.Serve(t)
	if second := w.served(t); second == first {
		t.Error("the daemon serves the old token")
	}
	if n := w.refreshes(t); n != 3 {
		t.Errorf("%d refreshes, want 3", n)
	}
	w.quit(t)
	token := w.api.last
	if _, stderr, exit := w.Run(t, "credential", "rm", "--revoke", "--force", "crm"); exit != 0 || w.api.active(token) {
		t.Errorf("rm --revoke: exit %d %s", exit, stderr)
	}
	if grants := w.as.Grants(t, plain); slices.ContainsFunc([]string{"refresh_token:invalid_grant", "refresh_token:invalid_client"}, func(k string) bool { return grants[k] > 0 }) {
		t.Errorf("the server refused something: %v", grants)
	}
}
