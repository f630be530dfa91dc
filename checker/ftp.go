package checker

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/jlaffaye/ftp"

	"github.com/sallyport/sallyport/auth"
)

// ftpLogin tries the login of an FTP server and leaves. ftps:// is TLS from the
// first byte on; over ftp:// the server is asked for TLS (RFC 4217), and one that
// has none gets a login only where that may go in the clear. Only a certificate that
// verifies gets one.
func (t *trial) ftpLogin(ctx context.Context) verdict {
	login, err := auth.FTPOf(t.p, t.cred)
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
	s, err := t.ftpSession(ctx, login, t.tlsConfig(login.At.Host))
	if err != nil && s.noTLS() && t.clear(login.At.Host) {
		s, err = t.ftpSession(ctx, login, nil)
	}
	return s.verdict(err)
}

// ftpSession logs in once; config is nil for a login without TLS.
func (t *trial) ftpSession(ctx context.Context, login auth.FTP, config *tls.Config) (*ftpSession, error) {
	s := &ftpSession{trial: t, login: login, tls: config, phase: stepConnect, began: time.Now()}
	s.heard.sent = s.sent
	if config != nil {
		config.VerifyConnection = s.verified
	}
	defer s.close()
	err := s.run(ctx)
	s.step(err)
	return s, err
}

// close ends the connection, if there is one.
func (s *ftpSession) close() {
	if s.conn != nil {
		s.stop()
		_ = s.conn.Close()
	}
}

// ftpSession is one connection to an FTP server, and how far it came.
type ftpSession struct {
	trial   *trial
	login   auth.FTP
	tls     *tls.Config // nil: without
	conn    *bounded    // nil: not connected
	stop    func() bool // ends the watch over its time
	secured string      // by which version of TLS; empty: not
	heard   ftpWords
	phase   string // the step that is being taken
	began   time.Time
}

// run is the conversation. Its errors are the client's own.
func (s *ftpSession) run(ctx context.Context) error {
	dial := func(string, string) (net.Conn, error) { return s.dial(ctx) }
	options := []ftp.DialOption{ftp.DialWithDialFunc(dial), ftp.DialWithDebugOutput(&s.heard), ftp.DialWithDisabledUTF8(true)}
	if s.tls != nil && !s.login.Implicit {
		options = append(options, ftp.DialWithExplicitTLS(s.tls))
	}
	c, err := ftp.Dial(s.login.At.String(), options...)
	if err != nil {
		return err
	}
	defer func() { _ = c.Quit() }()
	var user, password string
	s.login.Fill(&user, &password)
	return c.Login(user, password)
}

// dial is the one connection of the session.
func (s *ftpSession) dial(ctx context.Context) (net.Conn, error) {
	conn, err := s.trial.dial(ctx, s.trial.p, s.login.At)
	if err != nil {
		return nil, err
	}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	s.conn = &bounded{Conn: conn}
	s.conn.left.Store(peekLimit)
	if !s.login.Implicit {
		return tcpConn{s.conn}, nil
	}
	s.next(stepTLS)
	secure := tls.Client(s.conn, s.tls)
	return tcpConn{secure}, secure.HandshakeContext(ctx)
}

// tcpConn has an address of TCP whatever it goes over: the client keeps it for
// connections that are not made here.
type tcpConn struct{ net.Conn }

// RemoteAddr implements net.Conn.
func (c tcpConn) RemoteAddr() net.Addr {
	if a, ok := c.Conn.RemoteAddr().(*net.TCPAddr); ok {
		return a
	}
	return &net.TCPAddr{}
}

// sent is told of each command before it goes out.
func (s *ftpSession) sent(verb string) {
	switch {
	case verb == verbTLS:
		s.next(stepTLS)
	case s.phase == stepConnect:
		s.next(stepLogin)
	}
}

// verified is a tls.Config's VerifyConnection: the certificate is good.
func (s *ftpSession) verified(state tls.ConnectionState) error {
	s.secured = tls.VersionName(state.Version)
	s.next(stepLogin)
	return nil
}

// next ends a step and begins another.
func (s *ftpSession) next(step string) {
	s.step(nil)
	s.phase = step
}

// step writes down the step that is ending.
func (s *ftpSession) step(err error) {
	now := time.Now()
	st := Step{Name: s.phase, URL: s.url(), TookMS: now.Sub(s.began).Milliseconds(), Detail: "done"}
	if s.phase == stepTLS && err == nil {
		st.Detail = s.secured + ", the certificate verifies"
	}
	if err != nil && !s.heard.accepted {
		f, _ := s.fault(err)
		st.Detail = cmp.Or(string(f.Code), "refused")
		st.ResponseExcerpt = s.heard.refused()
	}
	s.began = now
	s.trial.rec.note(st)
}

func (s *ftpSession) url() string {
	if s.login.Implicit {
		return "ftps://" + s.login.At.String()
	}
	return "ftp://" + s.login.At.String()
}

// verdict says what the session came to. A no that is not known here condemns no
// credential.
func (s *ftpSession) verdict(err error) verdict {
	over := cmp.Or(s.secured, "a connection without TLS")
	switch {
	case s.heard.accepted: // what the server says afterwards is no matter of the login
		s.trial.belongs(s.trial.cred.Text("username"), "user")
		return ok("the server took the login over " + over)
	case err == nil || s.heard.welcome:
		return unverifiable("the server lets this user in over " + over + " without asking for the password")
	}
	f, known := s.fault(err)
	if !known {
		return unverifiable(f.Detail)
	}
	return verdictOf(f)
}
