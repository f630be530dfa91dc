package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// ledger stands before the authorization server. It keeps a ledger of the refresh
// tokens that are posted and of all tokens that are given, and tells lives that
// are shorter than the server's whole seconds.
type ledger struct {
	Addr string

	mu    sync.Mutex
	lives float64        // seconds, in place of the server's expires_in; 0: that
	posts map[string]int // of each refresh token
	all   []string       // every token
	held  chan struct{}  // answers of the token endpoint wait until it is closed; nil: they do not
}

func newLedger(t *testing.T, as *testserver.OIDC) *ledger {
	t.Helper()
	f := &ledger{posts: map[string]int{}}
	to, err := url.Parse(as.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(&httputil.ReverseProxy{
		Transport:      &http.Transport{DisableKeepAlives: true},
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: f.answered,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(s.Close)
	next := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if form, err := url.ParseQuery(string(body)); err == nil && form.Get("refresh_token") != "" {
			f.mu.Lock()
			f.posts[form.Get("refresh_token")]++
			f.mu.Unlock()
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
	f.Addr = s.Listener.Addr().String()
	return f
}

func (f *ledger) answered(resp *http.Response) error {
	if resp.Request.URL.Path != "/token" || resp.StatusCode != http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	f.mu.Lock()
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if s, ok := answer[name].(string); ok {
			f.all = append(f.all, s)
		}
	}
	if f.lives > 0 {
		answer["expires_in"] = f.lives
	}
	held := f.held
	f.mu.Unlock()
	if held != nil {
		<-held
	}
	if body, err = json.Marshal(answer); err != nil {
		return err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return nil
}

func (f *ledger) live(seconds float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lives = seconds
}

// hold keeps answers back until they are let go.
func (f *ledger) hold() (letGo func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(chan struct{})
	f.held = held
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.held = nil
		close(held)
	})
}

// count gives how many refresh tokens were posted, and how many of them twice.
func (f *ledger) count() (posted, again int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range maps.Values(f.posts) {
		posted += n
		again += n - 1
	}
	return posted, again
}

func (f *ledger) tokens() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

// grants is a certified authorization server that rotates refresh tokens and ends
// a grant when one is used twice, with a resource that asks it about every token.
type grants struct {
	as     *testserver.OIDC
	api    *resource
	ledger *ledger
}

func newGrants(t *testing.T) *grants {
	t.Helper()
	g := &grants{as: testserver.StartOIDC(t, testserver.OIDCOptions{AccessTTL: time.Minute})}
	g.api = &resource{as: g.as, client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	api := httptest.NewServer(g.api)
	t.Cleanup(api.Close)
	_, port, _ := strings.Cut(api.Listener.Addr().String(), ":")
	g.api.Addr = "localhost:" + port
	g.ledger = newLedger(t, g.as)
	return g
}

// config is of a daemon whose token endpoint is at endpoint; extra stands before it.
func (g *grants) config(endpoint, extra string) string {
	return strings.NewReplacer("{api}", g.api.Addr, "{endpoint}", endpoint, "{extra}", extra).Replace(open + `
[log]
level = "debug"
{extra}
[[provider]]
name = "api"
hosts = ["{api}"]
base_url = "http://{api}"
type = "oauth2_refresh_token"
allow_cleartext = true
[provider.oauth2]
token_url = "http://{endpoint}/token"
`)
}

const redirectAway = "http://127.0.0.1:9999/cb"

// consent gives the refresh token of a new grant, as a person at a browser gets it.
func (g *grants) consent(t *testing.T) string {
	t.Helper()
	at := testserver.NewPerson(t, nil).Consent(g.as.Issuer + "/auth?" + url.Values{
		"response_type": {"code"}, "client_id": {"web"}, "redirect_uri": {redirectAway}, "scope": {"openid offline_access"}, "prompt": {"consent"},
	}.Encode())
	u, err := url.Parse(at)
	if err != nil || u.Query().Get("code") == "" {
		t.Fatalf("no consent: redirected to %q, %v", at, err)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+g.ledger.Addr+"/token", strings.NewReader(url.Values{
		"grant_type": {"authorization_code"}, "code": {u.Query().Get("code")}, "redirect_uri": {redirectAway},
	}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("web", "s3cr3t-web")
	resp, err := g.api.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil || answer.RefreshToken == "" {
		t.Fatalf("no refresh token: status %d, %v", resp.StatusCode, err)
	}
	return answer.RefreshToken
}

// authorize stores a new grant.
func (g *grants) authorize(t *testing.T, d *testserver.Daemon) {
	t.Helper()
	d.Put(t, "default/production/api/default", "oauth2_refresh_token", map[string]string{
		"client_id": "web", "client_secret": "s3cr3t-web", "refresh_token": g.consent(t),
	})
}

// refused gives how often the server refused a refresh token.
func (g *grants) refused(t *testing.T) int {
	t.Helper()
	return g.as.Grants(t, g.api.client)["refresh_token:invalid_grant"]
}

// ask sends a request through a daemon.
func (g *grants) ask(c *http.Client) reply {
	began := time.Now()
	resp, err := c.Get("http://" + g.api.Addr + "/x")
	if err != nil {
		return reply{took: time.Since(began), err: err}
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return reply{resp.StatusCode, codeOf(resp), time.Since(began), err}
}

func (g *grants) served(t *testing.T, what string, c *http.Client) {
	t.Helper()
	if r := g.ask(c); r.err != nil || r.status != http.StatusOK {
		t.Errorf("%s: %v, want 200", what, r)
	}
}

// waits asks until a request is answered with status and code, or too long.
func (g *grants) waits(t *testing.T, what string, c *http.Client, status int, code string, limit time.Duration) time.Duration {
	t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		r := g.ask(c)
		if r.err == nil && r.status == status && r.code == code {
			return time.Since(began)
		}
		if time.Since(began) > limit+2*busyMachine {
			t.Errorf("%s: still %v after %v, want %d %s", what, r, limit, status, code)
			return limit
		}
	}
}

// unseen checks that no token that was given is in anything that can be read.
func (g *grants) unseen(t *testing.T, daemons ...*testserver.Daemon) {
	t.Helper()
	var s seen
	for i, d := range daemons {
		s.add(fmt.Sprintf("LK-01: the log of daemon %d", i), d.Log())
		for _, path := range []string{"/metrics", "/api/v1/credentials", "/api/v1/credentials/default/production/api/default", "/api/v1/report"} {
			_, body := d.Call(t, http.MethodGet, path, nil)
			s.add("LK-03: GET "+path, body)
		}
		(&world{Daemon: d}).stateFiles(t, &s)
	}
	s.clean(t, append(g.ledger.tokens(), "s3cr3t-web")...)
}
