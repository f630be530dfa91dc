package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// policy is the least that a store needs, for the default mount and prefix. The token's own paths, and the question for
// the mount's version, are in Vault's default policy.
const policy = `
path "secret/data/sallyport/*"     { capabilities = ["read", "create", "update"] }
path "secret/metadata/sallyport/*" { capabilities = ["list", "delete"] }
path "secret/metadata/sallyport"   { capabilities = ["list"] }`

// running is a store whose Run runs for as long as the test.
type running struct {
	*Vault
	log  *lockedLog
	reg  *prometheus.Registry
	stop func() error // ends Run and gives its error
}

// runVault starts the store and does not wait for its login.
func runVault(t *testing.T, o VaultOptions) *running {
	t.Helper()
	r := &running{log: &lockedLog{}, reg: prometheus.NewPedanticRegistry()}
	o.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Registerer = r.reg
	v, err := NewVault(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Vault = v
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(2 * patience):
			return errors.New("Run does not end with its context")
		}
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if t.Failed() {
			t.Logf("the store's log:\n%s", r.log)
		}
	})
	return r
}

// loggedIn is runVault and its login.
func loggedIn(t *testing.T, o VaultOptions) *running {
	t.Helper()
	r := runVault(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Ready(ctx); err != nil {
		t.Fatalf("login: %v\n%s", err, r.log)
	}
	return r
}

// calls counts the calls of an operation with an outcome.
func (r *running) calls(op, outcome string) int {
	return int(testutil.ToFloat64(r.metrics.requests.WithLabelValues(op, outcome)))
}

func rootOptions(v *testserver.Vault) VaultOptions {
	return VaultOptions{Address: v.Address, Method: "token", Token: secret.New(v.Token)}
}

// roleOptions are for a role that may use the store.
func roleOptions(t *testing.T, v *testserver.Vault, settings map[string]any) VaultOptions {
	t.Helper()
	v.Policy(t, "store", policy)
	settings["token_policies"] = "store"
	role, id := v.AppRole(t, "sidecar", settings)
	return VaultOptions{
		Address: v.Address, Method: "approle",
		RoleIDFile: tempFile(t, "role", role+"\n"), SecretIDFile: tempFile(t, "secret", id+"\n"),
	}
}

func tempFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	replaceFile(t, path, content)
	return path
}

func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newCredential(t *testing.T, ref string, fields ...string) *credential.Credential {
	t.Helper()
	r, err := credential.ParseRef(ref)
	if err != nil {
		t.Fatal(err)
	}
	c := &credential.Credential{Ref: r, Type: "bearer"}
	for i := 0; i+1 < len(fields); i += 2 {
		c.Set(fields[i], secret.New(fields[i+1]))
	}
	return c
}

func mustPut(t *testing.T, v *Vault, c *credential.Credential) {
	t.Helper()
	if err := v.Put(t.Context(), c); err != nil {
		t.Fatalf("Put %s: %v", c.Ref, err)
	}
}

func wantCode(t *testing.T, what string, err error, code fault.Code) {
	t.Helper()
	if f := (*fault.Fault)(nil); !errors.As(err, &f) || f.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// What a busy machine is given: patience for what has to come, which is shorter than the pauses of a store that has given
// up, and slack above a time that is held.
const (
	patience = 30 * time.Second
	slack    = 5 * time.Second
)

// eventually waits until ok, which it asks again and again.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestVaultStore(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	t.Run("root token", func(t *testing.T) { credtest.TestStore(t, loggedIn(t, rootOptions(server))) })

	server.Policy(t, "other", strings.NewReplacer("secret/", "team/kv/", "sallyport", "a/b").Replace(policy))
	server.Do(t, http.MethodPost, "sys/mounts/team/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	o := VaultOptions{
		Address: server.Address + "/", Mount: "team/kv/", Prefix: "/a/b", KVVersion: 2, Method: "token",
		Token: secret.New(server.NewToken(t, map[string]any{"policies": []string{"other"}})),
	}
	t.Run("version 1", func(t *testing.T) {
		server.Do(t, http.MethodPost, "sys/mounts/one", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
		o := rootOptions(server)
		o.Mount = "one"
		credtest.TestStore(t, loggedIn(t, o))
	})
	t.Run("least policy, other mount and prefix", func(t *testing.T) { credtest.TestStore(t, loggedIn(t, o)) })
}

func TestVaultRecord(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	v := loggedIn(t, rootOptions(server))
	const path = "secret/data/sallyport/credentials/acme/production/crm/main"
	server.Do(t, http.MethodPost, path, map[string]any{"data": map[string]any{
		"type": "basic", "username": "u", "password": "p\n", "port": 8443, "team": map[string]any{"a": []int{1}},
		"sallyport_state": `{"claim":"x"}`,
	}})

	c, err := v.Get(t.Context(), credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{"username": "u", "password": "p", "port": "8443", "sallyport_state": `{"claim":"x"}`} {
		if got := c.Field(field).Reveal(); got != want {
			t.Errorf("field %s = %q, want %q", field, got, want)
		}
	}
	if c.Type != "basic" || c.Version != 1 {
		t.Errorf("type %q version %d, want basic, 1", c.Type, c.Version)
	}
	if log := v.log.String(); !strings.Contains(log, "trailing newlines") || !strings.Contains(log, "[password]") {
		t.Errorf("the trimmed newline is not told:\n%s", log)
	}

	c.Set("password", secret.New("q"))
	mustPut(t, v.Vault, c)
	data := stored(t, server, path)
	state, ok := stateOf(data["sallyport_state"].(string))
	if !ok || string(state["claim"]) != `"x"` || state[attempt] == nil {
		t.Errorf("stored state is %s, want the claim it had and the attempt", data["sallyport_state"])
	}
	delete(data, "sallyport_state")
	if got, want := mapText(data), `map[password:q port:8443 provider:crm team:map[a:[1]] type:basic username:u]`; got != want {
		t.Errorf("stored %s, want %s", got, want)
	}
	again, err := v.Get(t.Context(), c.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Field("sallyport_state").Reveal(); got != `{"claim":"x"}` {
		t.Errorf("state reads %s, want the claim alone", got)
	}
}

func TestVaultDeletedByOthers(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	v := loggedIn(t, rootOptions(server))
	for _, how := range []struct{ name, method, path string }{
		{"deleted", http.MethodDelete, "secret/data/sallyport/credentials/default/production/crm/"},
		{"destroyed", http.MethodPost, "secret/destroy/sallyport/credentials/default/production/crm/"},
	} {
		t.Run(how.name, func(t *testing.T) {
			c := newCredential(t, "crm/"+how.name, "token", "1")
			mustPut(t, v.Vault, c)
			mustPut(t, v.Vault, c)
			server.Do(t, how.method, how.path+how.name, map[string]any{"versions": []int{2}})

			_, err := v.Get(t.Context(), c.Ref)
			wantCode(t, "Get", err, fault.CredentialNotFound)
			wantCode(t, "Delete", v.Delete(t.Context(), c.Ref), fault.CredentialNotFound)
			wantCode(t, "Put with the version it had", v.Put(t.Context(), c), fault.StoreConflict)
			anew := newCredential(t, "crm/"+how.name, "token", "2")
			mustPut(t, v.Vault, anew)
			if anew.Version != 3 {
				t.Errorf("version %d, want 3", anew.Version)
			}
			got, err := v.Get(t.Context(), c.Ref)
			if err != nil || got.Field("token").Reveal() != "2" {
				t.Errorf("Get after Put anew: %v, %v", got, err)
			}
		})
	}
	t.Run("nothing stays", func(t *testing.T) {
		c := newCredential(t, "crm/gone", "token", "1")
		mustPut(t, v.Vault, c)
		mustPut(t, v.Vault, c)
		if err := v.Delete(t.Context(), c.Ref); err != nil {
			t.Fatal(err)
		}
		keys := server.Do(t, "LIST", "secret/metadata/sallyport/credentials/default/production/crm", nil)
		if strings.Contains(mapText(keys), "gone") {
			t.Errorf("metadata stays: %v", keys)
		}
	})
}

func TestVaultBadRecord(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	v := loggedIn(t, rootOptions(server))
	c := newCredential(t, "crm", "token", "\xffbad")
	wantCode(t, "Put of a value that is not UTF-8", v.Put(t.Context(), c), fault.InvalidRequest)
	big := newCredential(t, "crm/big", "token", strings.Repeat("x", 40<<20))
	if err := v.Put(t.Context(), big); err == nil {
		t.Error("Put of 40 MiB was accepted")
	}
}

// stored gives a record's fields as Vault holds them.
func stored(t *testing.T, server *testserver.Vault, path string) map[string]any {
	t.Helper()
	data, _ := server.Do(t, http.MethodGet, path, nil)["data"].(map[string]any)
	fields, ok := data["data"].(map[string]any)
	if !ok {
		t.Fatalf("%s holds no record", path)
	}
	return fields
}

func mapText(m map[string]any) string { return fmt.Sprint(m) }
