package vault

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/internal/testserver"
)

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
			if f := fault.From(err); !strings.Contains(f.Detail, `wrapped by Vault's transit key "transit/orders", and Vault`) || time.Since(began) > callLimit+slack {
				t.Errorf("%s: detail %q after %v", what, f.Detail, time.Since(began))
			}
			wantNoLeak(t, err, v.log.String())
		}
	}
	server.Seal(t)
	away("FM-02: sealed", fault.VaultSealed)
	server.Unseal(t, server.UnsealKey)
	eventually(t, "FM-02: the key opens after the unseal", patience, func() bool {
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

// Who has left is told so at once.
func TestTransitContext(t *testing.T) {
	v := loggedIn(t, fake(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see its client go
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := v.Transit("orders").Unwrap(ctx, "vault:v1:eA=="); err == nil || time.Since(began) > callLimit*3/4 {
		t.Errorf("%v after %v, want an error at once", err, time.Since(began))
	}
	began = time.Now()
	_, err := v.Transit("orders").Unwrap(t.Context(), "vault:v1:eA==")
	wantCode(t, "FM-05: a Vault that hangs", err, fault.VaultUnreachable)
	if waited := time.Since(began); waited > callLimit+slack {
		t.Errorf("FM-05: waited %v, want 2 s", waited)
	}
}
