package testserver

import (
	_ "embed" // the server's source
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed oauth1.py
var oauth1Server []byte

// OAuth1Fields are the credential that the server of StartOAuth1 takes, as fields of a record.
func OAuth1Fields() map[string]string {
	return map[string]string{"consumer_key": "consumer", "consumer_secret": "consumer/secret+&", "token": "user token", "token_secret": "token secret%"}
}

// StartOAuth1 starts an API over TLS that verifies OAuth 1.0 signatures with Python's oauthlib, and gives its authority,
// localhost:PORT. cert is a PEM file with certificate and key. It ends with the test.
func StartOAuth1(t testing.TB, cert string) (authority string) {
	t.Helper()
	python := Python(t, "oauthlib")
	script := filepath.Join(t.TempDir(), "oauth1.py")
	write(t, script, oauth1Server)
	var p *Process
	for range 3 { // a free port may be taken by somebody before it listens
		addr := FreeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		cmd := exec.Command(python, script, port, cert)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		if p = Start(t, cmd); p.listening(t, addr) {
			version, _ := exec.Command(python, "-c", "import oauthlib; print(oauthlib.__version__)").Output()
			Took(t, "oauthlib "+strings.TrimSpace(string(version)))
			return "localhost:" + port
		}
	}
	t.Fatalf("the OAuth 1.0 server does not start; its output:\n%s", p.Log())
	return ""
}
