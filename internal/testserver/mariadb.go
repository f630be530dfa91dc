package testserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The first user of a MariaDB server that a test starts.
const (
	mariadbUser     = "admin"
	mariadbPassword = "admin-password"
)

// MariaDB is a running MariaDB server with the database mysql.
type MariaDB struct {
	*Process
	Addr, User, Password string // host:port on loopback; all privileges

	dir, bin string
	owner    *syscall.SysProcAttr
	tls      bool
}

// StartMariaDB runs a fresh MariaDB server on a free loopback port, without TLS. It ends with the test, at the latest
// with the test's process. Root runs it as the user mysql, who comes with Debian's package.
func StartMariaDB(tb testing.TB) *MariaDB {
	tb.Helper()
	return startMariaDB(tb, "")
}

// StartMariaDBTLS is StartMariaDB with the certificate and key of a PEM file; logins without TLS are taken too.
func StartMariaDBTLS(tb testing.TB, certificate string) *MariaDB {
	tb.Helper()
	return startMariaDB(tb, certificate)
}

func startMariaDB(tb testing.TB, certificate string) *MariaDB {
	tb.Helper()
	m := &MariaDB{User: mariadbUser, Password: mariadbPassword, bin: Find(tb, "mariadbd"), tls: certificate != ""}
	m.dir, m.owner = serverDir(tb, "mariadb", "mysql")
	if m.tls {
		serverFile(tb, m.dir, m.owner, certificate)
	}
	m.initialise(tb)
	for range 3 { // a free port may be taken by somebody before MariaDB listens
		m.Addr = FreeAddr(tb)
		m.Process = m.run(tb)
		if m.answers(tb) {
			Took(tb, "MariaDB "+Version(m.bin, "--version"))
			return m
		}
	}
	tb.Fatalf("MariaDB does not start; its output:\n%s", m.Log())
	return nil
}

func (m *MariaDB) initialise(tb testing.TB) {
	tb.Helper()
	cmd := exec.Command(Find(tb, "mariadb-install-db"), "--no-defaults", "--datadir="+filepath.Join(m.dir, "data"),
		"--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=4M")
	cmd.Dir, cmd.SysProcAttr = m.dir, m.owner
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("mariadb-install-db: %v\n%s", err, out)
	}
	sql := fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO '%s'@'%%' WITH GRANT OPTION;\n", m.User, m.Password, m.User)
	sql += "DROP USER IF EXISTS ''@'localhost', ''@'" + hostname() + "';\n" // else nobody's login is that of a name they know
	if err := os.WriteFile(filepath.Join(m.dir, "init.sql"), []byte(sql), 0o644); err != nil {
		tb.Fatal(err)
	}
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}

// run starts the server beside a reader of the shell's input, so that it is ended when the test's process is.
func (m *MariaDB) run(tb testing.TB) *Process {
	tb.Helper()
	host, port, _ := strings.Cut(m.Addr, ":")
	args := []string{
		m.bin, "--no-defaults", "--datadir=" + filepath.Join(m.dir, "data"), "--bind-address=" + host, "--port=" + port,
		"--socket=" + filepath.Join(m.dir, "s.sock"), "--pid-file=" + filepath.Join(m.dir, "pid"), "--init-file=" + filepath.Join(m.dir, "init.sql"),
		"--skip-name-resolve", "--disconnect-on-expired-password", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M",
	}
	if m.tls {
		args = append(args, "--ssl-cert="+filepath.Join(m.dir, tlsFile), "--ssl-key="+filepath.Join(m.dir, tlsFile))
	}
	return tethered(tb, "TERM", m.dir, m.owner, args...)
}

// answers waits until a query is answered; false if the server has ended.
func (m *MariaDB) answers(tb testing.TB) bool {
	tb.Helper()
	if !m.listening(tb, m.Addr) {
		return false
	}
	return m.until(func() bool { _, err := m.Query(tb, m.User, m.Password, "SELECT 1"); return err == nil })
}

// Query logs in as a user and gives the rows of the last statement, a line each. The error says what the client says.
func (m *MariaDB) Query(tb testing.TB, name, password, sql string) (string, error) {
	tb.Helper()
	host, port, _ := strings.Cut(m.Addr, ":")
	cmd := exec.CommandContext(tb.Context(), Find(tb, "mariadb"), "--no-defaults", "--protocol=tcp", "-h", host, "-P", port,
		"-u", name, "--connect-timeout=5", "-N", "-B", "-e", sql)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "MYSQL_PWD=" + password, "HOME=" + os.TempDir()}
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("mariadb: %w: %s", err, text)
	}
	return text, nil
}

// Certificate gives the server another certificate with its key, for the logins from now on.
func (m *MariaDB) Certificate(tb testing.TB, file string) {
	tb.Helper()
	serverFile(tb, m.dir, m.owner, file)
	if _, err := m.Query(tb, m.User, m.Password, "FLUSH SSL"); err != nil {
		tb.Fatal(err)
	}
}
