package checker

import (
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport/sallyport/internal/fault"
)

// refusal is what a database server says no with.
type refusal struct {
	code string // SQLSTATE, or MySQL's number
	text string // the server's words
}

// refusalOf finds the server's no in err; ok is false where the server said none.
func refusalOf(err error) (r refusal, ok bool) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return refusal{"SQLSTATE " + pg.Code, pg.Message}, true
	}
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		return refusal{fmt.Sprintf("error %d", my.Number), my.Message}, true
	}
	return refusal{}, false
}

// meaning is what a server's no means.
type meaning struct {
	code   fault.Code
	detail string
}

// The meanings of both kinds of server.
var (
	wrongPassword = meaning{fault.CredentialsRejected, "the password is wrong or has expired, or there is no such user"}
	noDatabase    = meaning{fault.WrongSurface, "the login is accepted, but the server has no database of that name"}
	notThisOne    = meaning{fault.InsufficientPermission, "the login is accepted, but the user may not use this database"}
	tooMany       = meaning{fault.UpstreamRateLimited, "the server, or this user's limit, has no connection left"}
	notNow        = meaning{fault.ConnectionRefused, "the server is starting up, recovering or shutting down"}
)

// refusals by code: https://www.postgresql.org/docs/current/errcodes-appendix.html,
// https://mariadb.com/kb/en/mariadb-error-code-reference/ and MySQL's server
// error reference. Nobody writes it.
var refusals = map[string]meaning{
	"SQLSTATE 28P01": wrongPassword,
	"SQLSTATE 28000": {fault.InsufficientPermission, "the user may not log in, or pg_hba.conf has no entry for it from here, to this database, with this encryption"},
	"SQLSTATE 42501": notThisOne,
	"SQLSTATE 55000": {fault.InsufficientPermission, "the database takes no connections"},
	"SQLSTATE 3D000": noDatabase,
	"SQLSTATE 53300": tooMany,
	"SQLSTATE 57P01": notNow,
	"SQLSTATE 57P02": notNow,
	"SQLSTATE 57P03": notNow,
	"error 1045":     wrongPassword,
	"error 1698":     wrongPassword,
	"error 1820":     {fault.CredentialsRejected, "the password has expired and must be changed"},
	"error 1862":     {fault.CredentialsRejected, "the password has expired and must be changed"},
	"error 1044":     notThisOne, // also where there is none of that name
	"error 1130":     {fault.InsufficientPermission, "the server lets nobody in from this address"},
	"error 1049":     noDatabase,
	"error 1040":     tooMany,
	"error 1203":     tooMany,
	"error 1226":     tooMany,
	"error 1053":     notNow,
	"error 3118":     {fault.AccountInactive, "the user is locked"}, // MySQL
	"error 4151":     {fault.AccountInactive, "the user is locked"}, // MariaDB
}

// verdict says what a failed login means. A no that is not known here condemns
// no credential.
func (s *session) verdict(err error) verdict {
	f, known := s.fault(err)
	if !known {
		return verdict{status: Unverifiable, detail: f.Detail}
	}
	return verdictOf(f)
}

// fault gives the cause of a failed login. Where it is not known the fault has
// a detail only.
func (s *session) fault(err error) (f *fault.Fault, known bool) {
	if r, ok := refusalOf(err); ok {
		m, known := refusals[r.code]
		if !known {
			return &fault.Fault{Detail: "the server refused the login with " + r.code + ", which is not known here"}, false
		}
		return fault.New(m.code, m.detail+" ("+r.code+")", nil), true
	}
	switch {
	case s.conn != nil && s.conn.left.Load() <= 0:
		return errEndless, true
	case s.phase == stepTLS && s.plain(err):
		return fault.New(fault.TLSCertificate, "the server offers no TLS, which sslmode "+s.db.SSLMode+" asks for", nil).Of(fault.NoTLS), true
	case s.nameless(err):
		return fault.New(fault.TLSCertificate, "the certificate is for another name: it has names in its subject only, or none", nil).Of(fault.CertificateOfOther), true
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn):
		return fault.New(fault.ConnectionReset, "", nil), true
	}
	f = s.trial.classify(err)
	if f.Code == fault.UpstreamInvalid && f.Detail == "" {
		return fault.New(f.Code, "what listens there does not speak as a "+s.db.Driver+" server does", nil), true
	}
	return fault.New(f.Code, f.Detail, nil).Of(f.Kind), true
}

// plain reports whether the server has no TLS. The first byte of a PostgreSQL
// server that has none is N; another's is anything.
func (s *session) plain(err error) bool {
	return errors.Is(err, mysql.ErrNoTLS) || strings.HasSuffix(err.Error(), "server refused TLS connection") && s.conn.first.Load() == 'N'
}

// nameless reports whether a certificate has no name that can be compared.
func (s *session) nameless(err error) bool {
	var name x509.HostnameError
	return errors.As(err, &name) && nameOf(name.Certificate) == ""
}

// plainly are the refusals of a login over TLS that one without may not meet.
var plainly = []string{"SQLSTATE 28000"}

// wantsPlain reports whether a login without TLS may end otherwise.
func (s *session) wantsPlain(err error) bool {
	if r, ok := refusalOf(err); ok {
		return slices.Contains(plainly, r.code)
	}
	return s.phase == stepTLS
}
