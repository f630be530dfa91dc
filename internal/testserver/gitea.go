package testserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The administrator of a Gitea that a test starts.
const (
	giteaUser     = "alice"
	giteaPassword = "Pw-of-alice-12345"
)

// GiteaOptions say how to start a Gitea.
type GiteaOptions struct {
	CA        *CA           // signs its certificate
	AccessTTL time.Duration // of OAuth 2.0 access tokens, whole seconds; 0: an hour
}

// Gitea is a running Gitea: git over HTTPS and an API that refuses wrong tokens, scopes that a token lacks and what its
// user may not see. Its OAuth 2.0 refresh tokens are good for one use.
type Gitea struct {
	*Process
	Addr, URL      string       // localhost:PORT, https://localhost:PORT
	User, Password string       // of an administrator
	Client         *http.Client // trusts it and takes no proxy

	dir, app string // its folder, and that of the program
	owner    *syscall.SysProcAttr
}

// StartGitea builds Gitea if no test did before and starts a fresh one on a free loopback port, which takes some seconds.
// It ends with the test, at the latest with the test's process. It refuses to run as root; then it is run as nobody.
func StartGitea(tb testing.TB, o GiteaOptions) *Gitea {
	tb.Helper()
	app, err := buildGitea()
	if err != nil {
		tb.Fatalf("Gitea does not build: %v", err)
	}
	g := &Gitea{User: giteaUser, Password: giteaPassword, app: app}
	g.dir, g.owner = serverDir(tb, "gitea", "nobody")
	if g.owner != nil { // the cache is closed to others
		g.app = filepath.Join(g.dir, "app")
		share(tb, app, g.app)
	}
	_, pem := o.CA.Leaf(tb, "localhost", "127.0.0.1")
	serverFile(tb, g.dir, g.owner, pem)
	g.Client = &http.Client{Timeout: callLimit, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: o.CA.Config()}}
	for range 3 { // a free port may be taken by somebody before Gitea listens
		g.configure(tb, o)
		g.Process = startLeashed(tb, g.command("web"))
		if g.answers(tb) {
			g.administrator(tb)
			Took(tb, "Gitea "+giteaVersion)
			return g
		}
	}
	tb.Fatalf("Gitea does not start; its output:\n%s", g.Log())
	return nil
}

const giteaSettings = `RUN_MODE = prod
WORK_PATH = {dir}
[server]
PROTOCOL = https
CERT_FILE = {pem}
KEY_FILE = {pem}
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = {url}/
STATIC_ROOT_PATH = {app}
OFFLINE_MODE = true
DISABLE_SSH = true
[database]
DB_TYPE = sqlite3
PATH = {dir}/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = of-a-test
INTERNAL_TOKEN = of-a-test
[oauth2]
JWT_SECRET = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
ACCESS_TOKEN_EXPIRATION_TIME = {ttl}
INVALIDATE_REFRESH_TOKENS = true
[log]
MODE = console
LEVEL = Warn
[session]
PROVIDER = memory
[queue]
TYPE = channel
[cron]
ENABLED = false
[actions]
ENABLED = false
[packages]
ENABLED = false
[repository]
ROOT = {dir}/repositories
[indexer]
ISSUE_INDEXER_TYPE = db
`

// configure takes a free port and writes the configuration file.
func (g *Gitea) configure(tb testing.TB, o GiteaOptions) {
	tb.Helper()
	_, port, _ := strings.Cut(FreeAddr(tb), ":")
	g.Addr, g.URL = "localhost:"+port, "https://localhost:"+port
	ttl := 3600
	if o.AccessTTL > 0 {
		ttl = int(o.AccessTTL.Seconds())
	}
	text := strings.NewReplacer("{dir}", g.dir, "{app}", g.app, "{pem}", filepath.Join(g.dir, tlsFile), "{port}", port, "{url}", g.URL,
		"{ttl}", strconv.Itoa(ttl)).Replace(giteaSettings)
	write(tb, g.settings(), []byte(text))
	give(tb, g.settings(), g.owner)
}

func (g *Gitea) settings() string { return filepath.Join(g.dir, "app.ini") }

func (g *Gitea) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(g.app, "gitea"), append([]string{"-c", g.settings()}, args...)...)
	cmd.Dir, cmd.SysProcAttr = g.dir, g.owner
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + g.dir, "USER=" + os.Getenv("USER"), "GITEA_WORK_DIR=" + g.dir}
	return cmd
}

// answers waits until it is healthy; false if it has ended.
func (g *Gitea) answers(tb testing.TB) bool {
	tb.Helper()
	for end := time.Now().Add(2 * startLimit); time.Now().Before(end); {
		if resp, err := g.Client.Get(g.URL + "/api/healthz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-g.Exited:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	tb.Fatalf("Gitea is not healthy; its output:\n%s", g.Log())
	return false
}

func (g *Gitea) administrator(tb testing.TB) {
	tb.Helper()
	cmd := g.command("admin", "user", "create", "--admin", "--username", g.User, "--password", g.Password,
		"--email", g.User+"@example.com", "--must-change-password=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("gitea admin user create: %v\n%s", err, out)
	}
}

// Do makes one call of its API as the administrator, such as Do(t, "POST", "/user/repos", map[string]any{...}), and
// gives the answer's JSON object. A status outside 2xx fails the test.
func (g *Gitea) Do(tb testing.TB, method, path string, in any) map[string]any {
	tb.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		tb.Fatal(err)
	}
	req, err := http.NewRequest(method, g.URL+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(g.User, g.Password)
	resp, err := g.Client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var m map[string]any
	if err != nil || resp.StatusCode/100 != 2 || len(answer) > 0 && json.Unmarshal(answer, &m) != nil {
		tb.Fatalf("Gitea: %s %s: status %d: %s %v", method, path, resp.StatusCode, answer, err)
	}
	return m
}

// NewUser makes a user, who is no administrator.
func (g *Gitea) NewUser(tb testing.TB, name, password string) {
	tb.Helper()
	g.Do(tb, http.MethodPost, "/admin/users", map[string]any{
		"username": name, "password": password, "email": name + "@example.com", "must_change_password": false,
	})
}

// NewToken makes an access token of the administrator with scopes such as "read:user" and "write:repository".
func (g *Gitea) NewToken(tb testing.TB, name string, scopes ...string) string {
	tb.Helper()
	made := g.Do(tb, http.MethodPost, "/users/"+g.User+"/tokens", map[string]any{"name": name, "scopes": scopes})
	return fmt.Sprint(made["sha1"])
}

// Revoke ends the token of that name.
func (g *Gitea) Revoke(tb testing.TB, name string) {
	tb.Helper()
	g.Do(tb, http.MethodDelete, "/users/"+g.User+"/tokens/"+name, nil)
}

// NewRepository makes a repository of the administrator with one commit.
func (g *Gitea) NewRepository(tb testing.TB, name string, private bool) {
	tb.Helper()
	g.Do(tb, http.MethodPost, "/user/repos", map[string]any{"name": name, "private": private, "auto_init": true})
}

// NewOrganization makes an organization that the administrator owns.
func (g *Gitea) NewOrganization(tb testing.TB, name string) {
	tb.Helper()
	g.Do(tb, http.MethodPost, "/orgs", map[string]any{"username": name})
}

// NewApp makes a confidential OAuth 2.0 client of /login/oauth/authorize and /login/oauth/access_token.
func (g *Gitea) NewApp(tb testing.TB, redirect string) (id, secret string) {
	tb.Helper()
	made := g.Do(tb, http.MethodPost, "/user/applications/oauth2", map[string]any{
		"name": "app", "redirect_uris": []string{redirect}, "confidential_client": true,
	})
	return fmt.Sprint(made["client_id"]), fmt.Sprint(made["client_secret"])
}

// share gives a copy of a folder that everybody may read, by links where that can be.
func share(tb testing.TB, from, to string) {
	tb.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.Mkdir(at, 0o755)
		}
		if os.Link(path, at) == nil {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, text, 0o755)
	})
	if err != nil {
		tb.Fatal(err)
	}
}
