package proxy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/file"
)

// publicAuthority is the SHA-256 of the public key of goproxy's built-in
// authority, whose private key stands in goproxy's source.
const publicAuthority = "c012de113a81789eb5c392c0580156bbc281f9f93e07f08cafa3329672e6993b"

const minRSA = 2_048 // bits

// loadOperator reads the operator's files.
func (ca *CA) loadOperator(certFile, keyFile string) error {
	if certFile == "" || keyFile == "" {
		return errors.New("[proxy.ca] needs both cert_file and key_file, or neither")
	}
	cert, _, err := file.ReadOperator(certFile)
	if err != nil {
		return fmt.Errorf("[proxy.ca] cert_file: %w", err)
	}
	key, readable, err := file.ReadOperator(keyFile)
	if err != nil {
		return fmt.Errorf("[proxy.ca] key_file: %w", err)
	}
	if readable {
		ca.warnings = append(ca.warnings, "[proxy.ca] key_file "+keyFile+" is readable by everybody; run chmod o-r on it")
	}
	if err := ca.use(cert, key); err != nil {
		return fmt.Errorf("[proxy.ca] cert_file %s, key_file %s: %w", certFile, keyFile, err)
	}
	return nil
}

// use takes the certificates and the key, both PEM, if they can be an authority.
func (ca *CA) use(certPEM, keyPEM []byte) error {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return err
	}
	if err := checkAuthority(certs[0], key, ca.now()); err != nil {
		return err
	}
	ca.cert, ca.key = certs[0], key
	for _, c := range certs {
		ca.pem = append(ca.pem, encodeCertificate(c.Raw)...)
		if string(c.RawIssuer) != string(c.RawSubject) {
			ca.chain = append(ca.chain, c.Raw)
		}
	}
	return nil
}

// parseCertificates gives at least one.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a certificate is malformed: %w", err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate (PEM) in it")
	}
	return certs, nil
}

// parseKey reads PKCS #8, SEC 1 or PKCS #1. Its errors hold nothing of the key.
func parseKey(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, errors.New("the key is encrypted; give one without a passphrase, in a file that only Sallyport may read")
		}
		return parseKeyBytes(block.Bytes)
	}
	return nil, errors.New("there is no private key (PEM) in it")
}

func parseKeyBytes(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return checkCurve(key)
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return checkSize(key)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the private key is malformed")
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		return checkCurve(key)
	case *rsa.PrivateKey:
		return checkSize(key)
	}
	return nil, errors.New("the key must be ECDSA or RSA: clients do not all know others")
}

func checkCurve(key *ecdsa.PrivateKey) (crypto.Signer, error) {
	if key.Curve == elliptic.P224() {
		return nil, errors.New("the key's curve is P-224; use P-256")
	}
	return key, nil
}

func checkSize(key *rsa.PrivateKey) (crypto.Signer, error) {
	if n := key.N.BitLen(); n < minRSA {
		return nil, fmt.Errorf("the RSA key has %d bits, less than %d", n, minRSA)
	}
	return key, nil
}

// checkAuthority refuses what could not work or would protect nobody.
func checkAuthority(cert *x509.Certificate, key crypto.Signer, now time.Time) error {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case hex.EncodeToString(sum[:]) == publicAuthority:
		return errors.New("this is goproxy's built-in authority, whose private key everybody has; make another")
	case !ok || !public.Equal(cert.PublicKey):
		return errors.New("the key does not belong to the certificate")
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return errors.New("the certificate is none of an authority (basicConstraints CA:TRUE)")
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("the certificate may not sign others (keyUsage keyCertSign)")
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the certificate is valid only from %s on; check the clock", cert.NotBefore.UTC().Format(time.RFC3339))
	case !now.Before(cert.NotAfter):
		return fmt.Errorf("the certificate expired on %s", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
