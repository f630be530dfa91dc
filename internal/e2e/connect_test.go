package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// consentWorld is a daemon whose provider crm is the real authorization server, and an API that asks it about tokens.
type consentWorld struct {
	*testserver.Daemon
	as  *testserver.OIDC
	api *resource
}

func newConsentWorld(t *testing.T, o testserver.OIDCOptions, start bool) *consentWorld {
	t.Helper()
	w := prepareConsentWorld(t, o, "")
	if start {
		w.Serve(t)
	}
	return w
}

// prepareConsentWorld makes a world whose daemon does not run; extra is in its configuration.
func prepareConsentWorld(t *testing.T, o testserver.OIDCOptions, extra string) *consentWorld {
	t.Helper()
	ca := testserver.NewCA(t)
	as := testserver.StartOIDC(t, o)
	w := &consentWorld{as: as, api: newResource(t, ca, as)}
	w.Daemon = testserver.Prepare(t, open+extra+`
[[provider]]
name = "crm"
hosts = ["`+w.api.Addr+`"]
base_url = "https://`+w.api.Addr+`"
type = "oauth2_authorization_code"
ca_file = "`+ca.File+`"
allow_networks = ["127.0.0.0/8", "::1/128"]
[provider.oauth2]
authorization_url = "`+as.Issuer+`/auth"
token_url = "`+as.TokenURL+`"
device_authorization_url = "`+as.Issuer+`/device/auth"
scopes = ["openid", "offline_access"]
params = { prompt = "consent" }
[provider.verify]
path = "/me"
`)
	return w
}

// app stores the client of the authorization server that has our callback.
func (w *consentWorld) app(t *testing.T, args ...string) {
	t.Helper()
	w.Env = append(w.Env, "APP_SECRET=s3cr3t-app")
	args = append([]string{"app", "add", "crm", "--field", "client_id=app", "--from-env", "client_secret=APP_SECRET"}, args...)
	if stdout, stderr, exit := w.Run(t, args...); exit != 0 {
		t.Fatalf("app add: exit %d %s%s", exit, stdout, stderr)
	}
}

// command is one that runs while the test does what a person does.
type command struct {
	*testserver.Process
	in io.WriteCloser
}

func (w *consentWorld) runs(t *testing.T, args ...string) *command {
	t.Helper()
	cmd := w.Command(args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &command{Process: testserver.Start(t, cmd), in: in}
}

// says waits for a line of its output that has these words, and gives it.
func (c *command) says(t *testing.T, words string) string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, line := range strings.Split(c.Log(), "\n") {
			if strings.Contains(line, words) {
				return line
			}
		}
	}
	t.Fatalf("it does not say %q:\n%s", words, c.Log())
	return ""
}

// ends wants the command to end with that code and these words.
func (c *command) ends(t *testing.T, exit int, words ...string) {
	t.Helper()
	if got := c.Wait(t, 30*time.Second); got != exit {
		t.Errorf("exit code %d, want %d:\n%s", got, exit, c.Log())
	}
	for _, word := range words {
		if !strings.Contains(c.Log(), word) {
			t.Errorf("it does not say %q:\n%s", word, c.Log())
		}
	}
}

// browse opens the consent page and lets the browser follow its redirect to us; it gives our page.
func (w *consentWorld) browse(t *testing.T, address string) (status int, page string) {
	t.Helper()
	return w.returns(t, testserver.NewPerson(t, nil).Consent(address))
}

// returns goes where the consent page has redirected to.
func (w *consentWorld) returns(t *testing.T, redirected string) (status int, page string) {
	t.Helper()
	resp, err := plain.Get(redirected)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// plain is a client without a proxy.
var plain = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// works wants a request of a flow through the proxy to be answered, by the grant of the credential.
func (w *consentWorld) works(t *testing.T) {
	t.Helper()
	resp, err := w.Client(t).Get("https://" + w.api.Addr + "/x")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a request through the proxy is answered %d", resp.StatusCode)
	}
}

// A person connects a credential through a running daemon; the grant is used, refreshed, and nothing of it leaks.
func TestConnectThroughDaemon(t *testing.T) {
	t.Parallel()
	w := newConsentWorld(t, testserver.OIDCOptions{AccessTTL: 3 * time.Second}, true)
	w.app(t)
	c := w.runs(t, "credential", "connect", "crm", "--no-browser")
	address := c.says(t, w.as.Issuer+"/auth?")
	if !strings.Contains(address, "code_challenge_method=S256") || !strings.Contains(address, "redirect_uri=http%3A%2F%2F127.0.0.1%3A") {
		t.Errorf("the address is %s", address)
	}
	redirected := testserver.NewPerson(t, nil).Consent(address)
	status, page := w.returns(t, redirected)
	if status != http.StatusOK || !strings.Contains(page, "Connected: default/production/crm/default") {
		t.Errorf("the page is %d %s", status, page)
	}
	c.ends(t, 0, "connected default/production/crm/default", "token  POST "+w.as.TokenURL, "verify  GET")
	w.works(t)
	time.Sleep(4 * time.Second)
	w.works(t)
	if grants := w.as.Grants(t, plain); grants["refresh_token:ok"] < 1 || grants["authorization_code:ok"] != 1 {
		t.Errorf("grants %v", grants)
	}
	if status, _ := w.browse(t, address); status != http.StatusBadRequest {
		t.Errorf("the state was good twice: %d", status)
	}
	_, answer := w.Call(t, http.MethodGet, "/api/v1/connects/"+stateOf(t, redirected)[:26], nil)
	if !strings.Contains(answer, `"state":"done"`) {
		t.Errorf("the connect is %s", answer)
	}
	at, _ := url.Parse(redirected)
	_, state, _ := strings.Cut(stateOf(t, redirected), ".")
	w.hides(t, map[string]string{"client secret": "s3cr3t-app", "state": state, "code": at.Query().Get("code")}, map[string]string{
		"output": strings.Replace(c.Log(), address, "", 1), "page": page, "answer": answer,
	})
}

func stateOf(t *testing.T, redirected string) string {
	t.Helper()
	at, err := url.Parse(redirected)
	if err != nil || len(at.Query().Get("state")) < 60 {
		t.Fatalf("no state in %s", redirected)
	}
	return at.Query().Get("state")
}

// hides looks for secrets where they do not belong: texts, the daemon's log, its metrics and its files.
func (w *consentWorld) hides(t *testing.T, secrets, texts map[string]string) {
	t.Helper()
	texts["log"] = w.Log()
	_, texts["metrics"] = w.Call(t, http.MethodGet, "/metrics", nil)
	_ = filepath.WalkDir(w.State, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(path)
			texts[path] = string(b)
		}
		return nil
	})
	for what, secret := range secrets {
		if len(secret) < 10 {
			t.Fatalf("the %s is %q", what, secret)
		}
		for where, text := range texts {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds the %s:\n%s", where, what, text)
			}
		}
	}
}

// With Vault as the store, and no more rights there than vault policy prints, a grant of the workspace's own app is
// connected, used and refreshed.
func TestConnectWithVault(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	v.Policy(t, "printed", `path "none" { capabilities = ["deny"] }`)
	token, _ := tokenFile(t, v.NewToken(t, map[string]any{"policies": []string{"printed"}}))
	w := prepareConsentWorld(t, testserver.OIDCOptions{AccessTTL: 3 * time.Second}, "[store]\nbackend = \"vault\"\n[vault]\nkv_version = 2\naddress = \""+v.Address+"\"\n[vault.auth]\n"+token)
	policy, stderr, exit := w.Run(t, "vault", "policy")
	if exit != 0 {
		t.Fatalf("vault policy: %s", stderr)
	}
	v.Policy(t, "printed", policy)
	w.Serve(t)
	w.app(t, "--workspace", "default")
	c := w.runs(t, "credential", "connect", "crm", "--no-browser")
	if status, page := w.browse(t, c.says(t, w.as.Issuer+"/auth?")); status != http.StatusOK {
		t.Errorf("the page is %d %s", status, page)
	}
	c.ends(t, 0, "connected default/production/crm/default")
	w.works(t)
	time.Sleep(4 * time.Second)
	w.works(t)
	if grants := w.as.Grants(t, plain); grants["refresh_token:ok"] < 1 {
		t.Errorf("grants %v", grants)
	}
	answer := v.Do(t, http.MethodGet, "secret/data/sallyport/apps/default/crm", nil)
	if text := fmt.Sprint(answer); !strings.Contains(text, "s3cr3t-app") {
		t.Errorf("the app is not where it belongs: %s", text)
	}
}

// Without a daemon the command receives the redirect itself.
func TestConnectWithoutDaemon(t *testing.T) {
	t.Parallel()
	w := newConsentWorld(t, testserver.OIDCOptions{}, false)
	w.app(t)
	c := w.runs(t, "credential", "connect", "crm", "--no-browser")
	if status, page := w.browse(t, c.says(t, w.as.Issuer+"/auth?")); status != http.StatusOK || !strings.Contains(page, "Connected") {
		t.Errorf("the page is %d %s", status, page)
	}
	c.ends(t, 0, "connected default/production/crm/default")
	w.Serve(t)
	w.works(t)
}

// The redirect may be brought by hand: --paste.
func TestConnectPaste(t *testing.T) {
	t.Parallel()
	for name, daemon := range map[string]bool{"daemon": true, "no daemon": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newConsentWorld(t, testserver.OIDCOptions{}, false)
			w.Env = append(w.Env, "SALLYPORT_ADMIN_LISTEN="+testserver.FreeAddr(t))
			if daemon {
				w.Serve(t)
			}
			w.app(t)
			c := w.runs(t, "credential", "connect", "crm", "--paste")
			at := testserver.NewPerson(t, nil).Consent(c.says(t, w.as.Issuer+"/auth?"))
			if _, err := io.WriteString(c.in, "\n"+at+"\n"); err != nil {
				t.Fatal(err)
			}
			c.ends(t, 0, "connected default/production/crm/default")
		})
	}
}

// A code that is typed in at the provider's page: --device, with a daemon and without.
func TestConnectDevice(t *testing.T) {
	t.Parallel()
	for name, daemon := range map[string]bool{"daemon": true, "no daemon": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newConsentWorld(t, testserver.OIDCOptions{}, daemon)
			w.app(t)
			c := w.runs(t, "credential", "connect", "crm", "--device", "--json")
			line := strings.Fields(c.says(t, "type in the code"))
			testserver.NewPerson(t, nil).Device(line[1], line[len(line)-1], false)
			c.ends(t, 0, `"state": "done"`)
		})
	}
}

// Each end without a grant says why, and the exit code is 1.
func TestConnectFails(t *testing.T) {
	t.Parallel()
	w := newConsentWorld(t, testserver.OIDCOptions{}, true)
	c := w.runs(t, "credential", "connect", "crm", "--no-browser")
	c.ends(t, 1, "there is no OAuth client", "sallyport app add crm --workspace default")

	w.Env = append(w.Env, "APP_SECRET=wrong")
	if _, stderr, exit := w.Run(t, "app", "add", "crm", "--workspace", "default", "--field", "client_id=app", "--from-env", "client_secret=APP_SECRET"); exit != 0 {
		t.Fatal(stderr)
	}
	c = w.runs(t, "credential", "connect", "crm", "--no-browser")
	status, page := w.browse(t, c.says(t, w.as.Issuer+"/auth?"))
	if status != http.StatusBadRequest || !strings.Contains(page, "Not connected") {
		t.Errorf("the page is %d %s", status, page)
	}
	c.ends(t, 1, "invalid_client", "try: ", "401")

	c = w.runs(t, "credential", "connect", "crm", "--no-browser")
	c.says(t, w.as.Issuer+"/auth?")
	c.Signal(t, syscall.SIGINT)
	c.ends(t, 1, "interrupted")
	if stdout, _, exit := w.Run(t, "credential", "list", "--json"); exit != 0 || strings.Contains(stdout, "crm") {
		t.Errorf("something was stored: %s", stdout)
	}
}

// An app is tested by the whole flow before it is stored, and the list never shows its secret.
func TestAppAddTest(t *testing.T) {
	t.Parallel()
	w := newConsentWorld(t, testserver.OIDCOptions{}, true)
	w.Env = append(w.Env, "APP_SECRET=s3cr3t-app")
	c := w.runs(t, "app", "add", "crm", "--field", "client_id=app", "--from-env", "client_secret=APP_SECRET", "--test", "--no-browser")
	if status, page := w.browse(t, c.says(t, w.as.Issuer+"/auth?")); status != http.StatusOK || !strings.Contains(page, "The test has passed") {
		t.Errorf("the page is %d %s", status, page)
	}
	c.ends(t, 0, "redirect", "token", "verify", "no grant was stored", "stored the shared app of crm")
	stdout, _, _ := w.Run(t, "app", "list", "--json")
	var apps []map[string]any
	if json.Unmarshal([]byte(stdout), &apps) != nil || len(apps) != 1 || apps[0]["client_id"] != "app" || strings.Contains(stdout, "s3cr3t") {
		t.Errorf("app list: %s", stdout)
	}
	if _, stderr, exit := w.Run(t, "app", "add", "crm", "--field", "client_id=x", "--public"); exit != 1 || !strings.Contains(stderr, "--force") {
		t.Errorf("a second one: exit %d %s", exit, stderr)
	}
	if _, stderr, exit := w.Run(t, "app", "rm", "crm"); exit != 0 {
		t.Errorf("app rm: %s", stderr)
	}
	if _, _, exit := w.Run(t, "app", "rm", "crm"); exit != 1 {
		t.Errorf("app rm of none: exit %d", exit)
	}
}
