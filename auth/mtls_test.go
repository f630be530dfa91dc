package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// certificateUntil makes a self-signed certificate and its key, as PEM.
func certificateUntil(t testing.TB, end time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotBefore: end.Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func TestMTLS(t *testing.T) {
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	cert, key := certificateUntil(t, end)
	issuer, _ := certificateUntil(t, end.Add(time.Hour))
	for name, fields := range map[string][]string{
		"alone":                   {"certificate", cert, "private_key", key},
		"with its chain":          {"certificate", cert + issuer, "private_key", key},
		"behind its chain":        {"certificate", issuer + cert, "private_key", key},
		"one file for both":       {"certificate", key + cert, "private_key", key + cert},
		"newlines of a variable":  {"certificate", strings.ReplaceAll(cert, "\n", `\n`), "private_key", strings.ReplaceAll(key, "\n", `\n`)},
		"newlines lost in a form": {"certificate", strings.ReplaceAll(cert, "\n", " "), "private_key", strings.ReplaceAll(key, "\n", " ")},
	} {
		c := record("mtls", fields...)
		if err := Validate(crm(), c); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		i := mustMint(t, crm(), c)
		if !i.Ends.Equal(end) || !i.Expiry.IsZero() || i.Certificate.Leaf.NotAfter != end.UTC() {
			t.Errorf("%s: it ends at %v, expires at %v; the leaf at %v, want %v", name, i.Ends, i.Expiry, i.Certificate.Leaf.NotAfter, end)
		}
		req := request(t, "https://crm.example/", "Authorization", "Bearer runner")
		if err := i.Inject(req); err != nil || len(req.Header) != 1 {
			t.Errorf("%s: %v %v", name, err, req.Header)
		}
		if err := i.Inject(request(t, "http://crm.example/")); !errors.Is(err, fault.CleartextRefused) {
			t.Errorf("%s: without TLS: %v, want cleartext_refused", name, err)
		}
	}
}

func TestMTLSRefuses(t *testing.T) {
	cert, key := certificateUntil(t, time.Now().Add(time.Hour))
	other, otherKey := certificateUntil(t, time.Now().Add(time.Hour))
	past, pastKey := certificateUntil(t, time.Now().Add(-25*time.Hour))
	for _, tc := range []struct{ name, cert, key, says string }{
		{"no certificate", "canary", key, "field certificate holds no certificate in PEM"},
		{"a key for a certificate", key, key, "field certificate holds no certificate in PEM"},
		{"a broken certificate", "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----", key, "a certificate in it is broken"},
		{"no key", cert, cert, "field private_key holds no private key in PEM"},
		{"a broken key", cert, "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----", "field private_key is PEM, but the key in it is broken"},
		{"another's key", cert, otherKey, "field private_key does not belong to the certificate"},
		{"a long chain", strings.Repeat(other, maxChain) + cert, key, "holds more than 16 certificates"},
		{"an ended one", past, pastKey, "field certificate ended on " + time.Now().Add(-25*time.Hour).UTC().Format(time.DateOnly)},
	} {
		err := Validate(crm(), record("mtls", "certificate", tc.cert, "private_key", tc.key))
		if !errors.Is(err, fault.InvalidRequest) || !strings.Contains(fault.From(err).Detail, tc.says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.says)
		}
	}
}

// A certificate that ends while it is held is not shown any more, and asks for no renewal before.
func TestMTLSEnds(t *testing.T) {
	now := time.Now()
	cert, key := certificateUntil(t, now.Add(time.Minute))
	i, err := Mint(t.Context(), Material{Credential: record("mtls", "certificate", cert, "private_key", key), Provider: crm(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	if err := i.Inject(request(t, "https://crm.example/")); !errors.Is(err, fault.FieldMissing) || fault.From(err).Credential != tokenRef || i.Renewable() {
		t.Errorf("%v, renewable %v", err, i.Renewable())
	}
}
