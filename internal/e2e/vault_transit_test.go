package e2e

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

const transitPolicy = `
path "transit/encrypt/sidecar" { capabilities = ["update"] }
path "transit/decrypt/sidecar" { capabilities = ["update"] }
`

// FM-01: a daemon whose store's key is wrapped by Vault starts without it, makes the key and opens the store once Vault
// is there, and needs it no more until the next start.
func TestVaultWrapsTheKey(t *testing.T) {
	t.Parallel()
	address, storage := testserver.FreeAddr(t), t.TempDir()
	lines, token := tokenFile(t, "none-yet")
	w := prepareVaultWorld(t)
	w.launchWrapped(t, address, lines)
	w.becomes(t, "FM-01", http.StatusServiceUnavailable, "")
	if status, body := w.Call(t, http.MethodGet, "/livez", nil); status != http.StatusOK {
		t.Errorf("FM-01: /livez is %d %s, want 200", status, body)
	}
	w.refused(t, "FM-01", "api", "", fault.VaultUnreachable)
	w.neverBare(t, "FM-01")

	v := testserver.StartVault(t, testserver.VaultOptions{Listen: address, Storage: storage})
	v.Do(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	v.Do(t, http.MethodPost, "transit/keys/sidecar", map[string]any{})
	v.Policy(t, "sidecar", transitPolicy)
	rewrite(t, token, v.NewToken(t, map[string]any{"policies": []string{"sidecar"}}))
	w.becomes(t, "FM-01: Vault has come", http.StatusOK, `{"status":"ok"}`)
	w.Put(t, "default/production/api/default", "bearer", map[string]string{"token": apiToken})
	w.Put(t, "default/production/plain/default", "api_key", map[string]string{"api_key": plainKey})
	w.resumes(t, "opened", "api", "")
	w.resumes(t, "opened", "plain", "")

	v.Seal(t)
	w.served(t, "sealed, but the store is open", "api", "")
	w.becomes(t, "sealed, but the store is open", http.StatusOK, `{"status":"ok"}`)
	w.Stop()
	w.launchAgain(t)
	w.becomes(t, "FM-02: started while Vault is sealed", http.StatusServiceUnavailable, "")
	w.refused(t, "FM-02: started while Vault is sealed", "api", "", fault.VaultSealed)
	v.Unseal(t, v.UnsealKey)
	w.becomes(t, "FM-02: unsealed", http.StatusOK, `{"status":"ok"}`)
	w.resumes(t, "FM-02: unsealed", "api", "")
	w.neverBare(t, "FM-02")
	w.keyIsWrapped(t, v)
}

// launchWrapped runs the daemon on the embedded store with its key in Vault's transit engine.
func (w *vaultWorld) launchWrapped(t *testing.T, address, auth string) {
	t.Helper()
	w.Daemon = testserver.Prepare(t, w.frame(open+`
[store]
key = "transit:sidecar"
[vault]
address = "http://`+address+`"
[vault.auth]
`+auth))
	w.launchAgain(t)
}

func (w *vaultWorld) launchAgain(t *testing.T) {
	t.Helper()
	w.Launch(t)
	w.client, w.fresh = w.runner(t, false), w.runner(t, true)
}

// keyIsWrapped looks for the key in all that the daemon has left, and for the records' secrets.
func (w *vaultWorld) keyIsWrapped(t *testing.T, v *testserver.Vault) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.State, "store.key"))
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(text), "vault:v1:")
	if at < 0 {
		t.Fatalf("the key file holds no wrapped text:\n%s", text)
	}
	out, _ := v.Do(t, http.MethodPost, "transit/decrypt/sidecar", map[string]any{"ciphertext": strings.TrimSpace(string(text[at:]))})["data"].(map[string]any)
	encoded := fmt.Sprint(out["plaintext"])
	files := map[string]string{"the log": w.Log()}
	err = filepath.WalkDir(w.State, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	})
	if err != nil || len(encoded) < 80 {
		t.Fatalf("%d bytes were wrapped, %v", len(encoded), err)
	}
	for name, content := range files {
		for _, secret := range []string{"AGE-SECRET-KEY", encoded, canary} {
			if strings.Contains(content, secret) {
				t.Errorf("LK-01: %s holds a secret in the clear", name)
			}
		}
	}
}

// A key file of the other kind ends the start, and the fault says how to go on.
func TestVaultKeyOfTheOtherKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open)
	w.Stop()
	w.Write(t, w.frame(open+`
[store]
key = "transit:sidecar"
[vault]
address = "http://127.0.0.1:1"
`))
	w.Env = append(w.Env, "VAULT_TOKEN=none")
	_, errs, exit := w.Run(t, "serve")
	if exit != 1 || !strings.Contains(errs, "holds a key in the clear, but [store] key is set") || !strings.Contains(errs, "sallyport export") {
		t.Errorf("exit %d: %s; want the way out", exit, errs)
	}
	if strings.Contains(errs, "AGE-SECRET-KEY") {
		t.Error("LK-01: the key is told")
	}
}
