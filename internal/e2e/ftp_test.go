package e2e

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// A login of an FTP server is checked by logging in, and no request carries it.
func TestFTP(t *testing.T) {
	t.Parallel()
	ca := testserver.NewCA(t)
	_, pem := ca.Leaf(t, "localhost")
	s := testserver.StartFTP(t, testserver.FTPOptions{TLS: testserver.FTPRequired, Cert: pem})
	_, port, _ := net.SplitHostPort(s.Addr)
	host := "localhost:" + port
	d := testserver.Sallyport(t, open+`
[[provider]]
name = "ftp"
ca_file = "`+ca.File+`"
`)
	const at = "/api/v1/credentials/default/production/ftp/default"
	put := func(url, password string) (int, string) {
		t.Helper()
		return d.Call(t, http.MethodPut, at, map[string]any{"type": "basic_url", "fields": map[string]string{"url": url, "username": s.User, "password": password}})
	}
	for _, c := range []struct {
		name, url, password string
		status              int
		says                string
	}{
		{"a wrong password", "ftp://" + host, "wr0ng", 422, `"code":"credentials_rejected"`},
		{"no FTP url", "https://" + host, s.Password, 400, "field url is not ftp://HOST[:PORT]"},
		{"a password in the url", "ftp://u:" + canary + "@" + host, s.Password, 400, "field url has more"},
		{"good", "ftp://" + host, s.Password, 201, `"login":"app"`},
	} {
		status, body := put(c.url, c.password)
		if status != c.status || !strings.Contains(body, c.says) || strings.Contains(body, "p4ss") || strings.Contains(body, canary) {
			t.Errorf("%s: %d %s, want %d with %s", c.name, status, body, c.status, c.says)
		}
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"check", "ftp"}, "ok"},
		{[]string{"provider", "show", "ftp"}, "cannot be proxied"},
		{[]string{"decide", "GET", "ftp://" + host + "/"}, "cannot be proxied"},
		{[]string{"decide", "GET", "http://" + host + "/"}, "tunnel"},
	} {
		stdout, stderr, exit := d.Run(t, c.args...)
		if exit != 0 || !strings.Contains(stdout, c.says) {
			t.Errorf("%v: exit %d, want %q in:\n%s%s", c.args, exit, c.says, stdout, stderr)
		}
	}
	ftpGoesNowhere(t, d, host)
	if log := d.Log(); strings.Contains(log, "p4ss") {
		t.Errorf("LK-01: the log holds the password:\n%s", log)
	}
}

// ftpGoesNowhere: requests by FTP and to its provider are refused, and those over HTTP to a host that a login has too
// pass without it.
func ftpGoesNowhere(t *testing.T, d *testserver.Daemon, host string) {
	t.Helper()
	w := &world{Daemon: d}
	w.raw(t).send(t, get("ftp://"+host+"/x", host, w.auth(t))).is(t, "GET ftp://", "invalid_request")
	client := d.Client(t)
	for path, want := range map[string]string{"/gateway/ftp/x": "no_route", "/gateway/ftp": "no_route"} {
		req, err := http.NewRequest(http.MethodGet, "http://"+d.Proxy+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("default", d.Token(t, "default"))
		resp, err := plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		var problem struct{ Code string }
		if _ = json.Unmarshal(body, &problem); problem.Code != want || !strings.Contains(string(body), "cannot be proxied") {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
	}
	seen := make(chan http.Header, 1)
	web := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = web.Close() })
	go func() { _ = web.Serve(ln) }()
	at := "/api/v1/credentials/default/production/ftp/web?force=true"
	fields := map[string]string{"url": "ftp://" + ln.Addr().String(), "username": "u", "password": canary}
	if status, body := d.Call(t, http.MethodPut, at, map[string]any{"type": "basic_url", "fields": fields}); status != http.StatusCreated {
		t.Fatalf("PUT: %d %s", status, body)
	}
	resp, err := client.Get("http://" + ln.Addr().String() + "/x")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if h := <-seen; h.Get("Authorization") != "" {
		t.Errorf("a request over HTTP to the host of a login over FTP carries %q", h.Get("Authorization"))
	}
}
