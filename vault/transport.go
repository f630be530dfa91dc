package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/file"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 1 << 20

var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", maxAnswer>>20)

// transport reaches Vault: directly, never through a proxy, over verified TLS. A redirect is an error, since the token
// would follow it, and so is an answer larger than maxAnswer. The TLS files are read at the first request and after reset.
type transport struct {
	socket                                string // path; "": TCP
	caFile, certFile, keyFile, serverName string

	mu   sync.Mutex
	next *http.Transport // nil until the files were read
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	next, err := t.ready()
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, t.explain(err)
	}
	if err := unfit(req, resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	resp.Body = &limitedBody{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

// unfit tells an answer that Vault's API does not give.
func unfit(req *http.Request, resp *http.Response) error {
	if resp.StatusCode/100 == 3 {
		return fmt.Errorf("status %d: redirects are not followed; set vault.address to a node that answers itself", resp.StatusCode)
	}
	if req.URL.Scheme == "http" && resp.StatusCode == http.StatusBadRequest && !resp.ProtoAtLeast(1, 1) { // as net/http's server does
		return errors.New("status 400: the listener speaks TLS; set vault.address to https://")
	}
	return nil
}

// explain tells the faults of TLS apart, with the key to look at.
func (t *transport) explain(err error) error {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		op      *net.OpError
	)
	switch {
	case errors.As(err, &unknown) && t.caFile == "":
		return fmt.Errorf("vault.ca_file: is not set, and the system's roots do not know the CA of Vault's certificate: %w", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("vault.ca_file: holds another CA than that of Vault's certificate: %w", err)
	case errors.As(err, &name) && t.serverName == "":
		return fmt.Errorf("vault.address: Vault's certificate is not for this host; vault.tls_server_name may name another: %w", err)
	case errors.As(err, &name):
		return fmt.Errorf("vault.tls_server_name: Vault's certificate is not for this name: %w", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("Vault's certificate must be renewed, or a clock is wrong: %w", err)
	case errors.As(err, &op) && op.Op == "remote error" && t.certFile == "":
		return fmt.Errorf("vault.client_cert_file: is not set, and Vault ended the TLS handshake: %w", err)
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("vault.client_cert_file: Vault does not accept the certificate: %w", err)
	}
	return err
}

func (t *transport) ready() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != nil {
		return t.next, nil
	}
	config, err := t.tlsConfig()
	if err != nil {
		return nil, err
	}
	t.next = &http.Transport{
		DialContext:            t.dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  loginLimit,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second}, // a connection that died in silence
	}
	return t.next, nil
}

func (t *transport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	if t.socket != "" {
		network, address = "unix", t.socket
	}
	return d.DialContext(ctx, network, address)
}

// reset has the files read again, in case a certificate was renewed.
func (t *transport) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != nil {
		t.next.CloseIdleConnections()
		t.next = nil
	}
}

func (t *transport) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.serverName}
	if t.caFile != "" {
		pem, _, err := file.ReadOperator(t.caFile)
		if err != nil {
			return nil, fmt.Errorf("vault.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("vault.ca_file: %s: holds no certificate", t.caFile)
		}
	}
	if t.certFile == "" {
		return c, nil
	}
	pair, err := t.keyPair()
	if err != nil {
		return nil, err
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // whatever CAs the server names
		return &pair, nil
	}
	return c, nil
}

func (t *transport) keyPair() (tls.Certificate, error) {
	cert, _, err := file.ReadOperator(t.certFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("vault.client_cert_file: %w", err)
	}
	key, _, err := file.ReadOperator(t.keyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("vault.client_key_file: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("vault.client_cert_file and client_key_file: %w", err)
	}
	return pair, nil
}

// limitedBody fails, rather than ends, after left bytes.
type limitedBody struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *limitedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errors.Join(errTooLarge, b.Close())
	}
	return n, err
}
