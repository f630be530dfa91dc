package proxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

func TestLeaf(t *testing.T) {
	ca := ownCA(t, t.TempDir()+"/ca")
	for host, san := range map[string]string{
		"api.example.com": "dns", "localhost": "dns", "xn--bcher-kva.example": "dns", "my_service": "dns",
		strings.Repeat("a", 63) + ".example": "dns", "127.0.0.1": "ip", "2001:db8::1": "ip", "::1": "ip",
	} {
		c := mustLeaf(t, ca, host)
		if san == "dns" && (len(c.DNSNames) != 1 || c.DNSNames[0] != host || len(c.IPAddresses) != 0) {
			t.Errorf("%s: names %q", host, c.DNSNames)
		}
		if san == "ip" && (len(c.IPAddresses) != 1 || c.IPAddresses[0].String() != host || len(c.DNSNames) != 0 || c.Subject.CommonName != "") {
			t.Errorf("%s: addresses %v, names %q", host, c.IPAddresses, c.DNSNames)
		}
		verifyLeaf(t, ca, c, strings.Trim(host, "[]"))
		checkLeaf(t, ca, c)
	}
}

func checkLeaf(t *testing.T, ca *CA, c *x509.Certificate) {
	t.Helper()
	if life := c.NotAfter.Sub(c.NotBefore); life > 72*time.Hour || life < 71*time.Hour {
		t.Errorf("GP-20: lives %v, want 72 h", life)
	}
	if back := time.Since(c.NotBefore); back < 59*time.Minute || back > 61*time.Minute {
		t.Errorf("backdated by %v, want 1 h", back)
	}
	if bits := c.SerialNumber.BitLen(); bits > 128 || bits < 96 {
		t.Errorf("GP-20: serial of %d bits, want 128 random ones", bits)
	}
	if k, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		t.Errorf("key is %T", c.PublicKey)
	}
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth || c.IsCA || !c.BasicConstraintsValid {
		t.Errorf("usage %v, CA %v, basic constraints %v", c.ExtKeyUsage, c.IsCA, c.BasicConstraintsValid)
	}
	if !bytes.Equal(c.AuthorityKeyId, ca.cert.SubjectKeyId) || len(c.SubjectKeyId) == 0 {
		t.Error("key identifiers are missing")
	}
	critical := map[string]bool{}
	for _, e := range c.Extensions {
		critical[e.Id.String()] = e.Critical
	}
	if !critical["2.5.29.19"] || !critical["2.5.29.15"] {
		t.Errorf("basicConstraints and keyUsage must be critical: %v", critical)
	}
}

func TestLeafRefused(t *testing.T) {
	ca := ownCA(t, t.TempDir()+"/ca")
	for _, host := range []string{
		"", "*.example.com", "a.*.com", "API.example.com", "a..b", ".a", "a.", "bücher.example", "a b", "a/b", "a:443", "[::1]",
		"fe80::1%eth0", "a\x00b", strings.Repeat("a", 64) + ".com", strings.Repeat("a.", 130) + "com", "user@host",
	} {
		if c, err := ca.Leaf(host); err == nil {
			t.Errorf("a leaf for %q: %q", host, c.Leaf.DNSNames)
		}
	}
	if n := ca.leaves.Len(); n != 0 {
		t.Errorf("%d leaves are kept of refused hosts", n)
	}
}

func TestLeafRenewed(t *testing.T) {
	now := time.Now()
	ca, err := LoadCA(CAOptions{Dir: t.TempDir() + "/ca", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	first := mustLeaf(t, ca, "a.example")
	now = now.Add(40 * time.Hour)
	if mustLeaf(t, ca, "a.example") != first {
		t.Error("a fresh leaf was signed again")
	}
	now = now.Add(10 * time.Hour)
	second := mustLeaf(t, ca, "a.example")
	if second == first || second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Error("a leaf close to its end was not renewed")
	}
	now = ca.NotAfter().Add(-time.Hour)
	last := mustLeaf(t, ca, "a.example")
	if last.NotAfter.After(ca.NotAfter()) {
		t.Error("a leaf outlives the CA")
	}
	if mustLeaf(t, ca, "a.example") != last {
		t.Error("close to the CA's end every call signs")
	}
	now = ca.NotAfter()
	if _, err := ca.Leaf("a.example"); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a leaf of an expired CA: %v", err)
	}
}

func TestLeavesBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the pace of signing passes at once here
		ca := ownCA(t, t.TempDir()+"/ca")
		for i := range maxLeaves + 50 {
			mustLeaf(t, ca, fmt.Sprintf("h%d.example", i))
		}
		if n := ca.leaves.Len(); n != 1024 {
			t.Errorf("GP-20: %d leaves are kept, want 1024", n)
		}
	})
}

func TestLeafSignedOnce(t *testing.T) {
	ca := ownCA(t, t.TempDir()+"/ca")
	serials := make([]string, 32)
	var wg sync.WaitGroup
	for i := range serials {
		wg.Go(func() {
			if c, err := ca.Leaf("once.example"); err == nil {
				serials[i] = c.Leaf.SerialNumber.String()
			}
		})
	}
	wg.Wait()
	for _, s := range serials {
		if s == "" || s != serials[0] {
			t.Fatal("GP-20: calls at the same time signed the host more than once")
		}
	}
}

func TestSigningPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := ownCA(t, t.TempDir()+"/ca")
		start := time.Now()
		for i := range 600 {
			mustLeaf(t, ca, fmt.Sprintf("h%d.example", i))
		}
		if took := time.Since(start); took < 1900*time.Millisecond {
			t.Errorf("RE-09: 600 certificates were signed within %v", took)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		overloaded := 0
		for i := range 1000 {
			wg.Go(func() {
				if _, err := ca.Leaf(fmt.Sprintf("j%d.example", i)); err != nil {
					mu.Lock()
					defer mu.Unlock()
					if fault.From(err).Code != fault.Overloaded {
						t.Errorf("error %v, want overloaded", err)
					}
					overloaded++
				}
			})
		}
		wg.Wait()
		if overloaded < 500 {
			t.Errorf("RE-09: only %d of 1000 signings at once were refused", overloaded)
		}
	})
}

func TestNameConstraints(t *testing.T) {
	ca := ownCA(t, t.TempDir()+"/ca", "Example.com", "*.corp.test", "10.1.0.0/16")
	for host, want := range map[string]bool{
		"example.com": true, "api.example.com": true, "*.example.com": true, "notexample.com": false, "com": false,
		"corp.test": true, "a.b.corp.test": true, "*.test": false, "10.1.2.3": true, "10.2.0.1": false, "::1": false,
	} {
		if got := ca.Covers(host); got != want {
			t.Errorf("LT-11: covers %s: %v, want %v", host, got, want)
		}
	}
	if !ca.cert.PermittedDNSDomainsCritical {
		t.Error("LT-11: name constraints are not critical")
	}
	if _, err := ca.Leaf("evil.test"); err == nil {
		t.Error("LT-11: a leaf outside the constraints")
	}
	verifyLeaf(t, ca, mustLeaf(t, ca, "api.example.com"), "api.example.com")
	verifyLeaf(t, ca, mustLeaf(t, ca, "10.1.2.3"), "10.1.2.3")

	names := ownCA(t, t.TempDir()+"/ca", "example.com")
	if names.Covers("1.1.1.1") || names.Covers("2606:4700::1") {
		t.Error("LT-11: with names only, addresses are open")
	}
	addrs := ownCA(t, t.TempDir()+"/ca", "10.1.2.3")
	if addrs.Covers("example.com") || addrs.Covers("10.1.2.4") || !addrs.Covers("10.1.2.3") {
		t.Error("LT-11: with addresses only, names are open")
	}
	for _, bad := range []string{"", "*", "a b", "http://x", "x:443", "10.0.0.0/33"} {
		if _, err := LoadCA(CAOptions{Dir: t.TempDir() + "/ca", Permitted: []string{bad}}); err == nil || !strings.Contains(err.Error(), "permitted") {
			t.Errorf("permitted %q: %v", bad, err)
		}
	}
}

func TestOperatorNameConstraints(t *testing.T) {
	key := ecKey(t)
	root := rootOf(t, key, func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.ExcludedDNSDomains = []string{".example.com"}, []string{"secret.example.com"}
	})
	o := operatorFiles(t, root, pkcs8(t, key))
	o.Permitted = []string{"api.example.com"}
	narrow, err := LoadCA(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Permitted = nil
	wide, err := LoadCA(o)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string][2]bool{ // wide, narrow
		"api.example.com": {true, true}, "b.example.com": {true, false}, "example.com": {false, false},
		"x.secret.example.com": {false, false}, "other.test": {false, false},
	} {
		if got := [2]bool{wide.Covers(host), narrow.Covers(host)}; got != want {
			t.Errorf("LT-11: covers %s: %v, want %v", host, got, want)
		}
	}
}

func BenchmarkLeafKept(b *testing.B) {
	ca := ownCA(b, b.TempDir()+"/ca")
	mustLeaf(b, ca, "api.example.com")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ca.Leaf("api.example.com"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLeafSigned(b *testing.B) {
	ca := ownCA(b, b.TempDir()+"/ca")
	template, err := ca.leafFor("api.example.com")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ca.sign(template); err != nil {
			b.Fatal(err)
		}
	}
}
