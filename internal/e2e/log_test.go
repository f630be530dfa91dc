package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// forged would be a line of its own, in red, if anything printed it as it is.
const forged = "x\r\ntime=2026-01-01T00:00:00.000Z level=ERROR msg=forged\x1b[31m\u0085\u2028"

// LK-17: whoever is spoken to, runner, upstream, token endpoint or Vault, what it
// says makes no line of the log, and no control character reaches a terminal.
func TestLogCannotBeForged(t *testing.T) {
	t.Parallel()
	liar := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/"): // Vault
			rw.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(rw).Encode(map[string][]string{"errors": {forged}})
		case r.URL.Path == "/token":
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(rw).Encode(map[string]string{"error": "invalid_" + forged, "error_description": forged})
		default:
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 2"+forged+"\r\nX: "+forged+"\r\n\r\n")
			_ = conn.Close()
		}
	}))
	defer liar.Close()
	liar.Config.ErrorLog = log.New(io.Discard, "", 0)
	host := strings.Replace(strings.TrimPrefix(liar.URL, "http://"), "127.0.0.1", "localhost", 1)
	w := prepareWorld(t)
	w.Daemon = testserver.Prepare(t, w.frame(open+strings.ReplaceAll(`
[log]
level = "debug"
[vault]
address = "http://{liar}"
[[credential]]
provider = "liar"
name = "lent"
type = "bearer"
path = "kv/liar"
fields = { token = "token" }
[[provider]]
name = "liar"
hosts = ["{liar}"]
base_url = "http://{liar}"
type = "bearer"
types = ["oauth2_client_credentials"]
allow_cleartext = true
[provider.oauth2]
token_url = "http://{liar}/token"
`, "{liar}", host)), "VAULT_TOKEN="+canary)
	w.Launch(t)
	for name, fields := range map[string]map[string]string{"bearer": {"token": canary}, "oauth2_client_credentials": {"client_id": "id", "client_secret": canary}} {
		path := "/api/v1/credentials/default/production/liar/" + name + "?force=true"
		if status, body := w.Call(t, http.MethodPut, path, map[string]any{"type": name, "fields": fields}); status != http.StatusCreated {
			t.Fatalf("PUT %s: status %d: %s", path, status, body)
		}
	}
	auth := w.auth(t)
	for _, request := range []string{
		get("http://"+host+"/%0d%0atime=forged%1b%5b31m%c2%85", host, auth+"Sallyport-Credential: bearer\r\n"),
		get("http://"+host+"/\x1b[31m\u0085\u2028", host, auth+"Sallyport-Credential: bearer\r\n"),
		get("http://"+host+"/x", host, auth+"Sallyport-Credential: oauth2_client_credentials\r\n"),
		get("http://"+host+"/x", host, auth+"Sallyport-Credential: lent\r\n"),
		get("http://"+host+"/x", host, auth+"Sallyport-Credential: a\x1b[31m\u2028\r\n"),
		get("http://a\x1b[31mb/x", "x", auth), get("http://a%0d%0ab/x", "x", auth), get("/x", "a\x1b[31m", auth),
		"CONNECT a\x1b[31m%0a:443 HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"G\x1b[31mET http://" + host + "/x HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"GET http://" + host + "/x HTTP/1.1\r\nHost: x\r\nA\x1b[31m: y\r\n\r\n",
		get("http://"+host+"/x", host, "Proxy-Authorization: Basic "+basicPair(forged, "token")+"\r\n"),
		get("/gateway/liar\x1b[31m%0a/x", w.Proxy, auth),
	} {
		w.raw(t).send(t, request)
	}
	for _, config := range []*tls.Config{{ServerName: forged}, {NextProtos: []string{forged}}, {ServerName: "localhost"}} {
		config.InsecureSkipVerify = config.ServerName != "localhost"
		c := tls.Client(w.connect(t, w.api.Addr), config)
		_ = c.Handshake()
		_, _ = io.WriteString(c, get("/\x1b[31m", w.api.Addr, ""))
	}
	w.logged(t, "does it trust the CA")
	w.logged(t, "vault")
	time.Sleep(200 * time.Millisecond) // the last lines
	for line := range strings.Lines(w.Log()) {
		if !strings.HasPrefix(line, "time=20") || strings.Contains(line, "level=ERROR msg=forged") && !strings.Contains(line, `\n`) {
			t.Errorf("LK-17: a line of somebody else's: %q", line)
		}
		if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), unprintable); i >= 0 {
			t.Errorf("LK-17: the log holds %q in %q", line[i:i+1], line)
		}
	}
	for _, args := range [][]string{{"requests"}, {"check"}, {"credential", "list"}, {"vault", "check"}} {
		out, errs, _ := w.Run(t, args...)
		if i := strings.IndexFunc(out+errs, unprintable); i >= 0 {
			t.Errorf("LK-17: sallyport %v prints %q: %q", args, (out + errs)[i], out+errs)
		}
	}
}

// unprintable reports what a terminal would obey, or take for the end of a line.
func unprintable(r rune) bool {
	return r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029')
}

// LK-16: what is kept of a request has no field, query or body of it.
func TestNothingIsCaptured(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open)
	w.raw(t).send(t, fmt.Sprintf("POST http://%[1]s/kept?query-%[2]s HTTP/1.1\r\nHost: %[1]s\r\nX-Own: field-%[2]s\r\nContent-Length: 15\r\n%[3]s\r\nbody-%[2]s",
		w.plain.Addr, canary, w.auth(t))).status(t, "LK-16", http.StatusOK)
	w.requests(t, "", "/kept")
	_, body := w.Call(t, http.MethodGet, "/api/v1/requests", nil)
	if strings.Contains(body, canary) {
		t.Errorf("LK-16: more of a request is kept than its path: %s", body)
	}
	var page struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	for name := range page.Items[0] {
		if !slices.Contains([]string{
			"id", "time", "caller", "method", "scheme", "host", "path", "provider", "credential", "status", "outcome", "code", "refused", "tries", "took_ms", "waited_ms", "upstream_ms", "bytes",
		}, name) {
			t.Errorf("LK-16: %s is kept of a request", name)
		}
	}
	if strings.Contains(w.Log(), canary) {
		t.Error("LK-16: the log holds a field, query or body")
	}
}
