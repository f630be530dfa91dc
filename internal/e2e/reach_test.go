package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// forms are the ways of asking the proxy for an authority.
func (w *world) forms(t *testing.T, authority, path string) map[string]string {
	t.Helper()
	auth := w.auth(t)
	return map[string]string{
		"absolute http":  get("http://"+authority+path, authority, auth),
		"absolute https": get("https://"+authority+path, authority, auth),
		"CONNECT":        w.connectText(t, "default", authority),
		"websocket": get("http://"+authority+path, authority, auth+
			"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
	}
}

// refusesReach checks that no form of asking reaches the authority.
func (w *world) refusesReach(t *testing.T, row, authority, path string, code fault.Code) {
	t.Helper()
	for form, request := range w.forms(t, authority, path) {
		w.raw(t).send(t, request).is(t, row+": "+form+" "+authority+path, code)
	}
}

// SS-07, SS-09: the daemon's own listeners and the cloud's metadata are out of
// reach, though every loopback address is open and a provider with a credential
// says that they are its hosts.
func TestOwnListenersAreOutOfReach(t *testing.T) {
	t.Parallel()
	w := prepareWorld(t)
	admin, metrics := testserver.FreeAddr(t), testserver.FreeAddr(t)
	_, port, _ := net.SplitHostPort(admin)
	w.Daemon = testserver.Sallyport(t, w.frame(open+`
[admin]
metrics_listen = "`+metrics+`"
[[provider]]
name = "own"
hosts = ["localhost:`+port+`", "169.254.169.254"]
base_url = "http://localhost:`+port+`"
type = "bearer"
allow_cleartext = true
`), "SALLYPORT_ADMIN_LISTEN="+admin)
	w.Put(t, "default/production/own/default", "bearer", map[string]string{"token": canary})
	for _, path := range []string{"/livez", "/metrics", "/api/v1/credentials", "/debug/pprof/"} {
		w.refusesReach(t, "SS-07", w.Admin, path, fault.LoopDetected)
	}
	w.refusesReach(t, "SS-07", metrics, "/metrics", fault.LoopDetected)
	w.refusesReach(t, "SS-07", w.Proxy, "/", fault.LoopDetected)
	auth := w.auth(t)
	for row, ask := range map[string]struct {
		target string
		code   fault.Code
	}{
		"SS-07: absolute":   {"http://localhost:" + port + "/livez", fault.LoopDetected},
		"SS-07: gateway":    {"/gateway/own/api/v1/callers", fault.LoopDetected},
		"SS-09: absolute":   {"http://169.254.169.254/latest/meta-data/", fault.PrivateAddress},
		"SS-09: as https":   {"https://169.254.169.254/latest/meta-data/", fault.PrivateAddress},
		"SS-09: decimal":    {"http://2852039166/latest/meta-data/", fault.PrivateAddress},
		"SS-09: mapped":     {"http://[::ffff:169.254.169.254]/latest/meta-data/", fault.PrivateAddress},
		"SS-09: IPv6":       {"http://[fd00:ec2::254]/latest/meta-data/", fault.PrivateAddress},
		"SS-09: Azure":      {"http://168.63.129.16/", fault.PrivateAddress},
		"SS-09: Alibaba":    {"http://100.100.100.200/latest/meta-data/", fault.PrivateAddress},
		"SS-09: link-local": {"http://169.254.170.2/v2/credentials", fault.PrivateAddress},
	} {
		host := strings.TrimPrefix(strings.TrimPrefix(ask.target, "http://"), "https://")
		host, _, _ = strings.Cut(host, "/")
		if host == "" {
			host = w.Proxy
		}
		w.raw(t).send(t, get(ask.target, host, auth)).is(t, row, ask.code)
	}
	p := w.connect(t, "localhost:"+port)
	p.send(t, get("/livez", "localhost:"+port, "")).is(t, "SS-07: plain HTTP inside CONNECT", fault.LoopDetected)
	p, err := w.secure(t, w.connect(t, "169.254.169.254:443"), "")
	if err != nil {
		t.Fatal(err)
	}
	p.send(t, get("/latest/meta-data/", "169.254.169.254", "")).is(t, "SS-09: TLS inside CONNECT", fault.PrivateAddress)
}

// SS-10: a tunnel leads to the ports that the configuration names, and to one.
func TestTunnelPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(open, "tunnel_ports = []", "", 1))
	for _, port := range []string{"22", "25", "80", "6379", "8443", w.other.Port} {
		w.connectTo(t, "default", "localhost:"+port).is(t, "SS-10: port "+port, fault.NoRoute)
	}
	for _, target := range []string{"localhost", "localhost:", "localhost:0", "localhost:65536", "localhost:https", "localhost:+443", ":443", "https://localhost:443"} {
		w.connectTo(t, "default", target).is(t, "SS-10: CONNECT "+target, fault.InvalidRequest)
	}
	w.connectTo(t, "default", "localhost:443").is(t, "SS-10: nobody listens on the one that may be", fault.ConnectionRefused)
	w.connect(t, w.api.Addr)
	w.other.Nothing(t, "SS-10")
}

// SS-11: what is no TLS in a tunnel gets no credential in the clear: HTTP goes on
// over TLS, anything else is refused. A tunnel to nobody's host passes bytes as
// they are.
func TestOtherProtocolsInTunnels(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open)
	for what, text := range map[string]string{
		"SSH":         "SSH-2.0-OpenSSH_9.9\r\n\r\n",
		"SMTP":        "EHLO runner\r\n\r\n",
		"h2c preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"Redis":       "*1\r\n$4\r\nPING\r\n\r\n",
		"PostgreSQL":  "\x00\x00\x00\x08\x04\xd2\x16\x2f\r\n\r\n",
	} {
		a := w.connect(t, w.api.Addr).send(t, text)
		a.is(t, "SS-11: "+what, fault.InvalidRequest)
	}
	w.api.Nothing(t, "SS-11")
	w.connect(t, w.api.Addr).send(t, get("/x", w.api.Addr, "")).status(t, "SS-11: HTTP without TLS", http.StatusOK)
	if g := w.api.One(t); g.Header.Get("Authorization") != "Bearer "+apiToken { // it takes TLS only
		t.Error("SS-11: HTTP without TLS did not go on with its credential")
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			_, _ = io.WriteString(c, "SSH-2.0-server\r\n")
			line, _ := bufio.NewReader(c).ReadString('\n')
			_, _ = io.WriteString(c, "got "+line)
			_ = c.Close()
		}
	}()
	p := w.connect(t, ln.Addr().String())
	if line, err := p.r.ReadString('\n'); err != nil || line != "SSH-2.0-server\r\n" {
		t.Errorf("SS-11: a server that speaks first: %q, %v", line, err)
	}
	_, _ = io.WriteString(p, "SSH-2.0-client\r\n")
	if line, err := p.r.ReadString('\n'); err != nil || line != "got SSH-2.0-client\r\n" {
		t.Errorf("SS-11: bytes of a tunnel: %q, %v", line, err)
	}
}

// SS-12: a host that a caller's hosts let pass is still its provider's, and still
// refused where everything unmatched is, or where it is one of our listeners.
func TestDenyBeatsPass(t *testing.T) {
	t.Parallel()
	w := prepareWorld(t)
	proxy := testserver.FreeAddr(t)
	policy := `
unmatched = "deny"
[[caller]]
name = "passing"
[[caller.allow]]
hosts = ["` + w.api.Addr + `", "` + w.other.Addr + `", "` + proxy + `"]
`
	w.Daemon = testserver.Prepare(t, "", "SALLYPORT_PROXY_LISTEN="+proxy)
	w.Write(t, w.frame(w.callers(t, open+policy)))
	w.Serve(t)
	w.Put(t, "default/production/api/default", "bearer", map[string]string{"token": apiToken})
	w.api.Take()
	p, err := w.secure(t, w.connectAs(t, "passing", w.api.Addr), "localhost")
	if err != nil {
		t.Fatalf("SS-12: a provider's host is not intercepted: %v", err)
	}
	p.send(t, get("/x", w.api.Addr, "")).is(t, "SS-12: a provider's host", fault.NoCredential)
	w.connectTo(t, "passing", w.other.Addr).is(t, "SS-12: deny", fault.NoRoute)
	w.connectTo(t, "passing", proxy).is(t, "SS-12: our own listener", fault.LoopDetected)
	w.Write(t, w.frame(w.callers(t, open+strings.Replace(policy, `"deny"`, `"tunnel"`, 1))))
	if status, body := w.Call(t, http.MethodPost, "/api/v1/reload", map[string]any{}); status != http.StatusOK {
		t.Fatalf("reload: %d %s", status, body)
	}
	w.connectTo(t, "passing", proxy).is(t, "SS-12: our own listener", fault.LoopDetected)
	w.connectAs(t, "passing", w.other.Addr)
	w.api.Nothing(t, "SS-12")
}

// LT-08: nothing is free on the proxy's port: no path of health, and no probe's
// name.
func TestNoHealthOnTheProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open)
	auth := w.auth(t)
	for _, probe := range []string{"kube-probe/1.31", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "curl/8.0"} {
		agent := "User-Agent: " + probe + "\r\n"
		for _, path := range []string{"/", "/healthz", "/livez", "/readyz", "/ping", "/metrics", "/api/v1/callers"} {
			w.raw(t).send(t, get(path, w.Proxy, agent)).is(t, "LT-08: "+probe+" "+path, fault.ProxyAuthRequired)
			w.raw(t).send(t, get(path, w.Proxy, agent+auth)).is(t, "LT-08: with a token "+path, fault.InvalidRequest)
			for _, u := range []*upstream{w.plain, w.api, w.other} {
				w.raw(t).send(t, get("http://"+u.Addr+path, u.Addr, agent)).is(t, "LT-08: "+probe+" of another host "+path, fault.ProxyAuthRequired)
			}
		}
	}
	w.plain.Nothing(t, "LT-08")
	w.api.Nothing(t, "LT-08")
	w.other.Nothing(t, "LT-08")
}

// LK-07: what fails, here or there, is answered to whoever asked and to nobody
// else: no other host sees the request or any field of it.
func TestFailuresGoNowhereElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open)
	own := "Authorization: Bearer " + canary + "-own\r\nCookie: c=" + canary + "\r\n"
	w.raw(t).send(t, get("http://"+w.plain.Addr+"/x", w.plain.Addr, own+"Proxy-Authorization: Basic !!!\r\n")).is(t, "LK-07: a wrong token", fault.ProxyAuthRequired)
	for _, code := range []string{"401", "403", "404", "429", "500", "502", "503"} {
		a := w.inside(t).send(t, get("/status?code="+code, w.api.Addr, own))
		if a == nil || a.Status[:3] != code || a.Body != "" {
			t.Errorf("LK-07: the upstream's %s is answered %+v", code, a)
		}
		for _, g := range w.api.Take() {
			if v := g.Header.Values("Authorization"); len(v) != 1 || v[0] != "Bearer "+apiToken {
				t.Errorf("LK-07: after %s the upstream got %d credentials", code, len(v))
			}
		}
	}
	w.inside(t).send(t, get("/x", w.api.Addr, own+"Sallyport-Credential: nobody\r\n")).is(t, "LK-07: no such credential", fault.CredentialNotFound)
	w.raw(t).send(t, get("http://localhost:1/x", "localhost:1", w.auth(t)+own)).is(t, "LK-07: nobody listens", fault.ConnectionRefused)
	w.api.Nothing(t, "LK-07")
	w.plain.Nothing(t, "LK-07")
	w.other.Nothing(t, "LK-07")
}
