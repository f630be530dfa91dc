package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// certificateClass tells what a handshake failed on; an empty class: err is of
// another kind.
func certificateClass(err error) (kind fault.Kind, class string) {
	var (
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
		authority x509.UnknownAuthorityError
		weak      x509.InsecureAlgorithmError
		alert     *net.OpError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &weak):
		return fault.CertificateUnsafe, unsafeClass
	case errors.As(err, &invalid):
		return invalidClass(invalid)
	case errors.As(err, &name):
		return fault.CertificateOfOther, "the certificate is for another name"
	case errors.As(err, &authority):
		return authorityClass(authority)
	case errors.As(err, &alert) && alert.Op == "remote error":
		return alertClass(alert.Err.Error())
	case errors.As(err, &verify):
		return "", "the certificate does not verify"
	case strings.Contains(err.Error(), "tls: server selected unsupported protocol version"):
		return fault.OldTLS, tooOldTLS
	case strings.Contains(err.Error(), "tls: "):
		return "", "the TLS handshake failed"
	}
	return "", ""
}

const (
	tooOldTLS   = "the upstream speaks no TLS version from 1.2 on"
	unsafeClass = "the certificate is signed with an algorithm that is not safe"
)

// unsafeAlgorithms are refused by crypto/x509, which then calls the authority unknown.
var unsafeAlgorithms = []x509.SignatureAlgorithm{x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}

func invalidClass(e x509.CertificateInvalidError) (fault.Kind, string) {
	switch e.Reason {
	case x509.Expired:
		if e.Cert != nil && !e.Cert.NotAfter.IsZero() && strings.Contains(e.Detail, "is before") {
			return fault.CertificateTooEarly, "the certificate is not valid yet"
		}
		return fault.CertificateExpired, "the certificate has expired"
	case x509.IncompatibleUsage:
		return fault.CertificateOtherUse, "the certificate is not made for servers (extended key usage)"
	case x509.CANotAuthorizedForThisName, x509.UnconstrainedName, x509.NameConstraintsWithoutSANs, x509.TooManyConstraints:
		return fault.CertificateOtherUse, "the certificate's name is outside the name constraints of its authority"
	case x509.NotAuthorizedToSign, x509.CANotAuthorizedForExtKeyUsage, x509.TooManyIntermediates:
		return fault.CertificateOtherUse, "the certificate is signed by one that may not sign it"
	}
	return "", "the certificate is malformed"
}

func authorityClass(e x509.UnknownAuthorityError) (fault.Kind, string) {
	c := e.Cert
	if c != nil && slices.Contains(unsafeAlgorithms, c.SignatureAlgorithm) {
		return fault.CertificateUnsafe, unsafeClass
	}
	if c != nil && string(c.RawIssuer) == string(c.RawSubject) && len(c.DNSNames)+len(c.IPAddresses) > 0 {
		return fault.CertificateSelfSigned, "the certificate is self-signed"
	}
	return fault.CertificateUntrusted, "the certificate's authority is not trusted here"
}

// alerts are what crypto/tls calls those that an upstream sends (RFC 8446
// section 6.2); its type is not exported.
var alerts = []struct {
	words string
	kind  fault.Kind
	class string
}{
	{"protocol version not supported", fault.OldTLS, tooOldTLS},
	{"unrecognized name", fault.CertificateOfOther, "the upstream does not know this name"},
	{"certificate", fault.ClientCertificateAsked, "the upstream did not accept the client certificate, or wants one"},
	{"access denied", fault.ClientCertificateAsked, "the upstream did not accept the client certificate, or wants one"},
	{"handshake failure", fault.ClientCertificateAsked, "the upstream refused the TLS handshake: it wants a client certificate, or other algorithms"},
}

func alertClass(text string) (fault.Kind, string) {
	for _, a := range alerts {
		if strings.Contains(text, a.words) {
			return a.kind, a.class
		}
	}
	return "", "the upstream refused the TLS handshake"
}

// certificateFacts is what a person needs to know of a server's certificate that
// does not verify, in parentheses; empty: there is none. What the server wrote
// into it is cut short, and told only where it is plain text. host is what was
// asked, "" where err may know it.
func certificateFacts(host string, err error) string {
	var verify *tls.CertificateVerificationError
	if !errors.As(err, &verify) || len(verify.UnverifiedCertificates) == 0 {
		return ""
	}
	c := verify.UnverifiedCertificates[0]
	facts := make([]string, 0, 4)
	var name x509.HostnameError
	if errors.As(err, &name) {
		host = name.Host
	}
	if host != "" {
		facts = append(facts, "asked for "+shown(host))
	}
	facts = append(facts, "names: "+namesOf(c),
		fmt.Sprintf("valid from %s to %s", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339)),
		"issuer: "+issuerOf(c))
	return " (" + strings.Join(facts, "; ") + ")"
}

// maxToldNames bounds how many names of a certificate are told.
const maxToldNames = 5

func namesOf(c *x509.Certificate) string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "none"
	}
	var told []string
	for _, n := range all[:min(len(all), maxToldNames)] {
		told = append(told, shown(n))
	}
	if more := len(all) - maxToldNames; more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(told, ", ")
}

func issuerOf(c *x509.Certificate) string {
	if string(c.RawIssuer) == string(c.RawSubject) {
		return "itself"
	}
	if c.Issuer.CommonName != "" {
		return shown(c.Issuer.CommonName)
	}
	return shown(c.Issuer.String())
}

// maxShown bounds a text of a certificate that is told.
const maxShown = 80

// shown is a certificate's text on one line of visible ASCII characters.
func shown(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxShown {
		return s[:maxShown] + "..."
	}
	if s == "" {
		return "none"
	}
	return s
}
