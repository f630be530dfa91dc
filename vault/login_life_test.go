package vault

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// What a method logs in with is read at each login, so that it may change while the daemon runs.
func TestVaultLoginReadsItsFilesAnew(t *testing.T) {
	t.Parallel()
	w := newAuthWorld(t)
	for _, tt := range []struct {
		method string
		change func(t *testing.T, o VaultOptions) // what was used so far is no good any more
	}{
		{"approle", func(t *testing.T, o VaultOptions) {
			w.Do(t, http.MethodDelete, "auth/approle/role/sidecar", nil)
			role, id := w.AppRole(t, "sidecar", map[string]any{"token_policies": "store"})
			replaceFile(t, o.RoleIDFile, role)
			replaceFile(t, o.SecretIDFile, id)
		}},
		{"kubernetes", func(t *testing.T, o VaultOptions) {
			w.kubernetes.Forget()
			replaceFile(t, o.JWTFile, w.kubernetes.ServiceAccount(t))
		}},
		{"jwt", func(t *testing.T, o VaultOptions) {
			next := testserver.NewIssuer(t)
			w.Do(t, http.MethodPost, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": next.PublicKey(t)})
			replaceFile(t, o.JWTFile, jwt(t, next, nil))
		}},
		{"userpass", func(t *testing.T, o VaultOptions) {
			w.Do(t, http.MethodPost, "auth/userpass/users/sidecar/password", map[string]any{"password": "canary-next"})
			replaceFile(t, o.PasswordFile, "canary-next")
		}},
		{"cert", func(t *testing.T, o VaultOptions) {
			cert, pair := selfSigned(t)
			w.Do(t, http.MethodPost, "auth/cert/certs/sidecar", map[string]any{"certificate": string(mustRead(t, cert)), "token_policies": "store"})
			replaceFile(t, o.ClientCertFile, string(mustRead(t, pair)))
		}},
	} {
		t.Run(tt.method, func(t *testing.T) {
			t.Parallel()
			o := w.way(t, tt.method)
			if o.ClientCertFile != "" {
				o.ClientCertFile = tempFile(t, "client", string(mustRead(t, w.client)))
				o.ClientKeyFile = o.ClientCertFile
			}
			v := loggedIn(t, o)
			tt.change(t, o)
			w.Do(t, http.MethodPut, "sys/leases/revoke-prefix/auth/"+tt.method+"/login", nil)
			_, err := v.Get(t.Context(), newCredential(t, "crm").Ref)
			wantCode(t, "Get after another login", err, fault.CredentialNotFound)
			if ok, denied := v.calls(opLogin, "ok"), v.calls(opLogin, "vault_denied"); ok != 2 || denied != 0 {
				t.Errorf("%d logins, %d denied; want 2 and none", ok, denied)
			}
			wantNoCanary(t, "the log", v.log.String())
		})
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FM-06: a renewal that falls into an outage is tried again while the token lives: a new login would cost what was lent
// to the old token.
func TestVaultRenewalInAnOutage(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	target, err := url.Parse(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	var failed atomic.Int64
	onward := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/renew-self") && failed.Add(1) <= 2 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		onward.ServeHTTP(w, r)
	}))
	defer front.Close()
	o := roleOptions(t, server, map[string]any{"token_ttl": "12s"})
	o.Address = front.URL
	v := loggedIn(t, o)
	eventually(t, "renewed at the third try", patience, func() bool { return v.calls(opRenew, "ok") > 0 })
	if n := v.calls(opLogin, "ok"); n != 1 || failed.Load() < 3 {
		t.Errorf("FM-06: %d logins and %d renewals; want the one login to last", n, failed.Load())
	}
}

// Where no records of ours lie, their mount is not asked about, whatever it is.
func TestVaultBare(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	server.Do(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	o := rootOptions(server)
	o.Mount, o.Bare = "transit", true
	v := loggedIn(t, o)
	for _, outcome := range []string{"ok", "vault_denied", "internal"} {
		if n := v.calls(opMounts, outcome); n != 0 {
			t.Errorf("the mount was asked about %d times: %s", n, outcome)
		}
	}
	if err := v.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}
