package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// canary is the secret of the rig's credential: it may arrive at the upstream
// and must show nowhere else.
const canary = "CNRY-2d7c1f0a9b"

// rig is a proxy with one provider, api, whose upstream is a TLS server of the
// test. Every name resolves to loopback.
type rig struct {
	t        testing.TB
	srv      *Server
	level    slog.Level // of the log; debug unless changed
	store    *credtest.Store
	config   Config
	registry *prometheus.Registry
	log      *safeBuffer
	proxy    string // host:port
	upstream *recording
	roots    *x509.CertPool // with the local CA

	maxConnections int
	idle           time.Duration // 0: as it is
}

// recording is a TLS upstream that keeps what arrived.
type recording struct {
	*httptest.Server
	authority string // example.com:PORT, owned by provider api
	mu        sync.Mutex
	requests  []*http.Request
}

func (u *recording) seen() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]*http.Request(nil), u.requests...)
}

func newRecording(t testing.TB, h http.HandlerFunc) *recording {
	t.Helper()
	u := &recording{}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, benchmark := t.(*testing.B); !benchmark {
			u.mu.Lock()
			u.requests = append(u.requests, r.Clone(context.Background()))
			u.mu.Unlock()
		}
		h(w, r)
	}))
	u.EnableHTTP2 = true
	u.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	u.StartTLS()
	t.Cleanup(u.Close)
	u.authority = "example.com:" + port(u.Listener.Addr())
	return u
}

func port(a net.Addr) string {
	_, p, _ := net.SplitHostPort(a.String())
	return p
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *safeBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}

// everywhere resolves every name to loopback.
type everywhere struct{}

func (everywhere) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Proto", r.Proto)
	fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.RequestURI(), len(body))
}

// newRig starts a proxy; change may alter its configuration before it starts.
func newRig(t testing.TB, h http.HandlerFunc, change ...func(*rig)) *rig {
	t.Helper()
	r := &rig{t: t, level: slog.LevelDebug, store: &credtest.Store{}, registry: prometheus.NewRegistry(), log: &safeBuffer{}, upstream: newRecording(t, h)}
	r.store.Add("api/main", "api_key", "api_key", canary)
	roots := x509.NewCertPool()
	roots.AddCert(r.upstream.Certificate())
	r.config = Config{
		Callers: []Caller{{Name: "orders", Workspace: "default", Environment: "production", TokenSHA256: sha256.Sum256([]byte("tok"))}},
		Upstream: NewUpstream(UpstreamOptions{
			AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Resolver: everywhere{}, Roots: roots, Timeout: 30 * time.Second,
		}),
		ReplayLimit: 1 << 20, CacheTTL: time.Minute, Limits: provider.Limits{MaxWait: time.Second},
		Retry: Retry{Attempts: 3, Base: time.Millisecond, Max: 50 * time.Millisecond, Budget: 0.2},
	}
	r.providers(&provider.Provider{
		Name: "api", Hosts: []string{r.upstream.authority}, BaseURL: "https://" + r.upstream.authority, Type: "api_key",
		Types: []string{"oauth2_client_credentials", "basic"}, Configured: true, Limits: provider.Limits{MaxWait: -1}, Fingerprint: "1",
	})
	for _, c := range change {
		c(r)
	}
	if r.config.Upstream != nil {
		r.config.Upstream.word = 30 * time.Second // a busy machine's upstreams take their time too
	}
	r.start()
	return r
}

func (r *rig) providers(ps ...*provider.Provider) {
	table, conflicts := provider.NewTable(ps)
	if len(conflicts) > 0 {
		r.t.Fatalf("conflicts: %v", conflicts)
	}
	r.config.Providers = table
}

func (r *rig) start() {
	t := r.t
	t.Helper()
	ca, err := LoadCA(CAOptions{Dir: filepath.Join(t.TempDir(), "ca")})
	if err != nil {
		t.Fatal(err)
	}
	r.roots = x509.NewCertPool()
	r.roots.AppendCertsFromPEM(ca.PEM())
	life, end := context.WithCancel(context.Background())
	r.srv = New(Options{
		Store: r.store, CA: ca, Life: life, Registerer: r.registry, AuthMetrics: auth.NewMetrics(r.registry),
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: r.level})), MaxConnections: r.maxConnections,
	})
	if r.idle > 0 {
		r.srv.idle = r.idle
	}
	r.srv.Swap(r.config)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.proxy = ln.Addr().String()
	done := make(chan error, 2)
	go func() { done <- r.srv.Run(life) }()
	go func() { done <- r.srv.Serve(ln, "") }()
	t.Cleanup(func() {
		r.srv.Close()
		end()
		for range 2 {
			if err := within(t, done, "serving ends"); err != nil {
				t.Errorf("serving ended with %v", err)
			}
		}
	})
}

// client sends through the proxy as the caller orders.
func (r *rig) client(h2 bool) *http.Client {
	return r.clientAs("orders:tok", h2)
}

func (r *rig) clientAs(userinfo string, h2 bool) *http.Client {
	u, err := url.Parse("http://" + userinfo + "@" + r.proxy)
	if err != nil {
		r.t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: &tls.Config{RootCAs: r.roots}, ForceAttemptHTTP2: h2, DisableCompression: true}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (r *rig) url(path string) string { return "https://" + r.upstream.authority + path }

type result struct {
	*http.Response
	body    string
	problem fault.Problem
}

func (r *rig) do(c *http.Client, req *http.Request) result {
	r.t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: body: %v", req.Method, req.URL, err)
	}
	out := result{Response: resp, body: string(b)}
	if resp.Header.Get("Content-Type") == fault.ContentType {
		if err := json.Unmarshal(b, &out.problem); err != nil {
			r.t.Fatalf("problem: %v", err)
		}
	}
	return out
}

func (r *rig) get(c *http.Client, url string, header ...string) result {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.do(c, req)
}

const auth64 = "b3JkZXJzOnRvaw==" // orders:tok

// dial opens a raw connection to the proxy.
func (r *rig) dial() *wire {
	r.t.Helper()
	c, err := net.Dial("tcp", r.proxy)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return &wire{t: r.t, Conn: c, r: bufio.NewReader(c)}
}

// tunnel opens a CONNECT to the authority and TLS with that SNI inside.
func (r *rig) tunnel(authority, sni string) *wire { return r.tunnelOf(authority, sni, "http/1.1") }

// tunnelOf speaks the protocol inside, as ALPN calls it.
func (r *rig) tunnelOf(authority, sni, protocol string) *wire {
	r.t.Helper()
	w := r.dial()
	w.send("CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n", authority, authority, auth64)
	if resp := w.answer("CONNECT"); resp.StatusCode != 200 {
		r.t.Fatalf("CONNECT %s: %s %s", authority, resp.Status, resp.body)
	}
	host, _, _ := net.SplitHostPort(authority)
	verify := host
	tc := tls.Client(w.Conn, &tls.Config{
		ServerName: sni, RootCAs: r.roots, NextProtos: []string{protocol}, InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: r.roots, DNSName: verify})
			return err
		},
	})
	if err := tc.Handshake(); err != nil {
		r.t.Fatalf("TLS inside the tunnel: %v", err)
	}
	return &wire{t: r.t, Conn: tc, r: bufio.NewReader(tc)}
}

// wire speaks HTTP by hand, to say what no client would.
type wire struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (w *wire) send(format string, a ...any) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w.Conn, format, a...); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

func (w *wire) answer(method string) result {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("no answer: %v", err)
	}
	if method == "CONNECT" && resp.StatusCode == 200 {
		return result{Response: resp}
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("answer's body: %v", err)
	}
	out := result{Response: resp, body: string(b)}
	_ = json.Unmarshal(b, &out.problem)
	return out
}

// closed reports whether the other end has closed the connection.
func (w *wire) closed() bool {
	_, err := w.r.ReadByte()
	return err != nil && !isTimeout(err)
}

// wantFault asserts our own answer.
func wantFault(t testing.TB, id string, got result, code fault.Code) {
	t.Helper()
	d := fault.Diagnose(code)
	if got.StatusCode != d.Status || got.problem.Code != code {
		t.Errorf("%s: got %d %q, want %d %s; body %s", id, got.StatusCode, got.problem.Code, d.Status, code, got.body)
	}
	if ps := got.Header.Get("Proxy-Status"); !strings.Contains(ps, `details="`+string(code)+`"`) {
		t.Errorf("%s: Proxy-Status is %q", id, ps)
	}
}

// noCanary asserts that the secret shows in no place of ours.
func (r *rig) noCanary(id string, texts ...string) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, text := range append(texts, r.log.String(), fmt.Sprint(families)) {
		if strings.Contains(text, canary) {
			r.t.Errorf("%s: the secret shows: %s", id, text)
		}
	}
}

func rootsOf(u *recording) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(u.Certificate())
	return roots
}

func mustRef(s string) credential.Ref {
	ref, err := credential.ParseRef(s)
	if err != nil {
		panic(err)
	}
	return ref
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// within gives what comes through the channel, and fails where nothing does: a
// test that waits for ever tells nothing.
func within[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Errorf("%s: nothing happened for 20 s", what)
	}
	return v
}
