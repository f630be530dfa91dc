package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// everyLogin are options of each method for a server on the wire; the files hold canaries.
func everyLogin(t *testing.T, o VaultOptions) []VaultOptions {
	t.Helper()
	o.Token, o.TokenFile, o.Role, o.Username = secret.Value{}, tempFile(t, "token", "hvs.canary-token"), "sidecar", "sidecar"
	o.RoleIDFile, o.SecretIDFile, o.JWTFile, o.PasswordFile = o.TokenFile, o.TokenFile, o.TokenFile, o.TokenFile
	var all []VaultOptions
	for _, m := range methods {
		if o.Method = m.name; m.name != "cert" { // which needs TLS
			all = append(all, o)
		}
	}
	o.Method, o.SecretIDWrapped = "approle", true
	return append(all, o)
}

// FM-02, VA-01, RE-08: what is no answer of an active Vault is an outage, not a denial, whatever it answers to a login.
func TestVaultLoginAnswers(t *testing.T) {
	t.Parallel()
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("VA-01: a login followed a redirect") }))
	defer evil.Close()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			_, _ = io.Copy(w, r.Body)
		}
	}
	dr := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/sys/health" {
			_, _ = io.WriteString(w, `{"initialized":true,"standby":false,"replication_dr_mode":"secondary","version":"1.21"}`)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
	}
	sealed := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/sys/health" {
			_, _ = io.WriteString(w, `{"initialized":true,"sealed":true,"version":"1.21"}`)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	var sent atomic.Int64
	huge := func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte("x"), 64<<10)
		_, _ = io.WriteString(w, `{"auth":{"client_token":"`)
		for range 1 << 14 { // 1 GiB
			n, err := w.Write(chunk)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		want fault.Code
		tell string
	}{
		{"FM-02: sealed", sealed, fault.VaultSealed, "status 503"},
		{"FM-02: throttled, or a standby", status(429), fault.VaultUnreachable, "status 429"},
		{"FM-02: a disaster recovery secondary's health", status(472), fault.VaultUnreachable, "status 472"},
		{"FM-02: a disaster recovery secondary", dr, fault.VaultUnreachable, "status 400"},
		{"FM-02: a performance standby", status(473), fault.VaultUnreachable, "status 473"},
		{"FM-02: not initialised", status(501), fault.VaultUnreachable, "status 501"},
		{"FM-02: broken", status(500), fault.VaultUnreachable, "status 500"},
		{"a gateway's time-out", status(504), fault.VaultUnreachable, "status 504"},
		{"refused", status(400), fault.VaultDenied, "status 400"},
		{"forbidden", status(403), fault.VaultDenied, "status 403"},
		{"nothing there", status(404), fault.VaultDenied, "status 404"},
		{"VA-01: elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, evil.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}, fault.VaultUnreachable, "redirects are not followed"},
		{"RE-08: 1 GiB", huge, fault.VaultUnreachable, "larger than 1 MiB"},
		{"no JSON", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "canary") }, fault.VaultUnreachable, "not what Vault sends"},
	} {
		for _, o := range everyLogin(t, wire(t, tt.h)) {
			what := fmt.Sprintf("%s: %s (wrapped %v)", tt.name, o.Method, o.SecretIDWrapped)
			if o.KVVersion = 2; strings.HasPrefix(tt.name, "no JSON") && (o.Method == "token" || o.Method == "agent") {
				continue // see TestVaultOddAnswers
			}
			v := runVault(t, o)
			err := v.Ready(t.Context())
			wantCode(t, what, err, tt.want)
			if !strings.Contains(fmt.Sprint(err), tt.tell) {
				t.Errorf("%s: %v does not tell %q", what, err, tt.tell)
			}
			if s := v.Status(); s.Sealed != (tt.want == fault.VaultSealed) || s.Up != (tt.want == fault.VaultDenied) {
				t.Errorf("%s: Status = %+v", what, s)
			}
			if err := v.stop(); err != nil {
				t.Errorf("%s: Run: %v", what, err)
			}
			wantNoCanary(t, what, fmt.Sprint(err), v.log.String())
		}
	}
	if mib := sent.Load() >> 20; mib > 200 {
		t.Errorf("RE-08: %d MiB were taken", mib)
	}
}

// RE-08: a login whose answer does not end is given up after 10 s, and Run's end does not wait for it.
func TestVaultEndlessLogin(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	drip := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"auth":{"client_token":"`)
		for {
			select {
			case <-r.Context().Done():
				return
			case <-release:
				return
			case <-time.After(100 * time.Millisecond):
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	o := everyLogin(t, wire(t, http.HandlerFunc(drip)))[1]
	began := time.Now()
	v := runVault(t, o)
	wantCode(t, "RE-08: login", v.Ready(t.Context()), fault.VaultUnreachable)
	if took := time.Since(began); took < loginLimit-time.Second || took > loginLimit+slack {
		t.Errorf("RE-08: it took %v, want %v", took, loginLimit)
	}
	time.Sleep(2 * time.Second) // the next login is under way
	began = time.Now()
	if err := v.stop(); err != nil || time.Since(began) > slack {
		t.Errorf("RE-08: Run ended after %v: %v", time.Since(began), err)
	}
}

// VA-04: neither an address with a password in it nor a log of vault/api's own.
func TestVaultAddressHoldsNoSecret(t *testing.T) {
	_, err := NewVault(VaultOptions{Address: "http://u:canary@127.0.0.1:1", Method: "agent"})
	if err == nil {
		t.Error("VA-04: an address with a password is taken")
	}
	wantNoCanary(t, "VA-04: the error", fmt.Sprint(err))
	v, err := NewVault(VaultOptions{Address: "http://127.0.0.1:1", Method: "agent"})
	if err != nil {
		t.Fatal(err)
	}
	if l := v.client.CloneConfig().Logger; l != nil {
		t.Errorf("VA-04: vault/api logs to %T", l)
	}
}

// The namespace is on each call but the question for Vault's health, which only the root namespace answers.
func TestVaultNamespaceOnTheWire(t *testing.T) {
	t.Parallel()
	const namespace = "team/a"
	testserver.Wire(t, "namespaces of Vault Enterprise")
	t.Log("the open-source Vault has no namespaces; what is shown is the header of each call")
	var mu sync.Mutex
	seen := map[string]bool{}
	answers := map[string]string{
		"/v1/auth/approle/login":                 `{"auth":{"client_token":"hvs.x","lease_duration":2,"renewable":true}}`,
		"/v1/auth/token/renew-self":              `{"auth":{"client_token":"hvs.x","lease_duration":2,"renewable":true}}`,
		"/v1/auth/token/revoke-self":             `{}`,
		"/v1/auth/token/lookup-self":             `{"data":{"ttl":2}}`,
		"/v1/sys/wrapping/lookup":                `{"data":{"creation_path":"team/a/auth/approle/role/sidecar/secret-id"}}`,
		"/v1/sys/wrapping/unwrap":                `{"data":{"secret_id":"x"}}`,
		"/v1/sys/internal/ui/mounts/secret":      `{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`,
		"/v1/sys/health":                         `{"initialized":true,"sealed":true,"version":"1.21"}`,
		"/v1/secret/metadata/sallyport/x":        `{}`,
		"/v1/secret/data/sallyport/credentials/": `{}`,
	}
	o := wire(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := namespace
		if r.URL.Path == "/v1/sys/health" {
			want = ""
		}
		if got := r.Header.Get("X-Vault-Namespace"); got != want {
			t.Errorf("%s: namespace %q, want %q", r.URL.Path, got, want)
		}
		mu.Lock()
		seen[r.URL.Path] = true
		mu.Unlock()
		switch answer := answers[r.URL.Path]; {
		case strings.HasSuffix(r.URL.Path, "/denied"):
			w.WriteHeader(http.StatusForbidden)
		case answer == "":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = io.WriteString(w, answer)
		}
	}))
	o = everyLogin(t, o)[len(methods)-1]
	o.Namespace, o.KVVersion, o.RevokeOnExit = namespace+"/", 0, true
	v := loggedIn(t, o)
	everyCall(t, v)
	_, err := v.Get(t.Context(), newCredential(t, "crm/denied").Ref)
	wantCode(t, "a denied path", err, fault.VaultDenied)
	eventually(t, "renewed", patience, func() bool { return v.calls(opRenew, "ok") > 0 })
	if err := v.stop(); err != nil {
		t.Error(err)
	}
	for path := range answers {
		if !strings.HasPrefix(path, "/v1/secret/") && !seen[path] {
			t.Errorf("%s was not called", path)
		}
	}
}

// FM-01: logins that fail are spaced: 1 s, doubled each time, up to 30 s, half of it at random; one success starts anew.
func TestVaultLoginBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		fails := func(*Vault, context.Context) (*session, error) {
			at = append(at, time.Now())
			if len(at) == 40 {
				return &session{}, nil
			}
			return nil, fault.New(fault.VaultUnreachable, "", errors.New("away"))
		}
		m, err := newMetrics(nil)
		if err != nil {
			t.Fatal(err)
		}
		v := &Vault{
			o: VaultOptions{Bare: true}, log: slog.New(slog.DiscardHandler), metrics: m, transport: &transport{},
			method: &method{login: fails}, doubts: make(chan doubt), changed: make(chan struct{}),
		}
		k := keeper{Vault: v}
		if s, err := k.signIn(t.Context()); s == nil || err != nil {
			t.Fatalf("FM-01: signIn: %v, %v", s, err)
		}
		var gaps []time.Duration
		for i := range at[1:] {
			gaps = append(gaps, at[i+1].Sub(at[i]))
		}
		for i, gap := range gaps {
			base := min(time.Second<<min(i, 10), 20*time.Second)
			if gap < base/2 || gap > base*3/2 {
				t.Errorf("FM-01: pause %d is %v, want %v to %v", i, gap, base/2, base*3/2)
			}
		}
		if longest := slices.Max(gaps); longest > 30*time.Second {
			t.Errorf("FM-01: a pause of %v", longest)
		}
		late := slices.Compact(slices.Clone(gaps[10:]))
		if len(late) < 10 {
			t.Errorf("FM-01: the pauses are not at random: %v", gaps)
		}
	})
}
