package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// load is runners that send one request after another until it ends, each told
// apart by its path.
type load struct {
	wg   sync.WaitGroup
	stop chan struct{}

	mu     sync.Mutex
	good   []string // paths that were answered 200
	failed []string // with what became of them
	slow   time.Duration
}

// send begins a load of POSTs to the plain upstream. Each runner opens a connection
// anew where the last one failed.
func (w *world) load(t *testing.T, runners int) *load {
	t.Helper()
	l := &load{stop: make(chan struct{})}
	addr, auth := w.Proxy, w.auth(t)
	for r := range runners {
		l.wg.Go(func() {
			var p *peer
			for i := 0; ; i++ {
				select {
				case <-l.stop:
					return
				default:
				}
				if p == nil {
					conn, err := net.DialTimeout("tcp", addr, time.Second)
					if err != nil {
						time.Sleep(5 * time.Millisecond)
						continue
					}
					p = &peer{conn, bufio.NewReader(conn)}
				}
				path := fmt.Sprintf("/load/%d/%d", r, i)
				start := time.Now()
				_ = p.SetDeadline(start.Add(patience))
				a := p.send(t, post("http://"+w.plain.Addr+path, w.plain.Addr, auth))
				if l.note(path, a, time.Since(start)); a == nil || a.Close {
					_ = p.Close()
					p = nil
				}
			}
		})
	}
	return l
}

func (l *load) note(path string, a *answer, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = max(l.slow, took)
	switch {
	case a == nil:
		l.failed = append(l.failed, path+": no answer")
	case a.StatusCode != http.StatusOK || !strings.Contains(a.Body, path):
		l.failed = append(l.failed, fmt.Sprintf("%s: %d %s", path, a.StatusCode, a.Body))
	default:
		l.good = append(l.good, path)
	}
}

// answered waits until n more requests are answered.
func (l *load) answered(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.good)
	}
	for want, end := count()+n, time.Now().Add(patience); count() < want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d requests are answered, want %d; failed: %v", count(), want, l.failed)
		}
	}
}

func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

// ledger checks that what was answered has reached the upstream once with its
// credential, and what was not at most once.
func (w *world) ledger(t *testing.T, row string, l *load) {
	t.Helper()
	arrived := map[string]int{}
	for _, g := range w.plain.Take() {
		arrived[g.Target]++
		if v := g.Header.Values("X-Api-Key"); len(v) != 1 || v[0] != plainKey {
			t.Errorf("%s: %s left without its credential", row, g.Target)
		}
	}
	for path, n := range arrived {
		if n > 1 {
			t.Errorf("%s: %s reached the upstream %d times", row, path, n)
		}
	}
	for _, path := range l.good {
		if arrived[path] != 1 {
			t.Errorf("%s: %s was answered, and reached the upstream %d times", row, path, arrived[path])
		}
	}
}

// FM-14: kill -9 under load: the ports are bound again at once, what was in flight
// fails where its runner sees it, nothing is sent twice, and all goes on.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	w := prepareWorld(t)
	w.Daemon = testserver.Sallyport(t, w.frame(open), "SALLYPORT_PROXY_LISTEN="+testserver.FreeAddr(t), "SALLYPORT_ADMIN_LISTEN="+testserver.FreeAddr(t))
	w.Bin = testserver.StaticBinary(t)
	w.Put(t, "default/production/plain/default", "api_key", map[string]string{"api_key": plainKey})
	w.plain.Take()
	l := w.load(t, 4)
	for range 3 {
		l.answered(t, 50)
		w.Signal(t, syscall.SIGKILL)
		w.Wait(t, patience)
		start := time.Now()
		w.Serve(t)
		t.Logf("FM-14: ready again after %v", time.Since(start))
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("FM-14: the start took %v", took)
		}
	}
	l.answered(t, 50)
	l.end()
	w.ledger(t, "FM-14", l)
	if len(l.failed) > 2*3*4 || l.slow > 30*time.Second { // the one in flight, and one more that the dying process still accepted
		t.Errorf("FM-14: %d requests failed; the slowest took %v: %v", len(l.failed), l.slow, l.failed)
	}
}

// FM-17: reloads under load cost no request anything; one that is
// faulty, in whatever way, changes nothing and says where; what is in flight ends
// on the configuration it began with.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	w := newShippedWorld(t, open)
	l := w.load(t, 4)
	reload := func(config string) (int, string) {
		w.Write(t, config)
		return w.Call(t, http.MethodPost, "/api/v1/reload", map[string]any{})
	}
	good := w.frame(open)
	for what, bad := range map[string]struct{ config, key string }{
		"syntax":           {good + "[[provider\n", `"line":`},
		"an unknown key":   {good + "nonsense = 1\n", "nonsense"},
		"a value":          {strings.Replace(good, "tunnel_ports = []", "drain = \"soon\"", 1), "proxy.drain"},
		"a missing CA":     {strings.Replace(good, w.ca.File, "/nowhere/ca.pem", 1), "ca_file"},
		"a provider twice": {good + "[[provider]]\nname = \"again\"\nhosts = [\"" + w.api.Addr + "\"]\nbase_url = \"https://" + w.api.Addr + "\"\ntype = \"bearer\"\n", "hosts"},
		"another port":     {strings.Replace(good, open, open+"[[proxy.listener]]\nlisten = \"127.0.0.1:0\"\ncaller = \"default\"\n", 1), "proxy.listener"},
	} {
		status, body := reload(bad.config)
		if status != http.StatusBadRequest || !strings.Contains(body, bad.key) || !strings.Contains(body, `"line"`) {
			t.Errorf("FM-17: %s: status %d: %s", what, status, body)
		}
		if v := w.metric(t, "sallyport_config_last_reload_successful"); v != "0" {
			t.Errorf("FM-17: %s: config_last_reload_successful is %s", what, v)
		}
	}
	l.answered(t, 20)
	busy := w.inside(t)
	answers := make(chan *answer, 1)
	go func() { answers <- busy.send(t, get("/slow?for=1s", w.api.Addr, "")) }()
	w.api.Await(t)
	without, _, _ := strings.Cut(good, "[[provider]]\nname = \"api\"")
	_, plain, _ := strings.Cut(good, "[[provider]]\nname = \"plain\"")
	if status, body := reload(without + "[[provider]]\nname = \"plain\"" + plain); status != http.StatusOK {
		t.Fatalf("FM-17: without the provider: %d %s", status, body)
	}
	tlsOver(w.connect(t, w.api.Addr), w.ca.Pool()).send(t, get("/x", w.api.Addr, "")).status(t, "FM-17: no provider owns it now", http.StatusOK)
	if g := w.api.One(t); g.Header.Get("Authorization") != "" {
		t.Error("FM-17: the credential of a provider that is gone was used")
	}
	(<-answers).status(t, "FM-17: what was in flight", http.StatusOK)
	for i := range 30 {
		if status, body := reload(strings.Replace(good, open, open+fmt.Sprintf("max_connections = 0\nreplay_limit = \"%dKiB\"\n", i+1), 1)); status != http.StatusOK {
			t.Fatalf("FM-17: reload %d: %d %s", i, status, body)
		}
	}
	l.end()
	w.ledger(t, "FM-17", l)
	if len(l.failed) > 0 || len(l.good) < 100 {
		t.Errorf("FM-17: %d requests went well, %d failed: %v", len(l.good), len(l.failed), l.failed)
	}
	if v := w.metric(t, "sallyport_config_last_reload_successful"); v != "1" {
		t.Errorf("FM-17: config_last_reload_successful is %s", v)
	}
}

// limit sets a resource limit of the running daemon.
func (w *world) limit(t *testing.T, resource, value string) {
	t.Helper()
	out, err := exec.Command(testserver.Find(t, "prlimit"), "--pid", strconv.Itoa(w.Cmd.Process.Pid), "--"+resource+"="+value).CombinedOutput()
	if err != nil {
		t.Fatalf("prlimit: %v: %s", err, out)
	}
}

// FM-13: a disk that takes nothing more: what is held serves on, a write is refused
// and leaves the old record, and both go on when there is room again.
func TestDiskThatTakesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open)
	const path = "/api/v1/credentials/default/production/api/default"
	ask := func(what, token string) {
		t.Helper()
		w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, what, http.StatusOK)
		if got := w.api.One(t).Header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("%s: the upstream got another credential", what)
		}
	}
	put := func(token string) (int, string) {
		return w.Call(t, http.MethodPut, path, map[string]any{"type": "bearer", "fields": map[string]string{"token": token}})
	}
	w.limit(t, "fsize", "0:unlimited")
	for range 3 {
		if status, body := put(canary + "-lost"); status < 500 || !strings.Contains(body, `"code"`) || strings.Contains(body, canary) {
			t.Errorf("FM-13: PUT on a full disk: %d %s", status, body)
		}
		w.Call(t, http.MethodPost, "/api/v1/callers", map[string]string{"name": "new"})
		ask("FM-13: on a full disk", apiToken)
	}
	if status, body := w.Call(t, http.MethodGet, "/readyz", nil); status != http.StatusOK {
		t.Errorf("FM-13: /readyz is %d %s", status, body)
	}
	w.limit(t, "fsize", "unlimited:unlimited")
	if status, body := put(canary + "-kept"); status != http.StatusOK {
		t.Errorf("FM-13: PUT afterwards: %d %s", status, body)
	}
	w.api.Take()
	ask("FM-13: afterwards", canary+"-kept")
	err := filepath.WalkDir(w.State, func(path string, e os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(e.Name(), ".tmp-") {
			t.Errorf("FM-13: %s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// idleTunnels opens n tunnels to the provider's host, with TLS under our leaf.
func (w *world) idleTunnels(t *testing.T, n int) {
	t.Helper()
	_, pool := w.CA(t)
	text := w.connectText(t, "default", w.api.Addr)
	config := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range n / 4 {
				p := w.raw(t)
				a := p.send(t, text)
				c := tls.Client(p.Conn, config)
				if err := c.Handshake(); a == nil || a.StatusCode != http.StatusOK || err != nil {
					t.Errorf("an idle tunnel: %v, %v", a, err)
					return
				}
				(&peer{c, bufio.NewReader(c)}).send(t, get("/x", w.api.Addr, "")).status(t, "in a tunnel", http.StatusOK) // from now on it may be idle
				_ = c.SetDeadline(time.Time{})
			}
		})
	}
	wg.Wait()
}

// resident is what a process has in memory now, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// newShippedWorld is newWorld with the program as it is shipped and a collector
// that leaves little, so that its memory can be measured.
func newShippedWorld(t *testing.T, extra string) *world {
	t.Helper()
	w := prepareWorld(t)
	w.Daemon = testserver.Prepare(t, w.frame(extra), "GOGC=10")
	w.Bin = testserver.StaticBinary(t)
	w.Serve(t)
	w.Put(t, "default/production/api/default", "bearer", map[string]string{"token": apiToken})
	w.Put(t, "default/production/plain/default", "api_key", map[string]string{"api_key": plainKey})
	w.api.Take()
	w.plain.Take()
	return w
}

// FM-18: an idle intercepted tunnel costs 64 KiB at most, and others do not feel it.
func TestIdleTunnelsAreCheap(t *testing.T) {
	t.Parallel()
	w := newShippedWorld(t, open)
	w.idleTunnels(t, 100)
	before := resident(t, w.Cmd.Process.Pid)
	const n = 400
	w.idleTunnels(t, n)
	w.waitFor(t, "sallyport_tunnels_open", strconv.Itoa(100+n))
	each := (resident(t, w.Cmd.Process.Pid) - before) / n
	t.Logf("FM-18: %d bytes for each idle tunnel", each)
	if each > 64<<10 {
		t.Errorf("FM-18: an idle tunnel costs %d KiB", each>>10)
	}
	start := time.Now()
	w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "FM-18: a request beside them", http.StatusOK)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("FM-18: a request beside them took %v", took)
	}
}

// FM-19: uploads to an upstream that does not read cost what is kept for a second
// try, 64 MiB in all, up to two and a half times that while it grows and until it is
// collected, and 64 KiB each.
func TestStalledUploadsAreBounded(t *testing.T) {
	t.Parallel()
	const n, size = 200, 1 << 20
	release := make(chan struct{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan int64, n)
	s := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-release
		n, _ := io.Copy(io.Discard, r.Body)
		arrived <- n
	})}
	go func() { _ = s.Serve(ln) }()
	defer func() { _ = s.Close() }()
	host := strings.Replace(ln.Addr().String(), "127.0.0.1", "localhost", 1)
	w := newShippedWorld(t, open+`upstream_timeout = "10m"
[[provider]]
name = "deaf"
hosts = ["`+host+`"]
base_url = "http://`+host+`"
type = "bearer"
allow_cleartext = true
`)
	w.Put(t, "default/production/deaf/default", "bearer", map[string]string{"token": canary})
	before := resident(t, w.Cmd.Process.Pid)
	head := fmt.Sprintf("PUT http://%[1]s/x HTTP/1.1\r\nHost: %[1]s\r\nContent-Length: %[2]d\r\n%[3]s\r\n", host, size, w.auth(t))
	var uploads []*peer
	for range n {
		p := w.raw(t)
		_ = p.SetDeadline(time.Now().Add(2 * patience))
		_, _ = io.WriteString(p, head)
		_, _ = io.CopyN(p, zeros{}, size) // the kernel takes what nobody reads
		uploads = append(uploads, p)
	}
	w.waitFor(t, "sallyport_inflight_requests", strconv.Itoa(n))
	time.Sleep(500 * time.Millisecond) // what can be sent is sent
	grown := resident(t, w.Cmd.Process.Pid) - before
	t.Logf("FM-19: %d MiB for %d uploads", grown>>20, n)
	if grown > 160<<20+n*(64<<10) {
		t.Errorf("FM-19: the daemon grew by %d MiB over %d uploads of 1 MiB", grown>>20, n)
	}
	close(release)
	for _, p := range uploads {
		if resp, err := http.ReadResponse(p.r, nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("FM-19: an upload is not taken: %+v, %v", resp, err)
		}
	}
	if len(arrived) != n {
		t.Errorf("FM-19: %d uploads arrived, want %d", len(arrived), n)
	}
	for range len(arrived) {
		if got := <-arrived; got != size {
			t.Errorf("FM-19: %d bytes arrived, want %d", got, size)
		}
	}
}

// FM-20: with 256 file descriptors the daemon takes what it can, tells the rest,
// stays reachable for whoever watches it, burns no CPU, and recovers at once.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	w := prepareWorld(t)
	w.Daemon = testserver.Prepare(t, w.frame(open))
	w.Wrap = []string{testserver.Find(t, "prlimit"), "--nofile=256:256"}
	w.Serve(t)
	w.Put(t, "default/production/plain/default", "api_key", map[string]string{"api_key": plainKey})
	request := get("http://"+w.plain.Addr+"/slow?for=30s", w.plain.Addr, w.auth(t))
	var conns []net.Conn
	for range 400 {
		c, err := net.DialTimeout("tcp", w.Proxy, patience)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, request)
		conns = append(conns, c)
	}
	before, began := cpu(t, w.Cmd.Process.Pid), time.Now()
	for range 10 {
		w.metric(t, "sallyport_inflight_requests")
		time.Sleep(100 * time.Millisecond)
	}
	if share := float64(cpu(t, w.Cmd.Process.Pid)-before) / float64(time.Since(began)); share > 0.5 { // the race detector's share is most of it
		t.Errorf("FM-20: %.0f %% CPU while nothing can be accepted", 100*share)
	}
	w.Put(t, "default/production/plain/other", "api_key", map[string]string{"api_key": plainKey}) // the store has its descriptors
	for _, c := range conns {
		_ = c.Close()
	}
	start := time.Now()
	for time.Since(start) < 20*time.Second {
		a := w.raw(t).send(t, get("http://"+w.plain.Addr+"/x", w.plain.Addr, w.auth(t)))
		if a != nil && a.StatusCode == http.StatusOK {
			t.Logf("FM-20: recovered after %v", time.Since(start))
			return
		}
		if a != nil {
			a.is(t, "FM-20: afterwards", fault.Overloaded)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("FM-20: no request passes 20 s after the load")
}

// cpu is what a process has used of it.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}
