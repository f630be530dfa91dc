// Package e2e tests the program as it is run: a process, its listeners, its
// files and signals, with real clients and servers around it.
package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// canary is in every secret of these tests: it must be found where it belongs and nowhere else.
const canary = "canary7d1f"

// world is a daemon and its upstreams.
type world struct {
	*testserver.Daemon
	ca    *testserver.CA
	api   *upstream // owned by the provider api, TLS
	plain *upstream // owned by the provider plain, which allows cleartext
	other *upstream // nobody's, TLS; dialling it is allowed
}

const (
	apiToken = canary + "-api-token"
	plainKey = canary + "-plain-key"
)

// frame is the configuration of the usual world; extra stands before its providers.
func (w *world) frame(extra string) string {
	return strings.NewReplacer("{api}", w.api.Port, "{plain}", w.plain.Port, "{ca}", w.ca.File, "{extra}", extra).Replace(`
{extra}
[[provider]]
name = "api"
hosts = ["localhost:{api}"]
base_url = "https://localhost:{api}"
type = "bearer"
allow_networks = ["127.0.0.0/8", "::1/128"]
ca_file = "{ca}"

[[provider]]
name = "plain"
hosts = ["localhost:{plain}"]
base_url = "http://localhost:{plain}"
type = "api_key"
allow_cleartext = true
allow_networks = ["127.0.0.0/8", "::1/128"]
[[provider.place]]
in = "header"
name = "X-Api-Key"
value = "{api_key}"
`)
}

// open makes loopback reachable and every port tunnelled: what is refused then is refused for another reason.
const open = `[proxy]
allow_networks = ["127.0.0.0/8", "::1/128"]
tunnel_ports = []
`

// newWorld runs a daemon with extra in its configuration, and stores the usual two credentials.
func newWorld(t *testing.T, extra string) *world {
	t.Helper()
	w := prepareWorld(t)
	w.start(t, extra)
	return w
}

// start runs the daemon of a prepared world.
func (w *world) start(t *testing.T, extra string) {
	t.Helper()
	w.Daemon = testserver.Sallyport(t, w.frame(extra))
	w.Put(t, "default/production/api/default", "bearer", map[string]string{"token": apiToken})
	w.Put(t, "default/production/plain/default", "api_key", map[string]string{"api_key": plainKey})
	w.api.Take()
	w.plain.Take()
}

// prepareWorld makes the upstreams of a world.
func prepareWorld(t *testing.T) *world {
	t.Helper()
	ca := testserver.NewCA(t)
	return &world{ca: ca, api: newUpstream(t, ca), plain: newUpstream(t, nil), other: newUpstream(t, ca)}
}

// auth is the Proxy-Authorization line of the caller default.
func (w *world) auth(t *testing.T) string { return w.authOf(t, "default") }

func (w *world) authOf(t *testing.T, caller string) string {
	t.Helper()
	pair := caller + ":" + w.Token(t, caller)
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) + "\r\n"
}

// peer is a raw connection with a reader of answers.
type peer struct {
	net.Conn
	r *bufio.Reader
}

// raw opens a connection to the proxy listener.
func (w *world) raw(t *testing.T) *peer {
	t.Helper()
	conn := w.Dial(t)
	return &peer{conn, bufio.NewReader(conn)}
}

// send writes text and reads one answer with its body. A connection that is
// closed without one gives nil.
func (p *peer) send(t *testing.T, text string) *answer {
	t.Helper()
	_, _ = io.WriteString(p.Conn, text) // a refusal may come before all of it was written
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(p.r, &http.Request{Method: method})
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	if method == http.MethodConnect && resp.StatusCode == http.StatusOK {
		return &answer{Response: resp}
	}
	body, _ := io.ReadAll(resp.Body)
	return &answer{resp, string(body)}
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	Body string
}

// is checks that a is our refusal with that code.
func (a *answer) is(t *testing.T, what string, code fault.Code) {
	t.Helper()
	if a == nil {
		t.Errorf("%s: the connection was closed without an answer, want %s", what, code)
		return
	}
	if want := fault.New(code, "", nil).Status(); a.StatusCode != want {
		t.Errorf("%s: status %d, want %d %s; body %s", what, a.StatusCode, want, code, a.Body)
	}
	if s := a.Header.Get("Proxy-Status"); !strings.Contains(s, `details="`+string(code)+`"`) {
		t.Errorf("%s: Proxy-Status %q, want details %s", what, s, code)
	}
	if !strings.Contains(a.Body, `"code":"`+string(code)+`"`) {
		t.Errorf("%s: body %q, want the problem %s", what, a.Body, code)
	}
}

// status checks a's status against several that are right.
func (a *answer) status(t *testing.T, what string, right ...int) {
	t.Helper()
	if a == nil {
		t.Errorf("%s: the connection was closed without an answer, want one of %v", what, right)
		return
	}
	for _, s := range right {
		if a.StatusCode == s {
			return
		}
	}
	t.Errorf("%s: status %d, want one of %v; body %s", what, a.StatusCode, right, a.Body)
}

// connect opens a tunnel to authority as the caller default.
func (w *world) connect(t *testing.T, authority string) *peer {
	t.Helper()
	return w.connectAs(t, "default", authority)
}

func (w *world) connectAs(t *testing.T, caller, authority string) *peer {
	t.Helper()
	p := w.raw(t)
	p.send(t, w.connectText(t, caller, authority)).status(t, "CONNECT "+authority+" as "+caller, http.StatusOK)
	return p
}

// connectTo is a CONNECT whose answer matters.
func (w *world) connectTo(t *testing.T, caller, authority string) *answer {
	t.Helper()
	return w.raw(t).send(t, w.connectText(t, caller, authority))
}

func (w *world) connectText(t *testing.T, caller, authority string) string {
	t.Helper()
	return fmt.Sprintf("CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n%[2]s\r\n", authority, w.authOf(t, caller))
}

// secure starts TLS inside the tunnel under the daemon's CA. An empty sni sends none.
func (w *world) secure(t *testing.T, p *peer, sni string, protocols ...string) (*peer, error) {
	t.Helper()
	_, pool := w.CA(t)
	config := &tls.Config{RootCAs: pool, ServerName: sni, NextProtos: protocols}
	if sni == "" { // Go wants a name to verify; an address is not sent as SNI
		config.ServerName = "127.0.0.1"
		config.InsecureSkipVerify = true // what matters here is what the daemon does without SNI
	}
	conn := tls.Client(p.Conn, config)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	return &peer{conn, bufio.NewReader(conn)}, nil
}

// inside opens a tunnel to the provider's upstream and TLS in it.
func (w *world) inside(t *testing.T) *peer {
	t.Helper()
	p, err := w.secure(t, w.connect(t, w.api.Addr), "localhost")
	if err != nil {
		t.Fatalf("TLS inside the tunnel: %v", err)
	}
	return p
}

// get is a request without a body; lines end in CRLF.
func get(target, host, lines string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + lines + "\r\n"
}

// closed checks that the other side closes the connection within d.
func (p *peer) closed(t *testing.T, what string, d time.Duration) {
	t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(d))
	if _, err := p.r.ReadByte(); err == nil || isTimeout(err) {
		t.Errorf("%s: the connection is still open after %v (%v)", what, d, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// tlsOver starts TLS inside an untouched tunnel.
func tlsOver(p *peer, roots *x509.CertPool) *peer {
	conn := tls.Client(p.Conn, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	return &peer{conn, bufio.NewReader(conn)}
}
