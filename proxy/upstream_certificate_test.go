package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// HM-16: a certificate that does not verify is told by its kind, with what a
// person needs to mend it; what the server wrote into it is told as plain text
// only, and not without end.
func TestCertificateKinds(t *testing.T) {
	trusted, other := newTestAuthority(t, "trusted", nil), newTestAuthority(t, "o\"t\x1bher", nil)
	end := time.Now().Add(-time.Minute)
	for name, tt := range map[string]struct {
		cert tls.Certificate
		kind fault.Kind
		says []string
	}{
		"expired": {
			trusted.issue(t, func(c *x509.Certificate) { c.NotAfter = end }), fault.CertificateExpired,
			[]string{"has expired", "asked for api.example", "names: api.example", "to " + end.UTC().Format(time.RFC3339), "issuer: trusted"},
		},
		"not yet valid": {
			trusted.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), fault.CertificateTooEarly,
			[]string{"not valid yet", "asked for api.example"},
		},
		"self-signed": {
			(*authority)(nil).issue(t, nil), fault.CertificateSelfSigned, []string{"is self-signed", "asked for api.example", "issuer: itself"},
		},
		"wrong name": {
			trusted.issue(t, func(c *x509.Certificate) {
				c.DNSNames = []string{"a.example", "b.example", "c.example", "d.example", "e.example", "f.example"}
			}), fault.CertificateOfOther,
			[]string{"for another name", "asked for api.example", "names: a.example, b.example, c.example, d.example, e.example, and 1 more"},
		},
		"no name": {
			trusted.issue(t, func(c *x509.Certificate) { c.DNSNames = nil }), fault.CertificateOfOther, []string{"asked for api.example", "names: none"},
		},
		"unknown authority": {
			other.issue(t, nil), fault.CertificateUntrusted, []string{"authority is not trusted", "asked for api.example", "issuer: o?t?her"},
		},
		"wrong usage": {
			trusted.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), fault.CertificateOtherUse,
			[]string{"extended key usage", "asked for api.example"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			port, got := countingTLS(t, &tls.Config{Certificates: []tls.Certificate{tt.cert}})
			u := NewUpstream(UpstreamOptions{AllowNetworks: loopback, Roots: poolOf(trusted.cert), Resolver: resolves("api.example", "127.0.0.1")})
			defer u.CloseIdle()
			_, err := send(t, u.Transport(nil, nil), "GET", "https://api.example:"+port+"/", nil)
			f := Classify(err)
			if codeOf(f) != fault.TLSCertificate || f.Kind != tt.kind || got.Load() != 0 {
				t.Fatalf("HM-16: %v of kind %q, %d bytes sent; want tls_certificate of kind %q", f, f.Kind, got.Load(), tt.kind)
			}
			for _, words := range tt.says {
				if !strings.Contains(f.Detail, words) {
					t.Errorf("HM-16: the detail %q does not tell %q", f.Detail, words)
				}
			}
			if p := f.Problem(""); p.Cause == fault.Diagnose(fault.TLSCertificate).Cause || len(p.Remedy) == 0 {
				t.Errorf("HM-16: the problem has no cause of its own: %+v", p)
			}
		})
	}
}

func TestShown(t *testing.T) {
	for in, want := range map[string]string{
		"": "none", "a.example": "a.example", "a\r\nb\"c\\d": "a??b?c?d", "é": "?", strings.Repeat("a", 81): strings.Repeat("a", 80) + "...",
	} {
		if got := shown(in); got != want {
			t.Errorf("shown(%q) = %q, want %q", in, got, want)
		}
	}
	c := &x509.Certificate{RawSubject: []byte{1}, RawIssuer: []byte{2}, Issuer: pkix.Name{Organization: []string{"Example Ltd"}}, SerialNumber: big.NewInt(1)}
	if got := issuerOf(c); got != "O=Example Ltd" {
		t.Errorf("an issuer without a common name is %q", got)
	}
}
