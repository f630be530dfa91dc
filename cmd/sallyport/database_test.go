package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
	"github.com/sallyport/sallyport/proxy"
)

// hostsOf is a resolver of a test.
type hostsOf map[string]string

func (n hostsOf) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := n[host]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// databases is a checker with the road out that the daemon gives it.
func databases(own ...netip.AddrPort) *checker.Checker {
	up := proxy.NewUpstream(proxy.UpstreamOptions{
		Resolver: hostsOf{"db.test": "127.0.0.1", "other.test": "127.0.0.1", "inner.test": "10.1.2.3"},
		Own:      func() []netip.AddrPort { return own },
		Roots:    x509.NewCertPool(), // those of nobody
	})
	return checker.New(checker.Options{
		Client: func(p *provider.Provider) *http.Client { return up.Client(p) },
		Dial: func(ctx context.Context, p *provider.Provider, a provider.Authority) (net.Conn, error) {
			return up.Dial(ctx, p, a)
		},
		Classify: proxy.Classify,
	})
}

// database is a provider whose servers are on this machine.
func database(roots *x509.CertPool) *provider.Provider {
	return &provider.Provider{Name: "db", Type: "database", Roots: roots, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

// loginOf makes a record of the server at address.
func loginOf(driver, address string, fields ...string) *credential.Credential {
	host, port, _ := net.SplitHostPort(address)
	c := &credential.Credential{Ref: credential.Ref{Workspace: "acme", Environment: "production", Provider: "db", Name: "main"}, Type: "database"}
	all := append([]string{"driver", driver, "host", host, "port", port}, fields...)
	for i := 0; i < len(all); i += 2 {
		c.Set(all[i], secret.New(all[i+1]))
	}
	return c
}

const databasePassword = "p4ss w0rd'\"\\=@:/?#%ä"

// loginCase is one login and what its check says of it.
type loginCase struct {
	name   string
	fields []string // of the record, over those of a login that works
	told
}

func (c loginCase) run(t *testing.T, check *checker.Checker, p *provider.Provider, driver, address string) {
	t.Run(c.name, func(t *testing.T) {
		cred := loginOf(driver, address, append([]string{"username", "app", "database", "shop", "password", databasePassword}, c.fields...)...)
		r := check.Check(t.Context(), p, cred)
		c.judge(t, r)
	})
}

// told is what the check of a login says.
type told struct {
	status checker.Status
	code   fault.Code
	says   string // in the detail
	steps  string // names, of those that were taken
}

func (c told) judge(t *testing.T, r *checker.Report) {
	t.Helper()
	if r.Status != c.status || !strings.Contains(r.Checks[0].Detail, c.says) {
		t.Errorf("status %s, detail %q; want %s and %q", r.Status, r.Checks[0].Detail, c.status, c.says)
	}
	if c.code == "" && r.Fault != nil || c.code != "" && (r.Fault == nil || r.Fault.Code != c.code) {
		t.Errorf("fault %+v, want %q", r.Fault, c.code)
	}
	var steps []string
	for _, s := range r.Steps {
		steps = append(steps, s.Name)
	}
	if got := strings.Join(steps, " "); got != c.steps {
		t.Errorf("steps %q, want %q", got, c.steps)
	}
	if b, _ := json.Marshal(r); strings.Contains(string(b), "p4ss") {
		t.Errorf("the report holds the password: %s", b)
	}
	if t.Failed() {
		t.Logf("%+v", r.Steps)
	}
}

func must(t *testing.T) func(string, error) {
	return func(_ string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// wrongCertificates are those that no login goes to, told apart: what is said,
// and the steps of a login that may do without.
func wrongCertificates(t *testing.T, ca *testserver.CA) map[string]struct{ file, says, plain string } {
	_, expired := ca.Expired(t, "db.test")
	_, self := testserver.SelfSigned(t, "db.test")
	_, stranger := testserver.NewCA(t).Leaf(t, "db.test")
	return map[string]struct{ file, says, plain string }{
		"an expired certificate":    {expired, "has expired", "connect tls connect login"},
		"a self-signed certificate": {self, "is self-signed", "connect tls connect tls connect login"},
		"an authority not trusted":  {stranger, "authority is not trusted here", "connect tls connect tls connect login"},
	}
}

func TestPostgresLogin(t *testing.T) {
	ca := testserver.NewCA(t)
	_, good := ca.Leaf(t, "db.test")
	pg := testserver.StartPostgresTLS(t, good)
	query := func(sql string) { t.Helper(); must(t)(pg.Query(t, pg.User, pg.Password, sql)) }
	quoted := "'" + strings.ReplaceAll(databasePassword, "'", "''") + "'"
	for _, user := range []string{"app", "plain", "clear", "stranger"} {
		query("create role " + user + " login password " + quoted)
	}
	query("create role locked nologin password " + quoted)
	query("create role late login password " + quoted + " valid until '2001-01-01'")
	query("create role crowd login connection limit 0 password " + quoted)
	for _, db := range []string{"shop", "private", "shut"} {
		query("create database " + db)
	}
	query("revoke connect on database private from public")
	query("alter database shut allow_connections false")
	pg.Access(t, "hostssl all plain all reject", "host all clear all password", "host all stranger all reject")

	_, port, _ := net.SplitHostPort(pg.Addr)
	at := "db.test:" + port
	check, p := databases(), database(ca.Pool())
	const all = "connect tls login"
	for _, c := range []loginCase{
		{"verify-full is the default", nil, told{checker.OK, "", "over TLS 1.3", all}},
		{"verify-ca", []string{"sslmode", "verify-ca"}, told{checker.OK, "", "over TLS 1.3", all}},
		{"require", []string{"sslmode", "require"}, told{checker.OK, "", "over TLS 1.3", all}},
		{"prefer", []string{"sslmode", "prefer"}, told{checker.OK, "", "over TLS 1.3", all}},
		{"disable, but not over a network", []string{"sslmode", "disable"}, told{checker.Error, fault.CleartextRefused, "in the clear", ""}},
		{"disable on this machine", []string{"host", "127.0.0.1", "sslmode", "disable"}, told{checker.OK, "", "without TLS", "connect login"}},
		{"prefer on this machine", []string{"host", "127.0.0.1"}, told{checker.OK, "", "over TLS 1.3", "connect tls " + all}},
		{"verify-full, another name", []string{"host", "other.test"}, told{checker.Unknown, fault.TLSCertificate, "is for another name", "connect tls"}},
		{"verify-ca, another name", []string{"host", "other.test", "sslmode", "verify-ca"}, told{checker.OK, "", "over TLS 1.3", "connect tls " + all}},
		{"a wrong password", []string{"password", "wr0ng"}, told{checker.Error, fault.CredentialsRejected, "28P01", all}},
		{"no such user", []string{"username", "nobody"}, told{checker.Error, fault.CredentialsRejected, "28P01", all}},
		{"a password that has expired", []string{"username", "late"}, told{checker.Error, fault.CredentialsRejected, "28P01", all}},
		{"no such database", []string{"database", "nothing"}, told{checker.Error, fault.WrongSurface, "no database of that name", all}},
		{"a role that may not log in", []string{"username", "locked"}, told{checker.Error, fault.InsufficientPermission, "28000", all}},
		{"a role that pg_hba.conf rejects", []string{"username", "stranger"}, told{checker.Error, fault.InsufficientPermission, "pg_hba.conf", all}},
		{"a database of others", []string{"database", "private"}, told{checker.Error, fault.InsufficientPermission, "42501", all}},
		{"a database that takes nobody", []string{"database", "shut"}, told{checker.Error, fault.InsufficientPermission, "takes no connections", all}},
		{"too many connections", []string{"username", "crowd"}, told{checker.Unknown, fault.UpstreamRateLimited, "53300", all}},
		{"a password in the clear, over TLS", []string{"username", "clear"}, told{checker.OK, "", "over TLS", all}},
		{"prefer, where only logins without TLS are let in", []string{"host", "127.0.0.1", "username", "plain", "sslmode", "prefer"}, told{checker.OK, "", "without TLS", "connect tls " + all + " connect login"}},
		{"another kind of server", []string{"driver", "mysql"}, told{checker.Unknown, fault.Timeout, "", "connect tls"}},
	} {
		c.run(t, check, p, "postgres", at)
	}
	for name, w := range wrongCertificates(t, ca) {
		pg.Certificate(t, w.file)
		for _, mode := range []string{"verify-full", "verify-ca", "require", "prefer"} {
			loginCase{mode + ", " + name, []string{"sslmode", mode}, told{checker.Unknown, fault.TLSCertificate, w.says, "connect tls"}}.run(t, check, p, "postgres", at)
		}
		loginCase{"prefer on this machine, " + name, []string{"host", "127.0.0.1"}, told{checker.OK, "", "without TLS", w.plain}}.run(t, check, p, "postgres", at)
	}

	pg.Certificate(t, good)
	loginCase{"without roots the name counts", []string{"host", "other.test", "sslmode", "require"}, told{checker.Unknown, fault.TLSCertificate, "is for another name", "connect tls"}}.run(t, check, database(nil), "postgres", at)
	hold := heldSession(t, pg)
	pg.ShutDown(t)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); { // it is told by a signal
		if _, err := pg.Query(t, pg.User, pg.Password, "select 1"); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	loginCase{"a server that is shutting down", nil, told{checker.Unknown, fault.ConnectionRefused, "57P03", all}}.run(t, check, p, "postgres", at)
	hold()
}

// heldSession keeps a session open until it is let go.
func heldSession(t *testing.T, pg *testserver.Postgres) (letGo func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = pg.Query(t, pg.User, pg.Password, "select pg_sleep(8)")
	}()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if out, _ := pg.Query(t, pg.User, pg.Password, "select count(*) from pg_stat_activity where query like '%pg_sleep(8)' and state = 'active'"); out == "1" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return func() { <-done }
}

func TestMariaDBLogin(t *testing.T) {
	ca := testserver.NewCA(t)
	_, good := ca.Leaf(t, "db.test")
	m := testserver.StartMariaDBTLS(t, good)
	query := func(sql string) { t.Helper(); must(t)(m.Query(t, m.User, m.Password, sql)) }
	quoted := "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(databasePassword) + "'"
	query("CREATE DATABASE shop; CREATE DATABASE private")
	for _, user := range []string{"app", "wide", "late", "locked", "crowd"} {
		query("CREATE USER " + user + " IDENTIFIED BY " + quoted + "; GRANT ALL ON shop.* TO " + user)
	}
	query("GRANT ALL ON *.* TO wide; ALTER USER late PASSWORD EXPIRE; ALTER USER locked ACCOUNT LOCK; CREATE USER far@'192.0.2.1'; ALTER USER crowd REQUIRE NONE WITH MAX_USER_CONNECTIONS 1")

	_, port, _ := net.SplitHostPort(m.Addr)
	at := "db.test:" + port
	check, p := databases(), database(ca.Pool())
	const all = "connect tls login"
	for _, c := range []loginCase{
		{"verify-full is the default", nil, told{checker.OK, "", "over TLS 1.3", all}},
		{"verify-ca", []string{"sslmode", "verify-ca"}, told{checker.OK, "", "over TLS 1.3", all}},
		{"disable, but not over a network", []string{"sslmode", "disable"}, told{checker.Error, fault.CleartextRefused, "in the clear", ""}},
		{"disable on this machine", []string{"host", "127.0.0.1", "sslmode", "disable"}, told{checker.OK, "", "without TLS", "connect login"}},
		{"verify-full, another name", []string{"host", "other.test"}, told{checker.Unknown, fault.TLSCertificate, "is for another name", "connect tls"}},
		{"verify-ca, another name", []string{"host", "other.test", "sslmode", "verify-ca"}, told{checker.OK, "", "over TLS 1.3", "connect tls " + all}},
		{"a wrong password", []string{"password", "wr0ng"}, told{checker.Error, fault.CredentialsRejected, "1045", all}},
		{"no such user", []string{"username", "nobody"}, told{checker.Error, fault.CredentialsRejected, "1045", all}},
		{"a password that has expired", []string{"username", "late"}, told{checker.Error, fault.CredentialsRejected, "has expired and must be changed", all}},
		{"a locked user", []string{"username", "locked"}, told{checker.Error, fault.AccountInactive, "is locked", all}},
		{"no such database", []string{"username", "wide", "database", "nothing"}, told{checker.Error, fault.WrongSurface, "no database of that name", all}},
		{"a database of others", []string{"database", "private"}, told{checker.Error, fault.InsufficientPermission, "1044", all}},
		{"another kind of server", []string{"driver", "postgres"}, told{checker.Unknown, fault.UpstreamInvalid, "as a postgres server does", "connect tls"}},
	} {
		c.run(t, check, p, "mariadb", at)
	}
	for name, w := range wrongCertificates(t, ca) {
		m.Certificate(t, w.file)
		for _, mode := range []string{"verify-full", "require", "prefer"} {
			loginCase{mode + ", " + name, []string{"sslmode", mode}, told{checker.Unknown, fault.TLSCertificate, w.says, "connect tls"}}.run(t, check, p, "mysql", at)
		}
		loginCase{"prefer on this machine, " + name, []string{"host", "127.0.0.1"}, told{checker.OK, "", "without TLS", w.plain}}.run(t, check, p, "mysql", at)
	}

	m.Certificate(t, good)
	query("SET GLOBAL max_connections = 10")
	fillUp(t, m.Addr, 14)
	loginCase{"too many connections", nil, told{checker.Unknown, fault.UpstreamRateLimited, "1040", "connect login"}}.run(t, check, p, "mariadb", at)
}

// fillUp takes connections that never log in, until the server takes no more.
func fillUp(t *testing.T, address string, n int) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = bufio.NewReader(conn).ReadByte()
	}
}

// What listens without TLS, does not listen, does not speak or speaks without end.
func TestDatabaseUnreached(t *testing.T) {
	pg, m := testserver.StartPostgres(t), testserver.StartMariaDB(t)
	check, p := databases(), database(nil)
	_, pgPort, _ := net.SplitHostPort(pg.Addr)
	_, mPort, _ := net.SplitHostPort(m.Addr)
	_, freePort, _ := net.SplitHostPort(testserver.FreeAddr(t))
	for driver, port := range map[string]string{"postgres": pgPort, "mysql": mPort} {
		for _, c := range []loginCase{
			{driver + ": no TLS where it must be", []string{"host", "db.test"}, told{checker.Unknown, fault.TLSCertificate, "offers no TLS, which sslmode verify-full asks for", "connect tls"}},
			{driver + ": no TLS, on this machine", []string{"username", "nobody"}, told{checker.Error, fault.CredentialsRejected, "", "connect tls connect login"}},
			{driver + ": no TLS, and none without", []string{"host", "db.test", "sslmode", "prefer"}, told{checker.Unknown, fault.TLSCertificate, "offers no TLS", "connect tls"}},
			{driver + ": nobody listens", []string{"port", freePort}, told{checker.Unknown, fault.ConnectionRefused, "", "connect"}},
			{driver + ": no such name", []string{"host", "nowhere.test"}, told{checker.Unknown, fault.DNSFailure, "not known", "connect"}},
			{driver + ": a private address", []string{"host", "inner.test"}, told{checker.Unknown, fault.PrivateAddress, "allow_networks", "connect"}},
			{driver + ": an endless answer", []string{"port", endless(t), "sslmode", "disable"}, told{checker.Unknown, fault.UpstreamInvalid, "", "connect login"}},
			{driver + ": a server that hangs up", []string{"port", hangingUp(t), "sslmode", "disable"}, told{checker.Unknown, fault.ConnectionReset, "", "connect login"}},
		} {
			c.run(t, check, p, driver, "127.0.0.1:"+port)
		}
	}
	own := databases(netip.MustParseAddrPort(pg.Addr))
	loginCase{"our own listener", nil, told{checker.Unknown, fault.LoopDetected, "own listeners", "connect"}}.run(t, own, p, "postgres", pg.Addr)
}

// endless is a port of a server that sends a long message without an end.
func endless(t *testing.T) string {
	return serving(t, func(conn net.Conn) {
		for {
			if _, err := conn.Write([]byte(strings.Repeat("\xff\xff\xff\x00", 1<<12))); err != nil {
				return
			}
		}
	})
}

func hangingUp(t *testing.T) string {
	return serving(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 512)) })
}

// serving gives the port of a server; its connections are closed after serve.
func serving(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond)); serve(conn); _ = conn.Close() }()
		}
	}()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// The variables and files that PostgreSQL's own clients take settings from are
// those of whoever runs the daemon, not the credential's.
func TestDatabaseEnvironment(t *testing.T) {
	pg := testserver.StartPostgres(t)
	for name, value := range map[string]string{
		"PGHOST": "/nowhere", "PGPORT": "x", "PGUSER": "u", "PGPASSWORD": "p", "PGSSLMODE": "bogus", "PGSSLROOTCERT": "/nowhere",
		"PGSSLCERT": "/nowhere", "PGSSLCERTMODE": "bogus", "PGTARGETSESSIONATTRS": "bogus", "PGCONNECT_TIMEOUT": "x", "PGOPTIONS": "-c bogus=1",
		"PGREQUIREAUTH": "none", "PGCHANNELBINDING": "require", "PGMINPROTOCOLVERSION": "9", "PGSSLNEGOTIATION": "direct", "PGTZ": "bogus",
	} {
		t.Setenv(name, value)
	}
	r := databases().Check(t.Context(), database(nil), loginOf("postgres", pg.Addr, "username", pg.User, "password", pg.Password, "database", "postgres"))
	if r.Status != checker.OK || r.Account == nil || r.Account.Login != pg.User {
		t.Errorf("report %+v, fault %+v", r, r.Fault)
	}
}
