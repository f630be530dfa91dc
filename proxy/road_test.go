package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func TestInterceptedRequestArrivesWithTheCredential(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		r := newRig(t, echo)
		got := r.get(r.client(h2), r.url("/a%2Fb?q=1;2&x=%41"), "Authorization", "Bearer dummy", "authorization_", "x", "Sallyport-Credential", "main")
		if got.StatusCode != 200 || got.body != "GET /a%2Fb?q=1;2&x=%41 0" {
			t.Fatalf("h2=%v: %d %s", h2, got.StatusCode, got.body)
		}
		if want := map[bool]int{false: 1, true: 2}[h2]; got.ProtoMajor != want {
			t.Errorf("h2=%v: the runner was spoken to in %s", h2, got.Proto)
		}
		up := r.upstream.seen()[0]
		if a := up.Header["Authorization"]; len(a) != 1 || a[0] != "Bearer "+canary {
			t.Errorf("h2=%v: the upstream saw Authorization %q", h2, a)
		}
		for name := range up.Header {
			if strings.HasPrefix(name, "Sallyport") || strings.HasPrefix(name, "Proxy") {
				t.Errorf("h2=%v: the upstream saw %s", h2, name)
			}
		}
		if up.ProtoMajor != 2 {
			t.Errorf("h2=%v: the upstream was spoken to in %s", h2, up.Proto)
		}
		r.noCanary("LK-01", got.body)
	}
}

func TestAbsoluteForm(t *testing.T) {
	r := newRig(t, echo)
	// HM-15: http to a provider whose base URL is https goes out as https.
	plain := "http://" + r.upstream.authority + "/up"
	w := r.dial()
	w.send("GET %s HTTP/1.1\r\nHost: evil.test\r\nProxy-Authorization: Basic %s\r\n\r\n", plain, auth64)
	if got := w.answer("GET"); got.StatusCode != 200 {
		t.Fatalf("HM-15: %d %s", got.StatusCode, got.body)
	}
	up := r.upstream.seen()[0]
	if up.TLS == nil || up.Header.Get("Authorization") != "Bearer "+canary {
		t.Errorf("HM-15: TLS %v, Authorization %q", up.TLS != nil, up.Header.Get("Authorization"))
	}
	if up.Host != r.upstream.authority {
		t.Errorf("HM-05: the upstream saw Host %q, want the URL's %q", up.Host, r.upstream.authority)
	}
	w = r.dial()
	w.send("GET https://%s/s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer tok\r\n\r\n", r.upstream.authority)
	if got := w.answer("GET"); got.StatusCode != 200 {
		t.Errorf("https absolute-form: %d %s", got.StatusCode, got.body)
	}
}

func TestCleartext(t *testing.T) {
	var seen atomic.Value
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
	}))
	defer plain.Close()
	host := strings.TrimPrefix(plain.URL, "http://")
	for _, allow := range []bool{false, true} {
		seen.Store("")
		r := newRig(t, echo, func(r *rig) {
			r.store.Add("old/main", "api_key", "api_key", canary)
			r.providers(&provider.Provider{Name: "old", Hosts: []string{host}, BaseURL: plain.URL, Type: "api_key", Configured: true, AllowCleartext: allow, Fingerprint: "1"})
		})
		got := r.get(r.client(false), plain.URL+"/x")
		if !allow {
			wantFault(t, "HM-15", got, fault.CleartextRefused)
		}
		if want := map[bool]string{false: "", true: "Bearer " + canary}[allow]; seen.Load() != want {
			t.Errorf("HM-15: allow_cleartext=%v: the upstream saw %q", allow, seen.Load())
		}
	}
}

func TestCallers(t *testing.T) {
	r := newRig(t, echo)
	for name, header := range map[string]string{
		"no field": "", "wrong token": "Proxy-Authorization: Basic b3JkZXJzOm5v\r\n", "unknown caller": "Proxy-Authorization: Basic eDp0b2s=\r\n",
		"not base64": "Proxy-Authorization: Basic !\r\n", "other scheme": "Proxy-Authorization: Digest x\r\n", "wrong bearer": "Proxy-Authorization: Bearer no\r\n",
		"twice": "Proxy-Authorization: Basic " + auth64 + "\r\nProxy-Authorization: Basic " + auth64 + "\r\n",
	} {
		for _, target := range []string{"GET http://" + r.upstream.authority + "/", "CONNECT " + r.upstream.authority, "CONNECT nowhere.test:443"} {
			w := r.dial()
			w.send("%s HTTP/1.1\r\nHost: x\r\n%s\r\n", target, header)
			got := w.answer("GET")
			wantFault(t, "LT-01 "+name+" "+target, got, fault.ProxyAuthRequired)
			if !strings.HasPrefix(got.Header.Get("Proxy-Authenticate"), "Basic ") {
				t.Errorf("LT-01: Proxy-Authenticate is %q", got.Header.Get("Proxy-Authenticate"))
			}
		}
	}
	if n := r.store.Gets.Load() + r.store.Lists.Load(); n != 0 {
		t.Errorf("LT-01: the store was asked %d times for callers without a token", n)
	}
	if len(r.upstream.seen()) != 0 {
		t.Error("LT-01: a request reached the upstream")
	}
}

// LT-02: what is bound to others is not to be had, and does not show.
func TestCallersAreKeptApart(t *testing.T) {
	r := newRig(t, echo, func(r *rig) {
		r.store.Add("other/production/api/theirs", "api_key", "api_key", canary)
		r.store.Add("api/second", "api_key", "api_key", "second")
		r.config.Callers[0].Allow = []Allow{{Credentials: []string{"api/main"}, Methods: []string{"GET"}, Paths: []string{"/repos/**"}}}
	})
	c := r.client(false)
	for _, name := range []string{"theirs", "second", "missing"} {
		wantFault(t, "LT-02 "+name, r.get(c, r.url("/repos/x"), "Sallyport-Credential", name), fault.CredentialNotFound)
	}
	wantFault(t, "LT-02 path", r.get(c, r.url("/user")), fault.NotAllowed)
	req, _ := http.NewRequest(http.MethodDelete, r.url("/repos/x"), nil)
	wantFault(t, "LT-02 method", r.do(c, req), fault.NotAllowed)
	for _, path := range []string{"/repos/../user", "/repos/%2e%2e/user", "/repos//x", "/repos/a%2fb", `/repos/a%5Cb`} {
		wantFault(t, "PA-01 "+path, r.get(c, r.url(path)), fault.InvalidRequest)
	}
	if len(r.upstream.seen()) != 0 {
		t.Fatal("LT-02: a request reached the upstream")
	}
	if got := r.get(c, r.url("/repos/a/b")); got.StatusCode != 200 {
		t.Errorf("allowed: %d %s", got.StatusCode, got.body)
	}
}

func TestChoice(t *testing.T) {
	r := newRig(t, echo)
	c := r.client(false)
	r.store.Add("api/second", "api_key", "api_key", "second")
	r.srv.Changed(mustRef("api/second"))
	got := r.get(c, r.url("/"))
	wantFault(t, "two", got, fault.AmbiguousCredential)
	if !strings.Contains(got.problem.Detail, "main") || !strings.Contains(got.problem.Detail, "second") {
		t.Errorf("the choices are not named: %s", got.problem.Detail)
	}
	if got := r.get(c, r.url("/"), "Sallyport-Credential", "second"); got.StatusCode != 200 || r.upstream.seen()[0].Header.Get("Authorization") != "Bearer second" {
		t.Errorf("by name: %d", got.StatusCode)
	}
	r.store.Add("api/default", "api_key", "api_key", "dflt")
	r.srv.Changed(mustRef("api/default"))
	if got := r.get(c, r.url("/")); got.StatusCode != 200 || r.upstream.seen()[1].Header.Get("Authorization") != "Bearer dflt" {
		t.Errorf("default: %d", got.StatusCode)
	}
}

func TestNoCredential(t *testing.T) {
	empty := func(r *rig) { _ = r.store.Delete(context.Background(), mustRef("api/main")) }
	r := newRig(t, echo, empty)
	wantFault(t, "none", r.get(r.client(false), r.url("/")), fault.NoCredential)
	if len(r.upstream.seen()) != 0 {
		t.Error("an unauthenticated request left")
	}
	r = newRig(t, echo, empty, func(r *rig) { r.config.Providers.Get("api").Anonymous = true })
	if got := r.get(r.client(false), r.url("/"), "Authorization", "Bearer own"); got.StatusCode != 200 || r.upstream.seen()[0].Header.Get("Authorization") != "Bearer own" {
		t.Errorf("anonymous: %d %v", got.StatusCode, r.upstream.seen()[0].Header)
	}
}

func TestUnmatched(t *testing.T) {
	other := newRecording(t, echo)
	pool := func(r *rig) *http.Client {
		c := r.client(false)
		c.Transport.(*http.Transport).TLSClientConfig.RootCAs = rootsOf(other)
		return c
	}
	p := atoi(port(other.Listener.Addr()))
	t.Run("HM-01 tunnelled untouched", func(t *testing.T) {
		r := newRig(t, echo, func(r *rig) { r.config.TunnelPorts = []int{p} })
		if got := r.get(pool(r), "https://"+other.authority+"/"); got.StatusCode != 200 {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		for _, up := range other.seen() {
			if up.Header.Get("Authorization") != "" {
				t.Error("HM-01: a credential reached a host that no provider owns")
			}
		}
	})
	refused := map[string]func(*rig){
		"denied": func(r *rig) { r.config.Deny = true },
		"port":   func(r *rig) { r.config.TunnelPorts = []int{443} },
		"policy": func(r *rig) { r.config.Callers[0].Allow = []Allow{{Credentials: []string{"api/*"}}} },
	}
	for name, change := range refused {
		t.Run("HM-01 "+name, func(t *testing.T) {
			r := newRig(t, echo, change)
			w := r.dial()
			w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", other.authority, auth64)
			wantFault(t, "HM-01", w.answer("GET"), fault.NoRoute)
		})
	}
}

func TestStreams(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "application/x-ndjson", "sized"} {
		next := make(chan struct{}, 2)
		r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			if kind == "sized" {
				w.Header().Set("Content-Length", "12")
			}
			for range 2 {
				fmt.Fprint(w, "line\n\n")
				w.(http.Flusher).Flush()
				select {
				case <-next:
				case <-r.Context().Done():
				}
			}
		})
		resp, err := r.client(false).Get(r.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		b := bufio.NewReader(resp.Body)
		for range 2 {
			if line, err := b.ReadString('\n'); err != nil || line != "line\n" { // comes before the next is written
				t.Fatalf("%s: %q, %v", kind, line, err)
			}
			_, _ = b.ReadString('\n')
			next <- struct{}{}
		}
		resp.Body.Close()
	}
}

func TestWebSocket(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		typ, b, err := c.Read(r.Context())
		if err == nil {
			_ = c.Write(r.Context(), typ, append([]byte("echo "), b...))
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "wss://"+r.upstream.authority+"/ws", &websocket.DialOptions{HTTPClient: r.client(false)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := c.Read(ctx); err != nil || string(b) != "echo hi" {
		t.Fatalf("%q, %v", b, err)
	}
	if got := r.upstream.seen()[0].Header.Get("Authorization"); got != "Bearer "+canary {
		t.Errorf("the handshake had Authorization %q", got)
	}
}

func TestUploadInConstantMemory(t *testing.T) {
	const size = 96 << 20
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	req, _ := http.NewRequest(http.MethodPut, r.url("/"), io.LimitReader(blank{}, size))
	req.ContentLength = size
	req.Header.Set("Expect", "100-continue")
	got := r.do(r.client(false), req)
	runtime.ReadMemStats(&after)
	if got.body != fmt.Sprint(size) {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > 48<<20 {
		t.Errorf("memory grew by %d MiB for a body of %d MiB", grown>>20, size>>20)
	}
}

type blank struct{}

func (blank) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// GP-23 and GP-11: encodings pass untouched, a cut answer looks cut.
func TestAnswersPassUntouched(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte("\x1f\x8b not really"))
		case "/cut":
			_, _ = w.Write(make([]byte, 100))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/bare":
			w.Header()["Date"], w.Header()["Content-Type"] = nil, nil
			_, _ = w.Write([]byte("<html>"))
		case "/407":
			w.WriteHeader(407)
		}
	})
	c := r.client(false)
	if got := r.get(c, r.url("/gzip"), "Accept-Encoding", "gzip"); got.body != "\x1f\x8b not really" || got.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("GP-23: %q %v", got.body, got.Header)
	}
	if ae := r.upstream.seen()[0].Header.Get("Accept-Encoding"); ae != "gzip" {
		t.Errorf("GP-23: the upstream saw Accept-Encoding %q", ae)
	}
	if got := r.get(c, r.url("/bare")); got.Header.Get("Content-Type") != "" || got.Header.Get("Date") != "" {
		t.Errorf("fields were added: %v", got.Header)
	}
	if _, ok := r.upstream.seen()[1].Header["Accept-Encoding"]; ok {
		t.Error("GP-23: Accept-Encoding was added")
	}
	wantFault(t, "an origin's 407", r.get(c, r.url("/407")), fault.UpstreamInvalid)
	resp, err := c.Get(r.url("/cut"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("GP-13: a cut answer of %d bytes looks whole", len(b))
	}
}

func TestUpstreamIsCancelledWhenTheRunnerLeaves(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		gone := make(chan struct{})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
			close(gone)
		})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, r.url("/"), nil)
		if resp, err := r.client(h2).Do(req); err == nil {
			resp.Body.Close()
			t.Fatal("answered")
		}
		select {
		case <-gone:
		case <-time.After(30 * time.Second):
			t.Errorf("GP-13 h2=%v: the upstream's request goes on after the runner has left", h2)
		}
		waitFor(t, func() bool { return strings.Contains(r.log.String(), "outcome=canceled") })
	}
}

func TestGateway(t *testing.T) {
	r := newRig(t, echo, func(r *rig) { r.config.Anonymous = "orders" })
	base := "http://" + r.proxy
	get := func(path string, header ...string) result { return r.get(http.DefaultClient, base+path, header...) }
	wantFault(t, "no caller", get("/gateway/api/x"), fault.Unauthorized)
	wantFault(t, "wrong token", get("/gateway/api/x", "Authorization", "Bearer no"), fault.Unauthorized)
	wantFault(t, "unknown provider", get("/gateway/none/x", "Authorization", "Bearer tok"), fault.NotFound)
	wantFault(t, "LT-05 page", get("/gateway/api/x", "Authorization", "Bearer tok", "Origin", "http://evil.test"), fault.OriginRefused)
	wantFault(t, "LT-05 site", get("/gateway/api/x", "Authorization", "Bearer tok", "Sec-Fetch-Site", "cross-site"), fault.OriginRefused)
	req, _ := http.NewRequest(http.MethodGet, base+"/gateway/api/x", nil)
	req.Host = "evil.test"
	req.SetBasicAuth("orders", "tok")
	wantFault(t, "LT-05 rebinding", r.do(http.DefaultClient, req), fault.Misdirected)
	req.Host = ""
	if got := r.do(http.DefaultClient, req); got.StatusCode != 200 || got.body != "GET /x 0" {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	if up := r.upstream.seen()[0]; up.Header.Get("Authorization") != "Bearer "+canary || up.Host != r.upstream.authority {
		t.Errorf("the upstream saw %v at %s", up.Header, up.Host)
	}
	got := get("/")
	if got.StatusCode != 400 || got.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("LT-06: %d %v", got.StatusCode, got.Header)
	}
}

// A credential with a url is sent there, and nowhere else.
func TestURLCredentials(t *testing.T) {
	own := newRecording(t, echo)
	r := newRig(t, echo, func(r *rig) {
		r.store.Add("inst/a", "api_key_url", "api_key", canary, "url", "https://"+own.authority+"/base")
		r.providers(&provider.Provider{
			Name: "inst", Hosts: []string{"inst.test"}, BaseURL: "https://inst.test/api", Type: "api_key_url", Configured: true, Fingerprint: "1",
		})
		roots := rootsOf(own)
		r.config.Upstream = NewUpstream(UpstreamOptions{AllowNetworks: r.config.Upstream.options.AllowNetworks, Resolver: everywhere{}, Roots: roots})
	})
	c := r.client(false)
	if got := r.get(c, "https://"+own.authority+"/p?q=1"); got.body != "GET /p?q=1 0" {
		t.Errorf("on its own host: %d %s", got.StatusCode, got.body)
	}
	if got := r.get(c, "https://inst.test/api/p?q=1"); got.body != "GET /base/p?q=1 0" {
		t.Errorf("on the base URL's host: %d %s", got.StatusCode, got.body)
	}
	for _, up := range own.seen() {
		if up.Header.Get("Authorization") != "Bearer "+canary {
			t.Errorf("the upstream saw %v", up.Header)
		}
	}
}

func TestProblemsNameWhatHappened(t *testing.T) {
	r := newRig(t, echo, func(r *rig) {
		r.providers(&provider.Provider{Name: "api", Hosts: []string{"127.0.0.1:1"}, BaseURL: "https://127.0.0.1:1", Type: "api_key", Configured: true, Fingerprint: "1"})
	})
	got := r.get(r.client(false), "https://127.0.0.1:1/x")
	wantFault(t, "LK-02", got, fault.ConnectionRefused)
	p := got.problem
	if p.Credential != "default/production/api/main" || p.Provider != "api" || p.RequestID == "" || len(p.Remedy) == 0 || p.Type != "urn:sallyport:fault:connection_refused" {
		t.Errorf("the problem is %+v", p)
	}
	if strings.Contains(got.body, "dial") || strings.Contains(got.body, "connect:") {
		t.Errorf("LK-02: the body quotes an internal error: %s", got.body)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("what was waited for did not happen in 30 s")
}
