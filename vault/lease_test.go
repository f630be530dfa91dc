package vault

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// lender is a Vault whose database engine issues users of a PostgreSQL server.
type lender struct {
	*testserver.Vault
	pg *testserver.Postgres
}

func newLender(t *testing.T) lender {
	t.Helper()
	return lender{testserver.StartVault(t, testserver.VaultOptions{}), testserver.StartPostgres(t)}
}

// role makes a role of the engine and gives a reference to it.
func (l lender) role(t *testing.T, name, ttl, maxTTL string) Reference {
	t.Helper()
	path := l.DatabaseRole(t, l.pg, name, map[string]any{"default_ttl": ttl, "max_ttl": maxTTL})
	return Reference{Ref: ref(t, "db/"+name), Type: "database", Path: path}
}

// logsIn reports whether PostgreSQL knows the user that a record holds.
func (l lender) logsIn(t *testing.T, c *credential.Credential) bool {
	t.Helper()
	name := c.Field("username").Reveal()
	out, err := l.pg.Query(t, name, c.Field("password").Reveal(), "select current_user")
	return err == nil && out == name
}

func ref(t *testing.T, s string) credential.Ref {
	t.Helper()
	return newCredential(t, s).Ref
}

// refer is loggedIn with references, laid over the store's own records.
func refer(t *testing.T, o VaultOptions, list ...Reference) (*running, *Overlay) {
	t.Helper()
	v := loggedIn(t, o)
	v.Refer(list)
	return v, NewOverlay(v.Vault, v.Vault)
}

func mustGet(t *testing.T, s credential.Store, ref credential.Ref) *credential.Credential {
	t.Helper()
	c, err := s.Get(t.Context(), ref)
	if err != nil {
		t.Fatalf("Get %s: %v", ref, err)
	}
	return c
}

// wantQuiet holds that no lease's id, whose end is secret, and nothing that was lent is in the log.
func (r *running) wantQuiet(t *testing.T, lent ...*credential.Credential) {
	t.Helper()
	for id := range r.leases.live {
		if tail := id[strings.LastIndex(id, "/")+1:]; strings.Contains(r.log.String(), tail) {
			t.Errorf("the log holds the id of a lease: %s", r.log)
		}
	}
	for _, c := range lent {
		for _, name := range c.Names() {
			if strings.Contains(r.log.String(), c.Field(name).Reveal()) {
				t.Errorf("the log holds %s: %s", name, r.log)
			}
		}
	}
}

// A user that Vault has issued works, and is held as long as its lease: no call is made for it.
func TestLeaseIsHeld(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	r := l.role(t, "reader", "1h", "24h")
	r.Fields = map[string]string{"user": "username", "password": "password", "absent": "none"}
	v, s := refer(t, rootOptions(l.Vault), r)
	first := mustGet(t, s, r.Ref)
	if got := first.Names(); !slices.Equal(got, []string{"password", "user"}) || first.Type != "database" || first.Version != 1 {
		t.Errorf("type %q, version %d, fields %v; want the mapped ones that there are", first.Type, first.Version, got)
	}
	if out, err := l.pg.Query(t, first.Field("user").Reveal(), first.Field("password").Reveal(), "select 1"); out != "1" || err != nil {
		t.Errorf("a login with what was issued: %q, %v", out, err)
	}
	if left := time.Until(first.Until); left > time.Hour || left < 59*time.Minute {
		t.Errorf("Until is in %v, want an hour", left)
	}
	for range 20 {
		if c := mustGet(t, s, r.Ref); !c.Field("password").Equal(first.Field("password")) || c.Version != 1 {
			t.Fatalf("another secret while the lease lives: version %d", c.Version)
		}
	}
	if issued, asked := v.calls(opIssue, "ok"), v.calls(opMounts, "ok"); issued != 1 || asked > 2 || len(l.pg.Users(t)) != 1 {
		t.Errorf("%d calls for a secret, %d for mounts, %d users; want one, at most two, one", issued, asked, len(l.pg.Users(t)))
	}
	v.wantQuiet(t, first)
}

// FM-07: a lease is renewed, and replaced before its maximum life ends; every user that is served works until its end.
func TestLeaseIsRenewedAndReplaced(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	r := l.role(t, "short", "6s", "10s")
	v, s := refer(t, rootOptions(l.Vault), r)
	served := map[string]*credential.Credential{}
	start := time.Now()
	for ; len(served) < 3 && time.Since(start) < 2*patience; time.Sleep(50 * time.Millisecond) {
		began := time.Now()
		c := mustGet(t, s, r.Ref)
		if late := began.Sub(c.Until); late > 0 {
			t.Fatalf("FM-07: served %v after its end", late)
		}
		name := c.Field("username").Reveal()
		if served[name] == nil && !l.logsIn(t, c) {
			t.Errorf("FM-07: user %d does not work", c.Version)
		}
		if time.Until(c.Until) < 3*time.Second && time.Until(c.Until) > 1500*time.Millisecond && !l.logsIn(t, c) && time.Until(c.Until) > 0 {
			t.Errorf("FM-07: user %d has ended %v before its time", c.Version, time.Until(c.Until))
		}
		served[name] = c
	}
	if renewed, issued := v.calls(opLeaseRenew, "ok"), v.calls(opIssue, "ok"); issued != 3 || len(served) != 3 || renewed < 2 || renewed > 10 || time.Since(start) < 13*time.Second {
		t.Errorf("FM-07: %d issued, %d served, %d renewals in %v; want a new user every 8 s, renewed before", issued, len(served), renewed, time.Since(start))
	}
}

// FM-07: a lease that was revoked under us is replaced as soon as an upstream refuses what it lent, and not before.
func TestLeaseRevokedUnderUs(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	r := l.role(t, "reader", "1h", "24h")
	v, s := refer(t, rootOptions(l.Vault), r)
	first := mustGet(t, s, r.Ref)
	refused := credential.WithNeed(t.Context(), credential.Refused)
	if c, err := s.Get(refused, r.Ref); err != nil || c.Version != first.Version {
		t.Errorf("FM-07: a refusal while the lease lives gives %v, %v; want what is held", c, err)
	}
	l.Do(t, http.MethodPut, "sys/leases/revoke-force/"+r.Path, nil)
	if l.logsIn(t, first) {
		t.Fatal("the revoked user still works")
	}
	second, err := s.Get(refused, r.Ref)
	if err != nil || second.Version == first.Version || !l.logsIn(t, second) {
		t.Errorf("FM-07: after a revocation: %v, %v; want a new user that works", second, err)
	}
	if n := v.calls(opLeaseLookup, "ok"); n != 1 {
		t.Errorf("%d leases looked up and alive, want 1", n)
	}
	v.wantQuiet(t, first, second)
}

// What ended with its token is replaced, whether the token was revoked under us or nears its end.
func TestLeaseOfAnEndedToken(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	r := l.role(t, "reader", "1h", "24h")
	o := l.roleOptions(t, map[string]any{"token_ttl": "4s", "token_max_ttl": "8s"})
	v, s := refer(t, o, r)
	users := map[string]bool{}
	var last *credential.Credential
	start := time.Now()
	for asked := start; len(users) < 3 && time.Since(start) < 2*patience; time.Sleep(50 * time.Millisecond) {
		began, before := time.Now(), asked
		asked = began
		c := mustGet(t, s, r.Ref)
		if left := c.Until.Sub(began); left > 5*time.Second || left < 0 {
			t.Fatalf("FM-07: served until %v from now, with a token of 4 s", left)
		}
		if last != nil && c.Version != last.Version && before.After(last.Until) {
			t.Errorf("FM-07: replaced %v after its token's end", began.Sub(last.Until))
		}
		last = c
		if name := c.Field("username").Reveal(); !users[name] || time.Until(c.Until) < time.Second {
			users[name] = true
			if !l.logsIn(t, c) && time.Until(c.Until) > 100*time.Millisecond {
				t.Errorf("user %d does not work %v before its end", c.Version, time.Until(c.Until))
			}
		}
	}
	if logins := v.calls(opLogin, "ok"); len(users) != logins || logins != 3 || time.Since(start) < 8*time.Second {
		t.Errorf("%d logins, %d users in %v; want a new user after each login, with a token of 8 s at most", logins, len(users), time.Since(start))
	}

	l.Do(t, http.MethodPut, "sys/leases/revoke-prefix/auth/approle/login", nil)
	c, err := s.Get(credential.WithNeed(t.Context(), credential.Refused), r.Ref)
	if err != nil || !l.logsIn(t, c) {
		t.Errorf("FM-07: after the token was revoked: %v, %v; want a user that works", c, err)
	}
}

// roleOptions are for a role that may use the engine, and revoke what it was lent.
func (l lender) roleOptions(t *testing.T, settings map[string]any) VaultOptions {
	t.Helper()
	o := roleOptions(t, l.Vault, settings)
	l.Policy(t, "store", policy+`
path "database/creds/*" { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] }`)
	return o
}

// With revoke_on_exit nothing that was issued stays, whoever gave the token.
func TestLeasesAreRevokedOnExit(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	ours := l.roleOptions(t, map[string]any{})
	given := ours
	given.Method, given.Token = "token", secret.New(l.NewToken(t, map[string]any{"policies": []string{"store"}}))
	for name, o := range map[string]VaultOptions{"our token": ours, "a given token": given} {
		for _, revoke := range []bool{true, false} {
			before := l.pg.Users(t)
			o.RevokeOnExit = revoke
			list := []Reference{l.role(t, "a", "1h", "24h"), l.role(t, "b", "1h", "24h"), l.role(t, "past", "1h", "24h")}
			v, s := refer(t, o, list...)
			for _, r := range list {
				mustGet(t, s, r.Ref)
			}
			v.Refer(list[:2])
			if err := v.stop(); err != nil {
				t.Fatal(err)
			}
			if !revoke {
				if now := l.pg.Users(t); len(now) != len(before)+3 {
					t.Errorf("%s, not to be revoked: %d users, want 3 more than %d", name, len(now), len(before))
				}
				continue
			}
			eventually(t, name+": the users are gone", patience, func() bool { return len(l.pg.Users(t)) == len(before) })
			_, err := s.Get(t.Context(), list[0].Ref)
			wantCode(t, name+": Get of a revoked lease", err, fault.VaultUnreachable)
		}
	}
}

// Many who need a secret at once get one lease; who leaves does not lose it.
func TestLeaseIsIssuedOnce(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	r := l.role(t, "reader", "1h", "24h")
	v, s := refer(t, rootOptions(l.Vault), r)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	for range 30 {
		go func() {
			_, err := s.Get(ctx, r.Ref)
			errs <- err
		}()
	}
	eventually(t, "the engine is asked", patience, func() bool { return v.calls(opMounts, "ok") > 1 })
	cancel()
	for range 30 {
		<-errs
	}
	mustGet(t, s, r.Ref)
	if n := len(l.pg.Users(t)); n != 1 || v.calls(opIssue, "ok") != 1 {
		t.Errorf("%d users, %d calls for one; want one", n, v.calls(opIssue, "ok"))
	}
}

// While Vault is away a lease serves to its end, and no longer.
func TestLeaseWhileVaultIsAway(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	r := l.role(t, "short", "4s", "24h")
	_, s := refer(t, rootOptions(l.Vault), r)
	first := mustGet(t, s, r.Ref)
	l.Seal(t)
	for {
		began := time.Now()
		c, err := s.Get(t.Context(), r.Ref)
		if err != nil {
			wantCode(t, "Get after the end of the lease", err, fault.VaultSealed)
			if time.Now().Before(first.Until) {
				t.Errorf("refused %v before its end", time.Until(first.Until))
			}
			return
		}
		if late := began.Sub(c.Until); late > 0 {
			t.Fatalf("FM-07: served %v after its end", late)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A role that there is not is told as that.
func TestLeaseOfNoRole(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	r := l.role(t, "reader", "1h", "24h")
	r.Path = "database/creds/absent"
	_, s := refer(t, rootOptions(l.Vault), r)
	_, err := s.Get(t.Context(), r.Ref)
	wantCode(t, "Get of a role that there is not", err, fault.CredentialNotFound)
	if err == nil || !strings.Contains(err.Error(), "database/creds/absent") {
		t.Errorf("%v does not tell the path", err)
	}
}
