package proxy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// fieldRig has a provider with {field} hosts and one whose paths share a host;
// all of them lead to the rig's upstream.
func fieldRig(t *testing.T) *rig {
	return newRig(t, echo, func(r *rig) {
		port := ":" + port(r.upstream.Listener.Addr())
		own := func(name string, hosts []string, base string, paths ...string) *provider.Provider {
			r.store.Add(name+"/main", "api_key", "api_key", name+"-main")
			return &provider.Provider{
				Name: name, Hosts: hosts, Paths: paths, BaseURL: base, Type: "api_key", Types: []string{"api_key_url"},
				Configured: true, Fingerprint: "1", Limits: provider.Limits{MaxWait: -1}, Roots: rootsOf(r.upstream),
			}
		}
		r.store.Add("shop/one", "api_key", "api_key", "shop-one", "shop", "example")
		r.store.Add("shop/bad", "api_key", "api_key", "shop-bad", "shop", "a.b")
		r.store.Add("a/far", "api_key_url", "api_key", "a-far", "url", "https://far.example.com"+port+"/base")
		r.providers(
			own("shop", []string{"{shop}.com" + port}, "https://{shop}.com"+port+"/admin"),
			own("a", []string{"a.example.com" + port}, "https://a.example.com"+port+"/a", "/a"),
			own("ab", []string{"a.example.com" + port}, "https://a.example.com"+port+"/a/b", "/a/b"),
		)
	})
}

func TestFieldHosts(t *testing.T) {
	r := fieldRig(t)
	c := r.client(false)
	if got := r.get(c, "https://"+r.upstream.authority+"/x"); got.body != "GET /x 0" {
		t.Fatalf("on its own host: %d %s", got.StatusCode, got.body)
	}
	if up := r.upstream.seen()[0]; up.Header.Get("Authorization") != "Bearer shop-one" {
		t.Errorf("the upstream saw %v", up.Header)
	}
	gateway := func(path, name string) result {
		return r.get(http.DefaultClient, "http://"+r.proxy+"/gateway/"+path, "Authorization", "Bearer tok", "Sallyport-Credential", name)
	}
	if got := gateway("shop/x?y=1", "one"); got.body != "GET /admin/x?y=1 0" {
		t.Errorf("on the gateway: %d %s", got.StatusCode, got.body)
	}
	wantFault(t, "no field", gateway("shop/x", "main"), fault.FieldMissing)
	wantFault(t, "no label", gateway("shop/x", "bad"), fault.FieldMissing)
}

// The gateway leaves neither the base URL's path nor the provider's paths.
func TestGatewayPaths(t *testing.T) {
	r := fieldRig(t)
	gateway := func(path string, header ...string) result {
		req, _ := http.NewRequest(http.MethodGet, "http://"+r.proxy, nil)
		req.URL.Opaque = "/gateway/" + path // as it stands
		req.Header.Set("Authorization", "Bearer tok")
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return r.do(http.DefaultClient, req)
	}
	if got := gateway("ab/x%2Fy", "Sallyport-Credential", "main"); got.body != "GET /a/b/x%2Fy 0" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := gateway("a/x", "Sallyport-Credential", "far"); got.body != "GET /base/x 0" {
		t.Errorf("a url takes the place of the base: %d %s", got.StatusCode, got.body)
	}
	for _, path := range []string{"ab/../x", "ab/%2e%2E/x", "ab/..%2fx", "ab/..;v=1/x", `ab/..%5Cx`, "ab/.."} {
		wantFault(t, "PA-01 "+path, gateway(path), fault.InvalidRequest)
	}
	wantFault(t, "the longest path wins", gateway("a/b/x"), fault.NoRoute)
	n := len(r.upstream.seen())
	for _, path := range []string{"/a/b/../x", "/a/b/%2e%2e/x"} {
		wantFault(t, "PA-01 "+path, r.get(r.client(false), "https://a.example.com:"+port(r.upstream.Listener.Addr())+path), fault.InvalidRequest)
	}
	if got := len(r.upstream.seen()); got != n {
		t.Errorf("PA-01: %d requests left", got-n)
	}
	got := r.get(r.client(false), "https://a.example.com:"+port(r.upstream.Listener.Addr())+"/a/b/p%2Fq")
	if up := r.upstream.seen(); got.body != "GET /a/b/p%2Fq 0" || up[len(up)-1].Header.Get("Authorization") != "Bearer ab-main" {
		t.Errorf("an encoded slash within a provider's paths: %d %s", got.StatusCode, got.body)
	}
}

// A path that no provider owns goes out as the runner sent it, over its host's road.
func TestUnownedPath(t *testing.T) {
	r := fieldRig(t)
	a := "a.example.com:" + port(r.upstream.Listener.Addr())
	r.config.Upstream.options.Roots = nil // the provider's own are needed
	got := r.get(r.client(false), "https://"+a+"/c", "Authorization", "Bearer own")
	if got.StatusCode != 200 || r.upstream.seen()[0].Header.Get("Authorization") != "Bearer own" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// A url that another provider owns is not taken, and that is said once.
func TestURLOfAnotherProvider(t *testing.T) {
	r := fieldRig(t)
	a := "a.example.com:" + port(r.upstream.Listener.Addr())
	r.store.Add("shop/thief", "api_key_url", "api_key", canary, "url", "https://"+a)
	c := r.client(false)
	for range 3 {
		r.srv.Changed(mustRef("shop/thief"))
		if got := r.get(c, "https://"+a+"/a/x", "Sallyport-Credential", "main"); got.StatusCode != 200 {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
	}
	for _, up := range r.upstream.seen() {
		if up.Header.Get("Authorization") != "Bearer a-main" {
			t.Errorf("the upstream saw %v", up.Header)
		}
	}
	if n := strings.Count(r.log.String(), "is ignored"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}

// A url that changes is followed, by every hand that changes it: never is the
// credential sent to the old one, and no request is refused for longer than it takes.
func TestChangedURL(t *testing.T) {
	one, two := newRecording(t, echo), newRecording(t, echo)
	r := newRig(t, echo, func(r *rig) {
		roots := rootsOf(one)
		roots.AddCert(two.Certificate())
		r.config.Upstream = NewUpstream(UpstreamOptions{AllowNetworks: r.config.Upstream.options.AllowNetworks, Resolver: everywhere{}, Roots: roots})
		r.store.Add("inst/a", "api_key_url", "api_key", "old", "url", "https://"+one.authority)
		r.providers(&provider.Provider{Name: "inst", Hosts: []string{"inst.test"}, BaseURL: "https://inst.test", Type: "api_key_url", Configured: true, Fingerprint: "1"})
	})
	c := r.client(false)
	if got := r.get(c, "https://inst.test/x"); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	r.store.Add("inst/a", "api_key_url", "api_key", "new", "url", "https://"+two.authority)
	r.srv.st.Load().dir.changed(mustRef("inst/a")) // only the directory notices
	if got := r.get(c, "https://inst.test/x"); got.StatusCode != 200 {
		t.Errorf("the directory is newer: %d %s", got.StatusCode, got.body)
	}
	r.store.Add("inst/a", "api_key_url", "api_key", "old", "url", "https://"+one.authority)
	r.srv.sources.find(mustRef("inst/a")).Changed() // only the source notices
	wantFault(t, "the source is newer", r.get(c, "https://inst.test/x"), fault.StoreConflict)
	if got := r.get(c, "https://inst.test/x"); got.StatusCode != 200 {
		t.Errorf("afterwards: %d %s", got.StatusCode, got.body)
	}
	for _, up := range one.seen() {
		if up.Header.Get("Authorization") != "Bearer old" {
			t.Errorf("the first host saw %v", up.Header)
		}
	}
	for _, up := range two.seen() {
		if up.Header.Get("Authorization") != "Bearer new" {
			t.Errorf("the second host saw %v", up.Header)
		}
	}
}

// A credential whose url was taken away is not sent to where it pointed.
func TestURLTakenAway(t *testing.T) {
	one := newRecording(t, echo)
	r := newRig(t, echo, func(r *rig) {
		r.config.Upstream = NewUpstream(UpstreamOptions{AllowNetworks: r.config.Upstream.options.AllowNetworks, Resolver: everywhere{}, Roots: rootsOf(one)})
		r.store.Add("inst/a", "basic_api_key", "username", "u", "password", "p", "api_key", "k", "url", "https://"+one.authority)
		r.providers(&provider.Provider{Name: "inst", Hosts: []string{"inst.test"}, BaseURL: "https://inst.test", Type: "basic_api_key", Configured: true, Fingerprint: "1",
			Places: []provider.Place{{In: provider.InBasic, Username: "{username}", Password: "{password}"}, {In: provider.InHeader, Name: "X-Key", Value: "{api_key}"}}})
	})
	c := r.client(false)
	if got := r.get(c, "https://"+one.authority+"/x"); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	r.store.Add("inst/a", "basic_api_key", "username", "u", "password", "p", "api_key", "k")
	r.srv.sources.find(mustRef("inst/a")).Changed()
	wantFault(t, "no url any more", r.get(c, "https://"+one.authority+"/x"), fault.StoreConflict)
	if n := len(one.seen()); n != 1 {
		t.Errorf("%d requests arrived", n)
	}
}

// The callers of open tunnels are held to what they may do now.
func TestTunnelFollowsItsCaller(t *testing.T) {
	r := newRig(t, echo)
	w := r.tunnel(r.upstream.authority, "example.com")
	ask := func() result {
		w.send("GET /x HTTP/1.1\r\nHost: %s\r\n\r\n", r.upstream.authority)
		return w.answer("GET")
	}
	if got := ask(); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	changed := r.config
	changed.Callers = []Caller{r.config.Callers[0]}
	changed.Callers[0].Allow = []Allow{{Methods: []string{"POST"}}}
	r.srv.Swap(changed)
	wantFault(t, "a narrower policy", ask(), fault.NotAllowed)
	changed.Callers = []Caller{r.config.Callers[0]}
	changed.Callers[0].TokenSHA256 = sha256.Sum256([]byte("new"))
	r.srv.Swap(changed)
	got := ask()
	wantFault(t, "another token", got, fault.ProxyAuthRequired)
	if !w.closed() {
		t.Error("the tunnel stays open")
	}
}

// A token that two callers have names neither by itself.
func TestSharedToken(t *testing.T) {
	r := newRig(t, echo, func(r *rig) {
		other := r.config.Callers[0]
		other.Name = "other"
		r.config.Callers = append(r.config.Callers, other)
	})
	for header, ok := range map[string]bool{"Bearer tok": false, "Basic " + auth64: true} {
		w := r.dial()
		w.send("GET http://%s/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: %s\r\n\r\n", r.upstream.authority, header)
		if got := w.answer("GET"); (got.StatusCode == 200) != ok {
			t.Errorf("%s: %d", header, got.StatusCode)
		}
	}
}

// HM-12, HM-13: the target of CONNECT is an authority and nothing else.
func TestConnectTarget(t *testing.T) {
	r := newRig(t, echo)
	p := port(r.upstream.Listener.Addr())
	for _, target := range []string{"user:secretpw@example.com:" + p, "example.com:" + p + "/x", "example.com:" + p + "?x", "example.com", "example.com:", "example.com:0", "example.com:0443", "[example.com]:" + p, "example.com:99999", "/x"} {
		w := r.dial()
		w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", target, auth64)
		if got := w.answer("GET"); got.StatusCode != 400 {
			t.Errorf("HM-12 HM-13 CONNECT %s: %d", target, got.StatusCode)
		}
	}
	if strings.Contains(r.log.String(), "secretpw") {
		t.Error("HM-13: userinfo is logged")
	}
}

// SM-09: no upgrade leads to HTTP that nobody sees.
func TestUpgradeToHTTP(t *testing.T) {
	r := newRig(t, echo)
	for _, v := range []string{"h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2"} {
		w := r.tunnel(r.upstream.authority, "example.com")
		w.send("GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.upstream.authority, v)
		if got := w.answer("GET"); got.StatusCode != 200 {
			t.Errorf("SM-09 %s: %d %s", v, got.StatusCode, got.body)
		}
	}
	for _, up := range r.upstream.seen() {
		if up.Header.Get("Upgrade") != "" {
			t.Errorf("SM-09: the upstream saw Upgrade: %s", up.Header.Get("Upgrade"))
		}
	}
}

// SM-15: a 101 that was not asked for is no answer.
func TestUnaskedUpgrade(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
			_ = c.Close()
		}
	})
	w := r.tunnel(r.upstream.authority, "example.com")
	w.send("GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: mine\r\n\r\n", r.upstream.authority)
	wantFault(t, "SM-15", w.answer("GET"), fault.UpstreamInvalid)
}

// Further Host names of the gateway are names, with any port unless they say one.
func TestGatewayHosts(t *testing.T) {
	r := newRig(t, echo, func(r *rig) { r.config.Hosts = []string{"side.internal", "with.port:99"} })
	for host, ok := range map[string]bool{
		"side.internal": true, "side.internal:1234": true, "with.port:99": true, "with.port": false, "x.side.internal": false,
		"localhost": true, "[::1]:9": true, "127.0.0.9": true, "10.0.0.1": false,
	} {
		req, _ := http.NewRequest(http.MethodGet, "http://"+r.proxy+"/gateway/api/x", nil)
		req.Host = host
		req.SetBasicAuth("orders", "tok")
		if got := r.do(http.DefaultClient, req); (got.StatusCode == 200) != ok {
			t.Errorf("LT-05 Host %s: %d %s", host, got.StatusCode, got.problem.Code)
		}
	}
}

var home = scope{credential.DefaultWorkspace, credential.DefaultEnvironment}

// listing gives the names of a provider's credentials as the directory knows them.
func listing(t *testing.T, d *directory, name string) []string {
	t.Helper()
	f, err := d.of(home).shelf(d.st.Providers.Get(name)).get(context.Background(), time.Now())
	if err != nil {
		t.Error(err)
		return nil
	}
	var names []string
	for _, l := range f.list {
		names = append(names, l.ref.Name)
	}
	return names
}

// forgetFailures lets the next request look again at once, as after a second.
func forgetFailures(d *directory) {
	inv := d.of(home)
	inv.names.failed.Store(nil)
	inv.hosts.failed.Store(nil)
	inv.shelves.Range(func(_, sh any) bool {
		sh.(*shelf).failed.Store(nil)
		return true
	})
}
