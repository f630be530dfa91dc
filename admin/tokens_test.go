package admin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// fakeTokens is what a daemon did with tokens, and what it fails with.
type fakeTokens struct {
	refreshed, revoked []credential.Ref
	refresh, revoke    error
	refreshing         func()
	callers            map[string]admin.Rights // by Authorization
}

func (d *daemon) Refresh(_ context.Context, ref credential.Ref) error {
	d.tokens.refreshed = append(d.tokens.refreshed, ref)
	if d.tokens.refreshing != nil {
		d.tokens.refreshing()
	}
	return d.tokens.refresh
}

func (d *daemon) Revoke(_ context.Context, ref credential.Ref) error {
	d.tokens.revoked = append(d.tokens.revoked, ref)
	return d.tokens.revoke
}

func (d *daemon) Identify(authorization []string) (admin.Rights, bool) {
	r, ok := d.tokens.callers[strings.Join(authorization, ",")]
	return r, ok
}

func (d *daemon) Rights(caller string) (admin.Rights, bool) {
	r, ok := d.tokens.callers[caller]
	return r, ok
}

const grantType = "oauth2_client_credentials"

func TestRefresh(t *testing.T) {
	b := newBench(t)
	b.store.Add(ref.String(), grantType, "client_id", "id", "client_secret", canary, "access_token", "old")
	b.daemon.tokens.refreshing = func() {
		b.store.Add(ref.String(), grantType, "client_id", "id", "client_secret", canary, "access_token", canary+"-new")
		b.daemon.status[ref] = admin.Status{LastRefresh: time.Unix(1700000000, 0)}
	}
	w := b.do(call{method: "POST", path: one + "/refresh"})
	m := object(t, w)
	if w.Code != 200 || m["name"] != "main" || m["version"] != 2.0 || m["last_refresh_at"] != "2023-11-14T22:13:20Z" || w.Header().Get("ETag") != `"2"` {
		t.Errorf("POST refresh: %d %s", w.Code, w.Body)
	}
	if strings.Contains(w.Body.String(), canary) || !slices.Equal(b.daemon.tokens.refreshed, []credential.Ref{ref}) {
		t.Errorf("POST refresh: %s, refreshed %v", w.Body, b.daemon.tokens.refreshed)
	}
	for _, f := range []struct {
		code   fault.Code
		status int
	}{{fault.InvalidRequest, 400}, {fault.ReauthorizationRequired, 502}, {fault.TokenEndpointUnreachable, 503}, {fault.InvalidClient, 502}} {
		b.daemon.tokens.refresh = fault.New(f.code, "why", nil)
		if m := wantProblem(t, b.do(call{method: "POST", path: one + "/refresh"}), f.status, f.code); m["detail"] != "why" {
			t.Errorf("%s: %v", f.code, m["detail"])
		}
	}
	wantProblem(t, b.do(call{method: "POST", path: strings.Replace(one, "main", "gone", 1) + "/refresh"}), 404, fault.CredentialNotFound)
	wantProblem(t, b.do(call{method: "POST", path: one + "/refresh", body: `{"x":1}`}), 400, fault.InvalidRequest)
	wantProblem(t, b.do(call{method: "GET", path: one + "/refresh"}), 405, fault.MethodNotAllowed)
	if n := len(b.daemon.tokens.refreshed); n != 5 {
		t.Errorf("%d refreshes", n)
	}
}

func TestRevoke(t *testing.T) {
	b := newBench(t)
	away := fault.New(fault.TokenEndpointUnreachable, "revocation endpoint auth.example.com did not answer", nil)
	del := func(query string) call { return call{method: "DELETE", path: one + query} }
	for _, tc := range []struct {
		name, query string
		used        []string
		err         error
		status      int
		code        fault.Code
		asked       int
		told        string
	}{
		{"revoked, then removed", "?revoke=true", nil, nil, 204, "", 1, ""},
		{"not asked for", "", nil, nil, 204, "", 0, ""},
		{"in use: nothing is revoked", "?revoke=true", []string{"orders"}, nil, 409, fault.InUse, 0, ""},
		{"in use and forced", "?revoke=true&force=true", []string{"orders"}, nil, 204, "", 1, ""},
		{"away", "?revoke=true", nil, away, 503, fault.TokenEndpointUnreachable, 1, ""},
		{"away and forced", "?revoke=true&force=true", nil, away, 204, "", 1, string(fault.TokenEndpointUnreachable)},
		{"no way to revoke", "?revoke=true", nil, fault.New(fault.InvalidRequest, "x", nil), 400, fault.InvalidRequest, 1, ""},
		{"no flag", "?revoke=yes", nil, nil, 400, fault.InvalidRequest, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.store.Add(ref.String(), grantType, "client_id", "id", "client_secret", canary)
			b.daemon.usedBy[ref], b.daemon.tokens.revoke, b.daemon.tokens.revoked = tc.used, tc.err, nil
			b.log.Reset()
			w := b.do(del(tc.query))
			if tc.code != "" {
				wantProblem(t, w, tc.status, tc.code)
			} else if w.Code != tc.status || w.Body.Len() > 0 {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, tc.status)
			}
			if len(b.daemon.tokens.revoked) != tc.asked {
				t.Errorf("revoked %v", b.daemon.tokens.revoked)
			}
			if _, err := b.store.Get(t.Context(), ref); (err == nil) != (tc.code != "") {
				t.Errorf("the record after %d: %v", w.Code, err)
			}
			if told := w.Header().Get("Proxy-Status"); tc.code == "" && (tc.told == "") != (told == "") || !strings.Contains(told, tc.told) {
				t.Errorf("Proxy-Status %q, want %q in it", told, tc.told)
			}
			if strings.Contains(b.log.String(), "not revoked") != (tc.told != "") {
				t.Errorf("the log:\n%s", b.log)
			}
		})
	}
}

func TestMine(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"acme/production/api/main", "acme/production/api/other", "acme/production/silent/x", "acme/production/unknown/x", "acme/staging/api/main", "zoo/production/api/main"} {
		b.store.Add(name, "bearer", "token", canary)
	}
	b.daemon.status[ref] = admin.Status{LastError: fault.New(fault.ReauthorizationRequired, "", nil)}
	all := func(credential.Ref) bool { return true }
	b.daemon.tokens.callers = map[string]admin.Rights{
		"Bearer one": {Workspace: "acme", Environment: "production", MayUse: func(r credential.Ref) bool { return r.Name != "other" }},
		"Bearer two": {Workspace: "acme", Environment: "production", MayUse: all},
		"Bearer new": {Workspace: "new", Environment: "production", MayUse: all},
	}
	ask := func(query, authorization string) string {
		w := b.do(call{method: "GET", path: "/api/v1/mine" + query, header: []string{"Authorization", authorization}})
		if w.Code != 200 {
			t.Fatalf("mine%s: %d %s", query, w.Code, w.Body)
		}
		return strings.TrimSpace(w.Body.String())
	}
	item := func(provider, name, status string) string {
		return `{"workspace":"acme","environment":"production","provider":"` + provider + `","name":"` + name + `","status":"` + status + `"}`
	}
	main, other, x := item("api", "main", "reauthorization_required"), item("api", "other", "unknown"), item("silent", "x", "unknown")
	for _, tc := range []struct{ query, authorization, want string }{
		{"", "Bearer one", `{"items":[` + main + "," + x + `],"next":""}`},
		{"", "Bearer two", `{"items":[` + main + "," + other + "," + x + `],"next":""}`},
		{"?limit=1", "Bearer one", `{"items":[` + main + `],"next":"acme/production/api/main"}`},
		{"?limit=1&cursor=acme/production/api/main", "Bearer one", `{"items":[` + x + `],"next":""}`},
		{"?limit=1&next=acme/production/api/main", "Bearer one", `{"items":[` + x + `],"next":""}`},
		{"", "Bearer new", `{"items":[],"next":""}`},
	} {
		if got := ask(tc.query, tc.authorization); got != tc.want {
			t.Errorf("mine%s as %s:\n%s\nwant\n%s", tc.query, tc.authorization, got, tc.want)
		}
	}
	sock := httptest.NewRequest(http.MethodGet, "http://whatever/api/v1/mine", nil)
	for header, want := range map[string]int{"": 401, "Bearer one": 200} { // the socket asks for it too
		sock.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		if b.Socket().ServeHTTP(w, sock); w.Code != want {
			t.Errorf("mine over the socket with %q: %d", header, w.Code)
		}
	}
	lists := b.store.Lists.Load()
	for _, bad := range []string{"", "Bearer nobody", "Bearer " + token} {
		w := b.do(call{method: "GET", path: "/api/v1/mine", header: []string{"Authorization", bad}})
		wantProblem(t, w, 401, fault.Unauthorized)
		if w.Header().Get("WWW-Authenticate") == "" {
			t.Error("a 401 without WWW-Authenticate")
		}
	}
	if b.store.Lists.Load() != lists {
		t.Error("the store was listed for nobody")
	}
	req := b.do(call{method: "GET", path: "/api/v1/mine", header: []string{"Authorization", "Bearer one", "Host", "evil.example"}})
	wantProblem(t, req, 421, fault.Misdirected)
	b.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
	wantProblem(t, b.do(call{method: "GET", path: "/api/v1/mine", header: []string{"Authorization", "Bearer one"}}), 503, fault.VaultUnreachable)
}

// A caller cannot have the daemon read the whole of a large store at once.
func TestMineIsBounded(t *testing.T) {
	b := newBench(t)
	for i := range 1100 {
		b.store.Add("acme/production/api/n"+strings.Repeat("0", 3-len(strconv.Itoa(i%1000)))+strconv.Itoa(i%1000)+"-"+strconv.Itoa(i/1000), "bearer", "token", canary)
	}
	b.daemon.tokens.callers = map[string]admin.Rights{"Bearer one": {Workspace: "acme", Environment: "production", MayUse: func(credential.Ref) bool { return true }}}
	m := object(t, b.do(call{method: http.MethodGet, path: "/api/v1/mine?limit=10000", header: []string{"Authorization", "Bearer one"}}))
	if n := len(m["items"].([]any)); n != 1000 || m["next"] == "" {
		t.Errorf("%d items, next %v", n, m["next"])
	}
}

// A token that no refresh token can replace stays.
func TestPatchKeepsTheOnlyToken(t *testing.T) {
	b := newBench(t)
	b.store.Add(ref.String(), "oauth2_authorization_code", "client_id", "id", "access_token", "good",
		credential.StateField, `{"connect":{"flow":"code","client":"own"}}`)
	if w := b.do(call{method: "PATCH", path: one, body: `{"fields":{"client_secret":"` + canary + `"}}`}); w.Code != 200 {
		t.Fatalf("PATCH: %d %s", w.Code, w.Body)
	}
	if c, err := b.store.Get(t.Context(), ref); err != nil || c.Field("access_token").Reveal() != "good" {
		t.Errorf("the token is gone: %v", err)
	}
}

// What a PATCH changes of a grant ends the token that it gave.
func TestPatchDropsTheHeldToken(t *testing.T) {
	const held, beside = "access_token", "expires_at"
	for _, tc := range []struct {
		name, body string
		held       string // access token afterwards
		has        []string
		gone       []string
	}{
		{"the client's secret", `{"fields":{"client_secret":"other"}}`, "", nil, []string{held, beside, "token_type", "created_at"}},
		{"the client", `{"fields":{"client_id":"b"}}`, "", []string{"scope"}, []string{held, beside}},
		{"the refresh token", `{"fields":{"refresh_token":"rt-2"}}`, "", []string{"refresh_token"}, []string{held, beside}},
		{"nothing", `{"fields":{"client_id":"id","client_secret":"` + canary + `"}}`, "good", []string{beside, "token_type"}, nil},
		{"the description", `{"description":"x"}`, "good", []string{beside}, nil},
		{"its end", `{"fields":{"expires_at":"2099-01-01T00:00:00Z"}}`, "good", []string{beside}, nil},
		{"a token by hand", `{"fields":{"access_token":"` + canary + `"}}`, canary, nil, []string{beside, "token_type", "created_at"}},
		{"the client and a token by hand", `{"fields":{"client_id":"x","access_token":"` + canary + `","expires_in":"60"}}`, canary, []string{"expires_in", "created_at"}, []string{beside}},
		{"no token", `{"fields":{"access_token":null}}`, "", nil, []string{held, beside}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.store.Add(ref.String(), "oauth2_authorization_code", "client_id", "id", "client_secret", canary,
				"access_token", "good", "token_type", "Bearer", "expires_at", "2098-01-01T00:00:00Z", "created_at", "2026-01-01T00:00:00Z", "refresh_token", "rt-1", "scope", "a",
				credential.StateField, `{"grant":{"v":1}}`)
			if w := b.do(call{method: "PATCH", path: one + "?force=true", body: tc.body}); w.Code != 200 {
				t.Fatalf("PATCH: %d %s", w.Code, w.Body)
			}
			c, err := b.store.Get(t.Context(), ref)
			if err != nil || c.Field(held).Reveal() != tc.held {
				t.Fatalf("the record has %v, %v", c.Names(), err)
			}
			for _, name := range append(tc.has, "client_secret", credential.StateField) {
				if c.Field(name).Empty() {
					t.Errorf("%s is gone", name)
				}
			}
			for _, name := range tc.gone {
				if !c.Field(name).Empty() {
					t.Errorf("%s stayed", name)
				}
			}
		})
	}
}
