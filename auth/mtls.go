package auth

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// maxChain bounds the certificates of a record.
const maxChain = 16

// certified completes a kind whose certificate is shown in the TLS handshake.
func certified(k Kind) Kind {
	k.Mint = func(_ context.Context, m Material) (*Injector, error) {
		cert, err := readCertificate(m.Credential.Field)
		if err != nil {
			return nil, err
		}
		if err := lapsed(cert.Leaf, m.now()); err != nil {
			return nil, err
		}
		i, err := newInjector(k, m, m.Credential.Field)
		if err != nil {
			return nil, err
		}
		i.Certificate, i.Ends = cert, credential.Ending(cert.Leaf.NotAfter) // RFC 5280 section 4.1.2.5: the last second of 9999 is none
		i.set = append(i.set, func(req *http.Request) error {
			if req.URL.Scheme != "https" {
				return about(m, fault.New(fault.CleartextRefused, "the credential is a client certificate, which only TLS can show", nil))
			}
			if err := lapsed(cert.Leaf, m.now()); err != nil {
				return about(m, err)
			}
			return nil
		})
		return i, nil
	}
	return k
}

// lapsed tells that a certificate has ended: no server would take it.
func lapsed(leaf *x509.Certificate, now time.Time) error {
	if now.After(leaf.NotAfter) {
		return unfit("field certificate ended on %s; store its successor", leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return nil
}

// readCertificate reads the fields certificate, PEM with the chain in any order,
// and private_key.
func readCertificate(get getField) (*tls.Certificate, error) {
	chain, wrong := readChain(get("certificate"))
	if wrong != "" {
		return nil, unfit("field certificate %s", wrong)
	}
	read, wrong := readPEM(strings.TrimSpace(get("private_key").Reveal()))
	if wrong != "" {
		return nil, unfit("field private_key %s", wrong)
	}
	leaf := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return belongs(read.key, c) })
	if leaf < 0 {
		return nil, unfit("field private_key does not belong to the certificate")
	}
	cert := &tls.Certificate{Leaf: chain[leaf], PrivateKey: read.key, Certificate: [][]byte{chain[leaf].Raw}}
	for i, c := range chain {
		if i != leaf {
			cert.Certificate = append(cert.Certificate, c.Raw)
		}
	}
	return cert, nil
}

func belongs(key any, c *x509.Certificate) bool {
	private, _ := key.(crypto.Signer)
	if private == nil {
		return false
	}
	public, _ := private.Public().(interface{ Equal(crypto.PublicKey) bool })
	return public != nil && public.Equal(c.PublicKey)
}

// readChain reads certificates in PEM, also with newlines that a form or a
// variable has turned into \n or spaces. A key among them is passed over: many
// files hold both.
func readChain(v secret.Value) (chain []*x509.Certificate, wrong string) {
	for rest := unbroken(v.Reveal()); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, "is PEM, but a certificate in it is broken"
		}
		if chain = append(chain, c); len(chain) > maxChain {
			return nil, "holds more than 16 certificates"
		}
	}
	if len(chain) == 0 {
		return nil, "holds no certificate in PEM"
	}
	return chain, ""
}
