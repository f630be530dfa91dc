package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newDemoCommand(c *cli) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole product on this machine, without any account",
		Long: `demo runs the real daemon with a small API and OAuth 2.0 server on free loopback
ports, sends real requests through it, and checks each answer. It exits 0 only if
every step showed what it claims. What it makes is removed at the end.

With --vault its credentials lie in that Vault, under a prefix of their own that is
removed too. $VAULT_TOKEN must hold a token that may create, read, update, list and
delete below MOUNT/sallyport-demo-*; VAULT_NAMESPACE and VAULT_CACERT count.`,
		Args: cobra.NoArgs,
		RunE: noArgs(func(ctx context.Context) error { return c.demo(ctx, o) }),
	}
	cmd.Flags().BoolVar(&o.stay, "stay", false, "keep it running at the end and print what to try")
	cmd.Flags().StringVar(&o.vault, "vault", "", "keep the credentials in the Vault at `ADDRESS`, with $VAULT_TOKEN")
	cmd.Flags().StringVar(&o.mount, "vault-mount", "secret", "the KV secrets engine to use there")
	return cmd
}

type demoOptions struct {
	stay         bool
	vault, mount string // vault is the address; empty: the embedded store
}

// environ is what the daemon gets of the user's environment: nothing of his own settings of Sallyport, and of Vault
// only how to reach the one that he names.
func (o demoOptions) environ(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(kv string) bool {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_SKIP_VERIFY": // the last is refused, as it always is
			return o.vault == ""
		default:
			return strings.HasPrefix(name, "SALLYPORT_") || strings.HasPrefix(name, "VAULT_")
		}
	})
}

// demo is one run of the demo: the world outside, the daemon, and a runner that
// knows the proxy's address, its own token and the local CA, and no secret.
type demo struct {
	out    io.Writer
	dir    string
	up     *demoUpstream
	vault  *demoVault // nil: the embedded store
	daemon *demoDaemon
	runner *http.Client
	proxy  *url.URL
	told   strings.Builder // everything the runner was answered
}

func (c *cli) demo(ctx context.Context, o demoOptions) (err error) {
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	up, err := startDemoUpstream()
	if err != nil {
		return err
	}
	defer up.Close()
	d := &demo{out: c.stdout, dir: dir, up: up}
	d.say("Sallyport, shown on this machine: the real daemon, a small API with an OAuth 2.0")
	d.say("server, and a runner that has nothing but a proxy address. All in %s.", dir)
	if d.daemon, err = newDemoDaemon(dir, o.environ(c.environ)); err != nil {
		return err
	}
	folder := o.folder()
	if err := d.daemon.configure(up, folder); err != nil {
		return err
	}
	if folder != nil {
		if d.vault, err = c.openDemoVault(ctx, folder, d.daemon); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.vault.remove(ctx)) }()
		d.daemon.vaultToken = d.vault.token
	}
	return d.run(ctx, o.stay)
}

func (d *demo) run(ctx context.Context, stay bool) error {
	if err := d.daemon.start(ctx); err != nil {
		return err
	}
	defer d.daemon.Stop()
	if err := d.steps(ctx); err != nil {
		return err
	}
	d.say("\nAll %d steps showed what they claim.", len(demoSteps))
	if stay {
		return d.stay(ctx)
	}
	return nil
}

func (d *demo) steps(ctx context.Context) error {
	for i, s := range demoSteps {
		d.say("\n%d. %s", i+1, strings.Replace(s.title, "{place}", d.place(), 1))
		if err := s.run(d, ctx); err != nil {
			return fmt.Errorf("step %d did not show what it claims: %w\nthe daemon's log:\n%s", i+1, err, d.daemon.Log())
		}
	}
	return nil
}

// place tells where the credentials lie.
func (d *demo) place() string {
	if d.vault == nil {
		return "sealed on the disk"
	}
	return "in Vault under " + d.vault.String()
}

// stay waits until the demo is interrupted, or the daemon ends.
func (d *demo) stay(ctx context.Context) error {
	d.say(`
It goes on until you press Ctrl-C. In another terminal:

  export http_proxy=%[1]s https_proxy=%[1]s no_proxy= CURL_CA_BUNDLE=%[2]s
  curl -i http://%[3]s/orders/42          # an API key in a header of its own
  curl -i https://%[4]s/ledger/accounts   # OAuth 2.0, with the token's refresh
  curl -i https://%[4]s/crm/contacts      # the credential that no longer works, with its diagnosis
  for i in 1 2 3; do curl -i https://%[4]s/parcels/$i; done   # the limit

  export SALLYPORT_CONFIG=%[5]s SALLYPORT_STATE_DIR=%[6]s
  %[7]s check
  %[7]s decide GET https://%[4]s/ledger/accounts
  curl --noproxy '*' http://%[8]s/metrics -H "Authorization: Bearer $(cat %[6]s/admin.token)"`,
		d.proxy, d.caFile(), d.up.Plain, d.up.TLS, d.daemon.config, d.daemon.state, d.daemon.exe, d.daemon.Admin)
	if d.vault != nil {
		d.say("  vault kv get -address=%s %s/credentials/default/production/crm/default", d.vault.Address, d.vault)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-d.daemon.exited:
		return errors.New("the daemon ended by itself; its log:\n" + d.daemon.Log())
	}
}

func (d *demo) say(format string, a ...any) { fmt.Fprintf(d.out, format+"\n", a...) }

// show prints one line of a step.
func (d *demo) show(format string, a ...any) { d.say("   "+format, a...) }

func (d *demo) caFile() string { return filepath.Join(d.dir, "ca.pem") }

// connect makes the runner: a Go HTTP client with the proxy's address in it.
func (d *demo) connect(ctx context.Context) error {
	token, err := os.ReadFile(filepath.Join(d.daemon.state, "callers", "default.token"))
	if err != nil {
		return err
	}
	ca, err := d.daemon.Get(ctx, "/ca.pem")
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("GET /ca.pem: not a certificate")
	}
	if err := os.WriteFile(d.caFile(), ca, 0o600); err != nil {
		return err
	}
	d.proxy = &url.URL{Scheme: "http", User: url.UserPassword("default", strings.TrimSpace(string(token))), Host: d.daemon.Proxy}
	d.runner = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		Proxy: http.ProxyURL(d.proxy), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
	}}
	return nil
}

// demoAnswer is what the runner got.
type demoAnswer struct {
	*http.Response
	Body string
}

// send is one request of the runner. It carries a dummy credential, as SDKs do.
func (d *demo) send(ctx context.Context, method, target, body string) (*demoAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer dummy")
	resp, err := d.runner.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&d.told, "%v %s\n", resp.Header, b)
	d.show("%s %s -> %s", method, target, resp.Status)
	return &demoAnswer{resp, string(b)}, nil
}

// expect is send that must end with that status.
func (d *demo) expect(ctx context.Context, status int, method, target, body string) (*demoAnswer, error) {
	a, err := d.send(ctx, method, target, body)
	if err == nil && a.StatusCode != status {
		err = fmt.Errorf("%s %s: status %d, want %d: %s", method, target, a.StatusCode, status, a.Body)
	}
	return a, err
}
