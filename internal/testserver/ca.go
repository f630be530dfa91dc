package testserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is a certificate authority of a test.
type CA struct {
	File string // PEM of its certificate
	PEM  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority in a folder of the test.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	ca := &CA{cert: cert, key: key, PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	ca.File = filepath.Join(tb.TempDir(), "ca.pem")
	write(tb, ca.File, ca.PEM)
	return ca
}

// Leaf makes a certificate, for servers and clients, for names and addresses. file holds the
// certificate and its key as PEM, for servers that read one from a file.
func (ca *CA) Leaf(tb testing.TB, names ...string) (leaf tls.Certificate, file string) {
	tb.Helper()
	return ca.leaf(tb, ca.cert.NotAfter, names...)
}

// Expired is Leaf for a certificate that ended a minute ago.
func (ca *CA) Expired(tb testing.TB, names ...string) (leaf tls.Certificate, file string) {
	tb.Helper()
	return ca.leaf(tb, time.Now().Add(-time.Minute), names...)
}

// SelfSigned is Leaf for a certificate that no authority has signed.
func SelfSigned(tb testing.TB, names ...string) (leaf tls.Certificate, file string) {
	tb.Helper()
	own := &CA{key: newKey(tb), cert: &x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}}
	return own.leaf(tb, own.cert.NotAfter, names...)
}

func (ca *CA) leaf(tb testing.TB, end time.Time, names ...string) (leaf tls.Certificate, file string) {
	tb.Helper()
	key, parent := newKey(tb), ca.cert
	if parent.Raw == nil { // not an authority
		key = ca.key
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, NotBefore: ca.cert.NotBefore,
		NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if parent.Raw == nil {
		parent = template
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), ca.key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	file = filepath.Join(tb.TempDir(), names[0]+".pem")
	write(tb, file, both)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// Pool holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Config is for clients that trust the authority alone.
func (ca *CA) Config() *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}
