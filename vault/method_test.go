package vault

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// authWorld is a Vault over TLS in which one sidecar may log in by every method.
type authWorld struct {
	*testserver.Vault
	o          VaultOptions // without a method
	kubernetes *testserver.Kubernetes
	issuer     *testserver.Issuer
	client     string // certificate and key
}

func newAuthWorld(t *testing.T) *authWorld {
	t.Helper()
	ca := testserver.NewCA(t)
	_, leaf := ca.Leaf(t, "127.0.0.1")
	w := &authWorld{
		Vault:      testserver.StartVault(t, testserver.VaultOptions{Cert: leaf, Key: leaf, CA: ca.File}),
		kubernetes: testserver.StartKubernetes(t), issuer: testserver.NewIssuer(t),
	}
	w.o = VaultOptions{Address: w.Address, CAFile: ca.File}
	w.Policy(t, "store", policy)
	life := map[string]any{"token_policies": "store", "token_ttl": "20m", "token_max_ttl": "1h"}
	role := func(path string, settings map[string]any) {
		for k, v := range life {
			settings[k] = v
		}
		w.Do(t, http.MethodPost, path, settings)
	}
	for _, method := range []string{"approle", "kubernetes", "jwt", "userpass", "cert"} {
		w.Enable(t, method)
	}
	w.Do(t, http.MethodPost, "auth/kubernetes/config", map[string]any{
		"kubernetes_host": w.kubernetes.URL, "token_reviewer_jwt": w.kubernetes.ServiceAccount(t), "disable_local_ca_jwt": true,
		"kubernetes_ca_cert": w.kubernetes.CA,
	})
	role("auth/kubernetes/role/sidecar", map[string]any{"bound_service_account_names": "sidecar", "bound_service_account_namespaces": "flows"})
	role("auth/kubernetes/role/other", map[string]any{"bound_service_account_names": "other", "bound_service_account_namespaces": "flows"})
	w.Do(t, http.MethodPost, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": w.issuer.PublicKey(t), "default_role": "sidecar"})
	role("auth/jwt/role/sidecar", map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault"})
	role("auth/jwt/role/other", map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "another"})
	role("auth/userpass/users/sidecar", map[string]any{"password": "canary-password"})
	var cert string
	cert, w.client = selfSigned(t)
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	role("auth/cert/certs/sidecar", map[string]any{"certificate": string(pem)})
	role("auth/cert/certs/other", map[string]any{"certificate": string(ca.PEM)})
	return w
}

// jwt gives a token that the role sidecar accepts, but for what changes.
func jwt(t *testing.T, issuer *testserver.Issuer, changes map[string]any) string {
	t.Helper()
	claims := map[string]any{"sub": "sidecar", "aud": "vault", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range changes {
		claims[k] = v
	}
	return issuer.Token(t, claims)
}

// way gives the options of a method that logs in.
func (w *authWorld) way(t *testing.T, method string) VaultOptions {
	t.Helper()
	o := w.o
	o.Method = method
	set, ok := map[string]func(){
		"token": func() {
			o.Token = secret.New(w.NewToken(t, map[string]any{"policies": []string{"store"}, "ttl": "20m"}))
		},
		"approle": func() {
			role, id := w.AppRole(t, "sidecar", map[string]any{"token_policies": "store", "token_ttl": "20m"})
			o.RoleIDFile, o.SecretIDFile = tempFile(t, "role", role), tempFile(t, "secret", id)
		},
		"kubernetes": func() { o.Role, o.JWTFile = "sidecar", tempFile(t, "jwt", w.kubernetes.ServiceAccount(t)) },
		"jwt":        func() { o.Role, o.JWTFile = "sidecar", tempFile(t, "jwt", jwt(t, w.issuer, nil)) },
		"userpass":   func() { o.Username, o.PasswordFile = "sidecar", tempFile(t, "password", "canary-password\n") },
		"cert":       func() { o.Role, o.ClientCertFile, o.ClientKeyFile = "sidecar", w.client, w.client },
		"agent":      func() { o.Address = startAgent(t, w, "tcp").address },
	}[method]
	if !ok {
		t.Fatalf("the method %s is not tested", method)
	}
	set()
	return o
}

// Every method logs in, serves, renews and ends its token.
func TestVaultMethods(t *testing.T) {
	t.Parallel()
	w := newAuthWorld(t)
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			o := w.way(t, m.name)
			o.RevokeOnExit = true
			v := loggedIn(t, o)
			c := newCredential(t, "crm/"+m.name, "token", "1")
			mustPut(t, v.Vault, c)
			got, err := v.Get(t.Context(), c.Ref)
			if err != nil || got.Field("token").Reveal() != "1" {
				t.Errorf("Get: %v, %v", got, err)
			}
			s, token := v.session, v.session.token
			ours := m.name != "token" && m.name != "agent"
			if s.ours != ours {
				t.Errorf("the token counts as got by a login: %v, want %v", s.ours, ours)
			}
			if m.name == "agent" {
				if !token.Empty() || s.renewable || s.due() < time.Hour || !v.Status().TokenExpiry.IsZero() {
					t.Errorf("the agent's token counts as ours: %+v", v.Status())
				}
				return
			}
			if d := time.Until(v.Status().TokenExpiry); !s.renewable || d < 19*time.Minute || d > 20*time.Minute {
				t.Errorf("renewable %v, ends in %v; want 20 min", s.renewable, d)
			}
			if err := v.call(t.Context(), opRenew, "auth/token/renew-self", s.client, func(ctx context.Context, c *api.Client) error {
				return write(ctx, c, "auth/token/renew-self", struct{}{}, nil)
			}); err != nil {
				t.Errorf("the token is not renewed: %v", err)
			}
			if err := v.stop(); err != nil {
				t.Fatal(err)
			}
			if w.Live(t, token.Reveal()) == ours {
				t.Errorf("revoke_on_exit left the token live: %v", ours)
			}
			wantNoCanary(t, "the log", v.log.String())
		})
	}
}

// A login that Vault refuses tells its method, the keys to look at and the files, and no secret.
func TestVaultRefusedLogins(t *testing.T) {
	t.Parallel()
	w := newAuthWorld(t)
	stranger, foreign := testserver.NewIssuer(t), testserver.StartKubernetes(t)
	_, otherClient := selfSigned(t)
	expired := map[string]any{"exp": time.Now().Add(-time.Hour).Unix(), "iat": time.Now().Add(-2 * time.Hour).Unix()}
	for _, tt := range []struct {
		method, name string
		change       func(*VaultOptions)
		want         []string // in the log's error
	}{
		{"token", "wrong", func(o *VaultOptions) { o.Token = secret.New("hvs.canary") }, []string{"has ended or was revoked", "$VAULT_TOKEN"}},
		{"token", "wrong file", func(o *VaultOptions) { o.TokenFile = tempFile(t, "t", "hvs.canary") }, []string{"see vault.auth.token_file", "/t"}},
		{"token", "no file", func(o *VaultOptions) { o.TokenFile = "/nonexistent/t" }, []string{"vault.auth.token_file: cannot be read", "/nonexistent/t"}},
		{"token", "empty file", func(o *VaultOptions) { o.TokenFile = tempFile(t, "t", " \n") }, []string{"vault.auth.token_file: cannot be read", "is empty"}},
		{"approle", "wrong role id", func(o *VaultOptions) { o.RoleIDFile = tempFile(t, "r", "canary") }, []string{"vault.auth.role_id_file, vault.auth.secret_id_file", "/r"}},
		{"approle", "wrong secret id", func(o *VaultOptions) { o.SecretIDFile = tempFile(t, "s", "canary") }, []string{"no uses left", "/s"}},
		{"approle", "no secret id", func(o *VaultOptions) { o.SecretIDFile = "" }, []string{"wrong or missing", "see vault.auth.role_id_file)"}},
		{"approle", "nothing at that mount", func(o *VaultOptions) { o.AuthMount = "absent" }, []string{"auth/absent/login"}},
		{"kubernetes", "no such role", func(o *VaultOptions) { o.Role = "absent" }, []string{"vault.auth.role, vault.auth.jwt_file"}},
		{"kubernetes", "a role of others", func(o *VaultOptions) { o.Role = "other" }, []string{"not bound to this service account"}},
		{"kubernetes", "a token that Kubernetes does not know", func(o *VaultOptions) {
			o.JWTFile = tempFile(t, "j", foreign.ServiceAccount(t))
		}, []string{"does not confirm the token", "/j"}},
		{"kubernetes", "no token", func(o *VaultOptions) { o.JWTFile = tempFile(t, "j", "canary") }, []string{"vault.auth.jwt_file"}},
		{"kubernetes", "no pod", func(o *VaultOptions) { o.JWTFile = "" }, []string{"vault.auth.jwt_file: cannot be read", serviceAccountToken}},
		{"jwt", "no such role", func(o *VaultOptions) { o.Role = "absent" }, []string{"vault.auth.jwt_file, vault.auth.role"}},
		{"jwt", "another audience", func(o *VaultOptions) { o.Role = "other" }, []string{"not bound to these claims"}},
		{"jwt", "expired", func(o *VaultOptions) { o.JWTFile = tempFile(t, "j", jwt(t, w.issuer, expired)) }, []string{"has expired", "/j"}},
		{"jwt", "another key", func(o *VaultOptions) {
			o.JWTFile = tempFile(t, "j", jwt(t, stranger, nil))
		}, []string{"signed by another key"}},
		{"jwt", "JSON", func(o *VaultOptions) { o.JWTFile = tempFile(t, "j", `{"token":"canary"}`) }, []string{"vault.auth.jwt_file: holds JSON"}},
		{"userpass", "wrong password", func(o *VaultOptions) { o.PasswordFile = tempFile(t, "p", "canary") }, []string{"vault.auth.username, vault.auth.password_file", "/p"}},
		{"userpass", "no such user", func(o *VaultOptions) { o.Username = "absent" }, []string{"the user name or the password is wrong"}},
		{"cert", "another certificate", func(o *VaultOptions) { o.ClientCertFile, o.ClientKeyFile = otherClient, otherClient }, []string{"accepts the client certificate", "vault.client_cert_file"}},
		{"cert", "a role of others", func(o *VaultOptions) { o.Role = "other" }, []string{"vault.auth.role"}},
	} {
		t.Run(tt.method+": "+tt.name, func(t *testing.T) {
			t.Parallel()
			o := w.way(t, tt.method)
			tt.change(&o)
			v := runVault(t, o)
			err := v.Ready(t.Context())
			wantCode(t, "login", err, fault.VaultDenied)
			for _, want := range tt.want {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("login: %v, want it to tell %q", err, want)
				}
			}
			if detail := fault.From(err).Detail; strings.Contains(detail, "/tmp") || !strings.Contains(detail, tt.method) && !strings.Contains(detail, "vault.auth.") {
				t.Errorf("whoever asks for a credential reads %q", detail)
			}
			_, err = v.Get(t.Context(), newCredential(t, "crm").Ref)
			wantCode(t, "Get", err, fault.VaultDenied)
			if s := v.Status(); s.LoggedIn || !s.LastSuccess.IsZero() {
				t.Errorf("Status = %+v", s)
			}
			wantNoCanary(t, "an error or the log", fmt.Sprint(err), v.log.String())
		})
	}
}

// agent stands in front of Vault and adds a token, as Vault Agent and Vault Proxy do.
type agent struct {
	address string
	first   string
	token   atomic.Value // string
}

// startAgent listens on a loopback port (tcp) or a socket (unix).
func startAgent(t *testing.T, w *authWorld, network string) *agent {
	t.Helper()
	a := &agent{first: w.NewToken(t, map[string]any{"policies": []string{"store"}, "ttl": "20m"})}
	a.token.Store(a.first)
	target, err := url.Parse(w.Address)
	if err != nil {
		t.Fatal(err)
	}
	next, err := (&transport{caFile: w.o.CAFile}).ready()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.CloseIdleConnections)
	onward := &httputil.ReverseProxy{Transport: next, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Set("X-Vault-Token", fmt.Sprint(a.token.Load()))
	}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Request") != "true" { // require_request_header of an agent's listener
			rw.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		if r.Header.Get("X-Vault-Token") != "" {
			t.Errorf("agent: %s carries a token of ours", r.URL.Path)
		}
		if r.URL.Path == "/v1/auth/token/renew-self" || r.URL.Path == "/v1/auth/token/revoke-self" {
			t.Errorf("agent: its token is ours to touch: %s", r.URL.Path)
		}
		onward.ServeHTTP(rw, r)
	}))
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "agent") // the path of a socket is short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		address = filepath.Join(dir, "a b%2f.sock")
	}
	_ = s.Listener.Close()
	if s.Listener, err = net.Listen(network, address); err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Close)
	a.address = s.URL
	if network == "unix" {
		a.address = "unix://" + address
	}
	return a
}

// An agent's token is the agent's: it is neither sent, renewed nor revoked by us, and a refused call says whose it is.
func TestVaultAgent(t *testing.T) {
	t.Parallel()
	w := newAuthWorld(t)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			a := startAgent(t, w, network)
			v := loggedIn(t, VaultOptions{Address: a.address, Method: "agent", Token: secret.New("hvs.canary"), RevokeOnExit: true})
			c := newCredential(t, "crm/"+network, "token", "1")
			mustPut(t, v.Vault, c)
			if _, err := v.List(t.Context(), c.Ref); err != nil {
				t.Error(err)
			}

			a.token.Store(w.NewToken(t, map[string]any{"policies": []string{"default"}}))
			_, err := v.Get(t.Context(), c.Ref)
			wantCode(t, "Get with an agent's token that may not", err, fault.VaultDenied)
			if detail := fault.From(err).Detail; !strings.Contains(detail, "the token that the agent adds") {
				t.Errorf("detail %q does not tell whose token it is", detail)
			}
			if n := v.calls(opLogin, "ok"); n != 1 {
				t.Errorf("%d logins for a policy that does not allow a path, want 1", n)
			}

			a.token.Store("hvs.canary-dead")
			time.Sleep(provenFor)
			_, err = v.Get(t.Context(), c.Ref)
			wantCode(t, "Get with an agent's dead token", err, fault.VaultDenied)
			if detail := fault.From(err).Detail; !strings.Contains(detail, "agent") {
				t.Errorf("detail %q does not tell of the agent", detail)
			}
			a.token.Store(a.first)
			eventually(t, "served again once the agent has a token", patience, func() bool {
				_, err := v.Get(t.Context(), c.Ref)
				return err == nil
			})
			if err := v.stop(); err != nil {
				t.Error(err)
			}
			if !w.Live(t, a.first) {
				t.Error("the agent's token was revoked")
			}
			wantNoCanary(t, "the log", v.log.String())
		})
	}
	t.Run("no socket", func(t *testing.T) {
		v := runVault(t, VaultOptions{Address: "unix:///nonexistent/agent.sock", Method: "agent"})
		err := v.Ready(t.Context())
		wantCode(t, "login", err, fault.VaultUnreachable)
		if !strings.Contains(fmt.Sprint(err), "/nonexistent/agent.sock") {
			t.Errorf("login: %v does not name the socket", err)
		}
	})
}
