package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

func bodyOf(r io.Reader, length int64) *http.Response {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(r), ContentLength: length}
}

func TestPeekLeavesTheBody(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), 2000)
	for name, c := range map[string]struct {
		body   []byte
		length int64
		stream bool
		want   int
	}{
		"short, length told": {[]byte("abc"), 3, false, 3},
		"short":              {[]byte("abc"), -1, true, 3},
		"empty":              {nil, 0, false, 0},
		"empty stream":       {nil, -1, true, 0},
		"long, length told":  {long, int64(len(long)), false, provider.PeekSize},
		"long":               {long, -1, true, provider.PeekSize},
	} {
		for _, slowly := range []bool{false, true} {
			var src io.Reader = bytes.NewReader(c.body)
			if slowly {
				src = iotest.OneByteReader(src)
			}
			resp := bodyOf(src, c.length)
			if got := peekBody(resp, c.stream); !bytes.Equal(got, c.body[:c.want]) {
				t.Errorf("%s: peeked %q", name, got)
			}
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, c.body) {
				t.Errorf("%s: %d bytes are left of %d, %v", name, len(got), len(c.body), err)
			}
		}
	}
}

// A body that breaks off breaks off where it did.
func TestPeekKeepsTheError(t *testing.T) {
	broken := errors.New("broken")
	for _, stream := range []bool{false, true} {
		resp := bodyOf(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), -1)
		if got := peekBody(resp, stream); string(got) != "abc" {
			t.Errorf("peeked %q", got)
		}
		if got, err := io.ReadAll(resp.Body); string(got) != "abc" || !errors.Is(err, broken) {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A stream is held up for peekTime at most, and then flows as it comes.
func TestPeekAtAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		resp := bodyOf(r, -1)
		resp.Body = r
		start := time.Now()
		go func() { _, _ = io.WriteString(w, "first ") }()
		if got := peekBody(resp, true); string(got) != "first " || time.Since(start) != peekTime {
			t.Errorf("peeked %q after %v", got, time.Since(start))
		}
		buf := make([]byte, 100)
		if n, err := resp.Body.Read(buf); err != nil || string(buf[:n]) != "first " {
			t.Errorf("%q, %v", buf[:n], err)
		}
		for _, text := range []string{"second", "third"} {
			go func() { _, _ = io.WriteString(w, text) }()
			if n, err := resp.Body.Read(buf); err != nil || string(buf[:n]) != text {
				t.Errorf("%q, %v", buf[:n], err)
			}
		}
		waits := make(chan error, 1)
		go func() { _, err := resp.Body.Read(buf); waits <- err }()
		synctest.Wait()
		_ = resp.Body.Close()
		if err := <-waits; err == nil {
			t.Error("a closed body is read")
		}
	})
}

// A silent stream that is closed leaves nothing behind.
func TestPeekAtASilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := io.Pipe()
		resp := bodyOf(r, -1)
		resp.Body = r
		if got := peekBody(resp, true); len(got) != 0 {
			t.Errorf("peeked %q", got)
		}
		_ = resp.Body.Close()
	})
}

// Only answers that a signal asks for are looked at; events of another are not
// held up, and those of the same provider not for long.
func TestStreamsAreNotHeldUp(t *testing.T) {
	for name, c := range map[string]struct {
		typ   string
		short time.Duration
	}{"events": {"text/event-stream", peekTime / 2}, "JSON lines": {"application/json", 10 * peekTime}} {
		more := make(chan struct{})
		r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.typ)
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
			<-more
			_, _ = io.WriteString(w, " second")
		}, func(r *rig) {
			r.config.Providers.Get("api").Signals = []provider.Signal{{Status: 200, Body: "token_expired", Means: provider.Expired}}
		})
		client, fastest := r.client(false), time.Hour
		for range 10 { // a busy machine is slow now and then
			fastest = min(fastest, streamed(t, client, r.url("/"), more))
			if fastest <= c.short {
				break
			}
		}
		if fastest > c.short {
			t.Errorf("%s: it came after %v", name, fastest)
		}
	}
}

// streamed gives how long the first part of an answer took; more lets the second one go.
func streamed(t *testing.T, c *http.Client, url string, more chan<- struct{}) time.Duration {
	t.Helper()
	start := time.Now()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 5)
	_, err = io.ReadFull(resp.Body, buf)
	took := time.Since(start)
	if err != nil || string(buf) != "first" {
		t.Errorf("%q, %v", buf, err)
	}
	more <- struct{}{}
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != " second" {
		t.Errorf("%q, %v", rest, err)
	}
	return took
}

func TestReadableCodings(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"gzip":                       "gzip",
		"gzip, identity;q=0":         "gzip, identity;q=0",
		"br, gzip, deflate":          "gzip",
		"gzip;q=1.0, *;q=0.5, zstd":  "gzip;q=1.0",
		"br":                         "identity",
		"BR, GZIP , x-gzip;q=0.1, a": "GZIP, x-gzip;q=0.1",
	} {
		h := http.Header{}
		if in != "" {
			h.Set("Accept-Encoding", in)
		}
		if readable(h); h.Get("Accept-Encoding") != want {
			t.Errorf("%q became %q, want %q", in, h.Get("Accept-Encoding"), want)
		}
	}
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Accept-Encoding"))
	})
	if got := r.get(r.client(false), r.url("/"), "Accept-Encoding", "br, gzip"); got.body != "br, gzip" {
		t.Errorf("without signals the upstream saw Accept-Encoding %q", got.body)
	}
	r.config.Providers.Get("api").Signals = []provider.Signal{{Status: 200, Body: "x", Means: provider.Expired}}
	if got := r.get(r.client(false), r.url("/"), "Accept-Encoding", "br, gzip"); got.body != "gzip" {
		t.Errorf("with a signal the upstream saw Accept-Encoding %q", got.body)
	}
}

// What an answer means decides: not its status, and at most one refresh.
func TestMeaningDecidesOnARefresh(t *testing.T) {
	for name, c := range map[string]struct {
		provider, body string // of the refusal
		status         int
		header         string
		refreshed      bool
		told           string
	}{
		"Slack, expired":                {"slack", `{"ok":false,"error":"token_expired"}`, 200, "", true, ""},
		"Slack, revoked":                {"slack", `{"ok":false,"error":"token_revoked"}`, 200, "", true, ""},
		"Slack, scope":                  {"slack", `{"ok":false,"error":"missing_scope"}`, 200, "", false, "insufficient_scope"},
		"Slack, inactive":               {"slack", `{"ok":false,"error":"account_inactive"}`, 200, "", false, "account_inactive"},
		"Slack, not in the channel":     {"slack", `{"ok":false,"error":"channel_not_found"}`, 200, "", false, "resource_not_shared"},
		"Slack, not the credential":     {"slack", `{"ok":false,"error":"no_text"}`, 200, "", false, ""},
		"Kong, no key":                  {"crm", `{"message":"No API key found in request"}`, 401, "", false, "credential_misplaced"},
		"Shopify, not approved":         {"shopify", `{"errors":"[API] This app is not approved to access REST endpoints"}`, 403, "", false, "app_not_verified"},
		"Fabric, without a word":        {"fabric", ``, 403, "", true, ""},
		"Halo, 400":                     {"halopsa", `{"error":"Token not found"}`, 400, "", true, ""},
		"Atlassian, scope on 401":       {"atlassian", `{"code":401,"message":"Unauthorized; scope does not match"}`, 401, "", false, "insufficient_scope"},
		"Zoom, scope on 400":            {"zoom", `{"code":4711,"message":"does not contain scopes:[a]"}`, 400, "", false, "insufficient_scope"},
		"a limit as 403":                {"crm", `{}`, 403, "Retry-After", false, "upstream_rate_limited"},
		"403 of an expired token":       {"crm", `{"message":"Token expired"}`, 403, "", true, ""},
		"403, a key or a permission":    {"crm", `{"message":"Invalid API key or missing permission"}`, 403, "", false, "insufficient_permission"},
		"a permission":                  {"crm", `{}`, 403, "", false, "insufficient_permission"},
		"unpaid":                        {"crm", `{}`, 402, "", false, "account_unpaid"},
		"GitHub, none of the scopes":    {"github", `{"message":"Must be an organization member"}`, 403, "scopes", false, "insufficient_scope"},
		"500 of a wrong key, Fireflies": {"fireflies", `{"errors":[{"code":"auth_failed"}]}`, 500, "", true, ""},
		"GitLab, scope":                 {"gitlab", `{"error":"insufficient_scope","scope":"api read_api"}`, 403, "", false, "insufficient_scope"},
		"HubSpot, scope":                {"hubspot", `{"category":"MISSING_SCOPES"}`, 403, "", false, "insufficient_scope"},
		"Zoho, scope on 401":            {"zoho-crm", `{"code":"OAUTH_SCOPE_MISMATCH"}`, 401, "", false, "insufficient_scope"},
		"Salesforce, scope on 401":      {"salesforce", `[{"message":"One of the following scopes is required: Full access","errorCode":"INVALID_SESSION_ID"}]`, 401, "", false, "insufficient_scope"},
		"Salesforce, expired":           {"salesforce", `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`, 401, "", true, ""},
		"Marketo, 602":                  {"marketo", `{"success":false,"errors":[{"code":"602"}]}`, 200, "", true, ""},
		"Demio, not active":             {"demio", `{"message":"Account is not active"}`, 403, "", false, "account_inactive"},
		"Basecamp, not active":          {"basecamp3", `{}`, 404, "Reason", false, "account_inactive"},
		"Notion, no version":            {"notion", `{"code":"missing_version"}`, 400, "", false, ""},
		"a limit until a date":          {"crm", `{}`, 403, "date", false, "upstream_rate_limited"},
		"GitHub, SSO":                   {"github", `{}`, 403, "X-GitHub-SSO", false, "sso_required"},
		"Google, API off":               {"google-sheets", `{"error":{"details":[{"reason":"SERVICE_DISABLED"}]}}`, 403, "", false, "api_disabled"},
		"Google, quota":                 {"google", `{"error":{"errors":[{"reason":"quotaExceeded"}]}}`, 403, "", false, "quota_exceeded"},
		"Google, not shared":            {"google", `{"error":{"status":"PERMISSION_DENIED"}}`, 403, "", false, "resource_not_shared"},
		"Stripe, the other mode":        {"stripe", `{"error":{"message":"a similar object exists in live mode"}}`, 404, "", false, "wrong_surface"},
		"GitHub, organization":          {"github", `{"message":"the organization has an IP allow list enabled"}`, 403, "", false, "organization_policy"},
		"a firewall's page":             {"crm", `<html>no</html>`, 403, "html", false, ""},
		"500 of a wrong key, Mandrill":  {"mandrill", `{"status":"error","name":"Invalid_Key"}`, 500, "", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var want atomic.Value
			want.Store("at-2")
			r, tk := oauthRig(t, &want, nil, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Authorization") != "Bearer at-1" {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				switch c.header {
				case "html":
					w.Header().Set("Content-Type", "text/html")
				case "scopes":
					w.Header().Set("X-OAuth-Scopes", "gist")
					w.Header().Set("X-Accepted-OAuth-Scopes", "admin:org, repo")
				case "Reason":
					w.Header().Set("Reason", "Account Inactive")
				case "date":
					w.Header().Set("Retry-After", "Wed, 21 Oct 2099 07:28:00 GMT")
				case "":
				default:
					w.Header().Set(c.header, "required; 60")
				}
				if c.body == "" {
					w.Header()["Content-Type"] = nil
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
				return true
			}, func(http.ResponseWriter, *http.Request) bool { return false })
			p := *r.config.Providers.Get("api")
			p.Name = c.provider
			r.store.Add(c.provider+"/main", "oauth2_client_credentials", "client_id", "id", "client_secret", canary)
			r.providers(&p)
			r.srv.Swap(r.config)
			got := r.get(r.client(false), r.url("/"))
			if refreshed := tk.given.Load() == 2; refreshed != c.refreshed || tk.given.Load() > 2 {
				t.Errorf("%d tokens were asked for", tk.given.Load())
			}
			if c.refreshed && (got.StatusCode != 200 || got.body != "0 bytes") || !c.refreshed && (got.StatusCode != c.status || got.body != c.body) {
				t.Errorf("%d %q", got.StatusCode, got.body)
			}
			if ps := got.Header.Get("Proxy-Status"); c.told == "" && ps != "" || !strings.Contains(ps, c.told) {
				t.Errorf("Proxy-Status is %q, want %q in it", ps, c.told)
			}
		})
	}
}

// A key that is not known is read again from the store, more and more seldom,
// and nothing else happens.
func TestUnknownKeyMakesNoStorm(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "no such key")
	}, func(r *rig) {
		r.config.Providers.Get("api").Signals = []provider.Signal{{Status: 401, Body: "no such key", Means: provider.Invalid}}
	})
	c := r.client(false)
	r.get(c, r.url("/"))
	gets := r.store.Gets.Load()
	for range 50 {
		if got := r.get(c, r.url("/")); got.StatusCode != 401 || got.body != "no such key" {
			t.Fatalf("%d %q", got.StatusCode, got.body)
		}
	}
	if n := r.store.Gets.Load() - gets; n > 6 {
		t.Errorf("RS-09: the store was read %d times for 50 refusals", n)
	}
	if n := len(r.upstream.seen()); n != 51 {
		t.Errorf("RS-09: %d requests were sent for 51", n)
	}
}
