package proxy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elazarl/goproxy"
)

func ownCA(t testing.TB, dir string, permitted ...string) *CA {
	t.Helper()
	ca, err := LoadCA(CAOptions{Dir: dir, Permitted: permitted})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func mustLeaf(t testing.TB, ca *CA, host string) *x509.Certificate {
	t.Helper()
	c, err := ca.Leaf(host)
	if err != nil {
		t.Fatalf("leaf for %s: %v", host, err)
	}
	return c.Leaf
}

func TestOwnCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	ca := ownCA(t, dir)
	c := ca.cert
	if k, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		t.Errorf("key is %T, want ECDSA P-256", c.PublicKey)
	}
	if !c.IsCA || !c.MaxPathLenZero || c.MaxPathLen != 0 || len(c.SubjectKeyId) == 0 || c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Errorf("extensions of the root: CA %v, path length %d, usage %b", c.IsCA, c.MaxPathLen, c.KeyUsage)
	}
	if years := time.Until(c.NotAfter).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("the root lives %.1f years, want 10", years)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700 | fs.ModeDir, dir + "/authority.pem": 0o600, dir + "/ca.pem": 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("LK-14: %s: mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	again := ownCA(t, dir)
	if !bytes.Equal(again.PEM(), ca.PEM()) {
		t.Error("the second load made another authority")
	}
	copied, err := os.ReadFile(dir + "/ca.pem")
	if err != nil || !bytes.Equal(copied, ca.PEM()) || bytes.Contains(copied, []byte("PRIVATE")) {
		t.Errorf("ca.pem is not the certificate alone: %s (%v)", copied, err)
	}
}

func TestOwnCARefused(t *testing.T) {
	cut := func(n int64) func(string) {
		return func(dir string) { _ = os.Truncate(dir+"/authority.pem", n) }
	}
	for name, tt := range map[string]struct {
		change func(dir string)
		later  time.Duration
		asked  []string
		want   string
	}{
		"LK-14 key readable by others": {change: func(d string) { _ = os.Chmod(d+"/authority.pem", 0o644) }, want: "run chmod 600 on it"},
		"LK-14 folder open":            {change: func(d string) { _ = os.Chmod(d, 0o755) }, want: "run chmod 700 on it"},
		"LK-14 key is a link": {change: func(d string) {
			_ = os.Rename(d+"/authority.pem", d+"/x")
			_ = os.Symlink("x", d+"/authority.pem")
		}, want: "symbolic link"},
		"empty":             {change: cut(0), want: "no certificate"},
		"cut":               {change: cut(700), want: "no private key"},
		"expired":           {change: func(string) {}, later: 11 * 365 * 24 * time.Hour, want: "expired on "},
		"not valid yet":     {change: func(string) {}, later: -48 * time.Hour, want: "check the clock"},
		"other constraints": {change: func(string) {}, asked: []string{"example.com"}, want: "other name constraints"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ca")
			ownCA(t, dir)
			tt.change(dir)
			_, err := LoadCA(CAOptions{Dir: dir, Permitted: tt.asked, Now: func() time.Time { return time.Now().Add(tt.later) }})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%s: error %v, want one with %q", name, err, tt.want)
			}
			for _, advice := range []string{"remove " + dir, "must then trust the new ca.pem"} {
				if tt.later > 0 && !strings.Contains(err.Error(), advice) {
					t.Errorf("the error does not say %q: %v", advice, err)
				}
			}
			if strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("the error quotes the file: %v", err)
			}
		})
	}
}

func TestOwnCAMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	var wg sync.WaitGroup
	got := make([]string, 8)
	for i := range got {
		wg.Go(func() {
			if ca, err := LoadCA(CAOptions{Dir: dir}); err == nil {
				got[i] = string(ca.PEM())
			}
		})
	}
	wg.Wait()
	for _, pem := range got {
		if pem == "" || pem != got[0] {
			t.Fatal("starts at the same time made several authorities")
		}
	}
}

// TestLeafOfOtherProcess is the other process of TestLeafKeysDiffer.
func TestLeafOfOtherProcess(t *testing.T) {
	dir := os.Getenv("SALLYPORT_TEST_CA_DIR")
	if dir == "" {
		t.Skip("runs only as the child of TestLeafKeysDiffer")
	}
	c := mustLeaf(t, ownCA(t, dir), "api.example.com")
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	_, _ = os.Stdout.WriteString("key=" + hex.EncodeToString(sum[:]) + "\n")
}

func TestLeafKeysDiffer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	ownCA(t, dir)
	keys := map[string]bool{}
	for range 2 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLeafOfOtherProcess$")
		cmd.Env = append(os.Environ(), "SALLYPORT_TEST_CA_DIR="+dir)
		out, err := cmd.Output()
		_, key, ok := strings.Cut(string(out), "key=")
		if err != nil || !ok {
			t.Fatalf("the other process: %v\n%s", err, out)
		}
		key, _, _ = strings.Cut(key, "\n")
		keys[key] = true
	}
	if len(keys) != 2 {
		t.Error("GP-01: two processes with one CA gave one host the same key")
	}
}

// operatorFiles writes a CA certificate and a key.
func operatorFiles(t testing.TB, cert []byte, key []byte) CAOptions {
	t.Helper()
	dir := t.TempDir()
	o := CAOptions{CertFile: dir + "/ca.crt", KeyFile: dir + "/ca.key"}
	for path, data := range map[string][]byte{o.CertFile: cert, o.KeyFile: key} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// rootOf self-signs for key after change.
func rootOf(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) []byte {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Operator CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1, 2, 3},
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return encodeCertificate(der)
}

func pkcs8(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestOperatorCA(t *testing.T) {
	ec, rsa2048 := ecKey(t), rsaKey(t, 2048)
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]CAOptions{
		"ECDSA PKCS 8": operatorFiles(t, rootOf(t, ec, nil), pkcs8(t, ec)),
		"ECDSA SEC 1":  operatorFiles(t, rootOf(t, ec, nil), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})),
		"RSA PKCS 8":   operatorFiles(t, rootOf(t, rsa2048, nil), pkcs8(t, rsa2048)),
		"RSA PKCS 1":   operatorFiles(t, rootOf(t, rsa2048, nil), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsa2048)})),
	} {
		ca, err := LoadCA(o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		leaf := mustLeaf(t, ca, "api.example.com")
		if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok {
			t.Errorf("%s: the leaf's key is %T, want ECDSA", name, leaf.PublicKey)
		}
		if leaf.NotAfter.After(ca.NotAfter()) {
			t.Errorf("%s: the leaf outlives its authority", name)
		}
		verifyLeaf(t, ca, leaf, "api.example.com")
	}
}

func verifyLeaf(t testing.TB, ca *CA, leaf *x509.Certificate, host string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.PEM())
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
		t.Errorf("the leaf for %s does not verify: %v", host, err)
	}
}

func TestOperatorCARefused(t *testing.T) {
	ec, other := ecKey(t), ecKey(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	builtin := encodeCertificate(goproxy.GoproxyCa.Certificate[0])
	builtinKey, ok := goproxy.GoproxyCa.PrivateKey.(crypto.Signer)
	if !ok {
		t.Fatalf("goproxy's key is %T", goproxy.GoproxyCa.PrivateKey)
	}
	for name, tt := range map[string]struct {
		cert, key []byte
		want      string
	}{
		"GP-02 goproxy's public CA": {builtin, pkcs8(t, builtinKey), "whose private key everybody has"},
		"another key":               {rootOf(t, ec, nil), pkcs8(t, other), "does not belong to the certificate"},
		"no authority":              {rootOf(t, ec, func(c *x509.Certificate) { c.IsCA = false; c.KeyUsage = 0 }), pkcs8(t, ec), "none of an authority"},
		"may not sign":              {rootOf(t, ec, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), pkcs8(t, ec), "may not sign"},
		"expired":                   {rootOf(t, ec, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), pkcs8(t, ec), "expired on"},
		"Ed25519":                   {rootOf(t, ed, nil), pkcs8(t, ed), "must be ECDSA or RSA"},
		"encrypted key":             {rootOf(t, ec, nil), pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), "without a passphrase"},
		"no key":                    {rootOf(t, ec, nil), rootOf(t, ec, nil), "no private key"},
		"no certificate":            {pkcs8(t, ec), pkcs8(t, ec), "no certificate"},
		"malformed key":             {rootOf(t, ec, nil), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")}), "malformed"},
	} {
		_, err := LoadCA(operatorFiles(t, tt.cert, tt.key))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
	if _, err := LoadCA(CAOptions{CertFile: "x"}); err == nil || !strings.Contains(err.Error(), "both cert_file and key_file") {
		t.Errorf("a certificate without a key: %v", err)
	}
	small := rsaKey(t, 2048)
	small.N.Rsh(small.N, 1024)
	if _, err := checkSize(small); err == nil {
		t.Error("a short RSA key passed")
	}
}

func TestOperatorCAModes(t *testing.T) {
	ec := ecKey(t)
	o := operatorFiles(t, rootOf(t, ec, nil), pkcs8(t, ec))
	if err := os.Chmod(o.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	ca, err := LoadCA(o)
	if err != nil || len(ca.Warnings()) != 1 {
		t.Fatalf("a readable key: %v, warnings %q", err, ca.Warnings())
	}
	if err := os.Chmod(o.KeyFile, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(o); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Errorf("LK-14: a key that everybody may write: %v", err)
	}
}

func TestIntermediateCA(t *testing.T) {
	rootKey, key := ecKey(t), ecKey(t)
	rootPEM := rootOf(t, rootKey, nil)
	roots, err := parseCertificates(rootPEM)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(8), Subject: pkix.Name{CommonName: "Team CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, roots[0], key.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := LoadCA(operatorFiles(t, append(encodeCertificate(der), rootPEM...), pkcs8(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf("api.example.com")
	if err != nil || len(leaf.Certificate) != 2 {
		t.Fatalf("a leaf is sent with %d certificates, want itself and the intermediate (%v)", len(leaf.Certificate), err)
	}
	pool, mid := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(roots[0])
	mid.AppendCertsFromPEM(encodeCertificate(leaf.Certificate[1]))
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: mid, DNSName: "api.example.com"}); err != nil {
		t.Errorf("the chain does not verify to the root: %v", err)
	}
}

func poolOf(certs ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}
