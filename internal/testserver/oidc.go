package testserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// oidcVersion of the npm package that oidc/package.json pins.
const oidcVersion = "9.13.3"

// OIDCOptions say how to start the OpenID provider. Lives are whole seconds; zero is the server's default: 10 s for
// access tokens, 600 s for refresh tokens.
type OIDCOptions struct {
	AccessTTL, ClientTTL, RefreshTTL time.Duration // of access tokens, of those of client_credentials, of refresh tokens
	NoRotation                       bool          // refresh tokens stay as they are
	Pages                            bool          // login and consent are pages for a browser, and do not finish by themselves
	Cert, Key                        string        // PEM files; "": no TLS
	ClientKeys                       string        // JSON Web Key Set (public) of the client "signed", and of assertions; "": neither is there
}

// OIDC is a running OpenID provider: npm's oidc-provider, which verifies what it is sent. Its clients stand in
// oidc/server.mjs: m2m, m2m-post, odd:id, web, native, app and rs; with ClientKeys also signed and open.
type OIDC struct {
	*Process
	Issuer   string // http://127.0.0.1:PORT or https://...
	TokenURL string
}

// StartOIDC installs the OpenID provider if no test did before and starts it on a free loopback port. It ends with the
// test, at the latest with the test's process.
func StartOIDC(tb testing.TB, o OIDCOptions) *OIDC {
	tb.Helper()
	node := Find(tb, "node")
	dir, err := installOIDC(Find(tb, "npm"))
	if err != nil {
		tb.Fatalf("the OpenID provider does not install: %v", err)
	}
	cmd := exec.Command(node, "server.mjs")
	cmd.Dir, cmd.Env = dir, o.environ()
	if _, err := cmd.StdinPipe(); err != nil { // the server ends when this closes, with this process
		tb.Fatal(err)
	}
	s := &OIDC{Process: Start(tb, cmd)}
	s.Issuer = s.announced(tb)
	s.TokenURL = s.Issuer + "/token"
	Took(tb, "oidc-provider "+oidcVersion)
	return s
}

func (o OIDCOptions) environ() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "PORT=0"}
	for name, ttl := range map[string]time.Duration{"AT_TTL": o.AccessTTL, "CC_TTL": o.ClientTTL, "RT_TTL": o.RefreshTTL} {
		if ttl > 0 {
			env = append(env, name+"="+strconv.Itoa(int(ttl.Seconds())))
		}
	}
	if o.NoRotation {
		env = append(env, "ROTATE=0")
	}
	if o.Pages {
		env = append(env, "PAGES=1")
	}
	if o.ClientKeys != "" {
		env = append(env, "CLIENT_JWKS="+o.ClientKeys)
	}
	if o.Cert != "" {
		env = append(env, "TLS_CERT="+o.Cert, "TLS_KEY="+o.Key)
	}
	return env
}

// announced waits for the line "listening ISSUER".
func (s *OIDC) announced(tb testing.TB) string {
	tb.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); {
		if _, rest, ok := strings.Cut(s.Log(), "listening "); ok {
			if issuer, _, ok := strings.Cut(rest, "\n"); ok {
				return issuer
			}
		}
		select {
		case <-s.Exited:
			tb.Fatalf("the OpenID provider ended; its output:\n%s", s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
	tb.Fatalf("the OpenID provider does not listen; its output:\n%s", s.Log())
	return ""
}

// Grants tells how often each grant was answered, by "GRANT_TYPE:ok" or "GRANT_TYPE:ERROR". client must trust the
// server's certificate, if it has one.
func (s *OIDC) Grants(tb testing.TB, client *http.Client) map[string]int {
	tb.Helper()
	resp, err := client.Get(s.Issuer + "/__stats")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	stats := map[string]int{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&stats); err != nil {
		tb.Fatal(err)
	}
	return stats
}

// installOIDC gives the folder of the server and its packages, installed if it is not in the cache.
func installOIDC(npm string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	top, err := moduleRoot()
	if err != nil {
		return "", err
	}
	src := filepath.Join(top, "internal", "testserver", "oidc")
	sum, err := hashFolder(src)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "oidc-"+sum)
	return dir, once(dir, func() error { return npmInstall(npm, src, dir) })
}

// npmInstall copies src and installs what its lock file names, beside dir first: a folder that exists is complete.
func npmInstall(npm, src, dir string) error {
	fmt.Fprintln(os.Stderr, "testserver: installing oidc-provider "+oidcVersion+" with npm; the first time this takes some seconds")
	tmp := dir + ".new"
	err := errors.Join(os.RemoveAll(tmp), os.CopyFS(tmp, os.DirFS(src)))
	if err != nil {
		return err
	}
	cmd := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w\n%s", tmp, err, out)
	}
	return os.Rename(tmp, dir)
}
