package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// tokens is a token endpoint that numbers what it gives, and an API that takes
// only the newest.
type tokens struct {
	*httptest.Server
	given  atomic.Int64
	broken atomic.Bool
	life   int
}

func newTokens(t *testing.T) *tokens {
	tk := &tokens{life: 3600}
	tk.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tk.broken.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("at-%d", tk.given.Add(1)), "token_type": "bearer", "expires_in": tk.life})
	}))
	t.Cleanup(tk.Close)
	return tk
}

// oauthRig has one oauth2_client_credentials credential and an API that refuses
// all but the token that want names.
func oauthRig(t *testing.T, want *atomic.Value, seen func(*http.Request, []byte), early ...func(http.ResponseWriter, *http.Request) bool) (*rig, *tokens) {
	tk := newTokens(t)
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		for _, answered := range early { // before the body is read
			if answered(w, r) {
				return
			}
		}
		body, _ := io.ReadAll(r.Body)
		if seen != nil {
			seen(r, body)
		}
		if r.Header.Get("Authorization") != "Bearer "+want.Load().(string) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "expired")
			return
		}
		fmt.Fprintf(w, "%d bytes", len(body))
	}, func(r *rig) {
		r.store.Add("api/main", "oauth2_client_credentials", "client_id", "id", "client_secret", canary)
		r.config.Providers.Get("api").AllowCleartext = true // for the token endpoint
		r.config.Providers.Get("api").OAuth2 = provider.OAuth2{TokenURL: tk.URL + "/token", ClientAuth: "basic"}
	})
	return r, tk
}

// A refused token is refreshed once, whoever asks, and the request is replayed
// with its body.
func TestExpiredTokenIsRefreshedAndTheRequestReplayed(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		var want atomic.Value
		want.Store("at-1")
		r, tk := oauthRig(t, &want, nil)
		c := r.client(h2)
		if got := r.get(c, r.url("/")); got.StatusCode != 200 {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		want.Store("at-2")
		req, _ := http.NewRequest(http.MethodPost, r.url("/"), io.LimitReader(letters{}, 100_000))
		got := r.do(c, req)
		if got.StatusCode != 200 || got.body != "100000 bytes" {
			t.Errorf("RS-08: h2=%v: %d %s", h2, got.StatusCode, got.body)
		}
		if tk.given.Load() != 2 {
			t.Errorf("RS-08: %d tokens were asked for, want 2", tk.given.Load())
		}
		waitFor(t, func() bool { return strings.Contains(r.log.String(), "tries=2") })
		r.noCanary("LK-01", got.body)
	}
}

func TestManyRefusedAtOnceRefreshOnce(t *testing.T) {
	var want atomic.Value
	want.Store("at-1")
	r, tk := oauthRig(t, &want, nil)
	c := r.client(true)
	r.get(c, r.url("/"))
	want.Store("at-2")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if got := r.get(c, r.url("/")); got.StatusCode != 200 {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	wg.Wait()
	if tk.given.Load() != 2 {
		t.Errorf("RS-08: %d tokens were asked for, want 2", tk.given.Load())
	}
}

// RS-09: an upstream that refuses for ever causes one refresh, and its answer passes.
func TestEndlessRefusals(t *testing.T) {
	var want atomic.Value
	want.Store("never")
	r, tk := oauthRig(t, &want, nil)
	c := r.client(false)
	for range 5 {
		got := r.get(c, r.url("/"))
		if got.StatusCode != 401 || got.body != "expired" || got.Header.Get("Proxy-Status") != `sallyport; received-status=401; details="credentials_rejected"` {
			t.Errorf("RS-09: %d %q %q", got.StatusCode, got.body, got.Header.Get("Proxy-Status"))
		}
	}
	if n := tk.given.Load(); n != 2 {
		t.Errorf("RS-09: %d tokens were asked for, want 2", n)
	}
}

// A refresh that fails is our fault to tell, not the upstream's 401.
func TestFailedRefreshIsTold(t *testing.T) {
	var want atomic.Value
	want.Store("at-1")
	r, tk := oauthRig(t, &want, nil)
	c := r.client(false)
	r.get(c, r.url("/"))
	want.Store("at-2")
	tk.broken.Store(true)
	got := r.get(c, r.url("/"))
	wantFault(t, "refresh", got, fault.InvalidClient)
	r.noCanary("OA-05", got.body)
}

// A body beyond replay_limit is streamed and not kept: the refusal passes, and
// the next request has the new token.
func TestLargeBodiesAreNotReplayed(t *testing.T) {
	var want atomic.Value
	want.Store("at-1")
	r, _ := oauthRig(t, &want, nil)
	c := r.client(false)
	r.get(c, r.url("/"))
	want.Store("at-2")
	req, _ := http.NewRequest(http.MethodPost, r.url("/"), io.LimitReader(letters{}, 3<<20))
	if got := r.do(c, req); got.StatusCode != 401 {
		t.Errorf("RS-08: %d %s", got.StatusCode, got.body)
	}
	if got := r.get(c, r.url("/")); got.StatusCode != 200 {
		t.Errorf("RS-08: afterwards: %d", got.StatusCode)
	}
	waitFor(t, func() bool { return r.srv.used.replay.Load() == 0 })
}

// A static key that was changed in the store is read again after a refusal.
func TestChangedKeyIsReadAgain(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer new" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	c := r.client(false)
	if got := r.get(c, r.url("/")); got.StatusCode != 401 {
		t.Fatalf("RT-21: %d", got.StatusCode)
	}
	gets := r.store.Gets.Load()
	for range 20 {
		r.get(c, r.url("/"))
	}
	if n := r.store.Gets.Load() - gets; n > 20 {
		t.Errorf("RT-21: %d reads for 20 refusals", n)
	}
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		name, method, retryAfter string
		status, sent             int
	}{
		{"GET 503", "GET", "", 503, 3},
		{"PUT 502", "PUT", "", 502, 3},
		{"POST 503", "POST", "", 503, 1},
		{"POST 429", "POST", "0", 429, 3},
		{"GET 429 far away", "GET", "60", 429, 1},
		{"GET 429 until a date that is past", "GET", "Wed, 21 Oct 2015 07:28:00 GMT", 429, 3},
		{"GET 429 until a date far away", "GET", "Wed, 21 Oct 2099 07:28:00 GMT", 429, 1},
		{"GET 429 odd", "GET", "soon", 429, 1},
		{"GET 500", "GET", "", 500, 1},
		{"GET 403", "GET", "", 403, 1},
	} {
		t.Run("RS-10 "+c.name, func(t *testing.T) {
			r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if c.retryAfter != "" {
					w.Header().Set("Retry-After", c.retryAfter)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write(body)
			})
			req, _ := http.NewRequest(c.method, r.url("/"), strings.NewReader("body"))
			got := r.do(r.client(false), req)
			if got.StatusCode != c.status || got.body != "body" || len(r.upstream.seen()) != c.sent {
				t.Errorf("%d %q after %d tries, want %d after %d", got.StatusCode, got.body, len(r.upstream.seen()), c.status, c.sent)
			}
			if c.retryAfter != "" && got.Header.Get("Retry-After") != c.retryAfter {
				t.Errorf("Retry-After is %q", got.Header.Get("Retry-After"))
			}
		})
	}
}

// RS-10: retries stay a share of the requests.
func TestRetryBudget(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	c := r.client(false)
	for range 60 {
		r.get(c, r.url("/"))
	}
	if n := len(r.upstream.seen()); n > 60+12+3+5 {
		t.Errorf("RS-10: 60 requests became %d tries", n)
	}
}

func TestRateLimit(t *testing.T) {
	r := newRig(t, echo, func(r *rig) {
		r.config.Providers.Get("api").Limits = provider.Limits{Rates: []provider.Rate{{Count: 2, Window: time.Hour}}, Burst: 2, MaxWait: 10 * time.Millisecond}
	})
	c := r.client(false)
	for range 2 {
		if got := r.get(c, r.url("/")); got.StatusCode != 200 {
			t.Fatalf("%d", got.StatusCode)
		}
	}
	got := r.get(c, r.url("/"))
	wantFault(t, "rate", got, fault.RateLimited)
	if ra := atoi(got.Header.Get("Retry-After")); ra < 1700 || ra > 1800 {
		t.Errorf("Retry-After is %d s, want half an hour", ra)
	}
	if len(r.upstream.seen()) != 2 {
		t.Errorf("%d requests left", len(r.upstream.seen()))
	}
}

func TestConcurrencyIsGivenBack(t *testing.T) {
	r := newRig(t, echo, func(r *rig) {
		r.config.Callers[0].Limits = provider.Limits{Concurrency: 1, MaxWait: 5 * time.Second}
	})
	c := r.client(true)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := r.get(c, r.url("/")); got.StatusCode != 200 {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	wg.Wait()
}

// A signal in a 200's body is a refusal too, and the body still passes.
func TestMeaningOfAnswers(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/scope" {
			w.WriteHeader(403)
			_, _ = io.WriteString(w, `{"error":"insufficient_scope"}`)
			return
		}
		_, _ = io.WriteString(w, `{"ok":false,"error":"missing_scope"}`+strings.Repeat(" ", 100_000))
	}, func(r *rig) {
		r.config.Providers.Get("api").Signals = []provider.Signal{{Status: 200, Body: `"error":"missing_scope"`, Means: provider.Scope}}
	})
	c := r.client(false)
	got := r.get(c, r.url("/"))
	if got.StatusCode != 200 || len(got.body) < 100_000 || got.Header.Get("Proxy-Status") != `sallyport; received-status=200; details="insufficient_scope"` {
		t.Errorf("%d, %d bytes, %q", got.StatusCode, len(got.body), got.Header.Get("Proxy-Status"))
	}
	if got := r.get(c, r.url("/scope")); got.body != `{"error":"insufficient_scope"}` || !strings.Contains(got.Header.Get("Proxy-Status"), "insufficient_scope") {
		t.Errorf("%q %q", got.body, got.Header.Get("Proxy-Status"))
	}
}

// LK-03: no label comes from a request.
func TestLabelsComeFromTheConfiguration(t *testing.T) {
	r := newRig(t, echo, func(r *rig) { r.config.Deny = true })
	for i := range 50 {
		w := r.dial()
		w.send("CONNECT h%d.test:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", i, auth64)
		w.answer("GET")
	}
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if len(f.GetMetric()) > 8 || strings.Contains(f.String(), "test") {
			t.Errorf("LK-03: %s has %d series: %s", f.GetName(), len(f.GetMetric()), f)
		}
	}
}

// A store that is away refuses what nobody in the configuration owns, and says so.
func TestStoreAway(t *testing.T) {
	r := newRig(t, echo, func(r *rig) { r.store.Fail(fault.New(fault.VaultUnreachable, "", nil)) })
	w := r.dial()
	w.send("CONNECT unknown.test:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", auth64)
	wantFault(t, "unknown host", w.answer("GET"), fault.VaultUnreachable)
	wantFault(t, "known host", r.get(r.client(false), r.url("/")), fault.VaultUnreachable)
	if len(r.upstream.seen()) != 0 {
		t.Error("a request left without its credential")
	}
}

func TestDecide(t *testing.T) {
	r := newRig(t, echo, func(r *rig) {
		r.config.Upstream.guard.own = func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:3128")} }
	})
	for _, c := range []struct {
		q    Question
		want Decision
	}{
		{Question{Caller: "orders", Method: "GET", URL: r.url("/x")}, Decision{Action: "intercept", Provider: "api", Credential: "default/production/api/main"}},
		{Question{Caller: "orders", Credential: "no", Method: "GET", URL: r.url("/x")}, Decision{Action: "refuse", Provider: "api", Code: fault.CredentialNotFound}},
		{Question{Caller: "orders", Method: "GET", URL: "https://other.test/"}, Decision{Action: "refuse", Code: fault.NoRoute}},
		{Question{Caller: "orders", Method: "GET", URL: "http://other.test/"}, Decision{Action: "tunnel"}},
		{Question{Caller: "orders", Method: "GET", URL: "http://10.0.0.1/"}, Decision{Action: "refuse", Code: fault.PrivateAddress}},
		{Question{Caller: "orders", Method: "GET", URL: "https://[fd00:ec2::254]:8443/"}, Decision{Action: "refuse", Code: fault.PrivateAddress}},
		{Question{Caller: "orders", Method: "GET", URL: "http://127.0.0.1:3128/"}, Decision{Action: "refuse", Code: fault.LoopDetected}},
		{Question{Caller: "orders", Method: "GET", URL: "ftp://other.test/"}, Decision{Action: "refuse", Code: fault.InvalidRequest}},
	} {
		r.srv.st.Load().TunnelPorts = []int{8443}
		got, err := r.srv.Decide(context.Background(), c.q)
		if err != nil || got.Action != c.want.Action || got.Provider != c.want.Provider || got.Credential != c.want.Credential || got.Code != c.want.Code || len(got.Why) == 0 {
			t.Errorf("%+v: got %+v, %v", c.q, got, err)
		}
	}
	if _, err := r.srv.Decide(context.Background(), Question{Caller: "nobody", URL: r.url("/")}); fault.From(err).Code != fault.InvalidRequest {
		t.Errorf("an unknown caller: %v", err)
	}
	if len(r.upstream.seen()) != 0 {
		t.Error("a decision sent a request")
	}
}
