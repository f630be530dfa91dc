// Command testvault is a real HashiCorp Vault server for tests: the real core, seal, token store, expiration manager,
// policies, audit and HTTP API, with a short list of plugins. It listens on loopback only and ends when its standard
// input does, so that it cannot outlive the test that started it.
//
// It is a module of its own: its many dependencies stay out of the product's. Package testserver builds and starts it.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/physical"
	physFile "github.com/hashicorp/vault/sdk/physical/file"
	physInmem "github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

type options struct {
	listen, root, storage, level string
	cert, key, clientCA          string
	lease, maxLease              time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback address; port 0 is a free one")
	flag.StringVar(&o.root, "dev-root-token-id", "root", "root token; empty: do not initialise (use sys/init and sys/unseal)")
	flag.StringVar(&o.storage, "storage", "inmem", "inmem or file:/path")
	flag.StringVar(&o.level, "log-level", "warn", "hclog level")
	flag.StringVar(&o.cert, "tls-cert", "", "certificate file; empty: no TLS")
	flag.StringVar(&o.key, "tls-key", "", "key file")
	flag.StringVar(&o.clientCA, "tls-client-ca", "", "CA file that client certificates must be signed by; empty: none is needed")
	flag.DurationVar(&o.lease, "default-lease-ttl", 768*time.Hour, "")
	flag.DurationVar(&o.maxLease, "max-lease-ttl", 768*time.Hour, "")
	flag.Parse()
	if err := run(o, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testvault:", err)
		os.Exit(1)
	}
}

// run serves until stdin ends or a signal comes. It prints "unseal-key HEX" for a server it initialised, then "listening ADDR".
func run(o options, stdin io.Reader, stdout io.Writer) error {
	ln, err := listen(o.listen)
	if err != nil {
		return err
	}
	core, err := newCore(o, ln.Addr().String())
	if err != nil {
		return err
	}
	defer func() { _ = core.Shutdown() }()
	if o.root != "" {
		key, err := initialise(core, o.root)
		if err != nil {
			return err
		}
		fmt.Fprintln(stdout, "unseal-key", key)
	}
	srv := &http.Server{Handler: handler(core), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute}
	if o.cert != "" {
		if srv.TLSConfig, err = tlsConfig(o); err != nil {
			return err
		}
		ln = tls.NewListener(ln, srv.TLSConfig)
	}
	go closeAtEnd(srv, stdin)
	fmt.Fprintln(stdout, "listening", ln.Addr())
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func listen(addr string) (net.Listener, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address with a port", addr)
	}
	return net.Listen("tcp", addr)
}

func newCore(o options, addr string) (*vault.Core, error) {
	allowEnterprisePaths()
	log := hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.LevelFromString(o.level), Output: os.Stderr})
	phys, err := storage(o.storage, log)
	if err != nil {
		return nil, err
	}
	return vault.NewCore(&vault.CoreConfig{
		Physical: phys, StorageType: "inmem", DisableMlock: true, Logger: log,
		LogicalBackends: secretsEngines, CredentialBackends: authMethods, AuditBackends: auditDevices, BuiltinRegistry: newRegistry(),
		DefaultLeaseTTL: o.lease, MaxLeaseTTL: o.maxLease,
		RedirectAddr: "http://" + addr,
	})
}

func storage(s string, log hclog.Logger) (physical.Backend, error) {
	if dir, ok := strings.CutPrefix(s, "file:"); ok {
		return physFile.NewFileBackend(map[string]string{"path": dir}, log)
	}
	return physInmem.NewInmem(nil, log)
}

func handler(core *vault.Core) http.Handler {
	return vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core:           core,
		ListenerConfig: &configutil.Listener{Type: "tcp", MaxRequestSize: 32 << 20, MaxRequestDuration: 90 * time.Second},
	})
}

func closeAtEnd(srv *http.Server, stdin io.Reader) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		stop()
	}()
	<-ctx.Done()
	_ = srv.Close()
}
