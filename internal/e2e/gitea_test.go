package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// giteaWorld is a daemon in front of a real Gitea, which one host owns for keys in a header and another for keys in a
// query.
type giteaWorld struct {
	*testserver.Daemon
	gitea  *testserver.Gitea
	client *http.Client
	query  string // https://HOST of the second
}

func newGiteaWorld(t *testing.T, o testserver.GiteaOptions, needs ...string) *giteaWorld {
	t.Helper()
	o.CA = testserver.NewCA(t)
	g := testserver.StartGitea(t, o)
	numeric := strings.Replace(g.Addr, "localhost", "127.0.0.1", 1)
	for i := range needs {
		needs[i] = strconv.Quote(needs[i])
	}
	config := strings.NewReplacer("{needs}", strings.Join(needs, ", "), "{addr}", g.Addr, "{numeric}", numeric, "{ca}", o.CA.File).Replace(`
[[provider]]
name = "gitea"
hosts = ["{addr}"]
base_url = "https://{addr}/api/v1"
type = "bearer"
types = ["api_key", "basic", "oauth2_authorization_code", "oauth2_refresh_token"]
ca_file = "{ca}"
allow_networks = ["127.0.0.0/8", "::1/128"]
[[provider.place]]
in = "header"
name = "Authorization"
value = "token {api_key}"
[provider.oauth2]
authorization_url = "https://{addr}/login/oauth/authorize"
token_url = "https://{addr}/login/oauth/access_token"
scopes = ["read:user", "read:repository"]
[provider.verify]
path = "/user"
[provider.needs]
scopes = [{needs}]

[[provider]]
name = "gitea-query"
hosts = ["{numeric}"]
base_url = "https://{numeric}/api/v1"
type = "api_key"
ca_file = "{ca}"
allow_networks = ["127.0.0.0/8"]
[[provider.place]]
in = "query"
name = "access_token"
value = "{api_key}"
[provider.verify]
path = "/user"
`)
	w := &giteaWorld{Daemon: testserver.Sallyport(t, config), gitea: g, query: "https://" + numeric}
	w.client = w.Client(t)
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return w
}

// get sends a runner's request, with a dummy key of its own, by the credential of that name.
func (w *giteaWorld) get(t *testing.T, url, name string) *answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "token dummy")
	req.Header.Set("Sallyport-Credential", name)
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &answer{resp, string(body)}
}

// put stores a credential and gives the status of the answer and what the dry request came to.
func (w *giteaWorld) put(t *testing.T, ref, kind string, fields map[string]string) (int, *giteaReport) {
	t.Helper()
	status, body := w.Call(t, http.MethodPut, "/api/v1/credentials/default/production/"+ref+"?force=true", map[string]any{"type": kind, "fields": fields})
	var told struct{ Report *giteaReport }
	if err := json.Unmarshal([]byte(body), &told); err != nil || told.Report == nil {
		t.Fatalf("PUT %s: %d %s", ref, status, body)
	}
	return status, told.Report
}

// giteaReport is what the tests read of a report.
type giteaReport struct {
	Status  string
	Account struct{ Login string }
	Fault   struct{ Code string }
	Checks  []struct {
		Name, Status, Detail string
		Missing              []string
	}
	Steps json.RawMessage
}

// Gitea takes each kind of credential from the proxy, and what it says no with is told apart.
func TestGitea(t *testing.T) {
	t.Parallel()
	w := newGiteaWorld(t, testserver.GiteaOptions{})
	g := w.gitea
	g.NewRepository(t, "closed", true)
	g.NewOrganization(t, "acme")
	const bob = "Pw-of-bob-" + canary
	g.NewUser(t, "bob", bob)
	good, narrow := g.NewToken(t, "good", "read:user", "read:repository", "read:organization"), g.NewToken(t, "narrow", "read:repository")
	wrong := strings.Repeat("0123", 10)
	api := g.URL + "/api/v1"
	for _, c := range []struct {
		name, kind   string
		fields       map[string]string
		path         string
		status       int
		says, told   string // in the body, and as details of Proxy-Status
		report, code string
	}{
		{"token", "bearer", map[string]string{"token": good}, "/user", 200, `"login":"alice"`, "", "ok", ""},
		{"organization", "bearer", map[string]string{"token": good}, "/orgs/acme", 200, `"name":"acme"`, "", "ok", ""},
		{"prefix", "api_key", map[string]string{"api_key": good}, "/user", 200, `"login":"alice"`, "", "ok", ""},
		{"password", "basic", map[string]string{"username": "alice", "password": g.Password}, "/user", 200, `"login":"alice"`, "", "ok", ""},
		{"wrong", "bearer", map[string]string{"token": wrong}, "/user", 401, "invalid username, password or token", "credentials_rejected", "error", "credentials_rejected"},
		{"wrong-password", "basic", map[string]string{"username": "alice", "password": wrong}, "/user", 401, "invalid username", "credentials_rejected", "error", "credentials_rejected"},
		{"narrow", "bearer", map[string]string{"token": narrow}, "/user", 403, "required=[read:user]", "insufficient_scope", "warning", "insufficient_scope"},
		{"private", "bearer", map[string]string{"token": good}, "/repos/alice/closed", 200, `"private":true`, "", "ok", ""},
		{"bob", "basic", map[string]string{"username": "bob", "password": bob}, "/repos/alice/closed", 404, "", "", "ok", ""},
	} {
		_, report := w.put(t, "gitea/"+c.name, c.kind, c.fields)
		if report.Status != c.report || report.Fault.Code != c.code {
			t.Errorf("%s: the check is %s %s, want %s %s; %+v", c.name, report.Status, report.Fault.Code, c.report, c.code, report.Checks)
		}
		a := w.get(t, api+c.path, c.name)
		told := a.Header.Get("Proxy-Status")
		if a.StatusCode != c.status || !strings.Contains(a.Body, c.says) {
			t.Errorf("%s: %d %s, want %d with %s", c.name, a.StatusCode, a.Body, c.status, c.says)
		}
		if c.told == "" && strings.Contains(told, "details") || !strings.Contains(told, c.told) {
			t.Errorf("%s: Proxy-Status %q, want %q", c.name, told, c.told)
		}
		w.silent(t, c.name, report, c.fields)
	}
	w.namesTheScope(t, narrow)
	w.revoked(t)
}

// silent wants no secret of a credential in its report or the log.
func (w *giteaWorld) silent(t *testing.T, name string, report *giteaReport, fields map[string]string) {
	t.Helper()
	for field, value := range fields {
		if field != "username" && (strings.Contains(string(report.Steps), value) || strings.Contains(w.Log(), value)) {
			t.Errorf("LK-01 %s: the report or the log holds %s", name, field)
		}
	}
}

// namesTheScope: the check says which scope is missing.
func (w *giteaWorld) namesTheScope(t *testing.T, token string) {
	t.Helper()
	_, report := w.put(t, "gitea/narrow", "bearer", map[string]string{"token": token})
	for _, c := range report.Checks {
		if c.Name == "scopes" && c.Status == "warning" && strings.Join(c.Missing, " ") == "read:user" && strings.Contains(c.Detail, "read:user") {
			return
		}
	}
	t.Errorf("no check names the scope read:user: %+v", report.Checks)
}

// revoked: a token that was good is told as rejected from the moment that its user ends it.
func (w *giteaWorld) revoked(t *testing.T) {
	t.Helper()
	w.put(t, "gitea/short", "bearer", map[string]string{"token": w.gitea.NewToken(t, "short", "read:user")})
	user := w.gitea.URL + "/api/v1/user"
	w.get(t, user, "short").status(t, "before", http.StatusOK)
	w.gitea.Revoke(t, "short")
	a := w.get(t, user, "short")
	if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.Header.Get("Proxy-Status"), `details="credentials_rejected"`) {
		t.Errorf("a revoked token: %d %q", a.StatusCode, a.Header.Get("Proxy-Status"))
	}
}

// A key in the query reaches Gitea in place of the runner's own, and no redirect, report or log shows it.
func TestGiteaQueryKey(t *testing.T) {
	t.Parallel()
	w := newGiteaWorld(t, testserver.GiteaOptions{})
	w.gitea.NewRepository(t, "before", true)
	token := w.gitea.NewToken(t, "query", "read:user", "write:repository")
	_, report := w.put(t, "gitea-query/default", "api_key", map[string]string{"api_key": token})
	if report.Status != "ok" || report.Account.Login != "alice" {
		t.Errorf("the check is %+v", report)
	}
	w.gitea.Do(t, http.MethodPatch, "/repos/alice/before", map[string]any{"name": "after"})
	for path, want := range map[string]struct {
		status int
		says   string
	}{
		"/repos/alice/after?access_token=dummy": {200, `"full_name":"alice/after"`},
		"/repos/alice/before?x=1":               {301, ""},
	} {
		a := w.get(t, w.query+"/api/v1"+path, "default")
		if a.StatusCode != want.status || !strings.Contains(a.Body, want.says) {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.Body)
		}
		if at := a.Header.Get("Location"); want.status == 301 && (!strings.Contains(at, "/repos/alice/after") && !strings.Contains(at, "/repositories/") || !strings.Contains(at, "x=1") || strings.Contains(at, token)) {
			t.Errorf("RS-02: the redirect is to %q", at)
		}
	}
	w.silent(t, "query", report, map[string]string{"api_key": token})
}

// A person's consent at Gitea is a grant whose refresh tokens are good for one use, and last.
func TestGiteaConsent(t *testing.T) {
	t.Parallel()
	w := newGiteaWorld(t, testserver.GiteaOptions{AccessTTL: 5 * time.Second}, "read:user", "write:issue")
	id, secret := w.gitea.NewApp(t, "http://"+w.Admin+"/oauth/callback")
	cmd := w.Command("app", "add", "gitea", "--field", "client_id="+id, "--from-env", "client_secret=APP_SECRET")
	cmd.Env = append(cmd.Env, "APP_SECRET="+secret)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("app add: %v %s", err, out)
	}
	c := &command{Process: testserver.Start(t, w.Command("credential", "connect", "gitea", "--no-browser"))}
	redirected := w.gitea.Consent(t, c.says(t, w.gitea.URL+"/login/oauth/authorize?"))
	resp, err := plain.Get(redirected)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	c.ends(t, 0, "connected default/production/gitea/default", "verify  GET")
	for round := range 3 {
		time.Sleep(time.Duration(round) * 3 * time.Second) // 0, 3 and 6: still good, and over
		a := w.get(t, w.gitea.URL+"/api/v1/user", "default")
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Body, `"login":"alice"`) {
			t.Fatalf("round %d: %d %s", round, a.StatusCode, a.Body)
		}
	}
	time.Sleep(6 * time.Second)
	w.get(t, w.gitea.URL+"/api/v1/user", "default").status(t, "by the second refresh", http.StatusOK)
	w.introspected(t)
	w.spent(t, id, secret)
	if strings.Contains(w.Log()+c.Log(), secret) {
		t.Error("LK-01: the secret of the app is told")
	}
}

// introspected: Gitea tells which scopes the consent gave, by RFC 7662.
func (w *giteaWorld) introspected(t *testing.T) {
	t.Helper()
	_, body := w.Call(t, http.MethodPost, "/api/v1/credentials/default/production/gitea/default/check", nil)
	var report giteaReport
	if err := json.Unmarshal([]byte(body), &report); err != nil {
		t.Fatalf("check: %v %s", err, body)
	}
	for _, c := range report.Checks {
		if c.Name == "scopes" && c.Status == "warning" && strings.Join(c.Missing, " ") == "write:issue" && strings.Contains(c.Detail, "read:repository") {
			return
		}
	}
	t.Errorf("no check names the scope write:issue: %s", body)
}

// spent: Gitea's words for a refresh token that was used before are told as what they mean.
func (w *giteaWorld) spent(t *testing.T, id, secret string) {
	t.Helper()
	w.put(t, "gitea/spent", "oauth2_refresh_token", map[string]string{
		"client_id": id, "client_secret": secret, "refresh_token": w.gitea.SpentToken(t, id, secret, "http://"+w.Admin+"/oauth/callback"),
	})
	w.get(t, w.gitea.URL+"/api/v1/user", "spent").is(t, "a spent refresh token", fault.ReauthorizationRequired)
}

// git, which asks without a credential first and answers a Basic challenge, clones and pushes through the proxy.
func TestGiteaClone(t *testing.T) {
	t.Parallel()
	w := newGiteaWorld(t, testserver.GiteaOptions{})
	w.gitea.NewRepository(t, "closed", true)
	w.put(t, "gitea/writer", "basic", map[string]string{"username": "alice", "password": w.gitea.NewToken(t, "writer", "write:repository", "read:user")})
	w.put(t, "gitea/reader", "basic", map[string]string{"username": "alice", "password": w.gitea.NewToken(t, "reader", "read:repository", "read:user")})
	dir := t.TempDir()
	ca, _ := w.CA(t)
	git := func(credential string, args ...string) (string, error) {
		cmd := exec.Command(testserver.Find(t, "git"), append([]string{"-c", "http.extraHeader=Sallyport-Credential: " + credential}, args...)...)
		cmd.Dir = dir
		proxy := w.ProxyURL(t, "default").String()
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "https_proxy=" + proxy, "GIT_SSL_CAINFO=" + ca, "GIT_TERMINAL_PROMPT=0",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := git("reader", "clone", w.gitea.URL+"/alice/closed.git"); err != nil {
		t.Fatalf("clone: %v %s", err, out)
	}
	dir = filepath.Join(dir, "closed")
	if err := os.WriteFile(filepath.Join(dir, "large"), make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"add", "large"}, {"commit", "-q", "-m", "large"}} {
		if out, err := git("reader", args...); err != nil {
			t.Fatalf("%v: %v %s", args, err, out)
		}
	}
	if out, err := git("reader", "push"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("a push with a token that may read: %v %s", err, out)
	}
	if out, err := git("writer", "push"); err != nil {
		t.Errorf("a push: %v %s", err, out)
	}
	testserver.Took(t, "git "+testserver.Version("git", "--version"))
}
