package testserver

import (
	"net/http"
	"testing"
)

func TestStartVault(t *testing.T) {
	dir := t.TempDir()
	v := StartVault(t, VaultOptions{Storage: dir})
	v.Do(t, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]any{"a": "1"}})
	v.Stop()

	w := StartVault(t, VaultOptions{Storage: dir, Sealed: true})
	w.Unseal(t, v.UnsealKey)
	data, _ := w.Do(t, http.MethodGet, "secret/data/x", nil)["data"].(map[string]any)
	if got, _ := data["data"].(map[string]any); got["a"] != "1" {
		t.Errorf("after a restart the record reads %v", got)
	}
	w.Seal(t)
	w.Unseal(t, v.UnsealKey)
}
