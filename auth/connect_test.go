package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
			} else if got.State != ConnectDone || len(got.Warnings) != 1 || !slices.ContainsFunc(got.Steps, func(s Step) bool { return s.Name == "verify" }) {
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

// A daemon that ends waits for a grant that is on its way, and for no person.
func TestConnectsDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlows(t, nil)
		c := f.begin(t, ConnectRequest{})
		f.begin(t, ConnectRequest{})
		if err := f.Drain(t.Context()); err != nil {
			t.Errorf("with two consents that nobody has given: %v", err)
		}
		f.server.answer = func(int, url.Values) (int, string, string) {
			f.store.Fail(fault.New(fault.VaultUnreachable, "", nil))
			return 200, "application/json", goodToken
		}
		go func() { _, _ = f.Callback(t.Context(), back(t, c, code)) }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Drain(short); err == nil {
			t.Error("a grant that is not stored is not waited for")
		}
		time.AfterFunc(5*time.Second, func() { f.store.Fail(nil) })
		if err := f.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if got, _ := f.Get(c.ID); got.State != ConnectDone {
			t.Errorf("the connect is %s", got.State)
		}
		f.end()
		synctest.Wait()
	})
}
