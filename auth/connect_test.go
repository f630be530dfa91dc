package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// authServer is an authorization server that answers what the test says. Its
// consent page is a login page for everybody.
type authServer struct {
	mu     sync.Mutex
	answer func(n int, form url.Values) (status int, contentType, body string) // of the token endpoint; n counts from 1
	device string                                                              // answer of the device authorization endpoint
	page   func() *http.Response                                               // nil: 200
	forms  []url.Values
	looks  int
}

// RoundTrip implements http.RoundTripper.
func (s *authServer) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply := func(status int, contentType, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
	switch req.URL.Path {
	case "/authorize":
		s.looks++
		if s.page != nil {
			return s.page(), nil
		}
		return reply(200, "text/html", "sign in")
	case "/device":
		return reply(200, "application/json", s.device)
	}
	b, _ := io.ReadAll(req.Body)
	form, _ := url.ParseQuery(string(b))
	s.forms = append(s.forms, form)
	return reply(s.answer(len(s.forms), form))
}

func (s *authServer) posts() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.forms)
}

const goodToken = `{"access_token":"at","refresh_token":"rt","expires_in":3600,"token_type":"bearer"}`

func answers(status int, contentType, body string) func(int, url.Values) (int, string, string) {
	return func(int, url.Values) (int, string, string) { return status, contentType, body }
}

// flows is Connects over memory and an authServer.
type flows struct {
	*Connects
	server *authServer
	store  *credtest.Store
	apps   *credtest.Apps
	p      *provider.Provider
	log    *bytes.Buffer
	end    context.CancelFunc
}

func newFlows(t *testing.T, change func(*ConnectOptions)) *flows {
	t.Helper()
	f := &flows{server: &authServer{answer: answers(200, "application/json", goodToken)}, store: &credtest.Store{}, apps: &credtest.Apps{}, log: &bytes.Buffer{}}
	f.p = &provider.Provider{Name: "crm", Type: grantType, OAuth2: provider.OAuth2{
		AuthorizationURL: "https://auth.crm.example/authorize", TokenURL: "https://auth.crm.example/token", DeviceAuthorizationURL: "https://auth.crm.example/device",
	}}
	life, end := context.WithCancel(context.Background())
	f.end = end
	t.Cleanup(end)
	o := ConnectOptions{
		Store: f.store, Apps: f.apps, Life: life, Redirect: func() string { return redirectHere },
		Client: func(*provider.Provider) *http.Client { return &http.Client{Transport: f.server} },
		Log:    slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	f.Connects = NewConnects(o)
	return f
}

func (f *flows) begin(t *testing.T, r ConnectRequest) Connect {
	t.Helper()
	if r.Provider == nil {
		r.Provider = f.p
	}
	r.Ref = crmRef(t)
	if r.ClientID == "" && len(r.ClientSecret.Reveal()) == 0 {
		r.ClientID, r.ClientSecret = "web", secret.New("hush")
	}
	got, err := f.Begin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// back gives the query of a redirect for a connect that began.
func back(t *testing.T, c Connect, more url.Values) string {
	t.Helper()
	u, err := url.Parse(c.AuthorizationURL)
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{"state": {u.Query().Get("state")}}
	for name, v := range more {
		q[name] = v
	}
	return q.Encode()
}

var code = url.Values{"code": {"c0de"}}

func (f *flows) done(t *testing.T, query string) Connect {
	t.Helper()
	got, err := f.Callback(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The authorization URL has what RFC 6749, RFC 7636 and the provider's entry
// want, and an entry changes nothing that keeps the flow safe.
func TestConsentURL(t *testing.T) {
	f := newFlows(t, nil)
	f.p.OAuth2 = provider.OAuth2{
		AuthorizationURL: "https://{tenant}.crm.example/authorize?a=b", TokenURL: "https://{tenant}.crm.example/token", ScopeSeparator: ",", Scopes: []string{"x", "y"},
		Params: map[string]string{"access_type": "offline", "prompt": "consent", "audience": "https://{tenant}.example", "redirect_uri": "https://evil.example", "state": "s", "response_type": "token", "code_challenge_method": "plain"},
	}
	got := f.begin(t, ConnectRequest{Fields: map[string]string{"tenant": "acme"}})
	u, err := url.Parse(got.AuthorizationURL)
	if err != nil || u.Host != "acme.crm.example" || u.Path != "/authorize" {
		t.Fatalf("%s, %v", got.AuthorizationURL, err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"a": "b", "response_type": "code", "client_id": "web", "redirect_uri": redirectHere, "scope": "x,y", "code_challenge_method": "S256",
		"access_type": "offline", "prompt": "consent", "audience": "https://acme.example",
	} {
		if len(q[name]) != 1 || q.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, q[name], want)
		}
	}
	if len(q.Get("code_challenge")) != 43 || len(q.Get("state")) < 43 || strings.Contains(got.AuthorizationURL, "hush") {
		t.Errorf("the challenge has %d, the state %d characters", len(q.Get("code_challenge")), len(q.Get("state")))
	}
	f.done(t, back(t, got, code))
	form := f.server.posts()[0]
	for name, want := range map[string]string{"grant_type": "authorization_code", "code": "c0de", "redirect_uri": redirectHere} {
		if form.Get(name) != want {
			t.Errorf("the exchange has %s = %q, want %q", name, form.Get(name), want)
		}
	}
	if len(form.Get("code_verifier")) != 43 {
		t.Errorf("the verifier has %d characters", len(form.Get("code_verifier")))
	}
}

// A state is good once, for its own connect only, and for ten minutes.
func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlows(t, nil)
		one, two := f.begin(t, ConnectRequest{}), f.begin(t, ConnectRequest{})
		query := back(t, one, code)
		state, _ := url.ParseQuery(query)
		id, key, _ := strings.Cut(state.Get("state"), ".")
		for name, bad := range map[string]string{
			"none": "code=x", "empty": "state=&code=x", "an id alone": "state=" + id + "&code=x", "half of it": "state=" + id + "." + key[:20] + "&code=x",
			"another's": "state=" + two.ID + "." + key + "&code=x", "an unknown one": "state=nobody." + key + "&code=x",
			"twice": query + "&state=x", "two codes": query + "&code=y", "malformed": query + "&%zz", "a control": query + "&iss=%00", "long": query + "&x=" + strings.Repeat("y", 20<<10),
		} {
			if _, err := f.Callback(t.Context(), bad); !errors.Is(err, fault.AuthorizationIncomplete) {
				t.Errorf("a state that is %s: %v", name, err)
			}
		}
		if _, err := f.Paste(t.Context(), two.ID, redirectHere+"?"+query); !errors.Is(err, fault.AuthorizationIncomplete) {
			t.Errorf("a redirect that is pasted to another connect: %v", err)
		}
		if got := f.done(t, query); got.State != ConnectDone {
			t.Fatalf("after all that the right one is %s: %v", got.State, got.Fault)
		}
		if _, err := f.Callback(t.Context(), query); !errors.Is(err, fault.AuthorizationIncomplete) || !strings.Contains(err.Error(), "second time") {
			t.Errorf("a second time: %v", err)
		}
		time.Sleep(connectLife + time.Second)
		got, err := f.Get(two.ID)
		if err != nil {
			t.Fatal(err)
		}
		failsWith(t, got, fault.AuthorizationIncomplete, "register "+redirectHere)
		if _, err := f.Callback(t.Context(), back(t, two, code)); !errors.Is(err, fault.AuthorizationIncomplete) {
			t.Errorf("one that came too late: %v", err)
		}
		if n := len(f.server.posts()); n != 1 {
			t.Errorf("%d codes were sent, want one", n)
		}
		time.Sleep(endedLife)
		if _, err := f.Get(one.ID); !errors.Is(err, fault.NotFound) {
			t.Errorf("an old one is not forgotten: %v", err)
		}
		f.end()
		synctest.Wait()
	})
}

// A hundred redirects of one state at once: one exchange.
func TestStateIsTakenOnce(t *testing.T) {
	f := newFlows(t, nil)
	query := back(t, f.begin(t, ConnectRequest{}), code)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 100 {
		wg.Go(func() {
			if _, err := f.Callback(t.Context(), query); err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := len(f.server.posts()); won != 1 || n != 1 {
		t.Errorf("%d redirects were taken, %d codes sent, want one", won, n)
	}
}

func TestConnectBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlows(t, nil)
		first := f.begin(t, ConnectRequest{})
		for range maxOpen - 1 {
			f.begin(t, ConnectRequest{})
		}
		r := ConnectRequest{Provider: f.p, Ref: crmRef(t), ClientID: "web"}
		if _, err := f.Begin(t.Context(), r); !errors.Is(err, fault.Overloaded) {
			t.Errorf("one more than %d: %v", maxOpen, err)
		}
		if err := f.Cancel(first.ID); err != nil {
			t.Fatal(err)
		}
		got, _ := f.Get(first.ID)
		failsWith(t, got, fault.AuthorizationIncomplete, "cancelled")
		if _, err := f.Callback(t.Context(), back(t, first, code)); err == nil {
			t.Error("a cancelled one takes a redirect")
		}
		for range maxEnded + 50 {
			c := f.begin(t, ConnectRequest{})
			if err := f.Cancel(c.ID); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(f.all); n > maxOpen+maxEnded {
			t.Errorf("%d connects are remembered, want %d at most", n, maxOpen+maxEnded)
		}
		f.end()
		synctest.Wait()
	})
}

// RFC 9207: an iss, if there is one, has the origin of the provider's endpoints.
func TestIssuer(t *testing.T) {
	for iss, want := range map[string]bool{
		"https://auth.crm.example": true, "https://auth.crm.example/realms/x": true, "https://auth.crm.example:443/": true, "https://AUTH.crm.example": true,
		"https://evil.example": false, "http://auth.crm.example": false, "https://auth.crm.example.evil.example": false, "https://auth.crm.example:8443": false,
		"auth.crm.example": false, "https://auth.crm.example@evil.example": false,
	} {
		f := newFlows(t, nil)
		got := f.done(t, back(t, f.begin(t, ConnectRequest{}), url.Values{"code": {"x"}, "iss": {iss}}))
		if got.State == ConnectDone != want {
			t.Errorf("iss %s: %s", iss, got.State)
		}
		if sent := len(f.server.posts()) == 1; sent != want {
			t.Errorf("iss %s: sent %v", iss, sent)
		}
	}
}

// What the redirect says is told by its code, and nothing is sent.
func TestRedirectErrors(t *testing.T) {
	for _, tc := range []struct {
		query url.Values
		want  fault.Code
	}{
		{url.Values{"error": {"access_denied"}, "error_description": {"The user said no"}}, fault.AccessDenied},
		{url.Values{"error": {"invalid_scope"}}, fault.InvalidScope},
		{url.Values{"error": {"unauthorized_client"}}, fault.InvalidClient},
		{url.Values{"error": {"application_suspended"}}, fault.InvalidClient},
		{url.Values{"error": {"redirect_uri_mismatch"}}, fault.RedirectURIMismatch},
		{url.Values{"error": {"invalid_request"}, "error_description": {"AADSTS50011: The redirect URI does not match"}}, fault.RedirectURIMismatch},
		{url.Values{"error": {"invalid_request"}, "error_description": {"redirect_uri is not allowed"}}, fault.RedirectURIMismatch},
		{url.Values{"error": {"server_error"}}, fault.TokenEndpointUnreachable},
		{url.Values{"error": {"login_required"}}, fault.AuthorizationIncomplete},
		{url.Values{"error": {"<script>"}}, fault.AuthorizationIncomplete},
		{url.Values{"error": {"access_denied"}, "code": {"x"}}, fault.AccessDenied},
		{url.Values{}, fault.AuthorizationIncomplete},
		{url.Values{"code": {""}}, fault.AuthorizationIncomplete},
	} {
		f := newFlows(t, nil)
		got := f.done(t, back(t, f.begin(t, ConnectRequest{}), tc.query))
		failsWith(t, got, tc.want, "")
		if n := len(f.server.posts()); n > 0 {
			t.Errorf("%v: %d codes were sent", tc.query, n)
		}
	}
}

// What the token endpoint answers to the code is told by its code.
func TestCodeAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, contentType, body string
		status                  int
		want                    fault.Code // empty: it is a grant
	}{
		{"GitHub's wrong redirect", "application/json", `{"error":"redirect_uri_mismatch","error_description":"The redirect_uri MUST match"}`, 200, fault.RedirectURIMismatch},
		{"GitHub's wrong secret", "application/json", `{"error":"incorrect_client_credentials"}`, 200, fault.InvalidClient},
		{"GitHub's old code", "application/x-www-form-urlencoded", "error=bad_verification_code", 200, fault.InvalidGrant},
		{"Slack's wrong redirect", "application/json", `{"ok":false,"error":"bad_redirect_uri"}`, 200, fault.RedirectURIMismatch},
		{"Atlassian's wrong secret", "application/json", `{"error":"access_denied","error_description":"Unauthorized"}`, 401, fault.InvalidClient},
		{"the RFC's words", "application/json", `{"error":"invalid_grant","error_description":"The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client."}`, 400, fault.InvalidGrant},
		{"a redirect that does not match", "application/json", `{"error":"invalid_grant","error_description":"redirect_uri mismatch"}`, 400, fault.RedirectURIMismatch},
		{"a wrong scope", "application/json", `{"error":"invalid_scope"}`, 400, fault.InvalidScope},
		{"a page", "text/html", "<html>busy</html>", 503, fault.TokenEndpointUnreachable},
		{"an empty grant", "application/json", `{}`, 200, fault.TokenEndpointUnreachable},
		{"Slack's person", "application/json", `{"ok":true,"authed_user":{"access_token":"at","scope":"x"}}`, 200, ""},
		{"a form", "application/x-www-form-urlencoded", "access_token=at&scope=x&token_type=bearer", 200, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFlows(t, nil)
			f.server.answer = answers(tc.status, tc.contentType, tc.body)
			got := f.done(t, back(t, f.begin(t, ConnectRequest{}), code))
			if tc.want == "" {
				if got.State != ConnectDone {
					t.Errorf("the connect is %s: %v", got.State, got.Fault)
				}
				return
			}
			failsWith(t, got, tc.want, "")
			if n := len(f.server.posts()); n != 1 {
				t.Errorf("the code was sent %d times", n)
			}
		})
	}
}

// A consent page that refuses the client or the redirect URI ends the connect at
// once; any other answer of it, and none, says nothing.
func TestConsentPageIsLookedAt(t *testing.T) {
	respond := func(status int, body string, header ...string) func() *http.Response {
		return func() *http.Response {
			h := http.Header{}
			for i := 0; i+1 < len(header); i += 2 {
				h.Set(header[i], header[i+1])
			}
			return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
		}
	}
	for _, tc := range []struct {
		name string
		page func() *http.Response
		want fault.Code // empty: it goes on
	}{
		{"a login page", respond(200, "redirect_uri invalid_client"), ""},
		{"a wrong redirect URI", respond(400, `{"error":"invalid_request","error_description":"redirect_uri did not match"}`), fault.RedirectURIMismatch},
		{"a wrong redirect URI in words", respond(403, "<p>The redirect URI is not registered"), fault.RedirectURIMismatch},
		{"an unknown client", respond(401, "error=invalid_client"), fault.InvalidClient},
		{"a robot is not wanted", respond(403, "are you human?"), ""},
		{"away", respond(503, "redirect_uri"), ""},
		{"to the login", respond(302, "", "Location", "https://auth.crm.example/login?error=invalid_client"), ""},
		{"back with an invalid scope", respond(302, "", "Location", redirectHere+"?error=invalid_scope&state=x"), fault.InvalidScope},
		{"back without a login", respond(302, "", "Location", redirectHere+"?error=login_required"), ""},
		{"back with a code", respond(302, "", "Location", redirectHere+"?code=x"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlows(t, nil)
				f.server.page = tc.page
				c := f.begin(t, ConnectRequest{})
				synctest.Wait()
				got, err := f.Get(c.ID)
				if err != nil || f.server.looks != 1 {
					t.Fatalf("%d looks, %v", f.server.looks, err)
				}
				if tc.want != "" {
					failsWith(t, got, tc.want, "")
				} else if got := f.done(t, back(t, c, code)); got.State != ConnectDone {
					t.Errorf("the connect is %s: %v", got.State, got.Fault)
				}
				f.end()
				synctest.Wait()
			})
		})
	}
}

// Whose client it is: the request's, the record's own, the workspace's app, the
// shared one; and what says how to get one.
func TestConnectClient(t *testing.T) {
	own, shared := [2]string{"own", "o"}, [2]string{"shared", "s"}
	for _, tc := range []struct {
		name            string
		record          []string
		own, shared     bool
		ownOnly         bool
		request         string
		want, wantErr   string
		keptOwnEndpoint bool
	}{
		{name: "nobody's", wantErr: "sallyport app add crm --workspace acme, or a shared one with sallyport app add crm"},
		{name: "nobody's own", shared: true, ownOnly: true, wantErr: "own_app_only"},
		{name: "shared", shared: true, want: "shared s"},
		{name: "own before shared", own: true, shared: true, want: "own o"},
		{name: "own only", own: true, ownOnly: true, want: "own o"},
		{name: "the record's before any app", own: true, shared: true, record: []string{"client_id", "mine", "client_secret", "m"}, want: "mine m"},
		{name: "the request's before all", own: true, record: []string{"client_id", "mine", "client_secret", "m"}, request: "asked", want: "asked a"},
		{name: "the app of today in the place of the one before", own: true, record: []string{"client_id", "old", "client_secret", "m", "sallyport_state", `{"connect":{"client":"own app"}}`}, want: "own o"},
		{name: "the one before, if there is no app any more", record: []string{"client_id", "old", "client_secret", "m", "sallyport_state", `{"connect":{"client":"shared app"}}`}, want: "old m"},
		{name: "an app's secret goes to no endpoint of the record", shared: true, record: []string{"token_url", "https://evil.example/token"}, want: "shared s"},
		{name: "a secret of one's own goes where one likes", record: []string{"client_id", "mine", "client_secret", "m", "token_url", "https://auth.crm.example/mine"}, want: "mine m", keptOwnEndpoint: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFlows(t, nil)
			f.p.OAuth2.OwnAppOnly = tc.ownOnly
			f.p.OAuth2.ClientAuth = "body"
			if tc.own {
				f.apps.Add("acme", "crm", own[0], own[1])
			}
			if tc.shared {
				f.apps.Add("", "crm", shared[0], shared[1])
			}
			if tc.record != nil {
				f.store.Add("acme/production/crm/main", grantType, tc.record...)
			}
			r := ConnectRequest{Provider: f.p, Ref: crmRef(t)}
			if tc.request != "" {
				r.ClientID, r.ClientSecret = "asked", secret.New("a")
			}
			began, err := f.Begin(t.Context(), r)
			if tc.wantErr != "" {
				if !errors.Is(err, fault.InvalidRequest) || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("got %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := f.done(t, back(t, began, code)); got.State != ConnectDone {
				t.Fatalf("%v", got.Fault)
			}
			form := f.server.posts()[0]
			if got := form.Get("client_id") + " " + form.Get("client_secret"); got != tc.want {
				t.Errorf("sent as %s, want %s", got, tc.want)
			}
			c, err := f.store.Get(t.Context(), crmRef(t))
			if err != nil || c.Text("client_id")+" "+c.Field("client_secret").Reveal() != tc.want || c.Field("token_url").Empty() == tc.keptOwnEndpoint {
				t.Errorf("the record remembers %s with fields %q, %v", c.Text("client_id"), c.Names(), err)
			}
		})
	}
}

// A grant is refreshed with the client that it was made with, and with that
// client's newest secret, unless the record names its own endpoint.
func TestAppSecrets(t *testing.T) {
	apps, p := &credtest.Apps{}, &provider.Provider{Name: "crm"}
	apps.Add("acme", "crm", "own", "own-secret")
	apps.Add("", "crm", "shared", "shared-secret")
	get := func(name string) *provider.Provider {
		if name != "crm" {
			return nil
		}
		return p
	}
	k := &Keeper{o: KeeperOptions{Secret: AppSecrets(apps, get)}}
	secretOf := func(ref string, fields ...string) string {
		c := (&credtest.Store{}).Add(ref, grantType, append([]string{"client_secret", "old"}, fields...)...)
		return k.current(t.Context(), c).Field("client_secret").Reveal()
	}
	for _, tc := range []struct {
		name, want string
		got        string
	}{
		{"its own app", "own-secret", secretOf("acme/production/crm/main", "client_id", "own")},
		{"the shared app", "shared-secret", secretOf("acme/production/crm/main", "client_id", "shared")},
		{"another workspace's app", "old", secretOf("other/production/crm/main", "client_id", "own")},
		{"a client of no app", "old", secretOf("acme/production/crm/main", "client_id", "mine")},
		{"a provider that is gone", "old", secretOf("acme/production/gone/main", "client_id", "shared")},
		{"an endpoint of its own", "old", secretOf("acme/production/crm/main", "client_id", "shared", "refresh_url", "https://evil.example")},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, tc.got, tc.want)
		}
	}
	p.OAuth2.OwnAppOnly = true
	if got := secretOf("acme/production/crm/main", "client_id", "shared"); got != "old" {
		t.Errorf("a shared app where only own ones count: %s", got)
	}
	apps.Fail(fault.New(fault.VaultDenied, "", nil))
	if got := secretOf("acme/production/crm/main", "client_id", "own"); got != "old" {
		t.Errorf("apps that cannot be read: %s", got)
	}
}

// The tokens of the grant before go, what others keep stays, and the scope is
// what was given, or else what was asked for.
func TestConnectReplacesTheGrant(t *testing.T) {
	f := newFlows(t, nil)
	old := f.store.Add("acme/production/crm/main", grantType, "client_id", "web", "client_secret", "hush", "access_token", "old", "refresh_token", "old", "expires_at", "2020-01-01T00:00:00Z", "others", "o",
		"sallyport_state", `{"grant":{"v":1,"gen":3,"state":"dead","token":"x","dead":["x"]},"others":1}`)
	f.server.answer = answers(200, "application/json", `{"access_token":"new","scope":"a"}`)
	got := f.done(t, back(t, f.begin(t, ConnectRequest{Scopes: []string{"a", "b"}}), code))
	if got.State != ConnectDone || len(got.Warnings) != 2 || !strings.Contains(got.Warnings[0], "no refresh_token") || !strings.Contains(got.Warnings[0], "offline_access") || !strings.Contains(got.Warnings[1], "missing: b") {
		t.Errorf("%s with %q", got.State, got.Warnings)
	}
	c, err := f.store.Get(t.Context(), old.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if fields := strings.Join(c.Names(), " "); fields != "access_token client_id client_secret created_at others sallyport_state scope token_type" {
		t.Errorf("the record has %s; without an end the token is used until it is refused", fields)
	}
	if c.Field("access_token").Reveal() != "new" || c.Field("scope").Reveal() != "a" {
		t.Errorf("token %s, scope %s", c.Field("access_token").Reveal(), c.Field("scope").Reveal())
	}
	var state map[string]json.RawMessage
	if json.Unmarshal([]byte(c.Field("sallyport_state").Reveal()), &state) != nil || string(state["others"]) != "1" || state["grant"] == nil {
		t.Errorf("state %s", c.Field("sallyport_state").Reveal())
	}
	if err := Validate(f.p, c); err != nil {
		t.Errorf("the record is not valid: %v", err)
	}
	// An access token that has ended cannot be renewed: only a person can.
	_, err = NewKeeper(KeeperOptions{Store: f.store}).Obtain(t.Context(), Demand{Provider: f.p, Client: &http.Client{Transport: f.server}, Record: c, Have: c.Field("access_token")})
	if !errors.Is(err, fault.ReauthorizationRequired) {
		t.Errorf("when it is refused: %v", err)
	}
	// A person asks for the same scopes again.
	again := f.begin(t, ConnectRequest{})
	if !strings.Contains(again.AuthorizationURL, "scope=a+b") {
		t.Errorf("asked for %s", again.AuthorizationURL)
	}
}

// A record with a client and no grant says so.
func TestNoConsentYet(t *testing.T) {
	_, err := Mint(t.Context(), Material{Provider: &provider.Provider{Name: "crm", Type: grantType}, Credential: record(grantType, "client_id", "web", "client_secret", "s")})
	if !errors.Is(err, fault.AuthorizationIncomplete) {
		t.Errorf("got %v, want authorization_incomplete", err)
	}
}

// The store is away, or somebody writes the record, just when a grant was given:
// the grant is not lost.
func TestGrantIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlows(t, nil)
		c := f.begin(t, ConnectRequest{})
		f.server.answer = func(int, url.Values) (int, string, string) {
			f.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
			go func() {
				time.Sleep(30 * time.Second)
				f.store.Fail(nil)
				f.store.Add("acme/production/crm/main", grantType, "client_id", "x", "others", "o")
			}()
			return 200, "application/json", goodToken
		}
		if got := f.done(t, back(t, c, code)); got.State != ConnectDone {
			t.Fatalf("the connect is %s: %v", got.State, got.Fault)
		}
		record, err := f.store.Get(t.Context(), crmRef(t))
		if err != nil || record.Field("refresh_token").Reveal() != "rt" || record.Text("client_id") != "web" || record.Field("others").Empty() {
			t.Errorf("stored %q, %v", record.Names(), err)
		}
		f.store.Fail(fault.New(fault.VaultDenied, "", nil))
		r := ConnectRequest{Provider: f.p, Ref: crmRef(t), ClientID: "web"}
		if _, err := f.Begin(t.Context(), r); !errors.Is(err, fault.VaultDenied) {
			t.Errorf("a store that denies, before anybody is asked: %v", err)
		}
		f.end()
		synctest.Wait()
	})
}

// What the check of a new grant finds is told; the grant is stored all the same.
func TestConnectIsVerified(t *testing.T) {
	for _, tc := range []struct {
		name    string
		checked Checked
		test    bool
		want    fault.Code
	}{
		{name: "good", checked: Checked{Warnings: []string{"scopes are unverifiable"}, Steps: []Step{{Name: "verify", Method: "GET", Status: 200}}}},
		{name: "refused", checked: Checked{Fault: fault.New(fault.InsufficientScope, "", nil)}, want: fault.InsufficientScope},
		{name: "a test that is refused", test: true, checked: Checked{Fault: fault.New(fault.InsufficientScope, "", nil)}, want: fault.InsufficientScope},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var saw *credential.Credential
			f := newFlows(t, func(o *ConnectOptions) {
				o.Check = func(_ context.Context, _ *provider.Provider, c *credential.Credential) Checked {
					saw = c
					return tc.checked
				}
			})
			got := f.done(t, back(t, f.begin(t, ConnectRequest{Test: tc.test}), code))
			if tc.want != "" {
				failsWith(t, got, tc.want, "")
			} else if got.State != ConnectDone || len(got.Warnings) != 1 || got.Steps[len(got.Steps)-1].Name != "verify" {
				t.Errorf("the connect is %s with %q: %v", got.State, got.Warnings, got.Steps)
			}
			if saw.Field("access_token").Reveal() != "at" {
				t.Error("the new token was not tried")
			}
			_, err := f.store.Get(t.Context(), crmRef(t))
			if stored := err == nil; stored == tc.test {
				t.Errorf("stored: %v", stored)
			}
		})
	}
}

// What cannot be connected is told before anybody is asked.
func TestCannotConnect(t *testing.T) {
	for _, tc := range []struct {
		name, says string
		change     func(*flows)
		r          ConnectRequest
	}{
		{"a credential of another type", "is of type api_key", func(f *flows) { f.store.Add("acme/production/crm/main", "api_key", "api_key", "k") }, ConnectRequest{}},
		{"a provider that takes no grants", "does not accept", func(f *flows) { f.p.Type = "api_key" }, ConnectRequest{}},
		{"a provider without a consent page", "authorization_url", func(f *flows) { f.p.OAuth2.AuthorizationURL, f.p.OAuth2.DeviceAuthorizationURL = "", "" }, ConnectRequest{}},
		{"a provider without device codes", "device_authorization_url", func(f *flows) { f.p.OAuth2.DeviceAuthorizationURL = "" }, ConnectRequest{Flow: FlowDevice}},
		{"a flow that is none", "flow", nil, ConnectRequest{Flow: "implicit"}},
		{"nobody listens", "public_url", func(f *flows) { f.o.Redirect = func() string { return "" } }, ConnectRequest{}},
		{"a field that is missing", "tenant", func(f *flows) { f.p.OAuth2.AuthorizationURL = "https://{tenant}.crm.example/" }, ConnectRequest{}},
		{"a field that is no label", "tenant", func(f *flows) { f.p.OAuth2.AuthorizationURL = "https://{tenant}.crm.example/" }, ConnectRequest{Fields: map[string]string{"tenant": "evil.example/"}}},
		{"no token endpoint", "token_url", func(f *flows) { f.p.OAuth2.TokenURL = "" }, ConnectRequest{}},
		{"cleartext", "not https", func(f *flows) { f.p.OAuth2.TokenURL = "http://auth.crm.example/token" }, ConnectRequest{}},
		{"a client with a control character", "client_id", nil, ConnectRequest{ClientID: "a\nb"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFlows(t, nil)
			if tc.change != nil {
				tc.change(f)
			}
			r := tc.r
			r.Provider, r.Ref = f.p, crmRef(t)
			if r.ClientID == "" {
				r.ClientID, r.ClientSecret = "web", secret.New("hush")
			}
			_, err := f.Begin(t.Context(), r)
			if err == nil || !strings.Contains(err.Error(), tc.says) || fault.From(err).Credential != "acme/production/crm/main" {
				t.Errorf("got %v, want %q about the credential", err, tc.says)
			}
		})
	}
	f := newFlows(t, nil)
	f.p.OAuth2.AuthorizationURL = ""
	f.server.device = `{"device_code":"d","user_code":"u","verification_uri":"https://crm.example/device"}`
	if got := f.begin(t, ConnectRequest{}); got.UserCode != "u" {
		t.Errorf("a provider with device codes only: %+v", got)
	}
}

// LK-02: code, verifier, state, tokens and secrets are in no log line, step,
// fault, page or metric, whatever a server sends back.
func TestConnectShowsNoSecret(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	for _, status := range []int{200, 400, 500} {
		for _, contentType := range []string{"application/json", "text/html", "application/x-www-form-urlencoded"} {
			f := newFlows(t, func(o *ConnectOptions) {
				o.Metrics = NewMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"n": fmt.Sprint(status, contentType)}, reg))
			})
			f.server.answer = func(_ int, form url.Values) (int, string, string) {
				echo := fmt.Sprintf("%s %s %s %s", canary, form.Encode(), form.Get("code_verifier"), form.Get("code"))
				body := url.Values{"error_description": {echo}, "access_token": {"at-" + "5f1e"}, "error": {echo}, canary: {echo}}.Encode()
				if contentType == "application/json" {
					b, _ := json.Marshal(map[string]any{"error": "invalid_grant", "error_description": echo, "x": echo, "nested": map[string]any{"y": echo, "scope": echo}, "list": []string{echo}})
					body = string(b)
				}
				return status, contentType, body
			}
			began := f.begin(t, ConnectRequest{ClientID: "id", ClientSecret: secret.New(canary)})
			got := f.done(t, back(t, began, url.Values{"code": {canary}}))
			verifier := f.server.posts()[0].Get("code_verifier")
			u, _ := url.Parse(began.AuthorizationURL)
			_, key, _ := strings.Cut(u.Query().Get("state"), ".")
			steps, _ := json.Marshal(got.Steps)
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for what, text := range map[string]string{"the steps": string(steps), "the fault": fmt.Sprintf("%+v", got.Fault), "the log": f.log.String(), "the metrics": fmt.Sprint(families), "the warnings": fmt.Sprint(got.Warnings)} {
				scan(t, what, text)
				if strings.Contains(text, verifier) || strings.Contains(text, key) {
					t.Errorf("%s show the verifier or the state: %s", what, text)
				}
			}
		}
	}
}

// Whatever comes to the callback: only the right state does anything, and nothing panics.
func FuzzCallback(f *testing.F) {
	for _, seed := range []string{"", "code=x&state=y", "state=.&code=", "error=access_denied&state=", "state=%ff&iss=%zz", "code=x&code=y", strings.Repeat("state=a&", 3000), "?state=a.b;code=c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		w := newFlows(t, nil)
		c := w.begin(t, ConnectRequest{})
		if _, err := w.Callback(t.Context(), query); !errors.Is(err, fault.AuthorizationIncomplete) {
			t.Fatalf("%q is taken: %v", query, err)
		}
		if _, err := w.Paste(t.Context(), c.ID, query); err == nil {
			t.Fatalf("%q is taken when it is pasted", query)
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			values = url.Values{"error_description": {query}, "error": {query}}
		}
		delete(values, "state")
		got, err := w.Callback(t.Context(), back(t, c, values))
		if err == nil && got.State == ConnectPending {
			t.Fatalf("with the right state and %q the connect is %s", query, got.State)
		}
		for _, s := range got.Steps {
			if len(s.Detail) > 4096 || strings.ContainsAny(s.Detail, "\n\r\x00\x1b") {
				t.Fatalf("a step says %q", s.Detail)
			}
		}
	})
}
