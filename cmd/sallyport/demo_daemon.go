package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/sallyport/sallyport/internal/secret"
)

// demoDaemon is the real thing: this program's own `serve`, as a process.
type demoDaemon struct {
	exe, config, state string
	Proxy, Admin       string       // addresses
	token              string       // the admin token
	environ            []string     // of all commands
	vaultToken         secret.Value // of serve; empty: none
	cmd                *exec.Cmd
	exited             chan struct{} // closed when it has ended
}

var demoConfig = template.Must(template.New("config").Parse(`# Made by sallyport demo.
[proxy]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"
{{with .Vault}}
[store]
backend = "vault"
[vault]
address = {{printf "%q" .Address}}
mount = {{printf "%q" .Mount}}
prefix = {{printf "%q" .Prefix}}
{{end}}
[[provider]]
name = "orders"                     # plain HTTP, so the credential needs leave to go
hosts = ["{{.Plain}}"]
base_url = "http://{{.Plain}}/orders"
type = "api_key"
allow_cleartext = true
allow_networks = ["127.0.0.0/8"]
[[provider.place]]
in = "header"
name = "X-Api-Key"
value = "{api_key}"
[provider.verify]
path = "/me"

[[provider]]
name = "crm"
hosts = ["{{.TLS}}"]
paths = ["/crm"]
base_url = "https://{{.TLS}}/crm"
type = "basic"
allow_networks = ["127.0.0.0/8"]
ca_file = "{{.CAFile}}"
[provider.verify]
path = "/me"

[[provider]]
name = "ledger"
hosts = ["{{.TLS}}"]
paths = ["/ledger"]
base_url = "https://{{.TLS}}/ledger"
type = "oauth2_client_credentials"
allow_networks = ["127.0.0.0/8"]
ca_file = "{{.CAFile}}"
[provider.oauth2]
token_url = "https://{{.TLS}}/oauth/token"
[provider.verify]
path = "/me"

[[provider]]
name = "parcels"
hosts = ["{{.TLS}}"]
paths = ["/parcels"]
base_url = "https://{{.TLS}}/parcels"
type = "bearer"
allow_networks = ["127.0.0.0/8"]
ca_file = "{{.CAFile}}"
[provider.verify]
path = "/me"
[provider.limits]
rate = ["6/min"]
burst = 2
max_wait = "50ms"
`))

// newDemoDaemon names the files of a daemon under dir.
func newDemoDaemon(dir string, environ []string) (*demoDaemon, error) {
	exe, err := os.Executable()
	return &demoDaemon{
		exe: exe, config: filepath.Join(dir, "sallyport.toml"), state: filepath.Join(dir, "state"),
		environ: environ, exited: make(chan struct{}),
	}, err
}

// configure writes the configuration; a nil folder stands for the embedded store.
func (d *demoDaemon) configure(up *demoUpstream, folder *demoFolder) error {
	caFile := filepath.Join(filepath.Dir(d.config), "api-ca.pem")
	if err := os.WriteFile(caFile, up.CA, 0o600); err != nil {
		return err
	}
	var b bytes.Buffer
	err := demoConfig.Execute(&b, map[string]any{"Plain": up.Plain, "TLS": up.TLS, "CAFile": caFile, "Vault": folder})
	if err != nil {
		return err
	}
	return os.WriteFile(d.config, b.Bytes(), 0o600)
}

// start runs serve until Stop, and waits until it is ready.
func (d *demoDaemon) start(ctx context.Context) error {
	logFile, err := os.Create(d.logPath())
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }() // the process has its own
	d.cmd = d.command(ctx, "serve")
	if !d.vaultToken.Empty() {
		d.cmd.Env = append(d.cmd.Env, "VAULT_TOKEN="+reveal(d.vaultToken))
	}
	d.cmd.Stdout, d.cmd.Stderr = logFile, logFile
	if err := d.cmd.Start(); err != nil {
		return err
	}
	go func() { _ = d.cmd.Wait(); close(d.exited) }()
	if err := d.ready(ctx); err != nil {
		d.Stop()
		return fmt.Errorf("%w; its log:\n%s", err, d.Log())
	}
	return nil
}

// command is this program with the demo's configuration and state folder.
func (d *demoDaemon) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.exe, append([]string{"--config", d.config, "--state-dir", d.state}, args...)...)
	cmd.Env = slices.Clone(d.environ)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is the demo's, which then ends the daemon
	return cmd
}

// ready waits until the daemon has written its addresses and says it is ready.
func (d *demoDaemon) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if d.addresses() == nil {
			if _, err := d.Get(ctx, "/readyz"); err == nil {
				return nil
			}
		}
		select {
		case <-d.exited:
			return fmt.Errorf("the daemon ended: %s", d.cmd.ProcessState)
		case <-ctx.Done():
			return errors.New("the daemon did not become ready within 30 seconds")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (d *demoDaemon) addresses() error {
	b, err := os.ReadFile(filepath.Join(d.state, "addresses.json"))
	if err != nil {
		return err
	}
	var a struct{ Proxy, Admin string }
	if err := json.Unmarshal(b, &a); err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(d.state, "admin.token"))
	d.Proxy, d.Admin, d.token = a.Proxy, a.Admin, strings.TrimSpace(string(token))
	return err
}

// Get asks the admin API for what must be there.
func (d *demoDaemon) Get(ctx context.Context, path string) ([]byte, error) {
	body, status, err := d.Call(ctx, http.MethodGet, path, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d: %s", path, status, body)
	}
	return body, err
}

// Call asks the admin API; in is sent as JSON unless it is nil.
func (d *demoDaemon) Call(ctx context.Context, method, path string, in any) (body []byte, status int, err error) {
	var payload io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, 0, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+d.Admin+path, payload)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}} // no proxy
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return body, resp.StatusCode, err
}

func (d *demoDaemon) logPath() string { return filepath.Join(filepath.Dir(d.config), "daemon.log") }

// Log is what the daemon has logged.
func (d *demoDaemon) Log() string {
	b, err := os.ReadFile(d.logPath())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Stop ends the daemon as an operator would, and waits for it.
func (d *demoDaemon) Stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-time.After(10 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
}
