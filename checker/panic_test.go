package checker

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// mysqlGreeting is the first packet of a server without TLS, that asks for mysql_native_password.
const mysqlGreeting = "\x49\x00\x00\x00\x0a8.0.0\x00\x01\x00\x00\x0012345678\x00\x01\x82\x21\x02\x00\x08\x00\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00mysql_native_password\x00"

const mysqlWelcome = "\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"

// mysqlTalk is a server of a test: what it says first, and after each packet of the client.
type mysqlTalk []string

// serve gives what the client did at the end: io.EOF where it closed the connection.
func (m mysqlTalk) serve(conn net.Conn) error {
	defer func() { _ = conn.Close() }()
	for _, say := range m {
		if _, err := io.WriteString(conn, say); err != nil {
			return err
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(conn, head); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, conn, int64(head[0])|int64(head[1])<<8); err != nil {
			return err
		}
	}
	return nil
}

// checkMySQL checks a login at a server of this machine.
func checkMySQL(t *testing.T, o Options, m mysqlTalk) *Report {
	t.Helper()
	ended := make(chan error, 1)
	o.Client = func(*provider.Provider) *http.Client { return &http.Client{} }
	o.Classify = classifyFTP
	o.Dial = func(context.Context, *provider.Provider, provider.Authority) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() { ended <- m.serve(theirs) }()
		return ours, nil
	}
	cred := &credential.Credential{Ref: credential.Ref{Workspace: "acme", Environment: "production", Provider: "db", Name: "main"}, Type: "database"}
	for k, v := range map[string]string{"driver": "mysql", "host": "127.0.0.1", "port": "3306", "username": "app", "password": ftpPassword, "database": "shop", "sslmode": "disable"} {
		cred.Set(k, secret.New(v))
	}
	r := New(o).Check(t.Context(), &provider.Provider{Name: "db", Type: "database"}, cred)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the connection is open when the check is over")
	}
	if b, _ := json.Marshal(r); bytes.Contains(b, []byte("p4ss")) {
		t.Errorf("LK-01: the report holds the password: %s", b)
	}
	return r
}

// What a server says that a driver cannot read ends the check, and not the daemon.
func TestPanicIsOneCheck(t *testing.T) {
	for _, tc := range []struct {
		name   string
		talk   mysqlTalk
		panics int
		code   fault.Code
	}{
		{"no more than an error's first byte", mysqlTalk{"\x01\x00\x00\x00\xff"}, 1, fault.Internal},
		{"half a greeting", mysqlTalk{"\x03\x00\x00\x00\x0a8\x00"}, 1, fault.Internal},
		{"half a welcome", mysqlTalk{mysqlGreeting, "\x01\x00\x00\x02\x00"}, 1, fault.Internal},
		{"half an answer", mysqlTalk{mysqlGreeting, mysqlWelcome, "\x01\x00\x00\x01\xff"}, 1, fault.Internal},
		{"more columns than there is memory for", mysqlTalk{mysqlGreeting, mysqlWelcome, "\x09\x00\x00\x01\xfe\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x02"}, 0, fault.ConnectionReset},
		{"what a server says", mysqlTalk{mysqlGreeting, mysqlWelcome, "\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log strings.Builder
			panics := 0
			r := checkMySQL(t, Options{Panicked: func() { panics++ }, Log: slog.New(slog.NewTextHandler(&log, nil))}, tc.talk)
			if panics != tc.panics {
				t.Errorf("%d panics, want %d; %s", panics, tc.panics, log.String())
			}
			if want := map[bool]Status{true: OK, false: Unknown}[tc.code == ""]; r.Status != want || r.code() != string(tc.code) {
				t.Errorf("%s %q, want %s %q; %+v", r.Status, r.code(), want, tc.code, r.Checks)
			}
			for _, says := range []string{"type=runtime.boundsError", "go-sql-driver"} {
				if panics > 0 && !strings.Contains(log.String(), says) {
					t.Errorf("the log does not tell %s: %s", says, log.String())
				}
			}
		})
	}
}
