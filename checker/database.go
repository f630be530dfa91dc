package checker

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// Names of a login's steps.
const (
	stepConnect = "connect"
	stepTLS     = "tls"
	stepLogin   = "login"
)

// Dial connects to a server of p's: guarded, its errors are *fault.Fault.
type Dial func(ctx context.Context, p *provider.Provider, to provider.Authority) (net.Conn, error)

func unreachable(context.Context, *provider.Provider, provider.Authority) (net.Conn, error) {
	return nil, fault.New(fault.Internal, "databases are not reached from here", nil)
}

// signIn logs in over s and sends what only a session may, then ends it. Its
// errors are the driver's own.
type signIn func(ctx context.Context, s *session) error

// drivers by the record's driver. Nobody writes it.
var drivers = map[string]signIn{"postgres": signInPostgres, "mysql": signInMySQL, "mariadb": signInMySQL}

// login tries the login of a database. The modes of TLS are libpq's, but that a
// server which does not verify gets nothing: require is verify-ca, as it is in
// libpq where there are roots; a name that nobody compares is worth something
// only under the provider's own roots, so without these it is compared in every
// mode; and prefer goes on without TLS where the server has none that verifies.
func (t *trial) login(ctx context.Context) verdict {
	db, err := auth.DatabaseOf(t.p, t.cred)
	if err != nil {
		return verdictOf(err)
	}
	done, err := t.rec.turn(ctx)
	if err != nil {
		return verdictOf(err)
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	s, err := t.signIn(ctx, db)
	if err != nil {
		return s.verdict(err)
	}
	t.belongs(t.cred.Text("username"), "user")
	return ok("the server took the login over " + cmp.Or(s.secured, "a connection without TLS"))
}

// signIn logs in, in the ways that the sslmode allows, until one works.
func (t *trial) signIn(ctx context.Context, db auth.Database) (*session, error) {
	if db.SSLMode == "disable" {
		return t.session(ctx, db, nil)
	}
	s, err := t.session(ctx, db, t.tlsConfig(db.At.Host))
	var name x509.HostnameError
	if errors.As(err, &name) && db.SSLMode != "verify-full" && t.p.Roots != nil {
		if other := nameOf(name.Certificate); other != "" {
			s, err = t.session(ctx, db, t.tlsConfig(other))
		}
	}
	if err != nil && db.SSLMode == "prefer" && ctx.Err() == nil && s.wantsPlain(err) && t.clear(db.At.Host) {
		return t.session(ctx, db, nil)
	}
	return s, err
}

// clear reports whether a login may go there without TLS.
func (t *trial) clear(host string) bool {
	return t.p.AllowCleartext || provider.Loopback(host)
}

func (t *trial) tlsConfig(name string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.p.Roots, ServerName: name}
}

// nameOf gives a name that the certificate is for; empty: it has none.
func nameOf(c *x509.Certificate) string {
	switch {
	case len(c.DNSNames) > 0:
		return strings.Replace(c.DNSNames[0], "*", "any", 1)
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	}
	return ""
}

// session logs in once; config is nil for a login without TLS.
func (t *trial) session(ctx context.Context, db auth.Database, config *tls.Config) (*session, error) {
	s := &session{trial: t, db: db, tls: config, phase: stepConnect, began: time.Now()}
	if config == nil && !t.clear(db.At.Host) {
		return s, fault.New(fault.CleartextRefused, "without TLS the login would go over the network in the clear", nil)
	}
	if config != nil {
		config.VerifyConnection = s.verified
	}
	defer s.close()
	err := drivers[db.Driver](ctx, s)
	s.step(err)
	return s, err
}

// close ends the connection, if there is one.
func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// session is one connection to the server, and how far it came.
type session struct {
	trial   *trial
	db      auth.Database
	tls     *tls.Config // nil: without
	dialled atomic.Bool
	conn    *bounded  // nil: not connected
	secured string    // by which version of TLS; empty: not
	phase   string    // the step that is being taken
	began   time.Time // of that step
}

// dial is the one connection of the session, whatever address a driver asks for.
// Another, such as the one by which pgconn cancels what a broken connection may
// have begun, comes from any goroutine and is refused.
func (s *session) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if s.dialled.Swap(true) {
		return nil, net.ErrClosed
	}
	conn, err := s.trial.dial(ctx, s.trial.p, s.db.At)
	if err != nil {
		return nil, err
	}
	s.conn = &bounded{Conn: conn}
	s.conn.left.Store(peekLimit)
	s.step(nil)
	if s.phase = stepLogin; s.tls != nil {
		s.phase = stepTLS
	}
	return s.conn, nil
}

// verified is a tls.Config's VerifyConnection: the certificate is good.
func (s *session) verified(state tls.ConnectionState) error {
	s.secured = tls.VersionName(state.Version)
	s.step(nil)
	s.phase = stepLogin
	return nil
}

// step writes down the step that is ending, and begins the next.
func (s *session) step(err error) {
	if _, told := refusalOf(err); told {
		s.phase = stepLogin
	}
	now := time.Now()
	st := Step{Name: s.phase, URL: s.url(), TookMS: now.Sub(s.began).Milliseconds(), Detail: "done"}
	if s.phase == stepTLS && err == nil {
		st.Detail = s.secured + ", the certificate verifies"
	}
	if err != nil {
		f, _ := s.fault(err)
		st.Detail = cmp.Or(string(f.Code), "refused")
		if r, ok := refusalOf(err); ok {
			st.ResponseExcerpt = r.text
		}
	}
	s.began = now
	s.trial.rec.note(st)
}

func (s *session) url() string { return s.db.Driver + "://" + s.db.At.String() }

// maxServerText bounds what is shown of a server's words, in bytes.
const maxServerText = 1 << 10

// note writes down a step that was no request.
func (r *recorder) note(s Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.steps) >= maxSteps {
		return
	}
	s.RequestHeaders, s.ResponseHeaders = map[string]string{}, map[string]string{}
	text := secret.Redact(strings.ToValidUTF8(s.ResponseExcerpt, "\uFFFD"), r.secrets...)
	s.ResponseExcerpt = within(readable(text), maxServerText)
	r.steps = append(r.steps, s)
}

// bounded is a connection of which only so much is read: a login's answers are
// short. A driver may still read of it when the login has failed.
type bounded struct {
	net.Conn
	left  atomic.Int64
	first atomic.Uint32 // byte that the server sent; 0: none yet
}

var errEndless = fault.New(fault.UpstreamInvalid, "the server sends more than an answer to a login", nil)

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	left := b.left.Load()
	if left <= 0 {
		return 0, errEndless
	}
	n, err := b.Conn.Read(p[:min(int64(len(p)), left)])
	if b.left.Add(-int64(n)); n > 0 {
		b.first.CompareAndSwap(0, uint32(p[0]))
	}
	return n, err
}
