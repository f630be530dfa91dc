package proxy

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// authority signs test certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newTestAuthority(t testing.TB, name string, change func(*x509.Certificate)) *authority {
	t.Helper()
	key := ecKey(t)
	certs, err := parseCertificates(rootOf(t, key, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: name}
		if change != nil {
			change(c)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certs[0], key}
}

// issue signs a certificate for api.example; a nil authority signs with the leaf's own key.
func (a *authority) issue(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	return a.issueTo(t, ecKey(t), change)
}

// issueTo signs a certificate of that key.
func (a *authority) issueTo(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{"api.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(c)
	}
	parent, signer := c, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// countingTLS accepts connections and counts the bytes that requests sent.
func countingTLS(t testing.TB, config *tls.Config) (port string, got *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	got = new(atomic.Int64)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				secure := tls.Server(conn, config)
				_ = secure.SetDeadline(time.Now().Add(time.Minute))
				n, _ := secure.Read(make([]byte, 4096))
				got.Add(int64(n))
				if n > 0 {
					_, _ = io.WriteString(secure, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}()
		}
	}()
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port, got
}

func TestUpstreamCertificates(t *testing.T) {
	trusted, other := newTestAuthority(t, "trusted", nil), newTestAuthority(t, "other", nil)
	narrow := newTestAuthority(t, "narrow", func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"elsewhere.example"}, true
	})
	weakKey := rsaKey(t, 2048)
	weakRoots, err := parseCertificates(rootOf(t, weakKey, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "weak"} }))
	if err != nil {
		t.Fatal(err)
	}
	weak := &authority{weakRoots[0], weakKey}
	for name, tt := range map[string]struct {
		cert   tls.Certificate
		config *tls.Config
		want   string // in the detail; empty: the request goes through
	}{
		"good":    {cert: trusted.issue(t, nil)},
		"expired": {cert: trusted.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), want: "has expired"},
		"not yet valid": {cert: trusted.issue(t, func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(time.Minute)
		}), want: "not valid yet"},
		"self-signed": {cert: (*authority)(nil).issue(t, nil), want: "self-signed"},
		"self-signed authority as leaf": {cert: (*authority)(nil).issue(t, func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
		}), want: "self-signed"},
		"wrong host": {cert: trusted.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} }), want: "another name"},
		"no name":    {cert: trusted.issue(t, func(c *x509.Certificate) { c.DNSNames = nil }), want: "another name"},
		"wrong EKU": {cert: trusted.issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), want: "extended key usage"},
		"unknown root":    {cert: other.issue(t, nil), want: "authority is not trusted"},
		"name constraint": {cert: narrow.issue(t, nil), want: "name constraints"},
		"SHA-1": {cert: weak.issue(t, func(c *x509.Certificate) {
			c.SignatureAlgorithm = x509.SHA1WithRSA
		}), want: "algorithm that is not safe"},
		"TLS 1.0": {cert: trusted.issue(t, nil), config: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, want: "TLS version from 1.2"},
		"TLS 1.1": {cert: trusted.issue(t, nil), config: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, want: "TLS version from 1.2"},
		"wants a client certificate": {cert: trusted.issue(t, nil), config: &tls.Config{
			ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12,
		}, want: "client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.config == nil {
				tt.config = new(tls.Config)
			}
			tt.config.Certificates = []tls.Certificate{tt.cert}
			port, got := countingTLS(t, tt.config)
			u := NewUpstream(UpstreamOptions{
				AllowNetworks: loopback, Roots: poolOf(trusted.cert, narrow.cert, weak.cert), Resolver: resolves("api.example", "127.0.0.1"),
			})
			defer u.CloseIdle()
			resp, err := send(t, u.Transport(nil, nil), "POST", "https://api.example:"+port+"/secret", strings.NewReader("body"))
			if tt.want == "" {
				if err != nil || resp.StatusCode != http.StatusOK || got.Load() == 0 {
					t.Fatalf("HM-16: %v", err)
				}
				_ = resp.Body.Close()
				return
			}
			f := Classify(err)
			if codeOf(f) != fault.TLSCertificate || !strings.Contains(f.Detail, tt.want) {
				t.Errorf("HM-16: %v; want tls_certificate with %q", f, tt.want)
			}
			if n := got.Load(); n != 0 {
				t.Errorf("HM-16: %d bytes of the request reached the server", n)
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	trusted := newTestAuthority(t, "trusted", nil)
	client := trusted.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	port, got := countingTLS(t, &tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: poolOf(trusted.cert), Certificates: []tls.Certificate{trusted.issue(t, nil)},
	})
	u := NewUpstream(UpstreamOptions{AllowNetworks: loopback, Roots: poolOf(trusted.cert), Resolver: resolves("api.example", "127.0.0.1")})
	defer u.CloseIdle()
	mustSend(t, u.Transport(nil, &client), "GET", "https://api.example:"+port, nil)
	if got.Load() == 0 {
		t.Error("the request with the certificate did not arrive")
	}
	if _, err := send(t, u.Transport(nil, nil), "GET", "https://api.example:"+port, nil); codeOf(Classify(err)) != fault.TLSCertificate {
		t.Errorf("without the certificate: %v", err)
	}
}

func TestUpstreamSessionsResume(t *testing.T) {
	s := tlsServer(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, map[bool]string{true: "resumed", false: "full"}[r.TLS.DidResume])
	})
	rt := openUpstream(t, UpstreamOptions{}, s).Transport(nil, nil)
	if _, first := mustSend(t, rt, "GET", s.URL, nil); first != "full" {
		t.Errorf("the first handshake: %s", first)
	}
	if _, second := mustSend(t, rt, "GET", s.URL, nil); second != "resumed" {
		t.Errorf("the second handshake: %s", second)
	}
}
