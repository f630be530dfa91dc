package testserver

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The first user of a PostgreSQL server that a test starts.
const (
	postgresUser     = "admin"
	postgresPassword = "admin-password"
)

// Postgres is a running PostgreSQL server with the database postgres.
type Postgres struct {
	*Process
	Addr, User, Password string // host:port on loopback, without TLS; a superuser

	bin, dir string
	owner    *syscall.SysProcAttr
}

// StartPostgres runs a fresh PostgreSQL server on a free loopback port. It ends with the test, at the latest with the
// test's process. It refuses to run as root; then it is run as the user postgres, who comes with Debian's package.
func StartPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	return startPostgres(tb)
}

// StartPostgresTLS is StartPostgres with the certificate and key of a PEM file; logins without TLS are taken too.
func StartPostgresTLS(tb testing.TB, certificate string) *Postgres {
	tb.Helper()
	return startPostgres(tb, certificate)
}

func startPostgres(tb testing.TB, certificate ...string) *Postgres {
	tb.Helper()
	p := &Postgres{User: postgresUser, Password: postgresPassword, bin: postgresBin(tb)}
	p.dir, p.owner = serverDir(tb, "postgres", "postgres")
	var settings []string
	for _, file := range certificate {
		serverFile(tb, p.dir, p.owner, file)
		path := filepath.Join(p.dir, tlsFile)
		settings = []string{"-c", "ssl=on", "-c", "ssl_cert_file=" + path, "-c", "ssl_key_file=" + path}
	}
	p.initialise(tb, p.dir, p.owner)
	for range 3 { // a free port may be taken by somebody before PostgreSQL listens
		p.Addr = FreeAddr(tb)
		p.Process = p.run(tb, settings)
		if p.answers(tb) {
			Took(tb, "PostgreSQL "+Version(filepath.Join(p.bin, "postgres"), "--version"))
			return p
		}
	}
	tb.Fatalf("PostgreSQL does not start; its output:\n%s", p.Log())
	return nil
}

// postgresBin is the folder of the server's programs; Debian keeps them out of PATH, one folder per version.
func postgresBin(tb testing.TB) string {
	tb.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return filepath.Dir(Find(tb, "initdb"))
	}
	return filepath.Dir(slices.Max(found))
}

func (p *Postgres) initialise(tb testing.TB, dir string, owner *syscall.SysProcAttr) {
	tb.Helper()
	cmd := exec.Command("sh", "-c", `printf %s "$PASSWORD" >pw && exec "$0" -D data -U "$1" --pwfile=pw --auth=scram-sha-256 -E UTF8 --locale=C --no-sync`,
		filepath.Join(p.bin, "initdb"), p.User)
	cmd.Dir, cmd.SysProcAttr = dir, owner
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PASSWORD=" + p.Password}
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
}

// run starts the server beside a reader of the shell's input, so that it is ended when the test's process is.
func (p *Postgres) run(tb testing.TB, settings []string) *Process {
	tb.Helper()
	host, port, _ := strings.Cut(p.Addr, ":")
	args := []string{
		filepath.Join(p.bin, "postgres"), "-D", "data", "-p", port, "-c", "listen_addresses=" + host,
		"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "logging_collector=off",
	}
	return tethered(tb, "INT", p.dir, p.owner, append(args, settings...)...)
}

// answers waits until a query is answered; false if the server has ended.
func (p *Postgres) answers(tb testing.TB) bool {
	tb.Helper()
	if !p.listening(tb, p.Addr) {
		return false
	}
	return p.until(func() bool { _, err := p.Query(tb, p.User, p.Password, "select 1"); return err == nil })
}

// Query logs in as a user and gives the rows of one statement, a line each. The error says what psql says.
func (p *Postgres) Query(tb testing.TB, name, password, sql string) (string, error) {
	tb.Helper()
	host, port, _ := strings.Cut(p.Addr, ":")
	cmd := exec.CommandContext(tb.Context(), filepath.Join(p.bin, "psql"), "-X", "-w", "-A", "-t",
		"-h", host, "-p", port, "-U", name, "-d", "postgres", "-c", sql)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PGPASSWORD=" + password, "PGCONNECT_TIMEOUT=5", "HOME=" + os.TempDir()}
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, text)
	}
	return text, nil
}

// Certificate gives the server another certificate with its key, for the logins from now on.
func (p *Postgres) Certificate(tb testing.TB, file string) {
	tb.Helper()
	serverFile(tb, p.dir, p.owner, file)
	p.reload(tb)
}

// Access puts lines before those of pg_hba.conf, which let everybody in who knows the password.
func (p *Postgres) Access(tb testing.TB, lines ...string) {
	tb.Helper()
	path := filepath.Join(p.dir, "data", "pg_hba.conf")
	old, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, path, []byte(strings.Join(lines, "\n")+"\n"+string(old)))
	p.reload(tb)
}

// reload lets the server read its files anew, and waits until it has.
func (p *Postgres) reload(tb testing.TB) {
	tb.Helper()
	const loaded = "select pg_conf_load_time()"
	before, err := p.Query(tb, p.User, p.Password, loaded)
	for range 100 {
		if err == nil {
			_, err = p.Query(tb, p.User, p.Password, "select pg_reload_conf()")
		}
		if err != nil {
			tb.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		now := ""
		if now, err = p.Query(tb, p.User, p.Password, loaded); err == nil && now != before {
			return
		}
	}
	tb.Fatal("PostgreSQL does not read its files anew")
}

// ShutDown asks the server to end once its sessions have: it takes no more.
func (p *Postgres) ShutDown(tb testing.TB) {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	if err != nil {
		tb.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		tb.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		tb.Fatal(err)
	}
}

// Users gives the users that a database engine has made and not yet removed, sorted.
func (p *Postgres) Users(tb testing.TB) []string {
	tb.Helper()
	out, err := p.Query(tb, p.User, p.Password, `select rolname from pg_roles where rolname like 'v-%' order by 1`)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Fields(out)
}

// DatabaseRole makes a role of Vault's database engine at database/, enabled if it is not yet, that issues users of p.
// settings are the role's, such as default_ttl and max_ttl. It gives the path that issues them.
func (v *Vault) DatabaseRole(tb testing.TB, p *Postgres, role string, settings map[string]any) string {
	tb.Helper()
	if mounts := v.Do(tb, http.MethodGet, "sys/mounts", nil); mounts["database/"] == nil {
		v.Do(tb, http.MethodPost, "sys/mounts/database", map[string]any{"type": "database"})
	}
	v.Do(tb, http.MethodPost, "database/config/postgres", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": p.User, "password": p.Password,
		"connection_url": "postgresql://{{username}}:{{password}}@" + p.Addr + "/postgres?sslmode=disable",
	})
	all := map[string]any{
		"db_name":             "postgres",
		"creation_statements": []string{`create role "{{name}}" login password '{{password}}' valid until '{{expiration}}'`},
	}
	for k, value := range settings {
		all[k] = value
	}
	v.Do(tb, http.MethodPost, "database/roles/"+role, all)
	return "database/creds/" + role
}
