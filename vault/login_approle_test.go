package vault

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// wrappedOptions are for the approle method with a wrapping token that lives for ttl.
func wrappedOptions(t *testing.T, server *testserver.Vault, ttl string) VaultOptions {
	t.Helper()
	o := roleOptions(t, server, map[string]any{})
	o.SecretIDWrapped = true
	replaceFile(t, o.SecretIDFile, server.Wrap(t, http.MethodPost, "auth/approle/role/sidecar/secret-id", ttl)+"\n")
	return o
}

func revokeLogins(t *testing.T, server *testserver.Vault) {
	t.Helper()
	server.Do(t, http.MethodPut, "sys/leases/revoke-prefix/auth/approle/login", nil)
}

// A wrapped secret id is unwrapped once, serves later logins from memory, and is unwrapped again when the file changes.
func TestVaultWrappedSecretID(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := wrappedOptions(t, server, "60s")
	v := loggedIn(t, o)
	c := newCredential(t, "crm", "token", "1")
	mustPut(t, v.Vault, c)
	if n := v.calls(opUnwrap, "ok"); n != 2 {
		t.Errorf("%d calls to unwrap, want a lookup and the unwrapping", n)
	}

	revokeLogins(t, server)
	if _, err := v.Get(t.Context(), c.Ref); err != nil {
		t.Errorf("Get after the token was revoked: %v", err)
	}
	if logins, unwraps := v.calls(opLogin, "ok"), v.calls(opUnwrap, "ok"); logins != 2 || unwraps != 2 {
		t.Errorf("%d logins and %d calls to unwrap, want the second login from memory", logins, unwraps)
	}

	replaceFile(t, o.SecretIDFile, server.Wrap(t, http.MethodPost, "auth/approle/role/sidecar/secret-id", "60s"))
	eventually(t, "the new wrapping token is unwrapped", patience, func() bool { return v.calls(opUnwrap, "ok") == 4 })
	eventually(t, "logged in with the new secret id", patience, func() bool { return v.calls(opLogin, "ok") == 3 })

	if err := os.Remove(o.SecretIDFile); err != nil {
		t.Fatal(err)
	}
	time.Sleep(dropGap)
	revokeLogins(t, server)
	if _, err := v.Get(t.Context(), c.Ref); err != nil {
		t.Errorf("Get after the file was removed and the token revoked: %v", err)
	}
	if n := v.calls(opLogin, "vault_denied"); n != 0 {
		t.Errorf("%d logins were denied", n)
	}
}

// A wrapping token that cannot be used is told loudly, and one that is not ours is not spent.
func TestVaultWrappedSecretIDMisused(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := wrappedOptions(t, server, "60s")
	server.Do(t, http.MethodPost, "secret/data/bait", map[string]any{"data": map[string]any{"secret_id": "canary"}})
	server.Do(t, http.MethodPost, "sys/auth/other", map[string]any{"type": "approle"})
	server.Do(t, http.MethodPost, "auth/other/role/sidecar", map[string]any{})
	server.Do(t, http.MethodPost, "sys/mounts/one", map[string]any{"type": "kv"})
	server.Do(t, http.MethodPost, "one/auth/approle/role/sidecar/secret-id", map[string]any{"secret_id": "canary"})
	wrap := func(method, path, ttl string) func(*testing.T) string {
		return func(t *testing.T) string { return server.Wrap(t, method, path, ttl) }
	}
	const ours = "auth/approle/role/sidecar/secret-id"
	const spent, foreign = "already used or has expired", "does not stand for a secret id of auth/approle"
	for _, tt := range []struct {
		name  string
		token func(*testing.T) string
		want  string
		live  bool // it must not have been spent
	}{
		{"used by somebody else", func(t *testing.T) string {
			token := server.Wrap(t, http.MethodPost, ours, "60s")
			server.Do(t, http.MethodPost, "sys/wrapping/unwrap", map[string]any{"token": token})
			return token
		}, spent, false},
		{"expired", func(t *testing.T) string {
			token := server.Wrap(t, http.MethodPost, ours, "1s")
			time.Sleep(2 * time.Second)
			return token
		}, spent, false},
		{"no wrapping token", func(*testing.T) string { return "0d7ad3f7-canary-a3fe-71be0d1a6d1c" }, spent, false},
		{"a secret", wrap(http.MethodGet, "secret/data/bait", "60s"), foreign, true},
		{"a secret whose path is like ours", wrap(http.MethodGet, "one/"+ours, "60s"), foreign, true},
		{"another mount's secret id", wrap(http.MethodPost, "auth/other/role/sidecar/secret-id", "60s"), foreign, true},
		{"the role id", wrap(http.MethodGet, "auth/approle/role/sidecar/role-id", "60s"), foreign, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := o
			token := tt.token(t)
			o.SecretIDFile = tempFile(t, "wrapped", token)
			v := runVault(t, o)
			err := v.Ready(t.Context())
			wantCode(t, "login", err, fault.VaultDenied)
			if detail := fault.From(err).Detail; !strings.Contains(detail, tt.want) || !strings.Contains(detail, "vault.auth.secret_id_file") {
				t.Errorf("detail %q, want %q", detail, tt.want)
			}
			log := v.log.String()
			if !strings.Contains(log, "level=ERROR") || !strings.Contains(log, o.SecretIDFile) {
				t.Errorf("it is not told loudly, with the file:\n%s", log)
			}
			if strings.Contains(log+fmt.Sprint(err), token) {
				t.Errorf("the wrapping token is told: %v\n%s", err, log)
			}
			if tt.live {
				server.Do(t, http.MethodPost, "sys/wrapping/lookup", map[string]any{"token": token})
			}
		})
	}
}

// What becomes wrong with a role after the first login is told when the next one is due.
func TestVaultAppRoleEnds(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	for _, tt := range []struct {
		name     string
		settings map[string]any
		end      func(t *testing.T)
		want     string
	}{
		{"the secret id has one use", map[string]any{"secret_id_num_uses": 1}, func(*testing.T) {}, "has no uses left"},
		{"the secret id expires", map[string]any{"secret_id_ttl": "4s"}, func(*testing.T) { time.Sleep(5 * time.Second) }, "has expired"},
		{"the role is deleted", map[string]any{}, func(t *testing.T) {
			server.Do(t, http.MethodDelete, "auth/approle/role/sidecar", nil)
		}, "its role was deleted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := roleOptions(t, server, tt.settings)
			v := loggedIn(t, o)
			tt.end(t)
			revokeLogins(t, server)
			_, err := v.Get(t.Context(), newCredential(t, "crm").Ref)
			wantCode(t, "Get", err, fault.VaultDenied)
			for _, want := range []string{"the login by approle", tt.want, "vault.auth.secret_id_file " + o.SecretIDFile} {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("Get: %v, want it to tell %q", err, want)
				}
			}
			id, _, _ := readSecretFile(o.SecretIDFile)
			if log := v.log.String() + fmt.Sprint(err); strings.Contains(log, id.Reveal()) {
				t.Errorf("the secret id is told: %s", log)
			}
		})
	}
}

// FM-06: a token whose uses are spent is replaced.
func TestVaultTokenUses(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := roleOptions(t, server, map[string]any{"token_num_uses": 6})
	v := loggedIn(t, o)
	ref := newCredential(t, "crm").Ref
	for i := range 10 {
		_, err := v.Get(t.Context(), ref)
		wantCode(t, fmt.Sprintf("FM-06: Get %d with a token of 6 uses", i), err, fault.CredentialNotFound)
	}
	if n := v.calls(opLogin, "ok"); n < 2 || n > 3 {
		t.Errorf("FM-06: %d logins for 10 calls", n)
	}
	if !strings.Contains(v.log.String(), "token of few uses") {
		t.Error("FM-06: nobody is told that the token has few uses")
	}
}
