package vault

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

var _ seal.Wrapper = (*Transit)(nil)

// transitPolicy is the least that a wrapped key needs.
const transitPolicy = `
path "transit/encrypt/orders" { capabilities = ["update"] }
path "transit/decrypt/orders" { capabilities = ["update"] }`

// transitServer is a Vault with the transit key orders.
func transitServer(t *testing.T, o testserver.VaultOptions) *testserver.Vault {
	t.Helper()
	server := testserver.StartVault(t, o)
	server.Do(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	server.Do(t, http.MethodPost, "transit/keys/orders", map[string]any{})
	return server
}

// limited is a store's Vault whose token may do what rules say.
func limited(t *testing.T, server *testserver.Vault, name, rules string) *running {
	t.Helper()
	server.Policy(t, name, rules)
	o := rootOptions(server)
	o.Token = secret.New(server.NewToken(t, map[string]any{"policies": []string{name}}))
	return loggedIn(t, o)
}

func openKey(t *testing.T, path string, w seal.Wrapper) seal.Sealer {
	t.Helper()
	s, err := seal.LoadOrMakeWrapped(t.Context(), path, w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustOpen(t *testing.T, what string, s seal.Sealer, sealed []byte, want string) {
	t.Helper()
	if got, err := s.Open(sealed); err != nil || string(got) != want {
		t.Errorf("%s: what was sealed opens as %q, %v; want %q", what, got, err, want)
	}
}

// The key of a file store lies wrapped, by the least policy, and outlives rotations of the key in Vault.
func TestTransit(t *testing.T) {
	server := transitServer(t, testserver.VaultOptions{})
	v := limited(t, server, "transit", transitPolicy)
	path := filepath.Join(t.TempDir(), "store.key")
	key := openKey(t, path, v.Transit("orders"))
	sealed, err := key.Seal([]byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, "loaded again", openKey(t, path, v.Transit("transit/orders")), sealed, "plain")
	if enc, dec := v.calls(opEncrypt, "ok"), v.calls(opDecrypt, "ok"); enc != 2 || dec != 2 {
		t.Errorf("%d calls to encrypt and %d to decrypt, want 2 at making and 1 at each loading", enc, dec)
	}

	for range 3 {
		server.Do(t, http.MethodPost, "transit/keys/orders/rotate", map[string]any{})
	}
	mustOpen(t, "after rotations", openKey(t, path, v.Transit("orders")), sealed, "plain")
	rewrap(t, server, path)
	server.Do(t, http.MethodPost, "transit/keys/orders/config", map[string]any{"min_decryption_version": 4})
	mustOpen(t, "wrapped anew", openKey(t, path, v.Transit("orders")), sealed, "plain")

	dir := filepath.Join(t.TempDir(), "credentials")
	s, err := OpenFile(FileOptions{Dir: dir, Sealer: openKey(t, path, v.Transit("orders"))})
	if err != nil {
		t.Fatal(err)
	}
	credtest.TestStore(t, s)
	if _, err := OpenFile(FileOptions{Dir: dir, Sealer: openKey(t, path, v.Transit("orders"))}); err != nil {
		t.Errorf("the store opened again: %v", err)
	}
	other := openKey(t, path+"2", v.Transit("orders"))
	if _, err := OpenFile(FileOptions{Dir: dir, Sealer: other}); err == nil || !strings.Contains(err.Error(), "was made with the key") {
		t.Errorf("the store opened with another key: %v", err)
	}
	wantNoKey(t, server, path, v.log.String())
}

// rewrap does by hand what the fault of an old version tells.
func rewrap(t *testing.T, server *testserver.Vault, path string) {
	t.Helper()
	text := fileText(t, path)
	old := text[strings.Index(text, "vault:v"):]
	data, _ := server.Do(t, http.MethodPost, "transit/rewrap/orders", map[string]any{"ciphertext": strings.TrimSpace(old)})["data"].(map[string]any)
	replaceFile(t, path, strings.Replace(text, old, fmt.Sprint(data["ciphertext"], "\n"), 1))
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wantNoKey has Vault unwrap the file's key, and looks for it in the file and in texts.
func wantNoKey(t *testing.T, server *testserver.Vault, path string, texts ...string) {
	t.Helper()
	text := fileText(t, path)
	wrapped := strings.TrimSpace(text[strings.Index(text, "vault:v"):])
	data, _ := server.Do(t, http.MethodPost, "transit/decrypt/orders", map[string]any{"ciphertext": wrapped})["data"].(map[string]any)
	encoded := fmt.Sprint(data["plaintext"])
	plain, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !strings.HasPrefix(string(plain), "AGE-SECRET-KEY-1") {
		t.Fatalf("what is wrapped is no age key: %v", err)
	}
	for _, s := range append(texts, text) {
		if strings.Contains(s, string(plain)) || strings.Contains(s, encoded) || strings.Contains(s, "AGE-SECRET-KEY") {
			t.Error("LK-01: the key is told in the clear")
		}
	}
}

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

// FM-01, FM-02: without Vault there is no key, and it comes by itself once Vault answers.
func TestTransitAway(t *testing.T) {
	storage := t.TempDir()
	server := transitServer(t, testserver.VaultOptions{Storage: storage})
	v := limited(t, server, "transit", transitPolicy)
	path := filepath.Join(t.TempDir(), "store.key")
	sealed, err := openKey(t, path, v.Transit("orders")).Seal([]byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	away := func(what string, code fault.Code) {
		t.Helper()
		for _, path := range []string{path, filepath.Join(t.TempDir(), "new.key")} {
			began := time.Now()
			_, err := seal.LoadOrMakeWrapped(t.Context(), path, v.Transit("orders"))
			wantCode(t, what, err, code)
			if f := fault.From(err); !strings.Contains(f.Detail, `wrapped by Vault's transit key "transit/orders", and Vault`) || time.Since(began) > 3*time.Second {
				t.Errorf("%s: detail %q after %v", what, f.Detail, time.Since(began))
			}
			wantNoLeak(t, err, v.log.String())
		}
	}
	server.Seal(t)
	away("FM-02: sealed", fault.VaultSealed)
	server.Unseal(t, server.UnsealKey)
	eventually(t, "FM-02: the key opens after the unseal", 15*time.Second, func() bool {
		s, err := seal.LoadOrMakeWrapped(t.Context(), path, v.Transit("orders"))
		if err == nil {
			mustOpen(t, "unsealed", s, sealed, "plain")
		}
		return err == nil
	})
	server.Stop()
	away("FM-01: stopped", fault.VaultUnreachable)

	o := rootOptions(server)
	v = runVault(t, o)
	away("FM-01: never reached", fault.VaultUnreachable)
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

// A name never becomes another path.
func TestTransitName(t *testing.T) {
	v, err := NewVault(VaultOptions{Address: "http://127.0.0.1:1", Method: "token", Token: secret.New("x")})
	if err != nil {
		t.Fatal(err)
	}
	for key, name := range map[string]string{"orders": "transit/orders", "keys/orders": "keys/orders", "team/keys/orders": "team/keys/orders"} {
		if got := v.Transit(key).Name(); got != name {
			t.Errorf("key %q has the name %q, want %q", key, got, name)
		}
	}
	for _, key := range []string{"", "/", "a/", "/a", "../../sys/seal", "a/../b", "a b", "a?x", "a//b", "a%2fb"} {
		_, err := v.Transit(key).Wrap(t.Context(), []byte("x"))
		if f := fault.From(err); f.Code != fault.Internal || !strings.Contains(f.Detail, "no name of a transit key") {
			t.Errorf("key %q: %v, want it refused", key, err)
		}
		if _, err := v.Transit(key).Unwrap(t.Context(), "vault:v1:eA=="); fault.From(err).Code != fault.Internal {
			t.Errorf("key %q: %v, want it refused", key, err)
		}
	}
}

// Odd answers on the wire: nothing of them is told, and none passes for a key.
func TestTransitOddAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		status       int
		want         fault.Code
	}{
		{"no JSON", "canary", 200, fault.VaultUnreachable},
		{"nothing", "{}", 200, fault.VaultDenied},
		{"no answer", "", 204, fault.VaultDenied},
		{"other text", `{"data":{"ciphertext":"canary","plaintext":"canary!"}}`, 200, fault.VaultDenied},
		{"empty plain text", `{"data":{"ciphertext":"vault:v1:","plaintext":""}}`, 200, fault.VaultDenied},
		{"overloaded", `{"errors":["canary"]}`, 429, fault.VaultUnreachable},
		{"broken", `{"errors":["canary"]}`, 500, fault.VaultUnreachable},
		{"standby", `{"errors":["canary"]}`, 473, fault.VaultUnreachable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := loggedIn(t, fake(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.answer))
			}))
			_, wrap := v.Transit("orders").Wrap(t.Context(), []byte("canary-plain"))
			_, unwrap := v.Transit("orders").Unwrap(t.Context(), "vault:v1:canary")
			for what, err := range map[string]error{"Wrap": wrap, "Unwrap": unwrap} {
				wantCode(t, what, err, tc.want)
				if err != nil {
					wantNoCanary(t, what+"'s error", err.Error(), fault.From(err).Detail)
				}
			}
			wantNoCanary(t, "the log", v.log.String())
		})
	}
}

// childTransit gives a process of TestTransitAtOnce the Vault's address; childDir the file.
const childTransit = "SALLYPORT_TEST_TRANSIT"

// Processes and goroutines that make the key at once end with one.
func TestTransitAtOnce(t *testing.T) {
	if address := os.Getenv(childTransit); address != "" { // this is one of them
		v := loggedIn(t, VaultOptions{Address: address, Method: "token", TokenFile: os.Getenv(childDir) + "/token"})
		fmt.Println("fingerprint", openKey(t, os.Getenv(childDir)+"/store.key", v.Transit("orders")).Fingerprint())
		return
	}
	server := transitServer(t, testserver.VaultOptions{})
	dir := t.TempDir()
	replaceFile(t, dir+"/token", server.Token)
	v := loggedIn(t, rootOptions(server))
	prints := make([]string, 8)
	var wg sync.WaitGroup
	for i := range prints {
		if i%2 == 0 {
			wg.Go(func() { prints[i] = openKey(t, dir+"/store.key", v.Transit("orders")).Fingerprint() })
			continue
		}
		wg.Go(func() { prints[i] = childPrint(t, child(t, dir), server.Address) })
	}
	wg.Wait()
	distinct := map[string]bool{}
	for _, p := range prints {
		distinct[p] = true
	}
	if len(distinct) != 1 || distinct[""] {
		t.Errorf("several keys were made: %q", slices.Sorted(maps.Keys(distinct)))
	}
}

func childPrint(t *testing.T, cmd *exec.Cmd, address string) string {
	cmd.Env = append(cmd.Env, childTransit+"="+address)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	_, after, _ := strings.Cut(string(out), "fingerprint ")
	print, _, _ := strings.Cut(after, "\n")
	return print
}

// Who has left is told so at once.
func TestTransitContext(t *testing.T) {
	v := loggedIn(t, fake(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see its client go
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := v.Transit("orders").Unwrap(ctx, "vault:v1:eA=="); err == nil || time.Since(began) > time.Second {
		t.Errorf("%v after %v, want an error at once", err, time.Since(began))
	}
	began = time.Now()
	_, err := v.Transit("orders").Unwrap(t.Context(), "vault:v1:eA==")
	wantCode(t, "FM-05: a Vault that hangs", err, fault.VaultUnreachable)
	if waited := time.Since(began); waited > 3*time.Second {
		t.Errorf("FM-05: waited %v, want 2 s", waited)
	}
}
