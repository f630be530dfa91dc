package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/internal/fault"
)

// Classify gives the fault of an error on the way to an upstream. The detail
// tells the class, of a certificate what stands in it, and nothing of addresses
// or of a library's words; the chain keeps err, so that
// errors.Is(f, context.Canceled) is true where the runner gave up. A fault in the
// chain passes as it is; nil is nil.
func Classify(err error) *fault.Fault { return classifyFor("", err) }

// classifyFor is Classify of an error on the way to host; "": it is not known.
func classifyFor(host string, err error) *fault.Fault {
	var known *fault.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.Canceled):
		return fault.New(fault.ConnectionReset, "the request was given up", err)
	}
	if f := classifyDNS(err); f != nil {
		return f
	}
	if f := classifyTLS(host, err); f != nil {
		return f
	}
	if f := classifyTime(err); f != nil {
		return f
	}
	if f := classifySystem(err); f != nil {
		return f
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
func classifyTLS(host string, err error) *fault.Fault {
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) {
		return fault.New(fault.UpstreamInvalid, "the upstream does not speak TLS on this port", err)
	}
	if kind, class := certificateClass(err); class != "" {
		return fault.New(fault.TLSCertificate, class+certificateFacts(host, err), err).Of(kind)
	}
	return nil
}
