package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// RS-09: an API that refuses whatever it is shown, as one does whose owner has
// revoked the app, costs one refresh in 30 s, however many runners ask.
func TestRevokedAppMakesNoStorm(t *testing.T) {
	t.Parallel()
	g := newGrants(t)
	var asked atomic.Int64
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer refusing.Close()
	_, port, _ := strings.Cut(refusing.Listener.Addr().String(), ":")
	g.api.Addr = "localhost:" + port
	d := testserver.Sallyport(t, g.config(g.ledger.Addr, ""))
	g.authorize(t, d)
	client := d.Client(t)
	storm := func(long time.Duration) {
		t.Helper()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				for start := time.Now(); time.Since(start) < long; time.Sleep(20 * time.Millisecond) {
					if r := g.ask(client); r.err != nil || r.status != http.StatusUnauthorized || r.code != "credentials_rejected" {
						t.Errorf("RS-09: %v, want the API's 401, told as credentials_rejected", r)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	first := time.Now()
	storm(3 * time.Second)
	if posted, again := g.ledger.count(); posted != 2 || again != 0 {
		t.Errorf("RS-09: %d posts of refresh tokens, %d again, in 3 s; want the first and one for all refusals", posted, again)
	}
	time.Sleep(time.Until(first.Add(31 * time.Second)))
	for began := time.Now(); time.Since(began) < 20*time.Second; { // 30 s from when the first refresh was done
		storm(time.Second)
		if posted, _ := g.ledger.count(); posted > 2 {
			break
		}
	}
	if posted, again := g.ledger.count(); posted != 3 || again != 0 {
		t.Errorf("RS-09: %d posts of refresh tokens, %d again, in %v; want three", posted, again, time.Since(first))
	}
	if n := asked.Load(); n < 100 {
		t.Errorf("only %d requests reached the API", n)
	}
	g.unseen(t, d)
}

// A large body whose token has been revoked reaches an API behind nginx once, and
// whole; the daemon keeps none of it.
func TestLargeUploadWithARevokedToken(t *testing.T) {
	const size = 128 << 20
	as := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Minute})
	api := &resource{as: as, client: &http.Client{Timeout: patience, Transport: &http.Transport{}}}
	judge := httptest.NewServer(api)
	defer judge.Close()
	bodies := make(chan int64, 10)
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		bodies <- n
		_, _ = fmt.Fprint(w, n)
	}))
	defer behind.Close()
	n := testserver.StartNginx(t, `server {
	listen {addr}; client_max_body_size 0;
	location / {
		auth_request /judge;
		proxy_pass `+behind.URL+`; proxy_http_version 1.1; proxy_request_buffering off;
	}
	location = /judge { internal; proxy_pass `+judge.URL+`/; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
}`, "addr")
	_, port, _ := strings.Cut(n.Addr["addr"], ":")
	addr := "localhost:" + port
	d := testserver.Sallyport(t, open+`
[[provider]]
name = "api"
hosts = ["`+addr+`"]
base_url = "http://`+addr+`"
type = "oauth2_client_credentials"
allow_cleartext = true
[provider.oauth2]
token_url = "`+as.TokenURL+`"
`)
	d.Put(t, "default/production/api/default", "oauth2_client_credentials", map[string]string{"client_id": "m2m", "client_secret": "s3cr3t-m2m", "scope": "api:read"})
	client := d.Client(t)
	upload := func(size int64) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPut, "http://"+addr+"/file", io.LimitReader(zeros{}, size))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = size
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(body) != fmt.Sprint(size) {
			t.Errorf("RS-08: %d %q, want 200 and %d", resp.StatusCode, body, size)
		}
		if len(bodies) != 1 {
			t.Fatalf("RS-08: %d bodies reached the API, want 1", len(bodies))
		}
		if n := <-bodies; n != size {
			t.Errorf("RS-08: a body of %d bytes reached the API, want %d", n, size)
		}
	}
	upload(20 << 20)
	api.revoke(t)
	before := peakMemory(t, d.Cmd.Process.Pid)
	upload(size)
	if grown := peakMemory(t, d.Cmd.Process.Pid) - before; grown > 64<<20 {
		t.Errorf("RS-08: the daemon grew by %d MiB over a body of %d MiB", grown>>20, size>>20)
	}
	if _, status := api.take(); fmt.Sprint(status) != "[200 401 200]" {
		t.Errorf("RS-08: the API's judge said %v, want a refusal between two uploads", status)
	}
	if n := as.Grants(t, api.client)["client_credentials:ok"]; n > 3 {
		t.Errorf("RS-08: %d tokens were given", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
