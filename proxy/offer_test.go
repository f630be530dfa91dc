package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/testserver"
)

const large = 20 << 20

// uploads is what an upstream saw.
type uploads struct {
	mu    sync.Mutex
	seen  []string // Authorization and Expect of each request
	bytes []int64  // of each body that was read
}

func (u *uploads) note(r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, strings.TrimSpace(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")+" "+r.Header.Get("Expect")))
}

func (u *uploads) read(n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes = append(u.bytes, n)
}

func (u *uploads) take() (seen []string, bytes []int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen, bytes = u.seen, u.bytes
	u.seen, u.bytes = nil, nil
	return seen, bytes
}

// is checks what an upstream saw since the last time.
func (u *uploads) is(t *testing.T, what string, seen string, bytes ...int64) {
	t.Helper()
	s, b := u.take()
	if strings.Join(s, ", ") != seen || fmt.Sprint(b) != fmt.Sprint(bytes) {
		t.Errorf("%s: the upstream saw %q with bodies of %d bytes, want %q with %d", what, strings.Join(s, ", "), b, seen, bytes)
	}
}

// api refuses all tokens but the newest before it reads anything.
func (u *uploads) api(newest *atomic.Value) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u.note(r)
		if r.Header.Get("Authorization") != "Bearer "+newest.Load().(string) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "expired")
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		if r.Method != http.MethodGet {
			u.read(n)
		}
		fmt.Fprintf(w, "%d bytes", n)
	}
}

// plainRig has a token for an upstream without TLS.
func plainRig(t *testing.T, upstream string) (*rig, *tokens) {
	tk := newTokens(t)
	r := newRig(t, echo, func(r *rig) {
		r.store.Add("api/main", "oauth2_client_credentials", "client_id", "id", "client_secret", canary)
		r.providers(&provider.Provider{
			Name: "api", Hosts: []string{upstream}, BaseURL: "http://" + upstream, Type: "oauth2_client_credentials", Configured: true,
			AllowCleartext: true, Limits: provider.Limits{MaxWait: -1}, Fingerprint: "1",
			OAuth2: provider.OAuth2{TokenURL: tk.URL + "/token", ClientAuth: "basic"},
		})
	})
	return r, tk
}

func newest(token string) *atomic.Value {
	v := new(atomic.Value)
	v.Store(token)
	return v
}

// upload sends a body of size bytes, whose length is told unless chunked.
func (r *rig) upload(url string, size int64, header ...string) result {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, io.LimitReader(blank{}, size))
	if err != nil {
		r.t.Fatal(err)
	}
	req.ContentLength = size
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if header != nil && header[0] == "chunked" {
		req.ContentLength = -1
		req.Header.Del("chunked")
	}
	return r.do(r.client(false), req)
}

// A body that is too large to be kept survives an expired token, over both
// versions of HTTP: it is sent once.
func TestLargeBodyIsOffered(t *testing.T) {
	var u uploads
	want := newest("at-1")
	plain := httptest.NewServer(u.api(want))
	defer plain.Close()
	t.Run("HTTP/1.1", func(t *testing.T) {
		r, tk := plainRig(t, strings.TrimPrefix(plain.URL, "http://"))
		offered(t, r, tk, &u, want, plain.URL, " 100-continue")
	})
	t.Run("HTTP/2", func(t *testing.T) {
		want.Store("at-1")
		tk := newTokens(t)
		r := newRig(t, u.api(want), func(r *rig) {
			r.store.Add("api/main", "oauth2_client_credentials", "client_id", "id", "client_secret", canary)
			p := r.config.Providers.Get("api")
			p.AllowCleartext, p.OAuth2 = true, provider.OAuth2{TokenURL: tk.URL + "/token", ClientAuth: "basic"}
		})
		offered(t, r, tk, &u, want, r.url("/"), "") // net/http's server hides it
		if proto := r.upstream.seen()[0].Proto; proto != "HTTP/2.0" {
			t.Errorf("the upstream spoke %s", proto)
		}
	})
}

func offered(t *testing.T, r *rig, tk *tokens, u *uploads, want *atomic.Value, url, expect string) {
	t.Helper()
	if got := r.get(r.client(false), url); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	u.is(t, "no body", "at-1")
	want.Store("at-2")
	if got := r.upload(url, large); got.StatusCode != 200 || got.body != fmt.Sprint(large, " bytes") {
		t.Errorf("RS-08: %d %s", got.StatusCode, got.body)
	}
	u.is(t, "RS-08: an expired token", "at-1"+expect+", at-2"+expect, large)
	if got := r.upload(url, 1000); got.StatusCode != 200 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	u.is(t, "a body that is kept", "at-2", 1000)
	if n := tk.given.Load(); n != 2 {
		t.Errorf("RS-08: %d tokens were asked for, want 2", n)
	}
	want.Store("never") // the next forced refresh is 30 s away
	got := r.upload(url, large)
	if got.StatusCode != 401 || got.body != "expired" || got.Header.Get("Proxy-Status") != `sallyport; received-status=401; details="credentials_rejected"` {
		t.Errorf("RS-09: %d %q %q", got.StatusCode, got.body, got.Header.Get("Proxy-Status"))
	}
	u.is(t, "RS-09: refused", "at-2"+expect)
	if n := tk.given.Load(); n != 2 {
		t.Errorf("RS-09: %d tokens were asked for, want 2", n)
	}
	waitFor(t, func() bool { return r.srv.used.replay.Load() == 0 })
}

// nginx refuses without reading, and asks for the body where it wants it.
func TestLargeBodyIsOfferedToNginx(t *testing.T) {
	var u uploads
	want := newest("at-2")
	behind := httptest.NewServer(u.api(want))
	defer behind.Close()
	n := testserver.StartNginx(t, `log_format lengths "$status $request_length";
server {
	listen {addr}; client_max_body_size 0; access_log {dir}/lengths.log lengths;
	location / {
		if ($http_authorization = "Bearer at-1") { return 401; }
		proxy_pass `+behind.URL+`; proxy_http_version 1.1; proxy_request_buffering off;
	}
}`, "addr")
	r, tk := plainRig(t, n.Addr["addr"])
	if got := r.upload("http://"+n.Addr["addr"]+"/", large); got.StatusCode != 200 || got.body != fmt.Sprint(large, " bytes") {
		t.Fatalf("RS-08: %d %s", got.StatusCode, got.body)
	}
	u.is(t, "RS-08: behind nginx", "at-2", large)
	if n := tk.given.Load(); n != 2 {
		t.Errorf("RS-08: %d tokens were asked for, want 2", n)
	}
	var lengths []string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); { // nginx logs a request after it has answered
		log, err := os.ReadFile(n.Dir + "/lengths.log")
		if err != nil {
			t.Fatal(err)
		}
		if lengths = strings.Fields(string(log)); len(lengths) >= 4 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if len(lengths) != 4 || lengths[0] != "401" || atoi(lengths[1]) > 2000 || lengths[2] != "200" || atoi(lengths[3]) < large {
		t.Errorf("RS-08: nginx saw %v, want a 401 without a body and a 200 with one of %d bytes", lengths, large)
	}
}

// nginx does not know Expect over HTTP/2: its refusal comes in time all the same,
// and once it let the time pass the next body is not held back.
func TestLargeBodyIsOfferedToNginxOverHTTP2(t *testing.T) {
	var u uploads
	want := newest("at-2")
	behind := httptest.NewServer(u.api(want))
	defer behind.Close()
	ca := testserver.NewCA(t)
	_, pem := ca.Leaf(t, "localhost")
	n := testserver.StartNginx(t, `server {
	listen {addr} ssl http2; ssl_certificate `+pem+`; ssl_certificate_key `+pem+`; client_max_body_size 0;
	location / {
		if ($http_authorization = "Bearer at-1") { return 401; }
		add_header X-Upstream-Proto $server_protocol;
		proxy_pass `+behind.URL+`; proxy_http_version 1.1; proxy_request_buffering off;
	}
}`, "addr")
	_, at, _ := strings.Cut(n.Addr["addr"], ":")
	addr := "localhost:" + at
	tk := newTokens(t)
	r := newRig(t, echo, func(r *rig) {
		r.store.Add("api/main", "oauth2_client_credentials", "client_id", "id", "client_secret", canary)
		r.providers(&provider.Provider{
			Name: "api", Hosts: []string{addr}, BaseURL: "https://" + addr, Type: "oauth2_client_credentials", Configured: true, Roots: ca.Pool(),
			AllowCleartext: true, Limits: provider.Limits{MaxWait: -1}, Fingerprint: "1", OAuth2: provider.OAuth2{TokenURL: tk.URL + "/token", ClientAuth: "basic"},
		})
	})
	r.config.Upstream.word = 5 * time.Second
	got := r.upload("https://"+addr, large)
	if got.StatusCode != 200 || got.body != fmt.Sprint(large, " bytes") || got.Header.Get("X-Upstream-Proto") != "HTTP/2.0" {
		t.Fatalf("RS-08: %d %s over %s", got.StatusCode, got.body, got.Header.Get("X-Upstream-Proto"))
	}
	if !r.srv.deaf.has(addr) {
		t.Error("nginx is asked again over HTTP/2")
	}
	start := time.Now()
	if got := r.upload("https://"+addr, large); got.StatusCode != 200 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if took := time.Since(start); took > r.config.Upstream.word {
		t.Errorf("the second body took %v", took)
	}
	if u.is(t, "RS-08: behind nginx", "at-2, at-2", large, large); tk.given.Load() != 2 {
		t.Errorf("RS-08: %d tokens were asked for, want 2", tk.given.Load())
	}
}

// hangUp is no answer at all.
const hangUp = "hang up"

// deafServer takes requests without a word about Expect: it answers when it has
// read everything, or at once what early says.
func deafServer(t *testing.T, u *uploads, answer func(r *http.Request) string, early func(r *http.Request) string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	serve := func(c net.Conn) {
		defer c.Close()
		for br := bufio.NewReader(c); ; {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			u.note(r)
			switch text := early(r); text {
			case "":
			case hangUp:
				return
			default:
				_, _ = io.WriteString(c, text)
				return
			}
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				return
			}
			if n > 0 {
				u.read(n)
			}
			_, _ = io.WriteString(c, answer(r))
		}
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return ln.Addr().String()
}

func told(status string) string { return "HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n\r\n" }

func byToken(want *atomic.Value) func(*http.Request) string {
	return func(r *http.Request) string {
		if r.Header.Get("Authorization") == "Bearer "+want.Load().(string) {
			return told("200 OK")
		}
		return told("401 Unauthorized")
	}
}

func never(*http.Request) string { return "" }

// An upstream that lets the time pass gets the body all the same, is remembered,
// and waited for no more. Its refusal passes, because the body is gone.
func TestDeafUpstreamIsRemembered(t *testing.T) {
	var u uploads
	want := newest("at-1")
	addr := deafServer(t, &u, byToken(want), never)
	r, _ := plainRig(t, addr)
	r.config.Upstream.word = 4 * time.Second // two bodies take less on any machine
	url := "http://" + addr + "/"
	start := time.Now()
	if got := r.upload(url, large); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	if took := time.Since(start); took < r.config.Upstream.word {
		t.Errorf("the body was sent after %v", took)
	}
	u.is(t, "offered", "at-1 100-continue", large)
	want.Store("at-2")
	start = time.Now()
	got := r.upload(url, large)
	if got.StatusCode != 401 || !strings.Contains(got.Header.Get("Proxy-Status"), "credentials_rejected") {
		t.Errorf("%d %q", got.StatusCode, got.Header.Get("Proxy-Status"))
	}
	if got := r.upload(url, large); got.StatusCode != 200 {
		t.Errorf("after the refresh: %d", got.StatusCode)
	}
	if took := time.Since(start); took > 2*r.config.Upstream.word {
		t.Errorf("two bodies took %v to be sent, as if each had been offered", took)
	}
	u.is(t, "remembered", "at-1, at-2", large, large)
	if !r.srv.deaf.has(addr) {
		t.Error("it is not remembered")
	}
}

// An upstream that refuses the expectation, or the connection with it, gets the
// request without it at once.
func TestUpstreamRefusesTheOffer(t *testing.T) {
	for name, refusal := range map[string]string{"417": told("417 Expectation Failed"), "reset": hangUp} {
		t.Run(name, func(t *testing.T) {
			var u uploads
			want := newest("at-1")
			addr := deafServer(t, &u, byToken(want), func(r *http.Request) string {
				if r.Header.Get("Expect") != "" {
					return refusal
				}
				return ""
			})
			r, _ := plainRig(t, addr)
			for range 2 {
				if got := r.upload("http://"+addr+"/", large); got.StatusCode != 200 {
					t.Fatalf("%d %s", got.StatusCode, got.body)
				}
			}
			u.is(t, name, "at-1 100-continue, at-1, at-1", large, large)
		})
	}
}

// What is not to be offered goes out as it came.
func TestWhatIsNotOffered(t *testing.T) {
	var u uploads
	want := newest("at-1")
	plain := httptest.NewServer(u.api(want))
	defer plain.Close()
	r, _ := plainRig(t, strings.TrimPrefix(plain.URL, "http://"))
	r.upload(plain.URL, 1<<20)
	u.is(t, "replay_limit", "at-1", 1<<20)
	r.upload(plain.URL, large, "chunked", "")
	u.is(t, "unknown length", "at-1", large)

	static := newRig(t, u.api(newest(canary)))
	static.upload(static.url("/"), large)
	u.is(t, "a key that nobody renews", canary, large)
}

// The runner's own Expect is answered as the upstream answers, once; ours is
// none of its business.
func TestRunnersOwnExpect(t *testing.T) {
	var u uploads
	want := newest("at-2")
	plain := httptest.NewServer(u.api(want))
	defer plain.Close()
	r, _ := plainRig(t, strings.TrimPrefix(plain.URL, "http://"))
	send := func(header string) (hundreds int) {
		t.Helper()
		w := r.dial()
		w.send("POST %s/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\nContent-Length: %d\r\n%s\r\n", plain.URL, auth64, large, header)
		if header == "" {
			go func() { _, _ = io.CopyN(w.Conn, blank{}, large) }()
		}
		for {
			resp, err := http.ReadResponse(w.r, &http.Request{Method: "POST"})
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusContinue {
				if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(b) != fmt.Sprint(large, " bytes") {
					t.Errorf("%d %s", resp.StatusCode, b)
				}
				return hundreds
			}
			if hundreds++; hundreds == 1 {
				go func() { _, _ = io.CopyN(w.Conn, blank{}, large) }()
			}
		}
	}
	if n := send("Expect: 100-continue\r\n"); n != 1 {
		t.Errorf("the runner was told %d times to continue", n)
	}
	u.is(t, "SM-13: its own", "at-1 100-continue, at-2 100-continue", large)
	if n := send(""); n != 0 {
		t.Errorf("a runner that did not ask was told %d times to continue", n)
	}
	u.is(t, "ours", "at-2 100-continue", large)
}

// A body of unknown length is offered where the runner offers it.
func TestRunnersOwnExpectOfUnknownLength(t *testing.T) {
	var u uploads
	want := newest("at-2")
	plain := httptest.NewServer(u.api(want))
	defer plain.Close()
	r, _ := plainRig(t, strings.TrimPrefix(plain.URL, "http://"))
	req, _ := http.NewRequest(http.MethodPut, plain.URL, io.LimitReader(blank{}, large))
	req.Header.Set("Expect", "100-continue")
	c := r.client(false)
	c.Transport.(*http.Transport).ExpectContinueTimeout = 10 * time.Second
	if got := r.do(c, req); got.StatusCode != 200 || got.body != fmt.Sprint(large, " bytes") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	u.is(t, "unknown length", "at-1 100-continue, at-2 100-continue", large)
}

// An error that comes before the body passes, and its upstream gets no body.
func TestErrorBeforeAnOffersBody(t *testing.T) {
	for _, status := range []int{403, 413, 500} {
		plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "early")
		}))
		r, _ := plainRig(t, strings.TrimPrefix(plain.URL, "http://"))
		got := r.upload(plain.URL, large)
		if got.StatusCode != status || got.body != "early" {
			t.Errorf("%d %q, want %d", got.StatusCode, got.body, status)
		}
		if r.srv.deaf.has(strings.TrimPrefix(plain.URL, "http://")) {
			t.Errorf("%d: an upstream that answers in time is not asked again", status)
		}
		plain.Close()
	}
}

// A good answer that comes before the body passes, and the upstream gets all of
// the body, offered or not.
func TestGoodAnswerBeforeTheBody(t *testing.T) {
	read := make(chan int64, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nearly \r\n")
			time.Sleep(300 * time.Millisecond) // the way here fills up
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(c, "4\r\nlate\r\n0\r\n\r\n")
			_ = c.Close()
			read <- n
		}
	}()
	addr := ln.Addr().String()
	r, _ := plainRig(t, addr)
	for _, what := range []string{"offered", "not offered"} {
		if got := r.upload("http://"+addr, large); got.StatusCode != 200 || got.body != "early late" {
			t.Errorf("%s: %d %q", what, got.StatusCode, got.body)
		}
		if n := within(t, read, "the upstream reads"); n != large {
			t.Errorf("%s: the upstream got %d bytes, want %d", what, n, large)
		}
		if !r.srv.deaf.has(addr) {
			t.Error("an upstream that reads after its answer is made an offer again")
		}
	}
}

// A signal of a good answer that comes before the body is a refusal too.
func TestOfferRefusedByAGoodStatus(t *testing.T) {
	var u uploads
	want := newest("at-2")
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer at-1" {
			u.note(r)
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"ok":false,"error":"token_expired"}`)
			return
		}
		u.api(want)(w, r)
	}))
	defer plain.Close()
	r, _ := plainRig(t, strings.TrimPrefix(plain.URL, "http://"))
	r.config.Providers.Get("api").Signals = []provider.Signal{{Status: 200, Body: `"error":"token_expired"`, Means: provider.Expired}}
	if got := r.upload(plain.URL, large); got.StatusCode != 200 || got.body != fmt.Sprint(large, " bytes") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	u.is(t, "200 that is a no", "at-1 100-continue, at-2 100-continue", large)
}

func TestOfferInConstantMemory(t *testing.T) {
	const size = 96 << 20
	var u uploads
	plain := httptest.NewServer(u.api(newest("at-2")))
	defer plain.Close()
	r, _ := plainRig(t, strings.TrimPrefix(plain.URL, "http://"))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if got := r.upload(plain.URL, size); got.StatusCode != 200 || got.body != fmt.Sprint(size, " bytes") {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 48<<20 {
		t.Errorf("memory grew by %d MiB for a body of %d MiB", grown>>20, size>>20)
	}
	u.is(t, "RS-08", "at-1 100-continue, at-2 100-continue", size)
}

// A runner that leaves while the upstream is waited for leaves nothing behind.
func TestRunnerLeavesItsOffer(t *testing.T) {
	var u uploads
	hold := make(chan struct{})
	defer close(hold)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	addr := deafServer(t, &u, byToken(newest("at-1")), func(*http.Request) string { cancel(); <-hold; return hangUp })
	r, _ := plainRig(t, addr)
	r.config.Upstream.word = time.Second // then the runner's body is looked at
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr, io.LimitReader(blank{}, large))
	req.ContentLength = large
	if _, err := r.client(false).Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "outcome=canceled") })
}

func newTestOffer(gone chan struct{}) (*offer, *atomic.Int64) {
	late := new(atomic.Int64)
	return &offer{ours: true, word: continueTimeout, gone: gone, late: func() { late.Add(1) }, wanted: make(chan struct{}), over: make(chan struct{})}, late
}

func TestOfferIsReadOnce(t *testing.T) {
	read := func(o *offer) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := (&offeredBody{io.NopCloser(strings.NewReader("x")), o}).Read(make([]byte, 1))
			done <- err
		}()
		return done
	}
	for name, c := range map[string]struct {
		after time.Duration // of the header
		do    func(*offer)
		want  error
		late  int64
	}{
		"asked for":         {0, (*offer).want, nil, 0},
		"the time is over":  {continueTimeout, func(*offer) {}, nil, 1},
		"the try is over":   {0, (*offer).close, http.ErrBodyReadAfterClose, 0},
		"judged to be good": {0, func(o *offer) { o.passes(&http.Response{StatusCode: 200}) }, nil, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			o, late := newTestOffer(nil)
			o.wait()
			time.Sleep(c.after)
			done := read(o)
			synctest.Wait()
			c.do(o)
			if err := <-done; !errors.Is(err, c.want) || late.Load() != c.late {
				t.Errorf("%s: %v, late %d", name, err, late.Load())
			}
			if o.close(); <-read(o) == nil {
				t.Errorf("%s: a closed try is read", name)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		o, _ := newTestOffer(gone)
		if err := <-read(o); err != nil {
			t.Errorf("before the header: %v", err)
		}
		o.wait()
		done := read(o)
		o.passes(&http.Response{StatusCode: 403})
		synctest.Wait()
		close(gone)
		if err := <-done; err == nil {
			t.Error("an offer is read after its exchange")
		}
	})
}

func TestOfferDeclined(t *testing.T) {
	reset := fault.New(fault.ConnectionReset, "", nil)
	fresh := func() *offer { o, _ := newTestOffer(nil); return o }
	theirs, wanted := fresh(), fresh()
	theirs.ours = false
	wanted.want()
	for name, c := range map[string]struct {
		o    *offer
		resp *http.Response
		err  error
		want bool
	}{
		"417":               {fresh(), &http.Response{StatusCode: 417}, nil, true},
		"reset":             {fresh(), nil, reset, true},
		"timeout":           {fresh(), nil, fault.New(fault.Timeout, "", nil), false},
		"200":               {fresh(), &http.Response{StatusCode: 200}, nil, false},
		"the runner's 417":  {theirs, &http.Response{StatusCode: 417}, nil, false},
		"417 after a 100":   {wanted, &http.Response{StatusCode: 417}, nil, false},
		"reset after a 100": {wanted, nil, reset, false},
		"no offer":          {nil, &http.Response{StatusCode: 417}, nil, false},
	} {
		if got := c.o.declined(c.resp, c.err); got != c.want {
			t.Errorf("%s: declined %v, want %v", name, got, c.want)
		}
	}
}

func TestDeafIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeaf()
		d.add("a:443")
		time.Sleep(deafFor - time.Second)
		if !d.has("a:443") || d.has("b:443") {
			t.Error("it is not remembered, or another one is")
		}
		time.Sleep(2 * time.Second)
		if d.has("a:443") {
			t.Error("it is remembered for ever")
		}
		for n := range 2 * maxDeaf {
			d.add(fmt.Sprint(n))
		}
		if n := d.held.Len(); n != maxDeaf {
			t.Errorf("%d upstreams are remembered", n)
		}
	})
}

// Facts about net/http that offer relies on: it calls the hook before it waits,
// and ends the waiting with a final answer. Then it reads the body over HTTP/1.1,
// where the connection is to be kept, and does not over HTTP/2.
func TestTransportWaitsForContinue(t *testing.T) {
	var u uploads
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	keeps := deafServer(t, &u, never, func(*http.Request) string { return told("401 Unauthorized") })
	for _, c := range []struct {
		url    string
		client *http.Client
		reads  bool
	}{{s.URL, s.Client(), false}, {"http://" + keeps, &http.Client{Transport: &http.Transport{}}, true}} {
		tr := c.client.Transport.(*http.Transport)
		tr.ExpectContinueTimeout = time.Minute
		waits, reads := make(chan bool, 1), make(chan bool, 1)
		req, _ := http.NewRequest(http.MethodPost, c.url, readFunc(func([]byte) (int, error) { reads <- true; return 0, io.ErrUnexpectedEOF }))
		req.ContentLength = large
		req.Header.Set("Expect", "100-continue")
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Wait100Continue: func() { waits <- true }}))
		start := time.Now()
		resp, err := tr.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if within(t, waits, "it waits"); time.Since(start) > 30*time.Second || !c.reads && (err != nil || resp.StatusCode != 401) {
			t.Errorf("%s: %v, %v after %v", c.url, resp, err, time.Since(start))
		}
		if c.reads {
			within(t, reads, "it reads")
		} else if len(reads) > 0 {
			t.Errorf("%s: the body was read", c.url)
		}
		tr.CloseIdleConnections()
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
