package bench

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// The settings of one measurement, from the environment of make bench.
var (
	conns  = setting("BENCH_CONNS", 16)
	rounds = setting("BENCH_ROUNDS", 5)
	length = time.Duration(setting("BENCH_SECONDS", 2)) * time.Second
)

func setting(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return def
}

// BenchmarkProxies measures Sallyport beside haproxy and nginx in one run. Each
// sets the same Authorization header on its way to the same nginx, which refuses
// a request without it. The rounds of the proxies alternate, so that whatever
// else the machine does meets all of them. The row ReverseProxy is what Go's own
// costs without anything of ours.
func BenchmarkProxies(b *testing.B) {
	w := newWorld(b)
	fmt.Printf("%d CPUs, %d keep-alive connections, %d rounds of %v each, 1 KiB answers; CPU is user + system time of the proxy's process\n",
		runtime.NumCPU(), conns, rounds, length)
	for b.Loop() {
		compare(b, "plain HTTP, load by wrk", w.plain(testserver.Find(b, "wrk")))
		compare(b, "intercepted HTTPS, TLS on both sides", w.https())
	}
	b.ReportMetric(0, "ns/op") // the tables are the result
}

func compare(b *testing.B, title string, targets []target) {
	b.Helper()
	samples := make([][]sample, len(targets))
	for round := range rounds + 1 {
		for i, t := range targets {
			d := length
			if round == 0 {
				d = length / 4 // warms up
			}
			s, err := t.load(conns, d)
			if err != nil {
				b.Fatal(err)
			}
			if round > 0 {
				samples[i] = append(samples[i], s)
			}
		}
	}
	results := make([]result, len(targets))
	for i, t := range targets {
		results[i] = sum(t.name, samples[i])
	}
	tabulate(os.Stdout, title, results, "haproxy", "nginx")
}

// world is the upstream and the proxies, all running.
type world struct {
	ca              *testserver.CA
	upstream, peers *testserver.Nginx
	haproxy         *testserver.Process
	haplain, hatls  string // haproxy's addresses
	baseline        *testserver.Process
	baseplain       string
	basetls         string
	quiet, logging  *testserver.Daemon
	tls             *tls.Config // trusts the test's CA
}

const secret = "bench-secret"

func newWorld(b *testing.B) *world {
	w := &world{ca: testserver.NewCA(b)}
	_, pem := w.ca.Leaf(b, "127.0.0.1")
	w.tls = &tls.Config{RootCAs: w.ca.Pool(), ServerName: "127.0.0.1"}
	w.upstream = testserver.StartNginx(b, upstreamConf(pem), "plain", "tls")
	w.startPeers(b, pem)
	w.startHaproxy(b, pem)
	w.startBaseline(b, pem)
	w.quiet = w.sallyport(b, "warn")
	w.logging = w.sallyport(b, "info")
	return w
}

func upstreamConf(pem string) string {
	return fmt.Sprintf(`server {
  listen {plain}; listen {tls} ssl; ssl_certificate %[1]s; ssl_certificate_key %[1]s;
  location / {
    if ($http_authorization != "Bearer %[2]s") { return 401; }
    default_type text/plain; return 200 "%[3]s";
  }
}`, pem, secret, strings.Repeat("x", 1024))
}

func (w *world) startPeers(b *testing.B, pem string) {
	w.peers = testserver.StartNginx(b, strings.NewReplacer(
		"{up}", w.upstream.Addr["plain"], "{uptls}", w.upstream.Addr["tls"], "{pem}", pem, "{ca}", w.ca.File, "{secret}", secret,
	).Replace(`
upstream plainup { server {up}; keepalive 128; keepalive_requests 100000000; }
upstream tlsup { server {uptls}; keepalive 128; keepalive_requests 100000000; }
proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "Bearer {secret}";
proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca}; proxy_ssl_name 127.0.0.1;
server { listen {plain}; location / { proxy_pass http://plainup; } }
server { listen {tls} ssl; ssl_certificate {pem}; ssl_certificate_key {pem}; location / { proxy_pass https://tlsup; } }
`), "plain", "tls")
}

func (w *world) startHaproxy(b *testing.B, pem string) {
	w.haplain, w.hatls = testserver.FreeAddr(b), testserver.FreeAddr(b)
	conf := strings.NewReplacer(
		"{plain}", w.haplain, "{tls}", w.hatls, "{up}", w.upstream.Addr["plain"], "{uptls}", w.upstream.Addr["tls"],
		"{pem}", pem, "{ca}", w.ca.File, "{secret}", secret,
	).Replace(`global
  maxconn 8192
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend plain
  bind {plain}
  http-request set-header Authorization "Bearer {secret}"
  default_backend plain
frontend tls
  bind {tls} ssl crt {pem}
  http-request set-header Authorization "Bearer {secret}"
  default_backend tls
backend plain
  server s1 {up} pool-max-conn 512
backend tls
  server s1 {uptls} ssl verify required ca-file {ca} pool-max-conn 512
`)
	path := filepath.Join(b.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	w.haproxy = testserver.Start(b, exec.Command(testserver.Find(b, "haproxy"), "-f", path, "-db"))
	await(b, w.haproxy, w.hatls)
}

// sallyport runs a daemon with one provider for each upstream port. At level
// info it logs a line for each request, which its peers here do not.
func (w *world) sallyport(b *testing.B, level string) *testserver.Daemon {
	d := testserver.Sallyport(b, strings.NewReplacer(
		"{up}", w.upstream.Addr["plain"], "{uptls}", w.upstream.Addr["tls"], "{ca}", w.ca.File, "{level}", level,
	).Replace(`
[log]
level = "{level}"
[[provider]]
name = "plain"
hosts = ["{up}"]
base_url = "http://{up}"
type = "bearer"
allow_cleartext = true
allow_networks = ["127.0.0.0/8"]
[[provider]]
name = "secure"
hosts = ["{uptls}"]
base_url = "https://{uptls}"
type = "bearer"
allow_networks = ["127.0.0.0/8"]
ca_file = "{ca}"
`))
	for _, name := range []string{"plain", "secure"} {
		d.Put(b, "default/production/"+name+"/default", "bearer", map[string]string{"token": secret})
	}
	return d
}

func (w *world) plain(wrk string) []target {
	direct := w.upstream.Addr["plain"]
	own := func(name string, d *testserver.Daemon) target {
		return target{name: name, pid: d.Cmd.Process.Pid, address: d.Proxy, wrk: wrk, request: fmt.Sprintf(
			"GET http://%[1]s/x HTTP/1.1\r\nHost: %[1]s\r\nProxy-Authorization: %[2]s\r\nUser-Agent: bench\r\n\r\n", direct, w.basic(d))}
	}
	return []target{
		{name: "haproxy", pid: w.haproxy.Cmd.Process.Pid, address: w.haplain, wrk: wrk, request: get(w.haplain)},
		{name: "nginx", pid: w.peers.Cmd.Process.Pid, address: w.peers.Addr["plain"], wrk: wrk, request: get(w.peers.Addr["plain"])},
		{name: "ReverseProxy", pid: w.baseline.Cmd.Process.Pid, address: w.baseplain, wrk: wrk, request: get(w.baseplain)},
		own("sallyport", w.quiet), own("sallyport, logging", w.logging),
	}
}

func (w *world) https() []target {
	up := w.upstream.Addr["tls"]
	own := func(name string, d *testserver.Daemon) target {
		return target{name: name, pid: d.Cmd.Process.Pid, address: d.Proxy, tls: w.trusting(d), request: get(up), connect: fmt.Sprintf(
			"CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\nProxy-Authorization: %[2]s\r\n\r\n", up, w.basic(d))}
	}
	return []target{
		{name: "haproxy", pid: w.haproxy.Cmd.Process.Pid, address: w.hatls, tls: w.tls, request: get(w.hatls)},
		{name: "nginx", pid: w.peers.Cmd.Process.Pid, address: w.peers.Addr["tls"], tls: w.tls, request: get(w.peers.Addr["tls"])},
		{name: "ReverseProxy", pid: w.baseline.Cmd.Process.Pid, address: w.basetls, tls: w.tls, request: get(w.basetls)},
		own("sallyport", w.quiet), own("sallyport, logging", w.logging),
	}
}

func get(host string) string {
	return "GET /x HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: bench\r\n\r\n"
}

func (w *world) basic(d *testserver.Daemon) string {
	b, err := os.ReadFile(filepath.Join(d.State, "callers", "default.token"))
	if err != nil {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString(append([]byte("default:"), bytes.TrimSpace(b)...))
}

// trusting is a configuration that trusts the daemon's local CA.
func (w *world) trusting(d *testserver.Daemon) *tls.Config {
	pool := w.ca.Pool()
	if b, err := d.Command("ca", "print").Output(); err == nil {
		pool.AppendCertsFromPEM(b)
	}
	return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}
