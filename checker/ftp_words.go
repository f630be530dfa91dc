package checker

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/textproto"
	"slices"
	"strconv"

	"github.com/sallyport/sallyport/internal/fault"
)

// Commands that the course of a login depends on.
const (
	verbTLS      = "AUTH"
	verbUser     = "USER"
	verbPassword = "PASS"
)

var ftpVerbs = []string{verbTLS, verbUser, verbPassword}

// Replies of a server (RFC 959 section 4.2.2, RFC 2228 section 5.2).
const (
	replySuperfluous = 202
	replyLoggedIn    = 230
	replyLoggedInBy  = 232
	replyNotNow      = 421
)

var errNotFTP = fault.New(fault.UpstreamInvalid, "what listens there does not speak as an FTP server does", nil)

// ftpWords follows what is said on a connection, both ways: the client tells
// the codes of some replies only. Of commands it keeps the verb, of replies the
// last; the connection bounds them.
type ftpWords struct {
	sent func(verb string) // told of these commands

	begun    bool   // something was said
	foreign  bool   // and it was no greeting
	line     []byte // so far; what follows a verb is not in it
	skip     bool   // to the end of the line
	verb     string // of the last of these commands; empty: none yet
	code     int    // of the reply to it; 0: none yet
	text     string // of that reply's last line
	accepted bool   // the password was
	welcome  bool   // the user was, without one
}

// Write implements io.Writer: lines of commands, which begin with a verb, and of
// replies, which end with one that begins with a code and a space.
func (w *ftpWords) Write(p []byte) (int, error) {
	if !w.begun && len(p) > 0 && !bytes.HasPrefix(p, []byte("QUIT")) { // with which the client leaves before any greeting
		w.begun, w.foreign = true, p[0] < '1' || p[0] > '5'
	}
	if w.foreign { // the client would wait for what makes a reply of SSH-2.0-...
		return 0, errNotFTP
	}
	if slices.ContainsFunc(ftpVerbs, func(verb string) bool { return bytes.HasPrefix(p, []byte(verb+" ")) }) {
		w.line, w.skip = w.line[:0], false // a command ends what the server left open
	}
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		rest = after
		w.add(line)
		if !ended {
			break
		}
		w.end()
	}
	return len(p), nil
}

// add takes a part of a line.
func (w *ftpWords) add(part []byte) {
	for _, c := range part {
		if w.skip {
			return
		}
		w.line = append(w.line, c)
		if verb, ok := bytes.CutSuffix(w.line, []byte(" ")); ok && slices.Contains(ftpVerbs, string(verb)) {
			w.skip, w.verb, w.code, w.text = true, string(verb), 0, ""
			w.sent(w.verb)
		}
	}
}

// end takes a whole line.
func (w *ftpWords) end() {
	line, command := bytes.TrimRight(w.line, "\r"), w.skip
	w.line, w.skip = w.line[:0], false
	if command || len(line) < 4 || line[3] != ' ' {
		return
	}
	code, err := strconv.Atoi(string(line[:3]))
	if err != nil || code < 100 {
		return
	}
	w.code, w.text = code, string(line)
	switch good := code == replyLoggedIn || code == replyLoggedInBy; {
	case w.verb == verbPassword && (good || code == replySuperfluous):
		w.accepted = true
	case w.verb == verbUser && good:
		w.welcome = true
	}
}

// refused gives the last line of the reply by which the server said no; empty:
// it said none.
func (w *ftpWords) refused() string {
	if w.code < 400 && w.code != 120 && w.code != 332 {
		return ""
	}
	return w.text
}

// ftpRefusals by the reply's code. Nobody writes it.
var ftpRefusals = map[int]meaning{
	120: notNow,
	421: {fault.UpstreamRateLimited, "the server takes no more sessions now, of this user, from here, or at all"},
	430: {fault.CredentialsRejected, "the password is wrong, or there is no such user"},
	530: {fault.CredentialsRejected, "the password is wrong, there is no such user, or it may not log in"},
}

// noTLS reports whether the server was asked for TLS and has none.
func (s *ftpSession) noTLS() bool {
	return s.heard.verb == verbTLS && s.heard.code >= 400 && s.heard.code != replyNotNow
}

// fault gives the cause of a failed login. Where it is not known the fault has
// a detail only.
func (s *ftpSession) fault(err error) (f *fault.Fault, known bool) {
	var record tls.RecordHeaderError
	var words textproto.ProtocolError
	code := " (reply " + strconv.Itoa(s.heard.code) + ")"
	switch m, known := ftpRefusals[s.heard.code]; {
	case s.conn != nil && s.conn.left.Load() <= 0:
		return errEndless, true
	case s.noTLS():
		return fault.New(fault.CleartextRefused, "the server has no TLS"+code+", and without it the login would go over the network in the clear", nil), true
	case s.heard.verb == "" && s.heard.code >= 400 && s.heard.code != replyNotNow:
		return &fault.Fault{Detail: "the server takes no logins from here" + code}, false
	case known:
		return fault.New(m.code, m.detail+code, nil), true
	case s.heard.refused() != "":
		return &fault.Fault{Detail: "the server refused the login" + code + ", which is not known here"}, false
	case s.phase == stepTLS && errors.As(err, &record):
		return fault.New(fault.UpstreamInvalid, s.noHandshake(), nil), true
	case s.heard.foreign, errors.As(err, &words):
		return errNotFTP, true
	}
	f = s.trial.classify(err)
	if f.Code == fault.Timeout && s.phase == stepConnect && s.conn != nil {
		return fault.New(f.Code, "the server takes connections and sends no greeting; one that begins with TLS wants ftps:// in the url", nil), true
	}
	return fault.New(f.Code, f.Detail, nil).Of(f.Kind), true
}

func (s *ftpSession) noHandshake() string {
	if s.login.Implicit {
		return "the server does not begin with TLS; ftp:// in the url asks it for that"
	}
	return "the server agrees to TLS and then speaks something else"
}
