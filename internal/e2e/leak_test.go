package e2e

import (
	"archive/zip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

func basicPair(user, pass string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))
}

// seen collects everything the outside may read.
type seen struct{ places map[string]*strings.Builder }

func (s *seen) add(place, text string) {
	if s.places == nil {
		s.places = map[string]*strings.Builder{}
	}
	if s.places[place] == nil {
		s.places[place] = &strings.Builder{}
	}
	s.places[place].WriteString(text + "\n")
}

// addBundle adds every file of a bundle for support, by its name.
func (s *seen) addBundle(t *testing.T, path string) (files map[string]string) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	files = map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(b)
		s.add("the bundle's "+f.Name, string(b))
	}
	return files
}

// clean checks that no place has a secret in any of its forms.
func (s *seen) clean(t *testing.T, secrets ...string) {
	t.Helper()
	for place, b := range s.places {
		for _, secret := range secrets {
			for _, form := range []string{
				secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)),
				base64.RawURLEncoding.EncodeToString([]byte(secret)), url.PathEscape(secret),
				basicPair("flow", secret), basicPair("id", secret), basicPair("default", secret),
				hex.EncodeToString([]byte(secret)), html.EscapeString(secret), strings.ToUpper(secret), secret[:min(len(secret), 16)],
			} {
				if strings.Contains(b.String(), form) {
					t.Errorf("%s contains a secret", place)
				}
			}
		}
	}
}

// Nothing that can be read holds a secret: not the log at its most talkative, no
// answer, metric, report or file in clear, whatever goes well or wrong.
func TestNoSecretIsSeen(t *testing.T) {
	w := prepareWorld(t)
	query := newUpstream(t, w.ca)
	echo := newUpstream(t, w.ca) // an OAuth 2.0 token endpoint that answers what makes no sense
	const password, queryKey, clientSecret = canary + "-pass/word+", canary + "-query key", canary + "-client-secret"
	w.Daemon = testserver.Sallyport(t, w.frame(open+strings.NewReplacer("{q}", query.Addr, "{e}", echo.Addr, "{ca}", w.ca.File).Replace(`
[log]
level = "debug"
format = "json"
[[provider]]
name = "query"
hosts = ["{q}"]
base_url = "https://{q}"
type = "api_key"
ca_file = "{ca}"
[[provider.place]]
in = "query"
name = "api_key"
value = "{api_key}"
[provider.verify]
path = "/status?code=200"
[[provider]]
name = "login"
hosts = ["{e}"]
base_url = "https://{e}"
type = "basic"
types = ["oauth2_client_credentials"]
ca_file = "{ca}"
[provider.verify]
path = "/status?code=401"
[provider.oauth2]
token_url = "https://{e}/token"
`)))
	var s seen
	put := func(ref, kind string, fields map[string]string) {
		_, body := w.Call(t, http.MethodPut, "/api/v1/credentials/default/production/"+ref+"?force=true", map[string]any{"type": kind, "fields": fields})
		s.add("the answer to PUT", body)
	}
	put("api/default", "bearer", map[string]string{"token": apiToken})
	put("plain/default", "api_key", map[string]string{"api_key": plainKey})
	put("query/default", "api_key", map[string]string{"api_key": queryKey})
	put("login/basic", "basic", map[string]string{"username": "flow", "password": password})
	put("login/oauth", "oauth2_client_credentials", map[string]string{"client_id": "id", "client_secret": clientSecret})
	put("login/broken", "bearer", map[string]string{"token": canary + "\x00"})
	put("plain/odd", "api_key", map[string]string{"api_key": canary + "\r\nX: y"})

	token, admin := w.Token(t, "default"), readTrimmed(t, filepath.Join(w.State, "admin.token"))
	ask := func(host, target, lines string) {
		p, err := w.secure(t, w.connect(t, host), "localhost")
		if err != nil {
			t.Fatal(err)
		}
		if a := p.send(t, get(target, host, lines)); a != nil {
			s.add("the header of an answer", fmt.Sprint(a.Header))
			if !strings.Contains(a.Body, `"Method"`) { // the echo of what the upstream saw is its own
				s.add("LK-02: the body of an answer", a.Body)
			}
		}
	}
	ask(w.api.Addr, "/x", "")
	ask(w.api.Addr, "/status?code=401", "")
	ask(w.api.Addr, "/status?code=500", "")
	ask(query.Addr, "/x?mine=1&api_key=other", "")
	ask(query.Addr, "/status?code=403", "")
	for _, name := range []string{"basic", "oauth", "broken", "nowhere"} {
		ask(echo.Addr, "/status?code=401", "Sallyport-Credential: "+name+"\r\n")
	}
	ask(w.api.Addr, "/x?token="+canary+"-in-query", "Authorization: Bearer "+canary+"-of-the-runner\r\nX-Api-Key: "+canary+"\r\n")
	w.raw(t).send(t, get("/gateway/api/x?token="+canary, w.Proxy, "Authorization: Basic "+basicPair("default", token)+"\r\n"))
	w.raw(t).send(t, get("http://user:"+canary+"@"+w.plain.Addr+"/x", w.plain.Addr, w.auth(t)))
	w.raw(t).send(t, get("http://"+w.plain.Addr+"/x?token="+canary+"-in-query", w.plain.Addr, w.auth(t)))

	for _, path := range []string{
		"/api/v1/credentials", "/api/v1/credentials/default/production/login/basic", "/api/v1/report", "/api/v1/report.csv", "/api/v1/providers",
		"/api/v1/callers", "/api/v1/decision?caller=default&method=GET&url=https://" + query.Addr + "/x", "/metrics", "/readyz", "/ca.pem",
		"/api/v1/requests", "/api/v1/requests?failed=true",
	} {
		_, body := w.Call(t, http.MethodGet, path, nil)
		s.add("GET "+path, body)
	}
	for _, ref := range []string{"query/default", "login/basic", "login/oauth"} {
		_, body := w.Call(t, http.MethodPost, "/api/v1/credentials/default/production/"+ref+"/check", map[string]any{})
		s.add("the report of "+ref, body)
	}
	bundle := filepath.Join(t.TempDir(), "support.zip")
	for _, args := range [][]string{
		{"config", "show"}, {"config", "check"}, {"credential", "list"}, {"credential", "show", "login/basic"}, {"check"},
		{"check", "--format", "json"}, {"check", "--format", "csv"}, {"caller", "list"}, {"provider", "list"},
		{"requests"}, {"requests", "--json"}, {"requests", "--bundle", bundle},
	} {
		out, errs, _ := w.Run(t, args...)
		s.add("sallyport "+strings.Join(args, " "), out+errs)
	}
	files := s.addBundle(t, bundle)
	for _, name := range []string{"README.txt", "requests.json", "report.json", "credentials.json", "providers.json", "callers.json", "readyz.json", "metrics.txt", "version.json", "config.toml"} {
		if len(files[name]) < 10 || strings.Contains(files["README.txt"], "Missing") {
			t.Errorf("the bundle's %s is %q", name, files[name])
		}
	}
	time.Sleep(100 * time.Millisecond) // the last log lines
	s.add("LK-01: the log", w.Log())
	w.stateFiles(t, &s)
	s.clean(t, canary, apiToken, plainKey, queryKey, password, clientSecret)
	delete(s.places, "the files callers/default.token and admin.token")
	s.clean(t, token, admin)
	if strings.Contains(w.Log(), "/x?") || strings.Contains(w.Log(), "mine=1") {
		t.Error("LK-04, GP-14: the log holds a query string")
	}
}

// stateFiles adds every file of the state folder, and checks their modes.
func (w *world) stateFiles(t *testing.T, s *seen) {
	t.Helper()
	err := filepath.WalkDir(w.State, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if m := info.Mode().Perm(); m&0o077 != 0 {
			t.Errorf("LK-14: %s has mode %04o", path, m)
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		place := "the file " + path
		if strings.HasSuffix(path, ".token") {
			place = "the files callers/default.token and admin.token"
		}
		s.add(place, string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func readTrimmed(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// LK-03: no label comes from a request.
func TestSeriesAreBounded(t *testing.T) {
	w := newWorld(t, open+"unmatched = \"deny\"\n")
	series := func() int {
		_, body := w.Call(t, http.MethodGet, "/metrics", nil)
		return strings.Count(body, "\nsallyport_")
	}
	ask := func(i int) {
		host := fmt.Sprintf("h%d.invalid", i)
		w.raw(t).send(t, fmt.Sprintf("M%d http://%s/%d HTTP/1.1\r\nHost: %s\r\n%s\r\n", i, host, i, host, w.auth(t)))
		w.connectTo(t, "default", host+":443")
	}
	ask(0)
	before := series()
	for i := range 300 {
		ask(i)
	}
	if after := series(); after != before {
		t.Errorf("LK-03: %d series after 300 hosts, methods and paths, %d before", after, before)
	}
}
