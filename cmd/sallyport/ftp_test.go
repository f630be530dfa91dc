package main

import (
	"crypto/x509"
	"net"
	"net/netip"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// ftpProvider is one whose servers are on this machine.
func ftpProvider(roots *x509.CertPool) *provider.Provider {
	return &provider.Provider{
		Name: "ftp", Type: "basic_url", Protocol: provider.FTP, Roots: roots,
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
}

// ftpCase is one login over FTP and what its check says of it.
type ftpCase struct {
	name   string
	url    string
	fields []string // of the record, over those of a login that works
	told
}

func (c ftpCase) run(t *testing.T, p *provider.Provider, s *testserver.FTP) {
	t.Helper()
	t.Run(c.name, func(t *testing.T) {
		cred := &credential.Credential{Ref: credential.Ref{Workspace: "acme", Environment: "production", Provider: "ftp", Name: "main"}, Type: "basic_url"}
		all := append([]string{"url", c.url, "username", s.User, "password", s.Password}, c.fields...)
		for i := 0; i < len(all); i += 2 {
			cred.Set(all[i], secret.New(all[i+1]))
		}
		r := databases().Check(t.Context(), p, cred)
		c.judge(t, r)
	})
}

// at is the url of a server under a name that the test's resolver knows.
func at(scheme, host string, s *testserver.FTP) string {
	_, port, _ := net.SplitHostPort(s.Addr)
	return scheme + "://" + host + ":" + port
}

// Real servers with each way of TLS, and what keeps a login from them.
func TestFTPLogin(t *testing.T) {
	t.Parallel()
	ca := testserver.NewCA(t)
	_, good := ca.Leaf(t, "db.test", "127.0.0.1")
	explicit := testserver.StartFTP(t, testserver.FTPOptions{TLS: testserver.FTPExplicit, Cert: good})
	required := testserver.StartFTP(t, testserver.FTPOptions{TLS: testserver.FTPRequired, Cert: good})
	implicit := testserver.StartFTP(t, testserver.FTPOptions{TLS: testserver.FTPImplicit, Cert: good})
	plain := testserver.StartFTP(t, testserver.FTPOptions{})
	p, clear := ftpProvider(ca.Pool()), ftpProvider(ca.Pool())
	clear.AllowCleartext = true
	const all = "connect tls login"
	wrong := []string{"password", "wr0ng"}
	for _, c := range []struct {
		ftpCase
		p *provider.Provider
		s *testserver.FTP
	}{
		{ftpCase{"explicit", at("ftp", "db.test", explicit), nil, told{checker.OK, "", "over TLS 1.", all}}, p, explicit},
		{ftpCase{"explicit, required", at("ftp", "db.test", required), nil, told{checker.OK, "", "over TLS 1.", all}}, p, required},
		{ftpCase{"implicit", at("ftps", "db.test", implicit), nil, told{checker.OK, "", "over TLS 1.", all}}, p, implicit},
		{ftpCase{"explicit, by its address", at("ftp", "127.0.0.1", explicit), nil, told{checker.OK, "", "over TLS 1.", all}}, p, explicit},
		{ftpCase{"no TLS, over a network", at("ftp", "db.test", plain), nil, told{checker.Error, fault.CleartextRefused, "the server has no TLS", "connect tls"}}, p, plain},
		{ftpCase{"no TLS, on this machine", at("ftp", "127.0.0.1", plain), nil, told{checker.OK, "", "without TLS", "connect tls connect login"}}, p, plain},
		{ftpCase{"no TLS, allowed", at("ftp", "db.test", plain), nil, told{checker.OK, "", "without TLS", "connect tls connect login"}}, clear, plain},
		{ftpCase{"TLS although it could do without", at("ftp", "db.test", explicit), nil, told{checker.OK, "", "over TLS 1.", all}}, clear, explicit},
		{ftpCase{"a wrong password", at("ftp", "db.test", explicit), wrong, told{checker.Error, fault.CredentialsRejected, "530", all}}, p, explicit},
		{ftpCase{"a wrong password, implicit", at("ftps", "db.test", implicit), wrong, told{checker.Error, fault.CredentialsRejected, "530", all}}, p, implicit},
		{ftpCase{"a wrong password, no TLS", at("ftp", "127.0.0.1", plain), wrong, told{checker.Error, fault.CredentialsRejected, "530", "connect tls connect login"}}, p, plain},
		{ftpCase{"no such user", at("ftp", "db.test", explicit), []string{"username", "nobody"}, told{checker.Error, fault.CredentialsRejected, "530", all}}, p, explicit},
		{ftpCase{"another name", at("ftp", "other.test", explicit), nil, told{checker.Unknown, fault.TLSCertificate, "is for another name", "connect tls"}}, p, explicit},
		{ftpCase{"an authority not trusted", at("ftps", "db.test", implicit), nil, told{checker.Unknown, fault.TLSCertificate, "", "connect tls"}}, ftpProvider(nil), implicit},
		{ftpCase{"ftps at a server without TLS", at("ftps", "127.0.0.1", plain), nil, told{checker.Unknown, fault.UpstreamInvalid, "does not begin with TLS", "connect tls"}}, clear, plain},
		{ftpCase{"ftp at a server that begins with TLS", at("ftp", "db.test", implicit), nil, told{checker.Unknown, fault.Timeout, "ftps://", "connect"}}, p, implicit},
		{ftpCase{"no such host", "ftp://nothing.test", nil, told{checker.Unknown, fault.DNSFailure, "", "connect"}}, p, plain},
		{ftpCase{"a private address", "ftp://inner.test", nil, told{checker.Unknown, fault.PrivateAddress, "", "connect"}}, p, plain},
		{ftpCase{"nothing listens", "ftp://db.test:1", nil, told{checker.Unknown, fault.ConnectionRefused, "", "connect"}}, p, plain},
		{ftpCase{"no FTP url", "https://db.test", nil, told{checker.Error, fault.FieldMissing, "field url", ""}}, p, plain},
	} {
		c.run(t, c.p, c.s)
	}
}

// Certificates that no login goes to, told apart; on this machine too.
func TestFTPCertificates(t *testing.T) {
	t.Parallel()
	ca := testserver.NewCA(t)
	for name, w := range wrongCertificates(t, ca) {
		s := testserver.StartFTP(t, testserver.FTPOptions{TLS: testserver.FTPExplicit, Cert: w.file})
		ftpCase{name, at("ftp", "db.test", s), nil, told{checker.Unknown, fault.TLSCertificate, w.says, "connect tls"}}.run(t, ftpProvider(ca.Pool()), s)
		i := testserver.StartFTP(t, testserver.FTPOptions{TLS: testserver.FTPImplicit, Cert: w.file})
		ftpCase{name + ", implicit", at("ftps", "db.test", i), nil, told{checker.Unknown, fault.TLSCertificate, w.says, "connect tls"}}.run(t, ftpProvider(ca.Pool()), i)
	}
}

// A server that has no room says nothing about the credential.
func TestFTPIsFull(t *testing.T) {
	t.Parallel()
	s := testserver.StartFTP(t, testserver.FTPOptions{Connections: 1})
	held, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	if _, err := held.Read(make([]byte, 100)); err != nil { // it has taken us
		t.Fatal(err)
	}
	ftpCase{"full", at("ftp", "127.0.0.1", s), nil, told{checker.Unknown, fault.UpstreamRateLimited, "421", "connect"}}.run(t, ftpProvider(nil), s)
}
