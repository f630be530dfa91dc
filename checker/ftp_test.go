package checker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

const ftpPassword = "p4ss-canary-7d1f"

// ftpTalk is a server of a test: what it answers to each command, by its verb; greeting is the key "". A missing
// answer is 500.
type ftpTalk map[string]string

func (f ftpTalk) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, f[""])
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		answer, ok := f[verb]
		if !ok {
			answer = "500 what?\r\n"
		}
		if answer == "hang" {
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

// with gives the talk with other answers.
func (f ftpTalk) with(answers ...string) ftpTalk {
	m := ftpTalk{}
	for k, v := range f {
		m[k] = v
	}
	for i := 0; i+1 < len(answers); i += 2 {
		m[answers[i]] = answers[i+1]
	}
	return m
}

// checkFTP checks a login at a server of this machine, within a bubble of time.
func checkFTP(t *testing.T, scheme string, serve func(net.Conn)) (r *Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Client: func(*provider.Provider) *http.Client { return &http.Client{} }, Dial: func(context.Context, *provider.Provider, provider.Authority) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go serve(theirs)
			return ours, nil
		}, Classify: classifyFTP})
		cred := &credential.Credential{Ref: credential.Ref{Workspace: "acme", Environment: "production", Provider: "ftp", Name: "main"}, Type: "basic_url"}
		for k, v := range map[string]string{"url": scheme + "://127.0.0.1", "username": "app", "password": ftpPassword} {
			cred.Set(k, secret.New(v))
		}
		start := time.Now()
		r = c.Check(t.Context(), &provider.Provider{Name: "ftp", Type: "basic_url", Protocol: provider.FTP}, cred)
		if took := time.Since(start); took > 2*timeLimit {
			t.Errorf("it took %v", took)
		}
	})
	if b, _ := json.Marshal(r); bytes.Contains(b, []byte("p4ss")) {
		t.Errorf("LK-01: the report holds the password: %s", b)
	}
	return r
}

// classifyFTP tells a time-out from an end.
func classifyFTP(err error) *fault.Fault {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return fault.New(fault.Timeout, "", err)
	}
	return fault.New(fault.ConnectionReset, "", err)
}

// What servers say that are hostile, broken or odd.
func TestFTPTalk(t *testing.T) {
	good := ftpTalk{"": "220 hello\r\n", "USER": "331 password?\r\n", "PASS": "230 in\r\n", "PWD": "257 \"/\"\r\n", "TYPE": "200 ok\r\n"}
	endless := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			for _, err := io.WriteString(c, text); err == nil; {
				_, err = io.WriteString(c, text)
			}
		}
	}
	for _, tc := range []struct {
		name   string
		serve  func(net.Conn)
		status Status
		code   fault.Code
		says   string
	}{
		{"good", good.serve, OK, "", "without TLS"},
		{"a long welcome", good.with("", "220-a\r\nPASS is asked for\r\nUSER too\r\n530 is no end-\r\n220 b\r\n").serve, OK, "", "without TLS"},
		{"wrong", good.with("PASS", "530 no\r\n").serve, Error, fault.CredentialsRejected, "530"},
		{"wrong, by another code", good.with("PASS", "430 no\r\n").serve, Error, fault.CredentialsRejected, "430"},
		{"a user that may not", good.with("USER", "530 not you\r\n").serve, Error, fault.CredentialsRejected, "530"},
		{"the password said back", good.with("PASS", "530 not "+ftpPassword+", app\r\n").serve, Error, fault.CredentialsRejected, "530"},
		{"said back at length", good.with("PASS", "530 "+strings.Repeat("x", maxServerText-10)+ftpPassword+"\r\n").serve, Error, fault.CredentialsRejected, "530"},
		{"a line left open", good.with("USER", "331 ok\r\n530 ", "PASS", "530 no\r\n").serve, Error, fault.CredentialsRejected, "530"},
		{"no password asked", good.with("USER", "230 anybody\r\n").serve, Warning, "", "without asking for the password"},
		{"no password asked, then an end", good.with("USER", "230 anybody\r\n", "TYPE", "421 bye\r\n").serve, Warning, "", "without asking for the password"},
		{"an account asked", good.with("PASS", "332 account?\r\n").serve, Warning, "", "332"},
		{"a code nobody knows", good.with("PASS", "599 huh\r\n").serve, Warning, "", "599"},
		{"nobody from here", good.with("", "530 go away\r\n").serve, Warning, "", "takes no logins from here"},
		{"not yet", good.with("", "120 in 3 minutes\r\n").serve, Unknown, fault.ConnectionRefused, "120"},
		{"full", good.with("", "421 too many\r\n").serve, Unknown, fault.UpstreamRateLimited, "421"},
		{"full when asked", good.with("AUTH", "421 too many\r\n").serve, Unknown, fault.UpstreamRateLimited, "421"},
		{"full after the password", good.with("PASS", "421 too many\r\n").serve, Unknown, fault.UpstreamRateLimited, "421"},
		{"broken after the login", good.with("PWD", "hang", "TYPE", "hang", "FEAT", "hang").serve, OK, "", "took the login"},
		{"nothing but the login", good.with("TYPE", "502 no\r\n", "PWD", "550 no folder\r\n").serve, OK, "", "took the login"},
		{"a folder with one quote", good.with("PWD", "257 \"/home\r\n").serve, OK, "", "took the login"},
		{"silence", good.with("", "").serve, Unknown, fault.Timeout, "no greeting"},
		{"silence after a name", good.with("USER", "hang").serve, Unknown, fault.Timeout, ""},
		{"another protocol", good.with("", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n").serve, Unknown, fault.UpstreamInvalid, "does not speak as an FTP server"},
		{"a page", good.with("", "HTTP/1.1 400 Bad Request\r\n\r\n").serve, Unknown, fault.UpstreamInvalid, "does not speak as an FTP server"},
		{"an endless line", endless("22"), Unknown, fault.UpstreamInvalid, "more than an answer"},
		{"endless lines", endless("220-hello\r\n"), Unknown, fault.UpstreamInvalid, "more than an answer"},
		{"nobody there", func(c net.Conn) { _ = c.Close() }, Unknown, fault.ConnectionReset, ""},
		{"TLS that is none", good.with("AUTH", "234 go\r\n220 and\r\n").serve, Unknown, fault.UpstreamInvalid, "speaks something else"},
		{"replies before TLS", good.with("AUTH", "234 go\r\n331 x\r\n230 in\r\n").serve, Unknown, fault.UpstreamInvalid, "speaks something else"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := checkFTP(t, "ftp", tc.serve)
			if r.Status != tc.status || !strings.Contains(r.Checks[0].Detail, tc.says) {
				t.Errorf("status %s, detail %q; want %s and %q; %+v", r.Status, r.Checks[0].Detail, tc.status, tc.says, r.Steps)
			}
			if tc.status != Unknown && tc.code == "" && r.Fault != nil || tc.code != "" && (r.Fault == nil || r.Fault.Code != tc.code) {
				t.Errorf("fault %+v, want %q", r.Fault, tc.code)
			}
			if r.Fault != nil && strings.Contains(strings.Join(r.Fault.Remedy, " "), "upstream_timeout") {
				t.Errorf("the remedy is for requests: %q", r.Fault.Remedy)
			}
		})
	}
}

// What is kept of a conversation: never what follows PASS, however it is cut.
func TestFTPWordsKeepNoPassword(t *testing.T) {
	for _, cut := range []int{1, 3, 5, 6, 9, 4096} {
		var kept strings.Builder
		w := ftpWords{sent: func(verb string) { kept.WriteString(verb) }}
		text := "331 go\r\nPASS " + strings.Repeat(ftpPassword, 3) + "\r\n530 no\r\n"
		for len(text) > 0 {
			n := min(cut, len(text))
			_, _ = w.Write([]byte(text[:n]))
			fmt.Fprint(&kept, w.code, w.text, string(w.line[:cap(w.line)]))
			text = text[n:]
		}
		if strings.Contains(kept.String(), "p4") || w.verb != verbPassword || w.code != 530 {
			t.Errorf("cut %d: %s %d, kept %q", cut, w.verb, w.code, kept.String())
		}
	}
}
