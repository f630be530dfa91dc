package vault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

func TestVaultTLS(t *testing.T) {
	ca, other := testserver.NewCA(t), testserver.NewCA(t)
	_, leaf := ca.Leaf(t, "vault.internal")
	clientCA, clientCert := selfSigned(t)
	server := testserver.StartVault(t, testserver.VaultOptions{Cert: leaf, Key: leaf, CA: ca.File, ServerName: "vault.internal"})
	_, expired := ca.Expired(t, "vault.internal")
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = keyPair(t, expired)
	old.StartTLS()
	defer old.Close()
	plain := testserver.StartVault(t, testserver.VaultOptions{})
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	t.Setenv("VAULT_CACERT", ca.File)
	o := rootOptions(server)
	for _, tt := range []struct {
		name   string
		change func(*VaultOptions)
		want   string // in the error; "": none
	}{
		{"right CA and server name", func(o *VaultOptions) { o.CAFile, o.TLSServerName = ca.File, "vault.internal" }, ""},
		{"a client certificate that is not asked for", func(o *VaultOptions) {
			o.CAFile, o.TLSServerName, o.ClientCertFile, o.ClientKeyFile = ca.File, "vault.internal", clientCert, clientCert
		}, ""},
		{"system roots; VA-03: neither VAULT_CACERT nor VAULT_SKIP_VERIFY counts", func(o *VaultOptions) { o.TLSServerName = "vault.internal" }, "vault.ca_file: is not set"},
		{"another CA", func(o *VaultOptions) { o.CAFile, o.TLSServerName = other.File, "vault.internal" }, "vault.ca_file: holds another CA"},
		{"the address is not in the certificate", func(o *VaultOptions) { o.CAFile = ca.File }, "vault.address: Vault's certificate is not for this host"},
		{"the name is not in the certificate", func(o *VaultOptions) { o.CAFile, o.TLSServerName = ca.File, "other.internal" }, "vault.tls_server_name: Vault's certificate is not for this name"},
		{"expired", func(o *VaultOptions) {
			o.Address, o.CAFile, o.TLSServerName = old.URL, ca.File, "vault.internal"
		}, "Vault's certificate must be renewed"},
		{"cleartext", func(o *VaultOptions) { o.Address = strings.Replace(o.Address, "https", "http", 1) }, "the listener speaks TLS; set vault.address to https://"},
		{"TLS to a listener without", func(o *VaultOptions) { o.Address = strings.Replace(plain.Address, "http", "https", 1) }, "server gave HTTP response to HTTPS client"},
		{"no such CA file", func(o *VaultOptions) { o.CAFile = "/nonexistent/ca.pem" }, "ca_file: open /nonexistent/ca.pem"},
		{"a CA file that is none", func(o *VaultOptions) { o.CAFile = tempFile(t, "ca", "x") }, "holds no certificate"},
		{"a client key that is none", func(o *VaultOptions) {
			o.ClientCertFile, o.ClientKeyFile = clientCert, tempFile(t, "key", "canary")
		}, "client_key_file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := o
			tt.change(&o)
			v := runVault(t, o)
			err := v.Ready(t.Context())
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("login: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("login: %v, want an error with %q", err, tt.want)
			}
			wantNoCanary(t, "the log", v.log.String())
		})
	}

	t.Run("client certificate", func(t *testing.T) {
		server := testserver.StartVault(t, testserver.VaultOptions{
			Cert: leaf, Key: leaf, CA: ca.File, ServerName: "vault.internal", ClientCA: clientCA, ClientCert: clientCert, ClientKey: clientCert,
		})
		o := rootOptions(server)
		o.CAFile, o.TLSServerName = ca.File, "vault.internal"
		err := runVault(t, o).Ready(t.Context())
		wantCode(t, "login without a client certificate", err, fault.VaultUnreachable)
		if !strings.Contains(fmt.Sprint(err), "vault.client_cert_file: is not set") {
			t.Errorf("login without a client certificate: %v", err)
		}
		_, stranger := selfSigned(t)
		o.ClientCertFile, o.ClientKeyFile = stranger, stranger
		err = runVault(t, o).Ready(t.Context())
		wantCode(t, "login with another client certificate", err, fault.VaultUnreachable)
		if !strings.Contains(fmt.Sprint(err), "vault.client_cert_file: Vault does not accept the certificate") {
			t.Errorf("login with another client certificate: %v", err)
		}
		o.ClientCertFile, o.ClientKeyFile = clientCert, clientCert
		loggedIn(t, o)
	})
}

func keyPair(t *testing.T, file string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
}

// The files are read again after a login failed, so a certificate that was renewed needs no restart.
func TestVaultTLSFilesChange(t *testing.T) {
	ca := testserver.NewCA(t)
	_, leaf := ca.Leaf(t, "127.0.0.1")
	server := testserver.StartVault(t, testserver.VaultOptions{Cert: leaf, Key: leaf, CA: ca.File})
	o := rootOptions(server)
	o.CAFile = tempFile(t, "ca.pem", string(testserver.NewCA(t).PEM))
	v := runVault(t, o)
	wantCode(t, "login with another CA", v.Ready(t.Context()), fault.VaultUnreachable)
	replaceFile(t, o.CAFile, string(ca.PEM))
	eventually(t, "logged in with the right CA", patience, func() bool { return v.Status().LoggedIn })
}

// selfSigned makes a client certificate that is its own CA; pair holds its key too.
func selfSigned(t *testing.T) (cert, pair string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "sidecar"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return tempFile(t, "client-ca.pem", string(certPEM)), tempFile(t, "client.pem", string(certPEM)+string(keyPEM))
}

func TestVaultSecretFileModes(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := VaultOptions{Address: server.Address, Method: "token", TokenFile: tempFile(t, "token", server.Token)}
	if err := os.Chmod(o.TokenFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if v := loggedIn(t, o); !strings.Contains(v.log.String(), "readable by everybody") {
		t.Error("a world-readable token_file is not warned about")
	}
	if err := os.Chmod(o.TokenFile, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := runVault(t, o).Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "writable by everybody") {
		t.Errorf("a world-writable token_file: %v", err)
	}
}

// Nothing that Run starts outlives it.
func TestVaultRunEnds(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	ignore := goleak.IgnoreCurrent()
	v, err := NewVault(rootOptions(server))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	if err := v.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.List(t.Context(), newCredential(t, "crm").Ref); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	goleak.VerifyNone(t, ignore)
}
