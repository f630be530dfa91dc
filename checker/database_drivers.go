package checker

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport/sallyport/internal/fault"
)

// postgresDefaults names every setting that pgconn would else take from the
// daemon's environment or home folder; what a login has of its own is set on the
// Config, so that no string ever holds a password.
const postgresDefaults = "host=localhost port=5432 user=x password=x database=x sslmode=disable sslcertmode=disable " +
	"sslrootcert='' sslcert='' sslkey='' sslnegotiation=postgres connect_timeout=0 target_session_attrs=any " +
	"min_protocol_version=3.0 max_protocol_version=3.0 channel_binding=prefer require_auth=''"

// signInPostgres logs in with pgconn and asks SELECT 1: poolers take a login
// before they have a server.
func signInPostgres(ctx context.Context, s *session) error {
	c, err := pgconn.ParseConfig(postgresDefaults)
	if err != nil {
		return fault.New(fault.Internal, "PGSERVICE in the daemon's environment names a service that cannot be read", nil)
	}
	c.Host, c.Port, c.Database = s.db.At.Host, uint16(s.db.At.Port), s.db.Name
	s.db.Fill(&c.User, &c.Password)
	c.TLSConfig, c.Fallbacks, c.KerberosSrvName, c.KerberosSpn = s.tls, nil, "", ""
	c.RuntimeParams = map[string]string{"application_name": userAgent}
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // the dialer looks it up
	c.DialFunc, c.MaxProtocolMessageBodyLen = s.dial, peekLimit
	conn, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "SELECT 1").ReadAll()
	return err
}

// signInMySQL logs in with go-sql-driver/mysql and asks SELECT 1: a user whose
// password has expired gets that far. It is asked as a statement, not as a query:
// the driver then passes over the columns, and makes no room for as many as the
// server says there are. A password in the clear, which some
// servers ask for, goes over TLS that verified, or where a login may go without.
func signInMySQL(ctx context.Context, s *session) error {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.DBName = "tcp", s.db.At.String(), s.db.Name
	s.db.Fill(&c.User, &c.Passwd)
	c.TLS, c.DialFunc, c.Logger = s.tls, s.dial, &mysql.NopLogger{}
	c.ConnectionAttributes = "program_name:" + userAgent
	c.AllowCleartextPasswords, c.CheckConnLiveness = true, false
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	e, ok := conn.(driver.ExecerContext)
	if !ok {
		return errors.New("the driver sends no statements")
	}
	_, err = e.ExecContext(ctx, "SELECT 1", nil)
	return err
}
