package vault

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// fake answers as a Vault that does odd things: h gets every call but the question how long the token lives.
func fake(t *testing.T, h http.HandlerFunc) VaultOptions {
	t.Helper()
	return wire(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth/token/lookup-self" {
			_, _ = io.WriteString(w, `{"data":{"ttl":0,"expire_time":null}}`)
			return
		}
		h(w, r)
	}))
}

// wire has h answer every call.
func wire(t *testing.T, h http.Handler) VaultOptions {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return VaultOptions{Address: s.URL, KVVersion: 2, Method: "token", Token: secret.New("hvs.canary-token")}
}

// everyCall makes one call of each kind and gives the errors.
func everyCall(t *testing.T, v *running) map[string]error {
	t.Helper()
	c := newCredential(t, "crm", "token", "canary-field")
	later := newCredential(t, "crm", "token", "canary-field")
	later.Version = 3
	_, get := v.Get(t.Context(), c.Ref)
	_, list := v.List(t.Context(), c.Ref)
	return map[string]error{
		"Get": get, "List": list, "Put": v.Put(t.Context(), c), "Put later": v.Put(t.Context(), later), "Delete": v.Delete(t.Context(), c.Ref),
	}
}

func wantNoCanary(t *testing.T, where string, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if strings.Contains(s, "canary") {
			t.Errorf("%s holds a secret: %s", where, s)
		}
	}
}

// VA-01: the token follows no redirect, and an answer that is one never reads as an absent record.
func TestVaultRedirect(t *testing.T) {
	var seen atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		t.Errorf("VA-01: the redirect was followed; X-Vault-Token %q", r.Header.Get("X-Vault-Token"))
	}))
	defer evil.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		v := loggedIn(t, fake(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, evil.URL+r.URL.Path, status) }))
		for what, err := range everyCall(t, v) {
			wantCode(t, fmt.Sprintf("VA-01: %s answered %d", what, status), err, fault.VaultUnreachable)
			if err != nil && !strings.Contains(err.Error(), "redirects are not followed") {
				t.Errorf("VA-01: %v does not say what is wrong", err)
			}
		}
	}
	if seen.Load() != 0 {
		t.Errorf("VA-01: %d calls reached the other host", seen.Load())
	}
}

// RE-08: an answer without end is given up after 1 MiB, and a slow one after the time limit.
func TestVaultHugeAnswer(t *testing.T) {
	var sent atomic.Int64
	v := loggedIn(t, fake(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte("x"), 64<<10)
		_, _ = io.WriteString(w, `{"data":{"data":{"token":"`)
		for sent.Load() < 1<<30 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := v.Get(t.Context(), newCredential(t, "crm").Ref)
	runtime.ReadMemStats(&after)
	wantCode(t, "RE-08: Get", err, fault.VaultUnreachable)
	if err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("RE-08: %v does not say what is wrong", err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
		t.Errorf("RE-08: %d MiB were allocated for it", grown>>20)
	}
	if sent.Load() > 64<<20 {
		t.Errorf("RE-08: %d MiB were taken", sent.Load()>>20)
	}
}

// FM-05: a request never waits longer than 2 s for Vault.
func TestVaultSlow(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	for name, h := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { wait(r, release) },
		"no end": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"data":{"data":{"token":"`)
			_ = http.NewResponseController(w).Flush()
			wait(r, release)
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := loggedIn(t, fake(t, h))
			began := time.Now()
			_, err := v.Get(t.Context(), newCredential(t, "crm").Ref)
			wantCode(t, "FM-05: Get", err, fault.VaultUnreachable)
			if took := time.Since(began); took < callLimit-100*time.Millisecond || took > callLimit+slack {
				t.Errorf("FM-05: it took %v, want %v", took, callLimit)
			}
			if !v.Status().Up {
				t.Error("FM-05: a Vault with one path that does not answer counts as away")
			}
		})
	}
	close(release)
}

func wait(r *http.Request, release chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-release:
	}
}

// Whatever stands in Vault's place and echoes what we sent: it gets into no error and no log, and no status but 404
// with Vault's JSON reads as an absent record.
func TestVaultOddAnswers(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string // "" : an echo of the request
		get    fault.Code
	}{
		{200, "", fault.VaultUnreachable}, {200, " ", fault.VaultUnreachable}, {200, "{}", fault.VaultUnreachable},
		{200, "null", fault.VaultUnreachable}, {200, `{"data":{"data":"canary"}}`, fault.VaultUnreachable},
		{200, `{"data":{"data":["canary"],"metadata":{"version":1}}}`, fault.Internal},
		{200, `{"data":"canary","errors":["canary"]}`, fault.VaultUnreachable},
		{204, " ", fault.VaultUnreachable}, {400, "", fault.Internal}, {403, "", fault.VaultDenied},
		{404, "", fault.CredentialNotFound}, {405, "", fault.Internal}, {412, "", fault.VaultUnreachable}, {429, "", fault.VaultUnreachable},
		{472, "", fault.VaultUnreachable}, {473, "", fault.VaultUnreachable}, {500, "", fault.VaultUnreachable}, {502, "", fault.VaultUnreachable},
		{503, "", fault.VaultUnreachable}, {599, "", fault.VaultUnreachable},
	} {
		name := fmt.Sprintf("%d %s", tt.status, tt.body)
		v := loggedIn(t, fake(t, func(w http.ResponseWriter, r *http.Request) {
			body := []byte(tt.body)
			if tt.body == "" {
				body, _ = httputil.DumpRequest(r, true)
			}
			w.WriteHeader(tt.status)
			_, _ = w.Write(bytes.TrimSpace(body))
		}))
		errs := everyCall(t, v)
		wantCode(t, name+": Get", errs["Get"], tt.get)
		for what, err := range errs {
			if err == nil && what != "List" && (what != "Delete" || tt.status != 200) {
				t.Errorf("%s: %s succeeded", name, what)
				continue
			}
			wantNoCanary(t, name+": the error of "+what, fmt.Sprint(err))
		}
		wantNoCanary(t, name+": the log", v.log.String())
	}
}

// VA-02: a write whose answer is lost, or that was sent twice in between, is told as what it did.
func TestVaultAmbiguousWrite(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	target, err := url.Parse(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	onward := httputil.NewSingleHostReverseProxy(target)
	send := func(r *http.Request, body []byte) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		onward.ServeHTTP(w, withBody(r, body))
		return w
	}
	var between func(w http.ResponseWriter, r *http.Request, body []byte)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/data/") {
			onward.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		between(w, r, body)
	}))
	defer front.Close()
	o := rootOptions(server)
	o.Address = front.URL
	v := loggedIn(t, o)

	for _, tt := range []struct {
		name    string
		between func(w http.ResponseWriter, r *http.Request, body []byte)
		want    fault.Code // "": it succeeds
		token   string     // what the record holds then
	}{
		{"landed, then 502", func(w http.ResponseWriter, r *http.Request, body []byte) {
			send(r, body)
			w.WriteHeader(http.StatusBadGateway)
		}, "", "new"},
		{"landed, then the connection was cut", func(_ http.ResponseWriter, r *http.Request, body []byte) {
			send(r, body)
			panic(http.ErrAbortHandler)
		}, "", "new"},
		{"landed, then an empty 200", func(w http.ResponseWriter, r *http.Request, body []byte) { send(r, body) }, "", "new"},
		{"sent twice", func(w http.ResponseWriter, r *http.Request, body []byte) {
			send(r, body)
			second := send(r, body)
			w.WriteHeader(second.Code)
			_, _ = w.Write(second.Body.Bytes())
		}, "", "new"},
		{"not sent, 502", func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusBadGateway) }, fault.VaultUnreachable, "old"},
		{"another's landed, then 502", func(w http.ResponseWriter, r *http.Request, body []byte) {
			send(r, bytes.ReplaceAll(bytes.ReplaceAll(body, []byte(`"new"`), []byte(`"other"`)), []byte("attempt"), []byte("atempt")))
			w.WriteHeader(http.StatusBadGateway)
		}, fault.StoreConflict, "other"},
		{"refused as malformed", func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusBadRequest) }, fault.Internal, "old"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCredential(t, "crm/"+strings.Map(letters, tt.name), "token", "old")
			between = func(w http.ResponseWriter, r *http.Request, body []byte) { onward.ServeHTTP(w, withBody(r, body)) }
			mustPut(t, v.Vault, c)
			between = tt.between
			c.Set("token", secret.New("new"))
			err := v.Put(t.Context(), c)
			wantVersion := 1
			if tt.want == "" {
				wantVersion = 2
				if err != nil {
					t.Errorf("VA-02: Put: %v, want success", err)
				}
			} else {
				wantCode(t, "VA-02: Put", err, tt.want)
			}
			if c.Version != wantVersion {
				t.Errorf("VA-02: Version = %d, want %d", c.Version, wantVersion)
			}
			if got := stored(t, server, "secret/data/sallyport/credentials/"+c.Ref.String())["token"]; got != tt.token {
				t.Errorf("VA-02: the record holds %v, want %v", got, tt.token)
			}
		})
	}
}

func letters(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r
	}
	return '-'
}

func withBody(r *http.Request, body []byte) *http.Request {
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return r
}

// VA-03: nothing of Vault's own variables is used.
func TestVaultIgnoresEnvironment(t *testing.T) {
	evil := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("VA-03: a call reached the environment's address: %s", r.URL)
	}))
	defer evil.Close()
	for name, value := range map[string]string{
		"VAULT_ADDR": evil.URL, "VAULT_AGENT_ADDR": evil.URL, "VAULT_PROXY_ADDR": evil.URL, "VAULT_HTTP_PROXY": evil.URL,
		"HTTP_PROXY": evil.URL, "HTTPS_PROXY": evil.URL, "http_proxy": evil.URL,
		"VAULT_TOKEN": "hvs.environment", "VAULT_NAMESPACE": "environment", "VAULT_HEADERS": `{"X-Environment":"1"}`,
		"VAULT_WRAP_TTL": "60s", "VAULT_MAX_RETRIES": "5", "VAULT_SKIP_VERIFY": "true", "VAULT_RATE_LIMIT": "0.001:1", "VAULT_SRV_LOOKUP": "true",
	} {
		t.Setenv(name, value)
	}
	var calls atomic.Int64
	o := fake(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if token := r.Header.Get("X-Vault-Token"); token != "hvs.canary-token" {
			t.Errorf("VA-03: token %q", token)
		}
		for _, h := range []string{"X-Vault-Namespace", "X-Environment", "X-Vault-Wrap-TTL"} {
			if r.Header.Get(h) != "" {
				t.Errorf("VA-03: %s: %s", h, r.Header.Get(h))
			}
		}
		if r.Header.Get("X-Vault-Request") != "true" {
			t.Error("X-Vault-Request is missing")
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	v := loggedIn(t, o)
	for range 3 {
		_, err := v.Get(t.Context(), newCredential(t, "crm").Ref)
		wantCode(t, "VA-03: Get", err, fault.VaultUnreachable)
	}
	if next, err := v.transport.ready(); err != nil || next.Proxy != nil {
		t.Errorf("SS-06: the transport may use a proxy (%v)", err)
	}
	if n := calls.Load(); n != 3 {
		t.Errorf("VA-03, VA-02: %d calls for 3 reads; none is tried twice", n)
	}

	t.Setenv("VAULT_SKIP_VERIFY", "canary")
	_, err := NewVault(o)
	if err == nil || !strings.Contains(err.Error(), "VAULT_SKIP_VERIFY") {
		t.Errorf("VA-03: NewVault with a malformed VAULT_SKIP_VERIFY: %v", err)
	}
	wantNoCanary(t, "the error", fmt.Sprint(err))
}

func TestVaultOptions(t *testing.T) {
	good := VaultOptions{Address: "https://vault.internal:8200", Method: "token", Token: secret.New("x")}
	for _, tt := range []struct {
		change func(*VaultOptions)
		want   string // in the error; "": none
	}{
		{func(*VaultOptions) {}, ""},
		{func(o *VaultOptions) { o.Address = "https://vault.internal/base" }, ""},
		{func(o *VaultOptions) { o.Address = "" }, "vault.address"},
		{func(o *VaultOptions) { o.Address = "vault.internal:8200" }, "vault.address"},
		{func(o *VaultOptions) { o.Address = "https://u:canary@vault.internal" }, "vault.address"},
		{func(o *VaultOptions) { o.Address = "unix:///run/vault.sock" }, ""},
		{func(o *VaultOptions) { o.Address = "unix:run/vault.sock" }, "vault.address"},
		{func(o *VaultOptions) { o.Address = "unix://" }, "vault.address"},
		{func(o *VaultOptions) { o.Mount = "a/../b" }, "vault.mount"},
		{func(o *VaultOptions) { o.Mount = "a?b" }, "vault.mount"},
		{func(o *VaultOptions) { o.Prefix = "a//b" }, "vault.prefix"},
		{func(o *VaultOptions) { o.AuthMount = ".." }, "vault.auth.mount"},
		{func(o *VaultOptions) { o.KVVersion = 3 }, "vault.kv_version"},
		{func(o *VaultOptions) { o.ClientCertFile = "x" }, "vault.client_key_file"},
		{func(o *VaultOptions) { o.Token = secret.Value{} }, "vault.auth.token_file"},
		{func(o *VaultOptions) { o.Method = "approle" }, "vault.auth.role_id_file"},
		{func(o *VaultOptions) { o.Method, o.RoleIDFile, o.SecretIDWrapped = "approle", "/role", true }, "vault.auth.secret_id_file"},
		{func(o *VaultOptions) { o.Method = "kubernetes" }, "vault.auth.role: missing; the kubernetes method needs it"},
		{func(o *VaultOptions) { o.Method, o.Role = "kubernetes", "sidecar" }, ""},
		{func(o *VaultOptions) { o.Method = "jwt" }, "vault.auth.jwt_file"},
		{func(o *VaultOptions) { o.Method, o.JWTFile = "jwt", "/jwt" }, ""},
		{func(o *VaultOptions) { o.Method, o.PasswordFile = "userpass", "/password" }, "vault.auth.username"},
		{func(o *VaultOptions) { o.Method, o.Username = "userpass", "sidecar" }, "vault.auth.password_file"},
		{func(o *VaultOptions) { o.Method, o.Username, o.PasswordFile = "userpass", "../x", "/password" }, "vault.auth.username"},
		{func(o *VaultOptions) { o.Method, o.Username, o.PasswordFile = "userpass", "..", "/password" }, "vault.auth.username"},
		{func(o *VaultOptions) { o.Method = "cert" }, "vault.client_cert_file"},
		{func(o *VaultOptions) {
			o.Method, o.ClientCertFile, o.ClientKeyFile, o.Address = "cert", "/c", "/k", "http://vault.internal"
		}, "vault.address: the cert method"},
		{func(o *VaultOptions) { o.Method, o.Token = "agent", secret.Value{} }, ""},
		{func(o *VaultOptions) { o.Method = "ldap" }, `"ldap" is not a method; use token, approle, kubernetes, jwt, userpass, cert or agent`},
		{func(o *VaultOptions) { o.Method = "" }, `"" is not a method`},
	} {
		o := good
		tt.change(&o)
		_, err := NewVault(o)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("NewVault: %v, want %q", err, tt.want)
		}
		wantNoCanary(t, "the error", fmt.Sprint(err))
	}
}

func TestVaultNotRun(t *testing.T) {
	v, err := NewVault(VaultOptions{Address: "http://127.0.0.1:1", Method: "token", Token: secret.New("x")})
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range everyCall(t, &running{Vault: v}) {
		wantCode(t, what+" before Run", err, fault.VaultUnreachable)
	}
	if s := v.Status(); s != (Status{}) {
		t.Errorf("Status before Run = %+v", s)
	}
}

func TestVaultMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	if err := RegisterWithoutVault(reg); err != nil {
		t.Fatal(err)
	}
	const without = `
# HELP sallyport_vault_token_expiry_timestamp_seconds When our Vault token ends without renewal; 0: never, or there is none.
# TYPE sallyport_vault_token_expiry_timestamp_seconds gauge
sallyport_vault_token_expiry_timestamp_seconds 0
# HELP sallyport_vault_up 1 if Vault answers and is unsealed, or is not used.
# TYPE sallyport_vault_up gauge
sallyport_vault_up 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(without)); err != nil {
		t.Errorf("without Vault: %v", err)
	}
	o := VaultOptions{Address: "http://127.0.0.1:1", Method: "token", Token: secret.New("x"), Registerer: reg}
	for range 2 { // a reload makes the store anew
		v, err := NewVault(o)
		if err != nil {
			t.Fatalf("NewVault on a registry that has its metrics: %v", err)
		}
		v.metrics.request("read", fault.New(fault.VaultSealed, "", nil))
	}
	const want = `
# HELP sallyport_vault_requests_total Calls to Vault by operation and outcome (ok or a fault code).
# TYPE sallyport_vault_requests_total counter
sallyport_vault_requests_total{operation="read",outcome="vault_sealed"} 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "sallyport_vault_requests_total"); err != nil {
		t.Errorf("with Vault: %v", err)
	}
}
