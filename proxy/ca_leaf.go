package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// maxCommonName is the longest name that a subject may hold (RFC 5280 appendix A).
const maxCommonName = 64

// leaf is a signed certificate and when to sign the next one.
type leaf struct {
	cert  *tls.Certificate
	renew time.Time
}

// Leaf gives the certificate for a host in canonical form: a name, or an address
// without brackets. It is signed on first use, kept, and renewed before it
// expires; calls for one host at one time share the signing. More than 200
// signings a second wait, and are overloaded if that takes 2 s.
func (ca *CA) Leaf(host string) (*tls.Certificate, error) {
	if l, ok := ca.leaves.Get(host); ok && ca.now().Before(l.renew) {
		return l.cert, nil
	}
	made, err, _ := ca.signing.Do(host, func() (any, error) { return ca.renewLeaf(host) })
	if err != nil {
		return nil, err
	}
	cert, _ := made.(*tls.Certificate)
	return cert, nil
}

func (ca *CA) renewLeaf(host string) (*tls.Certificate, error) {
	if l, ok := ca.leaves.Get(host); ok && ca.now().Before(l.renew) { // signed since we looked
		return l.cert, nil
	}
	template, err := ca.leafFor(host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), signPatience)
	defer cancel()
	if err := ca.pace.Wait(ctx); err != nil {
		return nil, fault.New(fault.Overloaded, "too many certificates to sign at once", err)
	}
	cert, err := ca.sign(template)
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", host, err)
	}
	life := cert.Leaf.NotAfter.Sub(ca.now())
	ca.leaves.Add(host, &leaf{cert: cert, renew: ca.now().Add(life * 2 / 3)})
	return cert, nil
}

// leafFor is what is to be signed for host.
func (ca *CA) leafFor(host string) (*x509.Certificate, error) {
	now := ca.now()
	if !now.Before(ca.cert.NotAfter) {
		return nil, errors.New("the local CA has expired")
	}
	if !ca.Covers(host) {
		return nil, fmt.Errorf("%s is outside the name constraints of the local CA", host)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Sallyport"}},
		NotBefore:    latest(now.Add(-backdated), ca.cert.NotBefore),
		NotAfter:     earliest(now.Add(leafLifetime-backdated), ca.cert.NotAfter),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		SubjectKeyId: ca.leafID, BasicConstraintsValid: true,
	}
	return c, nameLeaf(c, host)
}

// nameLeaf sets the subject alternative name, which holds exactly the host.
func nameLeaf(c *x509.Certificate, host string) error {
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		c.IPAddresses = []net.IP{a.AsSlice()}
		return nil
	}
	a, err := provider.ParseAuthority(host, 443)
	if err != nil || a.Host != host {
		return errors.New("the host is not a canonical name")
	}
	c.DNSNames = []string{host}
	if len(host) <= maxCommonName { // for people who look at it; clients do not
		c.Subject.CommonName = host
	}
	return nil
}

func (ca *CA) sign(template *x509.Certificate) (*tls.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &ca.leafKey.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, ca.chain...), PrivateKey: ca.leafKey, Leaf: parsed}, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
