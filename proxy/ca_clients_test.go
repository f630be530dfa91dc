package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/testserver"
)

// tool runs a real client and gives all that it printed.
func tool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, testserver.Find(t, name), args...).CombinedOutput()
	return string(out), err
}

// optional skips where a client is missing that make test does not install.
func optional(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed here; this runs where it is", name)
	}
}

// serveLeaf serves HTTPS with the host's leaf on a loopback port.
func serveLeaf(t *testing.T, ca *CA, host string) (port string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello\n")) }),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return ca.Leaf(host) },
		},
		ReadHeaderTimeout: time.Minute,
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

func TestOpenSSLStrict(t *testing.T) {
	for name, permitted := range map[string][]string{"free": nil, "constrained": {"example.com", "127.0.0.0/8"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ca := ownCA(t, dir+"/ca", permitted...)
			for _, host := range []string{"api.example.com", "127.0.0.1"} {
				leaf := filepath.Join(dir, host+".pem")
				if err := os.WriteFile(leaf, encodeCertificate(mustLeaf(t, ca, host).Raw), 0o600); err != nil {
					t.Fatal(err)
				}
				check := "-verify_hostname"
				if host == "127.0.0.1" {
					check = "-verify_ip"
				}
				out, err := tool(t, "openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", dir+"/ca/ca.pem", check, host, leaf)
				if err != nil {
					t.Errorf("openssl verify -x509_strict of %s: %v\n%s", host, err, out)
				}
			}
			testserver.Took(t, "OpenSSL "+testserver.Version("openssl", "version"))
		})
	}
}

const pythonStrict = `
import socket, ssl, sys
ctx = ssl.create_default_context(cafile=sys.argv[1])
ctx.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
with socket.create_connection(("127.0.0.1", int(sys.argv[2])), 20) as s:
    with ctx.wrap_socket(s, server_hostname="api.example.com") as t:
        print(t.version(), sys.version.split()[0])
`

func TestPythonStrict(t *testing.T) {
	optional(t, "python3")
	dir := t.TempDir()
	ca := ownCA(t, dir+"/ca")
	out, err := tool(t, "python3", "-c", pythonStrict, dir+"/ca/ca.pem", serveLeaf(t, ca, "api.example.com"))
	if err != nil || !strings.HasPrefix(out, "TLSv1.3") {
		t.Fatalf("python with VERIFY_X509_STRICT: %v\n%s", err, out)
	}
	testserver.Took(t, "Python "+strings.Fields(out)[1])
}

func TestCurlTrustsBundle(t *testing.T) {
	dir := t.TempDir()
	ca := ownCA(t, dir+"/ca")
	if err := ca.Export(dir + "/export"); err != nil {
		t.Fatal(err)
	}
	port := serveLeaf(t, ca, "api.example.com")
	for _, protocol := range []string{"--http1.1", "--http2"} {
		out, err := tool(t, "curl", "-sS", protocol, "--noproxy", "*", "--cacert", dir+"/export/bundle.pem", "--resolve", "api.example.com:"+port+":127.0.0.1", "https://api.example.com:"+port+"/")
		if err != nil || out != "hello\n" {
			t.Errorf("curl %s: %v\n%s", protocol, err, out)
		}
	}
	out, err := tool(t, "curl", "-sS", "--noproxy", "*", "--cacert", dir+"/export/ca.pem", "--resolve", "other.example.com:"+port+":127.0.0.1", "https://other.example.com:"+port+"/")
	if err == nil {
		t.Errorf("curl took the leaf of another host: %s", out)
	}
	testserver.Took(t, "curl "+testserver.Version("curl", "--version"))
}

func TestExport(t *testing.T) {
	dir := t.TempDir()
	roots := filepath.Join(dir, "roots.pem")
	ca, other := ownCA(t, dir+"/ca"), ownCA(t, dir+"/other")
	// The system's file already holds ours, as after an export into it, and rubbish.
	data := append(append(other.PEM(), ca.PEM()...), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...)
	if err := os.WriteFile(roots, data, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", roots)
	if err := ca.Export(dir + "/out"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "/ca.pem", "/bundle.pem", "/truststore.p12"} {
		info, err := os.Stat(dir + "/out" + name)
		if err != nil || info.Mode().Perm()&0o044 != 0o044 {
			t.Errorf("%s: mode %v, others must be able to read it (%v)", name, info.Mode(), err)
		}
	}
	bundle, err := os.ReadFile(dir + "/out/bundle.pem")
	if err != nil || string(bundle) != string(other.PEM())+string(ca.PEM()) {
		t.Errorf("the bundle is not the system's roots and ours, each once (%v):\n%s", err, bundle)
	}
	store, err := os.ReadFile(dir + "/out/truststore.p12")
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pkcs12.DecodeTrustStore(store, "changeit")
	if err != nil || len(certs) != 2 {
		t.Errorf("the truststore holds %d certificates, want 2 (%v)", len(certs), err)
	}
	if left, _ := filepath.Glob(dir + "/out/.tmp*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}

	t.Setenv("SSL_CERT_FILE", "")
	if bundle, err := ca.Bundle(); err != nil || !strings.HasSuffix(string(bundle), string(ca.PEM())) {
		t.Errorf("the usual places: %v", err)
	}
	if err := ca.Export(dir + "/roots.pem"); err == nil {
		t.Error("an export into a file passed")
	}
	t.Setenv("SSL_CERT_FILE", dir+"/missing")
	if _, err := ca.Bundle(); err == nil || !strings.Contains(err.Error(), "SSL_CERT_FILE") {
		t.Errorf("a missing SSL_CERT_FILE: %v", err)
	}
}

func TestJavaTruststore(t *testing.T) {
	optional(t, "keytool")
	dir := t.TempDir()
	ca := ownCA(t, dir+"/ca")
	if err := ca.Export(dir); err != nil {
		t.Fatal(err)
	}
	out, err := tool(t, "keytool", "-list", "-keystore", dir+"/truststore.p12", "-storetype", "PKCS12", "-storepass", "changeit")
	if err != nil || !strings.Contains(out, "trustedCertEntry") || !strings.Contains(strings.ToLower(out), "sallyport local ca") {
		t.Fatalf("keytool does not list our certificate: %v\n%s", err, out)
	}
	testserver.Took(t, "Java keytool")
}

func TestTunnelSessionsResume(t *testing.T) {
	ca := ownCA(t, t.TempDir()+"/ca")
	server := (&Server{o: Options{CA: ca}}).tunnelTLS()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{
			ServerName: "api.example.com", RootCAs: poolOf(ca.cert), MinVersion: version, MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(4),
		}
		var resumed []bool
		for range 3 {
			resumed = append(resumed, tunnelHandshake(t, client, server).DidResume)
		}
		if resumed[0] || !resumed[1] || !resumed[2] {
			t.Errorf("%s: resumed %v, want all but the first", tls.VersionName(version), resumed)
		}
	}
}

// tunnelHandshake is one inside a tunnel to api.example.com. The server sends a
// byte, so that the client reads its tickets.
func tunnelHandshake(t *testing.T, client, server *tls.Config) tls.ConnectionState {
	t.Helper()
	near, far := net.Pipe()
	for _, end := range []net.Conn{near, far} {
		_ = end.SetDeadline(time.Now().Add(time.Minute))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		inside := &door{prefixed: prefixed{Conn: far}, passage: &passage{authority: provider.Authority{Host: "api.example.com", Port: 443}}, doors: newDoors()}
		_, _ = tls.Server(inside, server).Write([]byte("x"))
	}()
	defer func() { _ = near.Close(); <-done }()
	conn := tls.Client(near, client)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn.ConnectionState()
}
