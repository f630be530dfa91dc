package proxy

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/sallyport/sallyport/internal/file"
)

// trustPassword opens the truststore; it protects nothing, but Java wants one.
const trustPassword = "changeit"

// Files that Export writes, for another container to read.
const (
	exportMode fs.FileMode = 0o644
	exportDir  fs.FileMode = 0o755
)

// rootFiles are where systems keep their roots (as crypto/x509 looks for them).
var rootFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Gentoo, distroless
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL 6
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/pki/tls/cacert.pem",                           // OpenELEC
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS, RHEL 7
	"/etc/ssl/cert.pem",                                 // Alpine, macOS, OpenBSD
	"/usr/local/etc/ssl/cert.pem",                       // FreeBSD
}

// Bundle is the system's roots and ours, PEM: for clients whose setting replaces
// the system's roots. The system's are those of $SSL_CERT_FILE if it is set. A
// system without any gives ours alone.
func (ca *CA) Bundle() ([]byte, error) {
	certs, err := ca.trusted()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(encodeCertificate(c.Raw))
	}
	return b.Bytes(), nil
}

// Truststore is the bundle as PKCS #12 with the password "changeit", for Java.
func (ca *CA) Truststore() ([]byte, error) {
	certs, err := ca.trusted()
	if err != nil {
		return nil, err
	}
	var entries []pkcs12.TrustStoreEntry
	for i, c := range certs {
		entries = append(entries, pkcs12.TrustStoreEntry{Cert: c, FriendlyName: fmt.Sprintf("%03d %s", i, c.Subject.CommonName)})
	}
	return pkcs12.Modern2023.EncodeTrustStoreEntries(entries, trustPassword)
}

// Export writes ca.pem, bundle.pem and truststore.p12 to dir, each whole or not
// at all, readable by everybody; it makes dir if there is none.
func (ca *CA) Export(dir string) error {
	bundle, err := ca.Bundle()
	if err != nil {
		return err
	}
	trust, err := ca.Truststore()
	if err != nil {
		return err
	}
	if err := makeExportDir(dir); err != nil {
		return err
	}
	for name, data := range map[string][]byte{"ca.pem": ca.pem, "bundle.pem": bundle, "truststore.p12": trust} {
		if err := file.Write(filepath.Join(dir, name), data, exportMode); err != nil {
			return fmt.Errorf("export the local CA: %w", err)
		}
	}
	return nil
}

// makeExportDir opens a new folder to others, whatever the umask; one that is
// there stays as the operator made it.
func makeExportDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, exportDir); err != nil {
		return err
	}
	return os.Chmod(dir, exportDir)
}

// trusted are the system's roots, each once, and ours last.
func (ca *CA) trusted() ([]*x509.Certificate, error) {
	roots, err := systemRoots(os.Getenv("SSL_CERT_FILE"))
	if err != nil {
		return nil, err
	}
	ours, err := parseCertificates(ca.pem)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, c := range ours {
		seen[string(c.Raw)] = true
	}
	var all []*x509.Certificate
	for _, c := range roots {
		if !seen[string(c.Raw)] {
			seen[string(c.Raw)] = true
			all = append(all, c)
		}
	}
	return append(all, ours...), nil
}

// systemRoots reads the named file, or the first that there is of the usual ones.
func systemRoots(named string) ([]*x509.Certificate, error) {
	if named != "" {
		data, _, err := file.ReadOperator(named)
		if err != nil {
			return nil, fmt.Errorf("SSL_CERT_FILE: %w", err)
		}
		return parseRoots(data), nil
	}
	for _, path := range rootFiles {
		data, _, err := file.ReadOperator(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the system's roots: %w", err)
		}
		return parseRoots(data), nil
	}
	return nil, nil
}

// parseRoots leaves out what crypto/x509 cannot read, as every client does.
func parseRoots(data []byte) []*x509.Certificate {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, c)
		}
	}
	return certs
}
