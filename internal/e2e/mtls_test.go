package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// certified is a daemon in front of an nginx that lets clients in by their certificates.
type certified struct {
	*testserver.Daemon
	ca  *testserver.CA
	url string
}

func newCertified(t *testing.T) *certified {
	t.Helper()
	c := &certified{ca: testserver.NewCA(t)}
	_, file := c.ca.Leaf(t, "localhost", "127.0.0.1")
	n := testserver.StartNginx(t, `
server {
	listen {tls} ssl http2;
	ssl_certificate `+file+`; ssl_certificate_key `+file+`;
	ssl_client_certificate `+c.ca.File+`; ssl_verify_client on;
	location / { default_type text/plain; return 200 "$ssl_client_s_dn over $server_protocol\n"; }
}`, "tls")
	_, port, _ := strings.Cut(n.Addr["tls"], ":")
	c.url = "https://localhost:" + port
	c.Daemon = testserver.Sallyport(t, open+`
[checks]
interval = "0"
expiry_warning = "1h" # the certificates are of a day
[[provider]]
name = "bank"
hosts = ["localhost:`+port+`"]
base_url = "`+c.url+`"
type = "mtls"
ca_file = "`+c.ca.File+`"
[provider.verify]
path = "/"
[[provider.signal]]
status = 400
body = "SSL certificate"
means = "invalid"
`)
	return c
}

// pem gives the fields of a certificate that ca signs for name.
func (c *certified) pem(t *testing.T, ca *testserver.CA, name string) map[string]string {
	t.Helper()
	_, file := ca.Leaf(t, name)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"certificate": string(b), "private_key": string(b)}
}

const mtlsRef = "default/production/bank/"

// nginx sees the certificate of the credential that was chosen, however the connections were used before.
func TestMTLS(t *testing.T) {
	c := newCertified(t)
	for _, name := range []string{"alice", "bob"} {
		status, body := c.Call(t, http.MethodPut, "/api/v1/credentials/"+mtlsRef+name, map[string]any{"type": "mtls", "fields": c.pem(t, c.ca, name)})
		var answer struct {
			Credential struct{ Fields []string }
			Report     struct {
				Status    string
				ExpiresAt time.Time `json:"expires_at"`
			}
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusCreated || answer.Report.Status != "ok" {
			t.Fatalf("PUT %s: status %d, report %q (%v): %s", name, status, answer.Report.Status, err, body)
		}
		if left := time.Until(answer.Report.ExpiresAt); left < 20*time.Hour || left > 24*time.Hour {
			t.Errorf("the report of %s ends at %v, want the certificate's end", name, answer.Report.ExpiresAt)
		}
		if strings.Contains(body, "BEGIN") {
			t.Errorf("the answer shows the key or the certificate: %s", body)
		}
	}
	env := c.CurlEnv(t)
	for n := range 6 {
		for _, name := range []string{"alice", "bob"} {
			out, errs, exit := testserver.Curl(t, env, "-f", "-H", "Sallyport-Credential: "+name, c.url+fmt.Sprintf("/%d", n))
			if exit != 0 || !strings.HasPrefix(out, "CN="+name+" over HTTP/2.0") {
				t.Fatalf("%s, request %d: exit %d %s %q\n%s", name, n, exit, errs, out, c.Log())
			}
		}
	}
	if _, metrics := c.Call(t, http.MethodGet, "/metrics", nil); !strings.Contains(metrics, `sallyport_credential_expiry_timestamp_seconds{credential="`+mtlsRef+`alice"}`) {
		t.Error("no metric tells when a person must act")
	}
	if strings.Contains(c.Log(), "BEGIN") {
		t.Error("the log shows a key")
	}
}

// A server that ends the handshake over a certificate says no more than that; it is told apart from a server that we do
// not trust.
func TestMTLSAlert(t *testing.T) {
	ca := testserver.NewCA(t)
	leaf, _ := ca.Leaf(t, "localhost")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{leaf}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	entry := func(name, file string) string {
		return `
[[provider]]
name = "` + name + `"
hosts = ["localhost:` + port + `"]
paths = ["/` + name + `"]
base_url = "https://localhost:` + port + `"
type = "mtls"
ca_file = "` + file + `"
[provider.verify]
path = "/` + name + `"
`
	}
	c := &certified{ca: ca, url: "https://localhost:" + port}
	c.Daemon = testserver.Sallyport(t, open+entry("bank", ca.File)+entry("other", testserver.NewCA(t).File))
	put := func(provider, name string, fields map[string]string) string {
		_, body := c.Call(t, http.MethodPut, "/api/v1/credentials/default/production/"+provider+"/"+name, map[string]any{"type": "mtls", "fields": fields})
		return body
	}
	if body := put("bank", "mallory", c.pem(t, testserver.NewCA(t), "mallory")); !strings.Contains(body, "check_failed") || !strings.Contains(body, "credentials_rejected") {
		t.Errorf("an unknown authority: %s", body)
	}
	if body := put("other", "alice", c.pem(t, ca, "alice")); !strings.Contains(body, `"status":"unknown"`) || !strings.Contains(body, "tls_certificate") {
		t.Errorf("a server that is not trusted: %s", body)
	}
	if body := put("bank", "alice", c.pem(t, ca, "alice")); !strings.Contains(body, `"status":"ok"`) {
		t.Errorf("the right one: %s", body)
	}
	if out, errs, exit := testserver.Curl(t, c.CurlEnv(t), "-f", c.url+"/bank/x"); exit != 0 || out != "alice" {
		t.Errorf("exit %d %s %q\n%s", exit, errs, out, c.Log())
	}
}

// A certificate of an authority that the server does not know, one of somebody else's key, and one that has ended.
func TestMTLSWrong(t *testing.T) {
	c := newCertified(t)
	put := func(query string, fields map[string]string) (int, string) {
		return c.Call(t, http.MethodPut, "/api/v1/credentials/"+mtlsRef+"wrong"+query, map[string]any{"type": "mtls", "fields": fields})
	}
	stranger := c.pem(t, testserver.NewCA(t), "mallory")
	if status, body := put("", stranger); status != http.StatusUnprocessableEntity || !strings.Contains(body, "check_failed") {
		t.Errorf("an unknown authority: status %d, want 422 check_failed: %s", status, body)
	}
	if status, body := put("?force=true", stranger); status != http.StatusCreated {
		t.Fatalf("status %d: %s", status, body)
	}
	out, errs, exit := testserver.Curl(t, c.CurlEnv(t), "-w", "%{http_code}", "-D", "-", c.url+"/")
	if exit != 0 || !strings.Contains(out, "The SSL certificate error") || !strings.HasSuffix(out, "400") || !strings.Contains(out, `details="credentials_rejected"`) {
		t.Errorf("an unknown authority: exit %d %s %s; want nginx's own 400", exit, errs, out)
	}
	mixed := c.pem(t, c.ca, "alice")
	mixed["private_key"] = c.pem(t, c.ca, "bob")["private_key"]
	if status, body := put("", mixed); status != http.StatusBadRequest || !strings.Contains(body, "private_key does not belong") {
		t.Errorf("another's key: status %d: %s", status, body)
	}
	_, file := c.ca.Expired(t, "alice")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := put("", map[string]string{"certificate": string(b), "private_key": string(b)}); status != http.StatusBadRequest || !strings.Contains(body, "certificate ended on ") {
		t.Errorf("an ended one: status %d: %s", status, body)
	}
}
