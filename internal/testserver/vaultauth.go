package testserver

import (
	"net/http"
	"testing"
)

// Enable mounts an auth method at its own name, if nothing is there yet.
func (v *Vault) Enable(t testing.TB, method string) {
	t.Helper()
	if auth := v.Do(t, http.MethodGet, "sys/auth", nil); auth[method+"/"] == nil {
		v.Do(t, http.MethodPost, "sys/auth/"+method, map[string]any{"type": method})
	}
}

// Wrap makes a call whose answer Vault keeps under a wrapping token for a time, such as "60s", and gives that token.
func (v *Vault) Wrap(t testing.TB, method, path, ttl string) string {
	t.Helper()
	status, m := v.request(t, method, path, map[string]any{}, "X-Vault-Wrap-TTL", ttl)
	info, _ := m["wrap_info"].(map[string]any)
	token, ok := info["token"].(string)
	if !ok {
		t.Fatalf("vault: %s %s: status %d, and nothing was wrapped", method, path, status)
	}
	return token
}

// AppRole makes a role of the approle auth method, enabled if it is not yet, and gives its role id and a secret id.
// settings are the role's, such as token_ttl, token_max_ttl and token_policies.
func (v *Vault) AppRole(t testing.TB, role string, settings map[string]any) (roleID, secretID string) {
	t.Helper()
	v.Enable(t, "approle")
	v.Do(t, http.MethodPost, "auth/approle/role/"+role, settings)
	return v.value(t, http.MethodGet, "auth/approle/role/"+role+"/role-id", "role_id"),
		v.value(t, http.MethodPost, "auth/approle/role/"+role+"/secret-id", "secret_id")
}

func (v *Vault) value(t testing.TB, method, path, field string) string {
	t.Helper()
	data, _ := v.Do(t, method, path, map[string]any{})["data"].(map[string]any)
	s, ok := data[field].(string)
	if !ok {
		t.Fatalf("vault: %s %s: no %s", method, path, field)
	}
	return s
}

// NewToken makes a token; settings are those of auth/token/create, such as policies and ttl.
func (v *Vault) NewToken(t testing.TB, settings map[string]any) string {
	t.Helper()
	auth, _ := v.Do(t, http.MethodPost, "auth/token/create", settings)["auth"].(map[string]any)
	s, ok := auth["client_token"].(string)
	if !ok {
		t.Fatal("vault: no token was made")
	}
	return s
}
