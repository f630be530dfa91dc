package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// operatorCA writes an authority with its key into dir, as an operator's tool would.
func operatorCA(t *testing.T, dir, name string, life time.Duration) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(life), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	rewrite(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// leafIn gives the certificate that a runner is shown, which verifies under the
// daemon's own ca.pem.
func (w *world) leafIn(t *testing.T, p *peer) *x509.Certificate {
	t.Helper()
	conn, ok := p.Conn.(*tls.Conn)
	if !ok {
		t.Fatal("no TLS")
	}
	return conn.ConnectionState().PeerCertificates[0]
}

// FM-23: a CA that ends soon is told of, in the log and as a metric, no leaf
// outlives it, and one that was put in its place counts with the next start: no
// reload changes what clients must trust.
func TestCAEndsAndIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := operatorCA(t, dir, "Old CA", 36*time.Hour)
	config := strings.ReplaceAll(open+`
[proxy.ca]
cert_file = "{dir}/cert.pem"
key_file = "{dir}/key.pem"
`, "{dir}", dir)
	w := newWorld(t, config)
	w.logged(t, "the local CA expires on "+old.NotAfter.UTC().Format("2006-01-02T15:04:05Z"))
	if end, err := strconv.ParseFloat(w.metric(t, "sallyport_ca_expiry_timestamp_seconds"), 64); err != nil || int64(end) != old.NotAfter.Unix() {
		t.Errorf("FM-23: ca_expiry_timestamp_seconds is %v, want %v (%v)", end, old.NotAfter.Unix(), err)
	}
	if leaf := w.leafIn(t, w.inside(t)); leaf.Issuer.CommonName != "Old CA" || leaf.NotAfter.After(old.NotAfter) {
		t.Errorf("FM-23: the leaf is of %s until %v", leaf.Issuer, leaf.NotAfter)
	}

	operatorCA(t, dir, "New CA", 90*24*time.Hour)
	if status, body := w.Call(t, http.MethodPost, "/api/v1/reload", map[string]any{}); status != http.StatusOK {
		t.Fatalf("reload: %d %s", status, body)
	}
	if leaf := w.leafIn(t, w.inside(t)); leaf.Issuer.CommonName != "Old CA" {
		t.Errorf("FM-23: a reload changed what clients must trust: the leaf is of %s", leaf.Issuer)
	}
	w.Signal(t, syscall.SIGTERM)
	w.Wait(t, time.Minute)
	w.Serve(t)
	if leaf := w.leafIn(t, w.inside(t)); leaf.Issuer.CommonName != "New CA" {
		t.Errorf("FM-23: the leaf is of %s", leaf.Issuer)
	}
	if strings.Contains(w.Log(), "the local CA expires") {
		t.Error("FM-23: a CA that lives for 90 days is warned about")
	}
}

// LT-12: what the CA may sign for does not grow with the configuration: a provider
// beyond its name constraints is a fault, other constraints need another CA, and
// the old one never signs for what came later.
func TestCAStaysNarrow(t *testing.T) {
	t.Parallel()
	const narrow, more = "[proxy.ca]\npermitted = [\"localhost\"]\n", `
[[provider]]
name = "later"
hosts = ["*.later.example"]
base_url = "https://api.later.example"
type = "bearer"
`
	w := newWorld(t, open+narrow)
	w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "LT-12: within", http.StatusOK)
	reload := func(extra, want string) {
		t.Helper()
		w.Write(t, w.frame(extra))
		if status, body := w.Call(t, http.MethodPost, "/api/v1/reload", map[string]any{}); status != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("LT-12: reload: status %d %s, want 400 with %q", status, body, want)
		}
	}
	wide := strings.Replace(narrow, `"localhost"`, `"localhost", "later.example"`, 1)
	reload(open+narrow+more, "is outside of proxy.ca.permitted")
	reload(open+wide+more, "proxy.ca.permitted")
	old, _ := w.CA(t)
	w.Signal(t, syscall.SIGTERM)
	w.Wait(t, time.Minute)
	p := testserver.Start(t, w.Command("serve"))
	if code := p.Wait(t, time.Minute); code == 0 || !strings.Contains(p.Log(), "other name constraints") {
		t.Errorf("LT-12: the old CA is taken for a wider one: exit code %d\n%s", code, p.Log())
	}
	if err := os.RemoveAll(filepath.Join(w.State, "ca")); err != nil {
		t.Fatal(err)
	}
	w.Serve(t)
	before, _ := os.ReadFile(old)
	made, _ := w.CA(t)
	after, err := os.ReadFile(made)
	if err != nil || string(before) == string(after) {
		t.Errorf("LT-12: the CA is the same, %v", err)
	}
	w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "LT-12: with another CA", http.StatusOK)
}
