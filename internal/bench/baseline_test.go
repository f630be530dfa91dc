package bench

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// TestMain lets the test binary serve as the baseline.
func TestMain(m *testing.M) {
	if os.Getenv("BENCH_BASELINE") == "" {
		os.Exit(m.Run())
	}
	baseline()
}

// baseline is what net/http costs without anything of ours: ReverseProxy with a
// pooled transport that adds the header, on a plain and a TLS address.
func baseline() {
	ca, _ := os.ReadFile(os.Getenv("BENCH_CA"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	proxy := func(upstream string) http.Handler {
		u, _ := url.Parse(upstream)
		return &httputil.ReverseProxy{Transport: transport, BufferPool: &buffers{}, Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Header.Set("Authorization", "Bearer "+secret)
		}}
	}
	pem := os.Getenv("BENCH_PEM")
	go func() { _ = http.ListenAndServe(os.Getenv("BENCH_PLAIN"), proxy(os.Getenv("BENCH_UP"))) }()
	_ = (&http.Server{
		Addr: os.Getenv("BENCH_TLS"), Handler: proxy(os.Getenv("BENCH_UPTLS")), TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}).ListenAndServeTLS(pem, pem)
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }

// startBaseline runs this test binary as the baseline.
func (w *world) startBaseline(b *testing.B, pem string) {
	b.Helper()
	w.baseplain, w.basetls = testserver.FreeAddr(b), testserver.FreeAddr(b)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BENCH_BASELINE=1", "BENCH_PLAIN="+w.baseplain, "BENCH_TLS="+w.basetls, "BENCH_PEM="+pem,
		"BENCH_CA="+w.ca.File, "BENCH_UP=http://"+w.upstream.Addr["plain"], "BENCH_UPTLS=https://"+w.upstream.Addr["tls"])
	w.baseline = testserver.Start(b, cmd)
	await(b, w.baseline, w.basetls)
}

// await waits until something listens at address.
func await(b *testing.B, p *testserver.Process, address string) {
	b.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.Fatalf("%s does not listen on %s:\n%s", p.Cmd.Path, address, p.Log())
}
