package vault

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/internal/testserver"
)

// badKey is a way in which the transit key does not serve, and what must be told of it.
type badKey struct {
	name, policy, key string
	change            func(t *testing.T, server *testserver.Vault) // before loading
	making            bool                                         // the file is not there yet
	want              []string                                     // in the fault's detail
}

const anything = `path "*" { capabilities = ["create", "read", "update"] }`

var badKeys = []badKey{
	{name: "loading, no such key", policy: anything, key: "other", want: []string{`no transit key "transit/other"`}},
	{name: "making, no such key", policy: transitPolicy + `path "transit/encrypt/other" { capabilities = ["update"] }`, key: "other", making: true,
		want: []string{`"transit/other"`, "without create on the first, the key must exist"}},
	{name: "making, denied", policy: `path "transit/decrypt/orders" { capabilities = ["update"] }`, key: "orders", making: true,
		want: []string{`"transit/orders"`, "update on transit/encrypt/orders and transit/decrypt/orders"}},
	{name: "loading, denied", policy: `path "transit/encrypt/orders" { capabilities = ["update"] }`, key: "orders",
		want: []string{`"transit/orders"`, "update on transit/encrypt/orders and transit/decrypt/orders"}},
	{name: "no such mount", policy: anything, key: "nowhere/orders", making: true, want: []string{`no transit engine at "nowhere"`}},
	{name: "KV version 1", policy: anything, key: "one/orders", making: true, want: []string{`"one" is no transit engine`}},
	{name: "KV version 2", policy: anything, key: "secret/orders", making: true, want: []string{`no transit engine at "secret"`}},
	{name: "derived", policy: anything, key: "derived", making: true, want: []string{"derived one, which needs a context"}},
	{name: "signs only", policy: anything, key: "signs", making: true, want: []string{"type ed25519, which does not encrypt"}},
	{name: "old version", policy: anything, key: "orders", change: raise, want: []string{"opens nothing below its version 2, but version 1 has wrapped"}},
	{name: "old version, the key may not be looked at", policy: transitPolicy, key: "orders", change: raise,
		want: []string{"min_decryption_version is above", "read on transit/keys/orders tells which"}},
	{name: "removed", policy: anything, key: "orders", change: removeKey, want: []string{`no transit key "transit/orders"; if it was removed`}},
	{name: "removed and made anew", policy: anything, key: "orders", want: []string{"another key of that name has wrapped it"},
		change: func(t *testing.T, server *testserver.Vault) {
			removeKey(t, server)
			server.Do(t, http.MethodPost, "transit/keys/orders", map[string]any{})
		}},
}

func raise(t *testing.T, server *testserver.Vault) {
	server.Do(t, http.MethodPost, "transit/keys/orders/rotate", map[string]any{})
	server.Do(t, http.MethodPost, "transit/keys/orders/config", map[string]any{"min_decryption_version": 2})
}

func removeKey(t *testing.T, server *testserver.Vault) {
	server.Do(t, http.MethodPost, "transit/keys/orders/config", map[string]any{"deletion_allowed": true})
	server.Do(t, http.MethodDelete, "transit/keys/orders", map[string]any{})
}

// FM-03: whatever is wrong with the key in Vault is vault_denied, and told so that it can be put right.
func TestTransitRefused(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	server.Do(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	server.Do(t, http.MethodPost, "sys/mounts/one", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	server.Do(t, http.MethodPost, "transit/keys/derived", map[string]any{"derived": true})
	server.Do(t, http.MethodPost, "transit/keys/signs", map[string]any{"type": "ed25519"})
	root := loggedIn(t, rootOptions(server))
	for i, tc := range badKeys {
		t.Run(tc.name, func(t *testing.T) {
			server.Do(t, http.MethodPost, "transit/keys/orders", map[string]any{})
			path := filepath.Join(t.TempDir(), "store.key")
			if !tc.making {
				openKey(t, path, root.Transit("orders"))
				replaceFile(t, path, strings.ReplaceAll(fileText(t, path), "transit key: transit/orders", "transit key: transit/"+tc.key))
			}
			if tc.change != nil {
				tc.change(t, server)
			}
			v := limited(t, server, fmt.Sprint("bad", i), tc.policy)
			_, err := seal.LoadOrMakeWrapped(t.Context(), path, v.Transit(tc.key))
			wantCode(t, "FM-03: "+tc.name, err, fault.VaultDenied)
			for _, want := range tc.want {
				if detail := fault.From(err).Detail; !strings.Contains(detail, want) {
					t.Errorf("FM-03: detail %q lacks %q", detail, want)
				}
			}
			if _, err := os.Stat(path); tc.making != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file: %v; want that a key which cannot be wrapped leaves none", err)
			}
			wantNoLeak(t, err, v.log.String())
		})
		if tc.change != nil {
			removeKey(t, orEmpty(t, server))
		}
	}
	t.Run("nothing was stored in the other engine", func(t *testing.T) {
		data, _ := server.Do(t, http.MethodGet, "one/encrypt/orders", nil)["data"].(map[string]any)
		if plain := fmt.Sprint(data["plaintext"]); plain != base64.StdEncoding.EncodeToString([]byte(probe)) {
			t.Error("LK-01: a mount that does not encrypt was sent something else than the probe")
		}
	})
}

// orEmpty makes the key if a case has removed it.
func orEmpty(t *testing.T, server *testserver.Vault) *testserver.Vault {
	t.Helper()
	server.Do(t, http.MethodPost, "transit/keys/orders", map[string]any{})
	return server
}

func wantNoLeak(t *testing.T, err error, log string) {
	t.Helper()
	for _, s := range []string{fmt.Sprint(err), fault.From(err).Detail, log} {
		if strings.Contains(s, "AGE-SECRET-KEY") || strings.Contains(s, "QUdFLVNFQ1JFVC1LRVkt") { // and its base64
			t.Errorf("LK-01: the key is told in the clear: %s", s)
		}
	}
}

// A login that Vault refuses is told as that, not as a key that is wrong.
func TestTransitLoginRefused(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := roleOptions(t, server, map[string]any{})
	replaceFile(t, o.SecretIDFile, "not-it")
	v := runVault(t, o)
	if err := v.Ready(t.Context()); err == nil {
		t.Fatal("the login worked")
	}
	_, err := v.Transit("orders").Wrap(t.Context(), []byte("AGE-SECRET-KEY-x"))
	wantCode(t, "Wrap", err, fault.VaultDenied)
	if f := fault.From(err); !strings.Contains(f.Detail, "login") || strings.Contains(f.Detail, "transit key") && strings.Contains(f.Detail, "policy") {
		t.Errorf("detail %q, want that the login is refused", f.Detail)
	}
	wantNoLeak(t, err, v.log.String())
}
