package testserver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rootToken of a Vault server that was started without VaultOptions.Sealed.
const rootToken = "test-root"

// VaultOptions say how to start a Vault server. The zero value is a fresh one in memory, unsealed, without TLS, with
// KV version 2 at secret/.
type VaultOptions struct {
	Listen           string // loopback host:port; "": a free port
	Storage          string // folder that outlives the server; "": memory
	Sealed           bool   // start on what Storage holds, sealed: Unseal makes it usable
	Cert, Key        string // PEM files; "": no TLS
	ClientCA         string // PEM file of what signs client certificates; "": none is needed
	LeaseTTL, MaxTTL time.Duration
	Verbose          bool // the server's own log on standard error, from level info

	// Of the test's own calls, with TLS:
	CA, ServerName        string // PEM file that signed Cert; a name in Cert, "": the address
	ClientCert, ClientKey string // PEM files
}

// Vault is a running Vault server.
type Vault struct {
	Address   string // http://127.0.0.1:PORT or https://...
	Token     string // the root token
	UnsealKey string // hexadecimal; "" if it was started sealed

	cmd    *exec.Cmd
	stdin  io.Closer
	client *http.Client
}

// StartVault builds the real Vault server if no test did before, starts it on a free loopback port and gives it once it
// is healthy. It ends with the test, at the latest with the test's process.
func StartVault(t testing.TB, o VaultOptions) *Vault {
	t.Helper()
	bin, err := buildVault()
	if err != nil {
		t.Fatalf("the real Vault server does not build: %v", err)
	}
	v := &Vault{Token: rootToken, client: vaultClient(t, o)}
	if err := v.start(bin, o); err != nil {
		t.Fatalf("the real Vault server does not start: %v", err)
	}
	t.Cleanup(v.Stop)
	Took(t, "Vault "+v.version(t, o.Sealed))
	return v
}

func (v *Vault) start(bin string, o VaultOptions) error {
	v.cmd = exec.Command(bin, o.args()...)
	if o.Verbose {
		v.cmd.Stderr = os.Stderr
	}
	var err error
	if v.stdin, err = v.cmd.StdinPipe(); err != nil { // it ends when this does
		return err
	}
	stdout, err := v.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := v.cmd.Start(); err != nil {
		return err
	}
	limit := time.AfterFunc(startLimit, func() { _ = v.cmd.Process.Kill() })
	defer limit.Stop()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		what, value, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "unseal-key":
			v.UnsealKey = value
		case "listening":
			v.Address = "http://" + value
			if o.Cert != "" {
				v.Address = "https://" + value
			}
			return nil
		}
	}
	return fmt.Errorf("it ended before it listened: %w", v.cmd.Wait())
}

func (o VaultOptions) args() []string {
	args := []string{"-dev-root-token-id", rootToken}
	if o.Sealed {
		args = []string{"-dev-root-token-id="}
	}
	for _, a := range []struct{ flag, value string }{
		{"-listen", o.Listen}, {"-tls-cert", o.Cert}, {"-tls-key", o.Key}, {"-tls-client-ca", o.ClientCA},
	} {
		if a.value != "" {
			args = append(args, a.flag, a.value)
		}
	}
	if o.Storage != "" {
		args = append(args, "-storage", "file:"+o.Storage)
	}
	if o.LeaseTTL != 0 {
		args = append(args, "-default-lease-ttl", o.LeaseTTL.String())
	}
	if o.MaxTTL != 0 {
		args = append(args, "-max-lease-ttl", o.MaxTTL.String())
	}
	if o.Verbose {
		args = append(args, "-log-level", "info")
	}
	return args
}

// vaultClient is for the test's own calls; they take no proxy.
func vaultClient(t testing.TB, o VaultOptions) *http.Client {
	t.Helper()
	c := &tls.Config{ServerName: o.ServerName}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			t.Fatal(err)
		}
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM(pem)
	}
	if o.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(o.ClientCert, o.ClientKey)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: c}, Timeout: callLimit}
}

// version waits until the server is healthy (or answers as sealed) and gives its version.
func (v *Vault) version(t testing.TB, sealed bool) string {
	t.Helper()
	for end := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		status, health := v.request(t, http.MethodGet, "sys/health", nil)
		if status == http.StatusOK || sealed && status == http.StatusServiceUnavailable {
			return fmt.Sprint(health["version"])
		}
		if time.Now().After(end) {
			t.Fatalf("Vault is not healthy: status %d", status)
		}
	}
}

// Stop ends the server and waits for it. It may be called more than once.
func (v *Vault) Stop() {
	if v.cmd.ProcessState != nil {
		return
	}
	_ = v.cmd.Process.Signal(syscall.SIGTERM)
	limit := time.AfterFunc(startLimit, func() { _ = v.cmd.Process.Kill() })
	defer limit.Stop()
	_ = v.cmd.Wait()
	_ = v.stdin.Close()
}

// Do makes one call with the root token, such as Do(t, "POST", "auth/approle/role/x", map[string]any{...}), and gives
// the answer's JSON object, nil if it has none. A status outside 2xx fails the test.
func (v *Vault) Do(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	status, m := v.request(t, method, path, body)
	if status/100 != 2 {
		t.Fatalf("vault: %s %s: status %d: %v", method, path, status, m["errors"])
	}
	return m
}

// request takes fields of the header as names and values in turn.
func (v *Vault) request(t testing.TB, method, path string, body any, header ...string) (int, map[string]any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, v.Address+"/v1/"+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", v.Token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := v.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var m map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("vault: %s %s: %v", method, path, err)
	}
	return resp.StatusCode, m
}

// Policy writes an ACL policy.
func (v *Vault) Policy(t testing.TB, name, rules string) {
	t.Helper()
	v.Do(t, http.MethodPut, "sys/policies/acl/"+name, map[string]any{"policy": rules})
}

// Seal seals the server.
func (v *Vault) Seal(t testing.TB) {
	t.Helper()
	v.Do(t, http.MethodPut, "sys/seal", nil)
}

// Unseal opens it again with the key of the server that initialised its storage.
func (v *Vault) Unseal(t testing.TB, key string) {
	t.Helper()
	v.Do(t, http.MethodPut, "sys/unseal", map[string]any{"key": key})
	v.version(t, false)
}

// Live reports whether the server knows token.
func (v *Vault) Live(t testing.TB, token string) bool {
	t.Helper()
	status, _ := v.request(t, http.MethodPost, "auth/token/lookup", map[string]any{"token": token})
	return status == http.StatusOK
}
