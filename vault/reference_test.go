package vault

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// teams is a Vault with the secrets of others: KV version 2 at kv/, version 1 at old/.
func teams(t *testing.T) *testserver.Vault {
	t.Helper()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	for path, version := range map[string]string{"kv": "2", "old": "1"} {
		server.Do(t, http.MethodPost, "sys/mounts/"+path, map[string]any{"type": "kv", "options": map[string]any{"version": version}})
	}
	return server
}

// reveal gives a record's fields as text.
func reveal(c *credential.Credential) map[string]string {
	m := map[string]string{}
	for _, name := range c.Names() {
		m[name] = c.Field(name).Reveal()
	}
	return m
}

func wantFields(t *testing.T, what string, c *credential.Credential, want map[string]string) {
	t.Helper()
	if got := reveal(c); !maps.Equal(got, want) {
		t.Errorf("%s: fields %v, want %v", what, got, want)
	}
}

func TestReferenceFields(t *testing.T) {
	server := teams(t)
	members := map[string]any{
		"token": "t-1\n", "id": 123456789012345, "on": true, "none": nil, "empty": "", "key": map[string]any{"kid": "k"}, "type": "other",
	}
	server.Do(t, http.MethodPost, "kv/data/team-a/crm", map[string]any{"data": members})
	server.Do(t, http.MethodPost, "old/team-a/crm", members)
	mapped := map[string]string{"api_key": "token", "client_id": "id", "x": "none", "y": "empty", "z": "absent", "private_key": "key"}
	for path, version := range map[string]int{"kv/team-a/crm": 1, "/old/team-a/crm/": 0} {
		some := Reference{Ref: ref(t, "acme/test/crm/some"), Type: "api_key", Path: path, Fields: mapped}
		all := Reference{Ref: ref(t, "acme/test/crm/all"), Path: path}
		v, s := refer(t, rootOptions(server), some, all)
		c := mustGet(t, s, some.Ref)
		wantFields(t, path, c, map[string]string{"api_key": "t-1", "client_id": "123456789012345", "private_key": `{"kid":"k"}`})
		if c.Ref != some.Ref || c.Type != "api_key" || version != 0 && c.Version != version || c.Version == 0 || !c.Until.IsZero() || len(c.Rest) != 0 {
			t.Errorf("%s: %s of type %s, version %d, until %v, %d others", path, c.Ref, c.Type, c.Version, c.Until, len(c.Rest))
		}
		wantFields(t, path, mustGet(t, s, all.Ref), map[string]string{
			"token": "t-1", "id": "123456789012345", "on": "true", "key": `{"kid":"k"}`, "type": "other",
		})
		if log := v.log.String(); !strings.Contains(log, "trailing newlines") || !strings.Contains(log, "[api_key]") || strings.Contains(log, "t-1") {
			t.Errorf("the trimmed newline is not told, or its value is:\n%s", log)
		}
	}
}

func TestReferenceToNothing(t *testing.T) {
	server := teams(t)
	for _, name := range []string{"deleted", "destroyed", "old"} {
		server.Do(t, http.MethodPost, "kv/data/"+name, map[string]any{"data": map[string]any{"a": "1"}})
	}
	server.Do(t, http.MethodDelete, "kv/data/deleted", nil)
	server.Do(t, http.MethodPost, "kv/destroy/destroyed", map[string]any{"versions": []int{1}})
	server.Policy(t, "part", `path "kv/data/old" { capabilities = ["read"] }`)
	o := rootOptions(server)
	o.Token = secret.New(server.NewToken(t, map[string]any{"policies": []string{"part"}}))
	for path, tt := range map[string]struct {
		options VaultOptions
		code    fault.Code
		tells   string
	}{
		"kv/absent":    {rootOptions(server), fault.CredentialNotFound, "kv/absent"},
		"kv/deleted":   {rootOptions(server), fault.CredentialNotFound, "version 1 was deleted"},
		"kv/destroyed": {rootOptions(server), fault.CredentialNotFound, "version 1 was destroyed"},
		"kv/data/old":  {rootOptions(server), fault.CredentialNotFound, "without data/"},
		"kv":           {rootOptions(server), fault.CredentialNotFound, "is a mount"},
		"old/absent":   {rootOptions(server), fault.CredentialNotFound, "old/absent"},
		"none/absent":  {rootOptions(server), fault.VaultDenied, "none/absent"},
		"kv/closed":    {o, fault.VaultDenied, "kv/data/closed"},
	} {
		r, open := Reference{Ref: ref(t, "crm/"+strings.ReplaceAll(path, "/", "-")), Path: path}, Reference{Ref: ref(t, "crm/open"), Path: "kv/old"}
		v, s := refer(t, tt.options, r, open)
		_, err := s.Get(t.Context(), r.Ref)
		wantCode(t, "FM-03: "+path, err, tt.code)
		if err == nil || !strings.Contains(err.Error(), tt.tells) {
			t.Errorf("%s: %v does not tell %q", path, err, tt.tells)
		}
		if _, err := s.Get(t.Context(), open.Ref); err != nil {
			t.Errorf("FM-03: another reference beside %s: %v", path, err)
		}
		if n := v.calls(opLogin, "ok"); n != 1 {
			t.Errorf("%s: %d logins", path, n)
		}
	}
}

// A mount that is upgraded, or replaced by one of another kind, is noticed by the next reading.
func TestReferenceMountChanges(t *testing.T) {
	server := teams(t)
	server.Do(t, http.MethodPost, "old/team-a/crm", map[string]any{"token": "1"})
	r := Reference{Ref: ref(t, "crm"), Path: "old/team-a/crm"}
	v, s := refer(t, rootOptions(server), r)
	for range 3 {
		wantFields(t, "version 1", mustGet(t, s, r.Ref), map[string]string{"token": "1"})
	}
	if n := v.calls(opMounts, "ok"); n > 2 {
		t.Errorf("the mount was asked for %d times, want once beside our own", n)
	}
	server.Do(t, http.MethodPost, "sys/mounts/old/tune", map[string]any{"options": map[string]any{"version": "2"}})
	eventually(t, "read after the upgrade", patience, func() bool {
		c, err := s.Get(t.Context(), r.Ref)
		return err == nil && c.Version == 1 && c.Field("token").Reveal() == "1"
	})
	server.Do(t, http.MethodDelete, "sys/mounts/old", nil)
	server.Do(t, http.MethodPost, "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	server.Do(t, http.MethodPost, "old/team-a/crm", map[string]any{"token": "2"})
	eventually(t, "read after the mount was replaced", patience, func() bool {
		c, err := s.Get(t.Context(), r.Ref)
		return err == nil && c.Field("token").Reveal() == "2"
	})
}

// An engine that lends nothing, such as a database's static role, is read each time.
func TestReferenceWithoutLease(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	l.role(t, "reader", "1h", "24h")
	if _, err := l.pg.Query(t, l.pg.User, l.pg.Password, `create role app login password 'first'`); err != nil {
		t.Fatal(err)
	}
	l.Do(t, http.MethodPost, "database/static-roles/app", map[string]any{"db_name": "postgres", "username": "app", "rotation_period": "24h"})
	r := Reference{Ref: ref(t, "db/app"), Path: "database/static-creds/app", Fields: map[string]string{"username": "username", "password": "password"}}
	_, s := refer(t, rootOptions(l.Vault), r)
	first := mustGet(t, s, r.Ref)
	if !l.logsIn(t, first) || !first.Until.IsZero() || first.Version == 0 {
		t.Errorf("%v, until %v, version %d; want a login that works, without an end", first, first.Until, first.Version)
	}
	l.Do(t, http.MethodPost, "database/rotate-role/app", nil)
	second := mustGet(t, s, r.Ref)
	if l.logsIn(t, first) || !l.logsIn(t, second) || second.Version == first.Version {
		t.Errorf("after a rotation: version %d after %d; want the new password", second.Version, first.Version)
	}
}

// What is unchanged by a reload keeps what it holds.
func TestReferAgain(t *testing.T) {
	t.Parallel()
	l := newLender(t)
	a, b := l.role(t, "a", "1h", "24h"), l.role(t, "b", "1h", "24h")
	v, s := refer(t, rootOptions(l.Vault), a, b)
	heldA, heldB := mustGet(t, s, a.Ref), mustGet(t, s, b.Ref)
	b.Fields = map[string]string{"username": "username"}
	v.Refer([]Reference{a, b})
	if c := mustGet(t, s, a.Ref); c.Version != heldA.Version {
		t.Errorf("what is unchanged was issued anew: version %d after %d", c.Version, heldA.Version)
	}
	if c := mustGet(t, s, b.Ref); c.Version <= heldB.Version || len(c.Names()) != 1 {
		t.Errorf("what has changed: version %d after %d, fields %v", c.Version, heldB.Version, c.Names())
	}
	v.Refer(nil)
	_, err := s.Get(t.Context(), a.Ref)
	wantCode(t, "Get of what is no longer named", err, fault.CredentialNotFound)
}

func TestOverlayIsAStore(t *testing.T) {
	server := teams(t)
	v, s := refer(t, rootOptions(server), Reference{Ref: ref(t, "far/away/from/it"), Path: "kv/x"})
	credtest.TestStore(t, s)
	credtest.TestStore(t, NewOverlay(&credtest.Store{}, v.Vault))
}

func TestOverlay(t *testing.T) {
	server := teams(t)
	server.Do(t, http.MethodPost, "kv/data/crm", map[string]any{"data": map[string]any{"token": "theirs"}})
	legacy := Reference{Ref: ref(t, "acme/test/crm/legacy"), Type: "bearer", Path: "kv/crm"}
	other := Reference{Ref: ref(t, "acme/stage/hub/main"), Type: "bearer", Path: "kv/hub"}
	v, s := refer(t, rootOptions(server), legacy, other)
	for _, name := range []string{"acme/test/crm/legacy", "acme/test/crm/main", "acme/test/mail/main", "beta/test/crm/main"} {
		mustPut(t, v.Vault, newCredential(t, name, "token", "ours"))
	}
	for folder, want := range map[credential.Ref]string{
		{Workspace: "acme", Environment: "test", Provider: "crm"}: "acme/test/crm/legacy acme/test/crm/main",
		{Workspace: "acme"}: "acme/stage/hub/main acme/test/crm/legacy acme/test/crm/main acme/test/mail/main",
		{Workspace: "beta"}: "beta/test/crm/main",
		{Workspace: "none"}: "",
	} {
		refs, err := s.List(t.Context(), folder)
		var got []string
		for _, r := range refs {
			got = append(got, r.String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("List %s: %v, %v; want %s", folder, got, err, want)
		}
	}
	for folder, want := range map[credential.Ref][]string{
		{}: {"acme", "beta"}, {Workspace: "acme"}: {"stage", "test"}, {Workspace: "acme", Environment: "stage"}: {"hub"},
		{Workspace: "acme", Environment: "test"}: {"crm", "mail"},
	} {
		if got, err := s.Folders(t.Context(), folder); err != nil || !slices.Equal(got, want) {
			t.Errorf("Folders %s: %v, %v; want %v", folder, got, err, want)
		}
	}
	c := mustGet(t, s, legacy.Ref)
	wantFields(t, "a hidden record", c, map[string]string{"token": "theirs"})
	if n := strings.Count(v.log.String(), "is hidden by"); n != 1 {
		t.Errorf("it was told %d times that a record is hidden", n)
	}
	c.Set("token", secret.New("new"))
	for what, err := range map[string]error{"Put": s.Put(t.Context(), c), "Put of a token without a mapping": s.Put(t.Context(), newCredential(t, "acme/test/crm/legacy", "access_token", "x"))} {
		wantCode(t, what, err, fault.InvalidRequest)
		if err == nil || !strings.Contains(err.Error(), "named by the configuration") || !strings.Contains(err.Error(), "kv/crm") {
			t.Errorf("%s: %v does not tell where it lies", what, err)
		}
	}
	if err := s.Delete(t.Context(), ref(t, "acme/test/crm/main")); err != nil {
		t.Errorf("Delete of a stored record: %v", err)
	}
}

// A secret goes as vault kv delete takes it: version 2 can bring it back.
func TestDeleteReference(t *testing.T) {
	t.Parallel()
	server := teams(t)
	server.Do(t, http.MethodPost, "kv/data/crm", map[string]any{"data": map[string]any{"token": "theirs"}})
	server.Do(t, http.MethodPost, "old/crm", map[string]any{"token": "theirs"})
	server.Do(t, http.MethodPost, "sys/mounts/lend", map[string]any{"type": "transit"})
	kv2 := Reference{Ref: ref(t, "acme/test/crm/legacy"), Type: "bearer", Path: "kv/crm"}
	kv1 := Reference{Ref: ref(t, "acme/test/crm/old"), Type: "bearer", Path: "old/crm"}
	lent := Reference{Ref: ref(t, "acme/test/crm/lent"), Type: "bearer", Path: "lend/crm"}

	server.Policy(t, "reader", `path "kv/data/crm" { capabilities = ["read"] }`)
	o := rootOptions(server)
	o.Token = secret.New(server.NewToken(t, map[string]any{"policies": []string{"reader"}}))
	_, s := refer(t, o, kv2)
	err := s.Delete(t.Context(), kv2.Ref)
	wantCode(t, "Delete by a reader", err, fault.VaultDenied)
	if err == nil || !strings.Contains(err.Error(), "delete on kv/data/crm") {
		t.Errorf("Delete by a reader: %v does not tell what is needed", err)
	}

	_, s = refer(t, rootOptions(server), kv2, kv1, lent)
	err = s.Delete(t.Context(), lent.Ref)
	wantCode(t, "Delete of what is issued", err, fault.InvalidRequest)
	if err == nil || !strings.Contains(err.Error(), "configuration") {
		t.Errorf("Delete of what is issued: %v does not tell why", err)
	}
	for _, r := range []Reference{kv2, kv1} {
		if err := s.Delete(t.Context(), r.Ref); err != nil {
			t.Fatalf("Delete of %s: %v", r.Path, err)
		}
		wantCode(t, "Delete again", s.Delete(t.Context(), r.Ref), fault.CredentialNotFound)
	}
	server.Do(t, http.MethodPost, "kv/undelete/crm", map[string]any{"versions": []int{1}})
	wantFields(t, "what was brought back", mustGet(t, s, kv2.Ref), map[string]string{"token": "theirs"})
}

// tokens maps the token fields of an OAuth client that others keep.
var tokens = map[string]string{"client_id": "id", "refresh_token": "rt", "access_token": "at", "expires_at": "until"}

func TestReferenceTokens(t *testing.T) {
	server := teams(t)
	members := map[string]any{"id": 17, "rt": "r-1\n", "at": "a-1", "scope": "theirs", "owner": map[string]any{"team": "a"}}
	server.Do(t, http.MethodPost, "kv/data/oauth", map[string]any{"data": members})
	server.Do(t, http.MethodPost, "old/oauth", members)
	for _, path := range []string{"kv/oauth", "old/oauth"} {
		r := Reference{Ref: ref(t, "crm/oauth"), Type: "oauth2_refresh_token", Path: path, Fields: tokens}
		_, s := refer(t, rootOptions(server), r)
		c := mustGet(t, s, r.Ref)
		wantFields(t, path, c, map[string]string{"client_id": "17", "refresh_token": "r-1", "access_token": "a-1"})
		stale := c.Clone()

		c.Set("refresh_token", secret.New("r-2"))
		c.Set("expires_at", secret.New("2030-01-01T00:00:00Z"))
		c.Set("access_token", secret.Value{})
		c.Set("scope", secret.New("ours"))
		c.Set(credential.StateField, secret.New(`{"claim":1}`))
		before := c.Version
		if err := s.Put(t.Context(), c); err != nil {
			t.Fatalf("%s: Put: %v", path, err)
		}
		if c.Version == before || path == "kv/oauth" && c.Version != 2 {
			t.Errorf("%s: version %d after %d", path, c.Version, before)
		}
		data := lying(t, server, path)
		state, _ := data[credential.StateField].(string)
		delete(data, credential.StateField)
		if want := `map[id:17 owner:map[team:a] rt:r-2 scope:theirs until:2030-01-01T00:00:00Z]`; mapText(data) != want {
			t.Errorf("%s: there lies %s, want %s", path, mapText(data), want)
		}
		if !strings.Contains(state, `"claim":1`) || !strings.Contains(state, attempt) {
			t.Errorf("%s: the state is %s", path, state)
		}
		again := mustGet(t, s, r.Ref)
		wantFields(t, path, again, map[string]string{
			"client_id": "17", "refresh_token": "r-2", "expires_at": "2030-01-01T00:00:00Z", credential.StateField: `{"claim":1}`,
		})
		if again.Version != c.Version {
			t.Errorf("%s: version %d, written as %d", path, again.Version, c.Version)
		}
		wantCode(t, path+": Put over a version that is past", s.Put(t.Context(), stale), fault.StoreConflict)
		again.Set("client_id", secret.New("18"))
		wantCode(t, path+": Put of another field", s.Put(t.Context(), again), fault.InvalidRequest)
		again.Set("client_id", secret.New("17"))
		again.Set("access_token", secret.New("\xff"))
		wantCode(t, path+": Put of what is no text", s.Put(t.Context(), again), fault.InvalidRequest)
		server.Do(t, http.MethodDelete, strings.Replace(path, "kv/", "kv/data/", 1), nil)
		wantCode(t, path+": Put over what is gone", s.Put(t.Context(), c), fault.StoreConflict)
		c.Version = 0
		wantCode(t, path+": Put of what never was", s.Put(t.Context(), c), fault.CredentialNotFound)
	}
}

// lying gives what lies at a logical path.
func lying(t *testing.T, server *testserver.Vault, path string) map[string]any {
	t.Helper()
	if name, ok := strings.CutPrefix(path, "kv/"); ok {
		return stored(t, server, "kv/data/"+name)
	}
	data, _ := server.Do(t, http.MethodGet, path, nil)["data"].(map[string]any)
	return data
}

// Two who write at once: one is told, and no token is lost.
func TestReferenceTokensAtOnce(t *testing.T) {
	server := teams(t)
	server.Do(t, http.MethodPost, "kv/data/oauth", map[string]any{"data": map[string]any{"id": "1", "rt": "0"}})
	r := Reference{Ref: ref(t, "crm/oauth"), Path: "kv/oauth", Fields: tokens}
	_, s := refer(t, rootOptions(server), r)
	_, other := refer(t, rootOptions(server), r)
	for range 20 {
		c, d := mustGet(t, s, r.Ref), mustGet(t, other, r.Ref)
		longer := secret.New(c.Field("refresh_token").Reveal() + "x")
		c.Set("refresh_token", longer)
		d.Set("refresh_token", longer)
		errs := make(chan error)
		go func() { errs <- s.Put(t.Context(), c) }()
		go func() { errs <- other.Put(t.Context(), d) }()
		first, second := <-errs, <-errs
		if (first == nil) == (second == nil) {
			t.Fatalf("two writes over one version: %v, %v; want one conflict", first, second)
		}
		if first == nil {
			first = second
		}
		wantCode(t, "the other write", first, fault.StoreConflict)
	}
	if got := mustGet(t, s, r.Ref).Field("refresh_token").Len(); got != 21 {
		t.Errorf("%d writes arrived, want 20", got-1)
	}
}

// VA-02: tokens whose write was not answered are read back.
func TestReferenceTokensAmbiguousWrite(t *testing.T) {
	server := teams(t)
	target, err := url.Parse(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	onward := httputil.NewSingleHostReverseProxy(target)
	lands := true
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/oauth") {
			onward.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if lands {
			r.Body = io.NopCloser(bytes.NewReader(body))
			onward.ServeHTTP(httptest.NewRecorder(), r)
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer front.Close()
	o := rootOptions(server)
	o.Address = front.URL
	for _, path := range []string{"kv/oauth", "old/oauth"} {
		members := map[string]any{"id": "1", "rt": "r-1"}
		server.Do(t, http.MethodPost, "kv/data/oauth", map[string]any{"data": members})
		server.Do(t, http.MethodPost, "old/oauth", members)
		r := Reference{Ref: ref(t, "crm/oauth"), Path: path, Fields: tokens}
		_, s := refer(t, o, r)
		c := mustGet(t, s, r.Ref)
		c.Set("refresh_token", secret.New("r-2"))
		lands = true
		if err := s.Put(t.Context(), c); err != nil || lying(t, server, path)["rt"] != "r-2" {
			t.Errorf("VA-02: %s: a write that landed: %v", path, err)
		}
		c.Set("refresh_token", secret.New("r-3"))
		lands = false
		wantCode(t, "VA-02: "+path+": a write that did not land", s.Put(t.Context(), c), fault.VaultUnreachable)
		if got := mustGet(t, s, r.Ref); got.Field("refresh_token").Reveal() != "r-2" || got.Version != c.Version {
			t.Errorf("VA-02: %s: version %d, want %d", path, got.Version, c.Version)
		}
	}
}
