package testserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var binary = sync.OnceValues(func() (string, error) {
	if raceEnabled {
		return build("sallyport-race", []string{"CGO_ENABLED=1"}, "-race")
	}
	return build("sallyport", []string{"CGO_ENABLED=0"}, "-trimpath")
})

// Daemon is a running `sallyport serve` with its own state folder.
type Daemon struct {
	*Process
	Bin, Config, State string
	Proxy, Admin       string // addresses
	Env                []string
	Wrap               []string // a program and its arguments that runs the program of its last ones; empty: none
}

// Sallyport runs the daemon with this configuration and waits until it is
// ready. Listeners get free ports unless the configuration sets them, and nothing
// is checked in the background unless it has a table [checks].
func Sallyport(tb testing.TB, config string, env ...string) *Daemon {
	tb.Helper()
	d := Prepare(tb, config, env...)
	d.Serve(tb)
	return d
}

// Prepare writes a daemon's configuration without running it.
func Prepare(tb testing.TB, config string, env ...string) *Daemon {
	tb.Helper()
	dir, err := os.MkdirTemp("", "sp") // short: the state folder holds a Unix socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &Daemon{Bin: Binary(tb), Config: filepath.Join(dir, "sallyport.toml"), State: filepath.Join(dir, "state")}
	d.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"SALLYPORT_PROXY_LISTEN=127.0.0.1:0", "SALLYPORT_ADMIN_LISTEN=127.0.0.1:0", "GORACE=halt_on_error=1",
	}, env...)
	if !strings.Contains(config, "[checks]") { // what reaches an upstream is what the test has sent
		d.Env = append(d.Env, "SALLYPORT_CHECKS_INTERVAL=0")
	}
	d.Write(tb, config)
	return d
}

// Write replaces the configuration file.
func (d *Daemon) Write(tb testing.TB, config string) {
	tb.Helper()
	write(tb, d.Config, []byte(config))
}

// Command is the program with the daemon's configuration and state folder.
func (d *Daemon) Command(args ...string) *exec.Cmd {
	line := slices.Concat(d.Wrap, []string{d.Bin, "--config", d.Config, "--state-dir", d.State}, args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = d.Env
	return cmd
}

// Run runs a command to its end.
func (d *Daemon) Run(tb testing.TB, args ...string) (stdout, stderr string, exit int) {
	tb.Helper()
	cmd := d.Command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if cmd.ProcessState == nil {
		tb.Fatalf("%s %v does not start", d.Bin, args)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Serve runs the daemon and waits until it is ready.
func (d *Daemon) Serve(tb testing.TB) {
	tb.Helper()
	d.Launch(tb)
	d.await(tb, "ready", d.ready)
}

// Launch runs the daemon and waits until it listens: it may not be ready, for want of its Vault.
func (d *Daemon) Launch(tb testing.TB) {
	tb.Helper()
	_ = os.Remove(filepath.Join(d.State, "addresses.json"))
	d.Process = Start(tb, d.Command("serve"))
	p := d.Process
	tb.Cleanup(func() {
		if log := p.Log(); strings.Contains(log, "WARNING: DATA RACE") {
			tb.Errorf("a data race in the daemon:\n%s", log)
		}
	})
	d.await(tb, "listening", func() bool { return d.addresses() == nil })
}

func (d *Daemon) await(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); {
		if is() {
			return
		}
		select {
		case <-d.Exited:
			tb.Fatalf("the daemon ended with code %d:\n%s", d.Cmd.ProcessState.ExitCode(), d.Log())
		case <-time.After(25 * time.Millisecond):
		}
	}
	tb.Fatalf("the daemon is not %s:\n%s", what, d.Log())
}

func (d *Daemon) addresses() error {
	b, err := os.ReadFile(filepath.Join(d.State, "addresses.json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, d.into())
}

func (d *Daemon) into() any {
	return &struct{ Proxy, Admin *string }{&d.Proxy, &d.Admin}
}

func (d *Daemon) ready() bool {
	resp, err := direct.Get("http://" + d.Admin + "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// direct uses no proxy.
var direct = &http.Client{Timeout: callLimit, Transport: &http.Transport{DisableKeepAlives: true}}

// Call asks the admin API over TCP with its token; in is sent as JSON unless it is nil.
func (d *Daemon) Call(tb testing.TB, method, path string, in any) (status int, body string) {
	tb.Helper()
	var payload io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			tb.Fatal(err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+d.Admin+path, payload)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.read(tb, "admin.token"))
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := direct.Do(req)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Put stores a credential through the admin API.
func (d *Daemon) Put(tb testing.TB, ref, kind string, fields map[string]string) {
	tb.Helper()
	status, body := d.Call(tb, http.MethodPut, "/api/v1/credentials/"+ref, map[string]any{"type": kind, "fields": fields})
	if status != http.StatusCreated && status != http.StatusOK {
		tb.Fatalf("PUT %s: status %d: %s", ref, status, body)
	}
}

func (d *Daemon) read(tb testing.TB, name string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(d.State, name))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// Token gives a caller's token from the state folder.
func (d *Daemon) Token(tb testing.TB, caller string) string {
	tb.Helper()
	return d.read(tb, "callers/"+caller+".token")
}

// ProxyURL is what HTTP_PROXY of a caller's runner would be.
func (d *Daemon) ProxyURL(tb testing.TB, caller string) *url.URL {
	tb.Helper()
	return &url.URL{Scheme: "http", User: url.UserPassword(caller, d.Token(tb, caller)), Host: d.Proxy}
}

// CA writes the local CA's certificate to a file of the test.
func (d *Daemon) CA(tb testing.TB) (file string, pool *x509.CertPool) {
	tb.Helper()
	status, pem := d.Call(tb, http.MethodGet, "/ca.pem", nil)
	pool = x509.NewCertPool()
	if status != http.StatusOK || !pool.AppendCertsFromPEM([]byte(pem)) {
		tb.Fatalf("GET /ca.pem: status %d: %s", status, pem)
	}
	file = filepath.Join(tb.TempDir(), "ca.pem")
	write(tb, file, []byte(pem))
	return file, pool
}

// Client is Go's own HTTP client behind the daemon, as the caller default.
func (d *Daemon) Client(tb testing.TB) *http.Client {
	tb.Helper()
	_, pool := d.CA(tb)
	Took(tb, "Go net/http client")
	tr := &http.Transport{
		Proxy: http.ProxyURL(d.ProxyURL(tb, "default")), TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
	}
	tb.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Timeout: uploadLimit, Transport: tr}
}

// CurlEnv is what a runner's environment would hold for the caller default.
func (d *Daemon) CurlEnv(tb testing.TB) []string {
	tb.Helper()
	ca, _ := d.CA(tb)
	proxy := d.ProxyURL(tb, "default").String()
	return []string{"http_proxy=" + proxy, "https_proxy=" + proxy, "CURL_CA_BUNDLE=" + ca}
}

// Dial opens a connection to the proxy listener, with a deadline for all that follows.
func (d *Daemon) Dial(tb testing.TB) net.Conn {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", d.Proxy, callLimit)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}
