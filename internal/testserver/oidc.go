package testserver

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
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
// oidc/server.mjs: m2m, m2m-post, odd:id, zoom, web, native, app and rs; with ClientKeys also signed and open.
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
	dir, err := npmFolder(Find(tb, "npm"), "oidc", "oidc-provider "+oidcVersion)
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
