package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// LT-01: who does not say who he is gets a 407, and nothing was done for him.
func TestUnknownCaller(t *testing.T) {
	w := newWorld(t, open)
	for _, auth := range []string{
		"", "Proxy-Authorization: Basic ZGVmYXVsdDp3cm9uZw==\r\n", "Proxy-Authorization: Bearer wrong\r\n",
		"Proxy-Authorization: Basic !!!\r\n", "Authorization: Bearer " + w.Token(t, "default") + "\r\n",
	} {
		for what, request := range map[string]string{
			"plain":                        get("http://"+w.plain.Addr+"/x", w.plain.Addr, auth),
			"CONNECT":                      "CONNECT " + w.api.Addr + " HTTP/1.1\r\nHost: " + w.api.Addr + "\r\n" + auth + "\r\n",
			"a name that does not resolve": get("http://nowhere.invalid/x", "nowhere.invalid", auth),
		} {
			a := w.raw(t).send(t, request)
			a.is(t, "LT-01 "+what, fault.ProxyAuthRequired)
			if a != nil && !strings.HasPrefix(a.Header.Get("Proxy-Authenticate"), "Basic") {
				t.Errorf("LT-01 %s: Proxy-Authenticate %q, want Basic", what, a.Header.Get("Proxy-Authenticate"))
			}
		}
	}
	w.plain.Nothing(t, "LT-01")
	w.api.Nothing(t, "LT-01")
	bearer := "Proxy-Authorization: Bearer " + w.Token(t, "default") + "\r\n"
	w.raw(t).send(t, get("http://"+w.plain.Addr+"/x", w.plain.Addr, bearer)).status(t, "a Bearer token", http.StatusOK)
}

const twoFlows = open + `
[[caller]]
name = "orders"
workspace = "shop"
[[caller.allow]]
credentials = ["api/orders"]
methods = ["GET"]
paths = ["/orders/**"]
[[caller]]
name = "billing"
workspace = "shop"
[[caller.allow]]
credentials = ["api/billing"]
[[caller]]
name = "guest"
workspace = "elsewhere"
`

// callers makes a token for each [[caller]] of a configuration, as "caller add" would leave it.
func (w *world) callers(t *testing.T, config string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(config) {
		b.WriteString(line)
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "name = "); ok {
			name = strings.Trim(name, `"`)
			file := filepath.Join(w.State, "callers", name+".token")
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte("token-of-"+name+"-0123456789abcdef"), 0o600); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "token_file = %q\n", file)
		}
	}
	return b.String()
}

// LT-02: a flow's token reaches its own credential only.
func TestOtherFlowsCredential(t *testing.T) {
	w := prepareWorld(t)
	w.Daemon = testserver.Prepare(t, "")
	w.Write(t, w.frame(w.callers(t, twoFlows)))
	w.Serve(t)
	for _, name := range []string{"orders", "billing"} {
		w.Put(t, "shop/production/api/"+name, "bearer", map[string]string{"token": canary + "-" + name})
	}
	w.api.Take()
	ask := func(caller, name, path string) *answer {
		lines := ""
		if name != "" {
			lines = "Sallyport-Credential: " + name + "\r\n"
		}
		p, err := w.secure(t, w.connectAs(t, caller, w.api.Addr), "localhost")
		if err != nil {
			t.Fatal(err)
		}
		return p.send(t, get(path, w.api.Addr, lines))
	}
	ask("orders", "", "/orders/1").status(t, "its own", http.StatusOK)
	if got := w.api.One(t).Header.Get("Authorization"); got != "Bearer "+canary+"-orders" {
		t.Error("LT-02: orders was given another flow's credential")
	}
	ask("billing", "", "/x").status(t, "its own", http.StatusOK)
	if got := w.api.One(t).Header.Get("Authorization"); got != "Bearer "+canary+"-billing" {
		t.Error("LT-02: billing was given another flow's credential")
	}
	ask("orders", "billing", "/orders/1").is(t, "LT-02: the name of another flow's", fault.CredentialNotFound)
	ask("orders", "nowhere", "/orders/1").is(t, "LT-02: a name that does not exist", fault.CredentialNotFound)
	ask("orders", "", "/invoices/1").is(t, "LT-02: a path outside", fault.NotAllowed)
	ask("guest", "", "/orders/1").is(t, "LT-02: another workspace", fault.NoCredential)
	ask("guest", "orders", "/orders/1").is(t, "LT-02: another workspace, by name", fault.CredentialNotFound)
	w.api.Nothing(t, "LT-02")
	w.connectTo(t, "orders", w.other.Addr).is(t, "an unmatched host of a caller with a policy", fault.NoRoute)
	w.other.Nothing(t, "LT-02")
	w.staysInItsPolicy(t, "orders")
}

// staysInItsPolicy checks LT-03: a flow that looks where else its credential takes
// it gets no further than its hosts, methods and paths, is counted, and leaves a
// line with its name for each try.
func (w *world) staysInItsPolicy(t *testing.T, caller string) {
	t.Helper()
	w.api.Take()
	p, err := w.secure(t, w.connectAs(t, caller, w.api.Addr), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	sweep := []string{"/", "/order", "/ORDERS/1", "/orders/../invoices", "/orders/%2e%2e/invoices", "/admin", "/gists", "//orders/1"}
	for _, path := range sweep {
		p.send(t, get(path, w.api.Addr, "")).status(t, "LT-03: "+path, http.StatusForbidden, http.StatusBadRequest)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "get"} {
		p.send(t, method+" /orders/1 HTTP/1.1\r\nHost: "+w.api.Addr+"\r\nX-HTTP-Method-Override: GET\r\nContent-Length: 0\r\n\r\n").
			is(t, "LT-03: "+method, fault.NotAllowed)
	}
	w.api.Nothing(t, "LT-03")
	for _, host := range []string{w.other.Addr, "gist.example:443", "s3.example:443"} {
		w.connectTo(t, caller, host).is(t, "LT-03: "+host, fault.NoRoute)
	}
	w.other.Nothing(t, "LT-03")
	p.send(t, get("/orders/2", w.api.Addr, "")).status(t, "LT-03: what it may", http.StatusOK)
	if n, err := strconv.Atoi(w.metric(t, `sallyport_requests_total{caller="`+caller+`",outcome="not_allowed",provider="api"}`)); err != nil || n < 5 {
		t.Errorf("LT-03: %d refusals are counted, %v", n, err)
	}
	w.logged(t, "caller="+caller+" provider=api credential=shop/production/api/orders method=GET host="+w.api.Addr+" path=/orders/2 status=200")
	w.logged(t, "caller="+caller+" provider=api credential=shop/production/api/orders method=DELETE host="+w.api.Addr+" path=/orders/1 status=403 outcome=not_allowed")
}

// LT-16: a flow beyond its own limits costs no other flow anything, though both
// use one provider: it is answered at once, and the other's pass.
func TestFloodOfOneFlow(t *testing.T) {
	t.Parallel()
	w := prepareWorld(t)
	w.Daemon = testserver.Prepare(t, "")
	w.Write(t, w.frame(w.callers(t, open+`
[[caller]]
name = "flood"
[caller.limits]
rate = ["5/s"]
burst = 5
max_wait = "0s"
concurrency = 2
[[caller]]
name = "calm"
`)))
	w.Serve(t)
	w.Put(t, "default/production/plain/default", "api_key", map[string]string{"api_key": plainKey})
	w.plain.Take()
	began, stop := time.Now(), make(chan struct{})
	var wg sync.WaitGroup
	var passed, refused atomic.Int64
	for range 8 {
		p, request := w.raw(t), get("http://"+w.plain.Addr+"/flood", w.plain.Addr, w.authOf(t, "flood"))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch a := p.send(t, request); {
				case a != nil && a.StatusCode == http.StatusOK:
					passed.Add(1)
				case a != nil && a.StatusCode == http.StatusTooManyRequests && a.Header.Get("Retry-After") != "":
					refused.Add(1)
				default:
					t.Errorf("LT-16: the flood is answered %+v", a)
					return
				}
			}
		})
	}
	p, request := w.raw(t), get("http://"+w.plain.Addr+"/calm", w.plain.Addr, w.authOf(t, "calm"))
	var slowest time.Duration
	for range 100 {
		start := time.Now()
		p.send(t, request).status(t, "LT-16: the other flow", http.StatusOK)
		slowest = max(slowest, time.Since(start))
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	may := 5 + 5*int64(time.Since(began)/time.Second+1)
	if passed.Load() > may || refused.Load() < 100 || slowest > 3*time.Second {
		t.Errorf("LT-16: %d of the flood passed, %d may; %d were refused; the other flow waited up to %v", passed.Load(), may, refused.Load(), slowest)
	}
	t.Logf("LT-16: %d passed and %d were refused; the other flow waited up to %v", passed.Load(), refused.Load(), slowest)
}

// HM-01, GP-16: a host that nobody owns gets no credential, and no tunnel under deny.
func TestUnmatchedHosts(t *testing.T) {
	t.Parallel()
	t.Run("tunnel", func(t *testing.T) {
		w := newWorld(t, open)
		p := w.connect(t, w.other.Addr)
		roots := w.ca.Pool() // not ours: the tunnel is untouched
		client := tlsOver(p, roots)
		a := client.send(t, get("/x", w.other.Addr, "Authorization: Bearer mine\r\n"))
		a.status(t, "HM-01", http.StatusOK)
		if got := w.other.One(t).Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer mine" {
			t.Errorf("HM-01: the unmatched host got Authorization %q, want the runner's own", got)
		}
	})
	t.Run("deny", func(t *testing.T) {
		w := newWorld(t, open+"unmatched = \"deny\"\n")
		w.connectTo(t, "default", w.other.Addr).is(t, "GP-16 CONNECT", fault.NoRoute)
		w.raw(t).send(t, get("http://"+w.other.Addr+"/x", w.other.Addr, w.auth(t))).is(t, "HM-01 plain", fault.NoRoute)
		w.other.Nothing(t, "GP-16")
		w.inside(t).send(t, get("/x", w.api.Addr, "")).status(t, "an owned host", http.StatusOK)
	})
	t.Run("ports", func(t *testing.T) {
		w := newWorld(t, strings.Replace(open, "tunnel_ports = []", "tunnel_ports = [443]", 1))
		w.connectTo(t, "default", w.other.Addr).is(t, "CONNECT to another port", fault.NoRoute)
	})
}

// HM-15: a credential does not travel over cleartext unless its provider says so.
func TestCleartext(t *testing.T) {
	w := prepareWorld(t)
	bare := newUpstream(t, nil)
	w.start(t, open+`
[[provider]]
name = "careless"
hosts = ["`+bare.Addr+`"]
type = "bearer"
types = ["api_key_url"]
`)
	w.Put(t, "default/production/careless/default", "bearer", map[string]string{"token": canary})
	ask := func() *answer { return w.raw(t).send(t, get("http://"+bare.Addr+"/x", bare.Addr, w.auth(t))) }
	ask().status(t, "HM-15: it goes out as https, which this upstream does not speak", http.StatusBadGateway)
	w.Put(t, "default/production/careless/default", "api_key_url", map[string]string{"api_key": canary, "url": "http://" + bare.Addr})
	ask().is(t, "HM-15: a url that is http", fault.CleartextRefused)
	bare.Nothing(t, "HM-15")
	a := w.raw(t).send(t, get("http://"+w.api.Addr+"/x", w.api.Addr, w.auth(t)))
	a.status(t, "HM-15: http:// to a provider whose base URL is https", http.StatusOK)
	if g := w.api.One(t); g.Header.Get("Authorization") != "Bearer "+apiToken {
		t.Error("HM-15: it did not go out as https with its credential")
	}
}

// Addresses are judged after resolution, unless the configuration covers them.
func TestDialGuard(t *testing.T) {
	w := newWorld(t, "") // nothing but the providers' own allow_networks
	auth := w.auth(t)
	for _, host := range []string{"127.0.0.1:" + w.other.Port, "localhost:" + w.other.Port, "169.254.169.254", "[::1]:80", "10.0.0.1", "0.0.0.0:80"} {
		w.raw(t).send(t, get("http://"+host+"/x", host, auth)).is(t, "private "+host, fault.PrivateAddress)
	}
	w.raw(t).send(t, get("http://"+w.Proxy+"/x", w.Proxy, auth)).is(t, "SS-04: the proxy itself", fault.LoopDetected)
	w.raw(t).send(t, get("http://"+w.Admin+"/livez", w.Admin, auth)).is(t, "SS-04: the admin listener", fault.LoopDetected)
	w.other.Nothing(t, "the dial guard")
}
