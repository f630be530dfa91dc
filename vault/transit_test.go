package vault

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

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

// Opened while the daemon's first login is under way, it waits for that.
func TestTransitAtStart(t *testing.T) {
	server := transitServer(t, testserver.VaultOptions{})
	v := runVault(t, rootOptions(server))
	openKey(t, filepath.Join(t.TempDir(), "store.key"), v.Transit("orders"))
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
