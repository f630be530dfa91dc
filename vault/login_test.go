package vault

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// FM-06: the token is renewed, and replaced before its maximum life ends; no call fails meanwhile.
func TestVaultAppRoleRenewsAndLogsInAgain(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := roleOptions(t, server, map[string]any{"token_ttl": "6s", "token_max_ttl": "15s"})
	v := loggedIn(t, o)
	c := newCredential(t, "crm", "token", "1")
	mustPut(t, v.Vault, c)
	if s := v.Status(); !s.LoggedIn || !s.Up || s.Sealed || time.Until(s.TokenExpiry) > 6*time.Second || s.LastSuccess.IsZero() {
		t.Errorf("Status = %+v after login with a token of 6 s", s)
	}
	if got := testutil.ToFloat64(v.metrics.expiry); time.Until(time.UnixMilli(int64(got*1000))).Abs() > 7*time.Second {
		t.Errorf("vault_token_expiry_timestamp_seconds = %v", got)
	}
	began := time.Now()
	for ; v.calls(opLogin, "ok") < 3 && time.Since(began) < 2*patience; time.Sleep(25 * time.Millisecond) {
		if _, err := v.Get(t.Context(), c.Ref); err != nil {
			t.Fatalf("FM-06: %v after %d logins and %d renewals: %v", err, v.calls(opLogin, "ok"), v.calls(opRenew, "ok"), err)
		}
	}
	if logins, renewals := v.calls(opLogin, "ok"), v.calls(opRenew, "ok"); logins != 3 || renewals < 3 || time.Since(began) < 18*time.Second {
		t.Errorf("FM-06: %d logins and %d renewals in %v with ttl 6 s and max ttl 15 s", logins, renewals, time.Since(began))
	}
	if denied := v.calls("read", "vault_denied"); denied != 0 {
		t.Errorf("FM-06: %d reads were denied", denied)
	}
}

// FM-06: a revoked token is replaced once, by whoever notices first, and the calls that noticed go through.
func TestVaultRevokedToken(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	v := loggedIn(t, roleOptions(t, server, map[string]any{}))
	c := newCredential(t, "crm", "token", "1")
	mustPut(t, v.Vault, c)
	server.Do(t, http.MethodPut, "sys/leases/revoke-prefix/auth/approle/login", nil)

	errs := make(chan error)
	for range 20 {
		go func() {
			_, err := v.Get(t.Context(), c.Ref)
			errs <- err
		}()
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Errorf("FM-06: Get after the revocation: %v", err)
		}
	}
	if n := v.calls(opLogin, "ok"); n != 2 {
		t.Errorf("FM-06: %d logins, want one more than the first", n)
	}

	server.Do(t, http.MethodPut, "sys/leases/revoke-prefix/auth/approle/login", nil)
	_, err := v.Get(t.Context(), c.Ref)
	wantCode(t, "Get after a revocation that follows at once", err, fault.VaultDenied)
	eventually(t, "logged in again", patience, func() bool {
		_, err := v.Get(t.Context(), c.Ref)
		return err == nil
	})
	if n := v.calls(opLogin, "ok"); n != 3 {
		t.Errorf("FM-06: %d logins, want 3: they are spaced", n)
	}
}

func TestVaultWrongSecretID(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := roleOptions(t, server, map[string]any{})
	right := o.SecretIDFile
	o.SecretIDFile = tempFile(t, "secret", "0d7ad3f7-canary-a3fe-71be0d1a6d1c")
	v := runVault(t, o)
	wantCode(t, "Ready with a wrong secret id", v.Ready(t.Context()), fault.VaultDenied)
	_, err := v.Get(t.Context(), newCredential(t, "crm").Ref)
	wantCode(t, "Get with a wrong secret id", err, fault.VaultDenied)
	if err == nil || !strings.Contains(err.Error(), "auth/approle/login") {
		t.Errorf("error %v does not name the path", err)
	}
	if s := v.Status(); s.LoggedIn || !s.Up || !s.LastSuccess.IsZero() {
		t.Errorf("Status = %+v, want up but never logged in", s)
	}
	if all := v.log.String() + err.Error(); strings.Contains(all, "canary") {
		t.Errorf("the secret id is told: %s", all)
	}
	id, _, err := readSecretFile(right)
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, o.SecretIDFile, id.Reveal())
	eventually(t, "logged in with the corrected file", patience, func() bool { return v.Status().LoggedIn })
}

// A path that the policy does not allow costs no login.
func TestVaultDeniedPath(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := roleOptions(t, server, map[string]any{})
	server.Policy(t, "store", policy+`
path "secret/data/sallyport/credentials/closed/*" { capabilities = ["deny"] }`)
	v := loggedIn(t, o)
	open, closed := newCredential(t, "crm", "token", "1"), newCredential(t, "crm", "token", "1")
	closed.Ref.Workspace = "closed"
	mustPut(t, v.Vault, open)
	for range 5 {
		_, err := v.Get(t.Context(), closed.Ref)
		wantCode(t, "FM-03: Get", err, fault.VaultDenied)
		if err == nil || !strings.Contains(err.Error(), "secret/data/sallyport/credentials/closed/production/crm/default: status 403") {
			t.Errorf("error %v does not name the path", err)
		}
		wantCode(t, "FM-03: Put", v.Put(t.Context(), closed), fault.VaultDenied)
		if _, err := v.Get(t.Context(), open.Ref); err != nil {
			t.Errorf("FM-03: another record: %v", err)
		}
	}
	if logins, lookups := v.calls(opLogin, "ok"), v.calls("lookup", "ok"); logins != 1 || lookups > 2 {
		t.Errorf("%d logins and %d lookups, want 1 and at most 2", logins, lookups)
	}
	if s := v.Status(); !s.Up {
		t.Error("a denied path makes Vault count as away")
	}
}

func TestVaultTokenFile(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	server.Policy(t, "store", policy)
	token := func(ttl string) string {
		return server.NewToken(t, map[string]any{"policies": []string{"store"}, "ttl": ttl, "explicit_max_ttl": "1h"})
	}
	o := VaultOptions{Address: server.Address, Method: "token", TokenFile: tempFile(t, "token", token("1h")+"\n")}
	v := loggedIn(t, o)
	first := v.Status().TokenExpiry
	if d := time.Until(first); d < 50*time.Minute || d > time.Hour {
		t.Errorf("the token expires in %v, want an hour", d)
	}
	replaceFile(t, o.TokenFile, token("30m"))
	eventually(t, "the changed token_file is used", patience, func() bool { return v.Status().TokenExpiry.Before(first) })

	replaceFile(t, o.TokenFile, "hvs.canary-not-a-token")
	eventually(t, "a bad token_file is tried", patience, func() bool { return v.calls(opLogin, "vault_denied") > 0 })
	if _, err := v.List(t.Context(), newCredential(t, "crm").Ref); err != nil {
		t.Errorf("the token that still lives is not used while a bad one lies in token_file: %v", err)
	}
	replaceFile(t, o.TokenFile, `{"wrap_info":{"token":"hvs.canary"}}`)
	eventually(t, "JSON is refused by name", patience, func() bool { return strings.Contains(v.log.String(), "holds JSON") })
	if strings.Contains(v.log.String(), "canary") {
		t.Error("the log holds a token")
	}
}

// A given token is renewed too; when it cannot be renewed any more its end is told, not hammered.
func TestVaultGivenTokenEnds(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	o := VaultOptions{Address: server.Address, Method: "token", Token: secret.New(
		server.NewToken(t, map[string]any{"policies": []string{"default"}, "ttl": "4s", "explicit_max_ttl": "8s"}))}
	v := loggedIn(t, o)
	eventually(t, "the token ends", patience, func() bool { return v.calls(opLogin, "vault_denied") > 0 })
	_, err := v.Get(t.Context(), newCredential(t, "crm").Ref)
	wantCode(t, "Get with a dead token", err, fault.VaultDenied)
	if renewals := v.calls(opRenew, "ok"); renewals < 1 || renewals > 8 {
		t.Errorf("%d renewals in 8 s", renewals)
	}
	if log := v.log.String(); !strings.Contains(log, "nears its maximum life") && !strings.Contains(log, "was not renewed") {
		t.Error("the end of the token is not told")
	} else if strings.Contains(log, "away") {
		t.Error("a refused renewal counts as an outage")
	}
}

func TestVaultRevokeOnExit(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	for _, revoke := range []bool{true, false} {
		o := roleOptions(t, server, map[string]any{})
		o.RevokeOnExit = revoke
		v := loggedIn(t, o)
		token := v.session.token.Reveal()
		if err := v.stop(); err != nil {
			t.Fatal(err)
		}
		live := server.Live(t, token)
		if live == revoke {
			t.Errorf("revoke_on_exit = %v: the token is live: %v", revoke, live)
		}
		if v.Status().LoggedIn {
			t.Error("still logged in after Run has ended")
		}
		_, err := v.Get(t.Context(), newCredential(t, "crm").Ref)
		wantCode(t, "Get after Run has ended", err, fault.VaultUnreachable)
	}
	given := rootOptions(server)
	given.RevokeOnExit = true
	if err := loggedIn(t, given).stop(); err != nil {
		t.Fatal(err)
	}
	if !server.Live(t, server.Token) {
		t.Error("revoke_on_exit has revoked a token that was given to us")
	}
}

// FM-01, FM-02, FM-05: nothing hangs while Vault is not there, and all is well once it is.
func TestVaultAwayAtStart(t *testing.T) {
	t.Parallel()
	dir, address := t.TempDir(), testserver.FreeAddr(t)
	v := runVault(t, VaultOptions{Address: "http://" + address, Method: "token", Token: secret.New("test-root")})
	ref := newCredential(t, "crm").Ref
	began := time.Now()
	_, err := v.Get(t.Context(), ref)
	wantCode(t, "FM-01: Get while Vault is away", err, fault.VaultUnreachable)
	wantCode(t, "FM-01: Ready while Vault is away", v.Ready(t.Context()), fault.VaultUnreachable)
	if took := time.Since(began); took >= callLimit {
		t.Errorf("FM-01: it took %v to say so", took)
	}
	if up := testutil.ToFloat64(v.metrics.up); up != 0 || v.Status().Up {
		t.Errorf("FM-01: vault_up = %v, Status %+v", up, v.Status())
	}

	server := testserver.StartVault(t, testserver.VaultOptions{Listen: address, Storage: dir})
	eventually(t, "FM-01: ready after Vault has come", patience, func() bool { return v.Status().LoggedIn })
	c := newCredential(t, "crm", "token", "1")
	mustPut(t, v.Vault, c)
	if up := testutil.ToFloat64(v.metrics.up); up != 1 {
		t.Errorf("vault_up = %v, want 1", up)
	}

	server.Seal(t)
	_, err = v.Get(t.Context(), ref)
	wantCode(t, "FM-02: Get while Vault is sealed", err, fault.VaultSealed)
	wantCode(t, "FM-02: Put while Vault is sealed", v.Put(t.Context(), c), fault.VaultSealed)
	if s := v.Status(); s.Up || !s.Sealed || !s.LoggedIn {
		t.Errorf("FM-02: Status = %+v while Vault is sealed", s)
	}
	server.Unseal(t, server.UnsealKey)
	eventually(t, "FM-02: back after the unseal", patience, func() bool {
		_, err := v.Get(t.Context(), ref)
		return err == nil
	})

	server.Stop()
	_, err = v.Get(t.Context(), ref)
	wantCode(t, "Get after Vault has gone", err, fault.VaultUnreachable)
	again := testserver.StartVault(t, testserver.VaultOptions{Listen: address, Storage: dir, Sealed: true})
	_, err = v.Get(t.Context(), ref)
	wantCode(t, "Get after a restart, still sealed", err, fault.VaultSealed)
	again.Unseal(t, server.UnsealKey)
	eventually(t, "back after the restart", patience, func() bool {
		_, err := v.Get(t.Context(), ref)
		return err == nil
	})
	if n := v.calls(opLogin, "ok"); n != 1 {
		t.Errorf("%d logins; the token had lived on", n)
	}
}

func TestVaultMounts(t *testing.T) {
	t.Parallel()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	server.Do(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for mount, tells := range map[string]string{"transit": "engine: transit", "secret/below": "at secret"} {
		o := rootOptions(server)
		o.Mount = mount
		v, err := NewVault(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Run(ctx); !errors.Is(err, errNotKV) || !strings.Contains(err.Error(), tells) {
			t.Errorf("Run with the mount %s: %v, want %v that tells %q", mount, err, errNotKV, tells)
		}
	}
	o := rootOptions(server)
	o.KVVersion = 1
	wrong := loggedIn(t, o)
	if err := wrong.Put(t.Context(), newCredential(t, "crm")); !errors.Is(err, errNotKV) || !strings.Contains(err.Error(), "secret is of version 2") {
		t.Errorf("Put with the wrong version: %v", err)
	}
	o = rootOptions(server)
	o.Mount = "absent"
	w := loggedIn(t, o)
	_, err := w.Get(t.Context(), newCredential(t, "crm").Ref)
	wantCode(t, "Get in a mount that does not exist", err, fault.VaultDenied)
	if err == nil || !strings.Contains(err.Error(), "mounts/absent") {
		t.Errorf("error %v does not name the mount", err)
	}
}
