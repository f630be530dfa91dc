package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/internal/fault"
)

// Classify gives the fault of an error on the way to an upstream. The detail
// tells the class and nothing of addresses or of a library's words; the chain
// keeps err, so that errors.Is(f, context.Canceled) is true where the runner
// gave up. A fault in the chain passes as it is; nil is nil.
func Classify(err error) *fault.Fault {
	var known *fault.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.Canceled):
		return fault.New(fault.ConnectionReset, "the request was given up", err)
	}
	for _, classify := range []func(error) *fault.Fault{classifyDNS, classifyTLS, classifyTime, classifySystem} {
		if f := classify(err); f != nil {
			return f
		}
	}
	return fault.New(fault.UpstreamInvalid, "", unquoted{err})
}

// unquoted tells an error without what it quotes: the upstream's bytes, which may
// repeat our secret.
type unquoted struct{ error }

// Error implements error.
func (e unquoted) Error() string {
	words, _, _ := strings.Cut(e.error.Error(), `"`)
	return words
}

// Unwrap gives the error itself.
func (e unquoted) Unwrap() error { return e.error }

func classifyDNS(err error) *fault.Fault {
	var d *net.DNSError
	switch {
	case !errors.As(err, &d):
		return nil
	case d.IsNotFound:
		return fault.New(fault.DNSFailure, "the host name is not known", err)
	case d.IsTimeout:
		return fault.New(fault.DNSFailure, "the resolver did not answer in time", err)
	}
	return fault.New(fault.DNSFailure, "the resolver failed", err)
}

func classifyTime(err error) *fault.Fault {
	var n net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) || (errors.As(err, &n) && n.Timeout()) {
		return fault.New(fault.Timeout, "", err)
	}
	return nil
}

func classifySystem(err error) *fault.Fault {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault.New(fault.ConnectionRefused, "", err)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return fault.New(fault.ConnectionRefused, "there is no route to the host's address", err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fault.New(fault.Overloaded, "no file descriptor is left for a connection", err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fault.New(fault.ConnectionReset, "", err)
	}
	for _, words := range resetWords {
		if strings.Contains(err.Error(), words) {
			return fault.New(fault.ConnectionReset, "", err)
		}
	}
	return nil
}

// resetWords tell an ended connection where net/http has no type for it.
var resetWords = []string{
	"server closed idle connection", "http2: client conn", "received from peer", "GOAWAY",
}

// classifyTLS tells what was wrong with the handshake. Nothing was sent then.
func classifyTLS(err error) *fault.Fault {
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) {
		return fault.New(fault.UpstreamInvalid, "the upstream does not speak TLS on this port", err)
	}
	if class := certificateClass(err); class != "" {
		return fault.New(fault.TLSCertificate, class, err)
	}
	return nil
}

func certificateClass(err error) string {
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
		return unsafeClass
	case errors.As(err, &invalid):
		return invalidClass(invalid)
	case errors.As(err, &name):
		return "the certificate is for another name"
	case errors.As(err, &authority):
		return authorityClass(authority)
	case errors.As(err, &alert) && alert.Op == "remote error":
		return alertClass(alert.Err.Error())
	case errors.As(err, &verify):
		return "the certificate does not verify"
	case strings.Contains(err.Error(), "tls: server selected unsupported protocol version"):
		return tooOldTLS
	case strings.Contains(err.Error(), "tls: "):
		return "the TLS handshake failed"
	}
	return ""
}

const (
	tooOldTLS   = "the upstream speaks no TLS version from 1.2 on"
	unsafeClass = "the certificate is signed with an algorithm that is not safe"
)

// unsafeAlgorithms are refused by crypto/x509, which then calls the authority unknown.
var unsafeAlgorithms = []x509.SignatureAlgorithm{x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}

func invalidClass(e x509.CertificateInvalidError) string {
	switch e.Reason {
	case x509.Expired:
		if e.Cert != nil && !e.Cert.NotAfter.IsZero() && strings.Contains(e.Detail, "is before") {
			return "the certificate is not valid yet"
		}
		return "the certificate has expired"
	case x509.IncompatibleUsage:
		return "the certificate is not made for servers (extended key usage)"
	case x509.CANotAuthorizedForThisName, x509.UnconstrainedName, x509.NameConstraintsWithoutSANs, x509.TooManyConstraints:
		return "the certificate's name is outside the name constraints of its authority"
	case x509.NotAuthorizedToSign, x509.CANotAuthorizedForExtKeyUsage, x509.TooManyIntermediates:
		return "the certificate is signed by one that may not sign it"
	}
	return "the certificate is malformed"
}

func authorityClass(e x509.UnknownAuthorityError) string {
	c := e.Cert
	if c != nil && slices.Contains(unsafeAlgorithms, c.SignatureAlgorithm) {
		return unsafeClass
	}
	if c != nil && string(c.RawIssuer) == string(c.RawSubject) && len(c.DNSNames)+len(c.IPAddresses) > 0 {
		return "the certificate is self-signed"
	}
	return "the certificate's authority is not trusted here"
}

// alerts are what crypto/tls calls those that an upstream sends (RFC 8446
// section 6.2); its type is not exported.
var alerts = []struct{ words, class string }{
	{"protocol version not supported", tooOldTLS},
	{"unrecognized name", "the upstream does not know this name"},
	{"certificate", "the upstream did not accept the client certificate, or wants one"},
	{"access denied", "the upstream did not accept the client certificate, or wants one"},
	{"handshake failure", "the upstream refused the TLS handshake: it wants a client certificate, or other algorithms"},
}

func alertClass(text string) string {
	for _, a := range alerts {
		if strings.Contains(text, a.words) {
			return a.class
		}
	}
	return "the upstream refused the TLS handshake"
}
