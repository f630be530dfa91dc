package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// counted is an API that takes some tokens, and writes down when it was asked with which.
type counted struct {
	*httptest.Server
	mu    sync.Mutex
	takes map[string]bool // nil: every token
	at    map[string][]time.Time
}

func newCounted(t *testing.T) *counted {
	t.Helper()
	c := &counted{at: map[string][]time.Time{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

// ServeHTTP tells whether the token is good.
func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[token] = append(c.at[token], time.Now())
	w.Header().Set("Content-Type", "application/json")
	if c.takes != nil && !c.takes[token] {
		w.WriteHeader(http.StatusUnauthorized)
	}
	_, _ = w.Write([]byte("{}"))
}

// take sets the tokens that are good.
func (c *counted) take(tokens ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takes = map[string]bool{}
	for _, t := range tokens {
		c.takes[t] = true
	}
}

// asked gives when it was asked with a token; empty: with any.
func (c *counted) asked(token string) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []time.Time
	for tok, at := range c.at {
		if token == "" || tok == token {
			all = append(all, at...)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// api is a provider of that API; more is of its entry.
func (c *counted) api(more string) string {
	return strings.NewReplacer("{url}", c.URL, "{host}", strings.TrimPrefix(c.URL, "http://")).Replace(`
[[provider]]
name = "api"
hosts = ["{host}"]
base_url = "{url}"
type = "bearer"
allow_cleartext = true
allow_networks = ["127.0.0.0/8"]
`) + more
}

// status is what the API says of a credential.
func status(t *testing.T, d *testserver.Daemon, ref string) string {
	t.Helper()
	var v struct{ Status string }
	_, body := d.Call(t, http.MethodGet, "/api/v1/credentials/"+ref, nil)
	_ = json.Unmarshal([]byte(body), &v)
	return v.Status
}

// patience is what a busy machine is given for what has to come.
const patience = time.Minute

func eventually(t *testing.T, what string, d time.Duration, is func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("not within %s: %s", d, what)
}

// A thousand credentials of one provider are checked at once: all of them, and the
// provider's limit is kept.
func TestThousandChecks(t *testing.T) {
	t.Parallel()
	const many, rate = 1000, 100
	api := newCounted(t)
	d := testserver.Sallyport(t, api.api(""))
	var group sync.WaitGroup
	for part := range 8 {
		group.Go(func() {
			for i := part; i < many; i += 8 {
				d.Put(t, fmt.Sprintf("default/production/api/n%03d", i), "bearer", map[string]string{"token": fmt.Sprint(canary, "-", i)})
			}
		})
	}
	group.Wait()
	d.Write(t, api.api("[provider.verify]\npath = \"/me\"\n[provider.limits]\nrate = [\"100/s\", \"5000/min\"]\n"))
	if code, body := d.Call(t, http.MethodPost, "/api/v1/reload", nil); code != http.StatusNoContent && code != http.StatusOK {
		t.Fatalf("reload: %d %s", code, body)
	}
	out, errs, exit := d.Run(t, "check", "--format", "json")
	var reports []struct{ Credential, Status string }
	if err := json.Unmarshal([]byte(out), &reports); err != nil || exit != 0 || len(reports) != many {
		t.Fatalf("exit %d, %d reports, %v; %s", exit, len(reports), err, errs)
	}
	for _, r := range reports {
		if r.Status != "ok" {
			t.Errorf("%s is %s", r.Credential, r.Status)
		}
	}
	at := api.asked("")
	most, from := 0, 0
	for i := range at {
		for at[i].Sub(at[from]) >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	if span := at[len(at)-1].Sub(at[0]); len(at) != many || span < (many/rate-2)*time.Second {
		t.Errorf("%d requests within %v; the limit is %d a second", len(at), span, rate)
	}
	if most > 2*rate { // a busy machine delivers some of them late, and together
		t.Errorf("%d requests in one second; the limit is %d", most, rate)
	}
	if !strings.Contains(errs, "of 1000") {
		t.Errorf("standard error tells no progress:\n%s", errs)
	}
}

// The configuration says how long before an end a check warns, how often, and a
// reload changes it.
func TestExpiryWarning(t *testing.T) {
	t.Parallel()
	api := newCounted(t)
	provider := api.api("[provider.verify]\npath = \"/me\"\n")
	d := testserver.Sallyport(t, provider+"[checks]\ninterval = \"0\"\n")
	const ref = "default/production/api/main"
	enc := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"exp":%d}`, time.Now().Add(20*24*time.Hour).Unix())
	d.Put(t, ref, "bearer", map[string]string{"token": enc([]byte(`{"alg":"none"}`)) + "." + enc([]byte(claims)) + "." + canary})
	if st := status(t, d, ref); st != "ok" {
		t.Errorf("20 days before the end, warned of 14 days before: %s", st)
	}
	time.Sleep(3 * time.Second)
	if n := len(api.asked("")); n != 1 {
		t.Errorf("asked %d times without background checks, want once, by PUT", n)
	}
	d.Write(t, provider+"[checks]\ninterval = \"1s\"\nexpiry_warning = \"720h\"\n")
	if code, body := d.Call(t, http.MethodPost, "/api/v1/reload", nil); code/100 != 2 {
		t.Fatalf("reload: %d %s", code, body)
	}
	eventually(t, "a warning", patience, func() bool { return status(t, d, ref) == "warning" })
	if _, body := d.Call(t, http.MethodGet, "/api/v1/credentials/"+ref, nil); !strings.Contains(body, `"code":"expires_soon"`) {
		t.Errorf("the warning is not told: %s", body)
	}
	time.Sleep(3 * time.Second)
	if n := strings.Count(d.Log(), `msg="a credential ends soon" credential=`+ref); n != 1 {
		t.Errorf("warned %d times in a day:\n%s", n, d.Log())
	}
}

// A key that is revoked is found in the background, told by the metric, and left
// alone; one that is changed is checked at its next turn.
func TestBackgroundChecks(t *testing.T) {
	t.Parallel()
	api := newCounted(t)
	w := &world{Daemon: testserver.Sallyport(t, api.api("[provider.verify]\npath = \"/me\"\n[checks]\ninterval = \"1s\"\n"+`
[[caller]]
name = "orders"
workspace = "acme"
token_sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
[[caller.allow]]
credentials = ["api/main"]
`))}
	const main, other = "acme/production/api/main", "acme/production/api/other"
	w.Put(t, main, "bearer", map[string]string{"token": canary + "-main"})
	w.Put(t, other, "bearer", map[string]string{"token": canary + "-other"})
	eventually(t, "the credential is checked in the background", patience, func() bool { return len(api.asked(canary+"-main")) > 3 })
	if n := len(api.asked(canary + "-other")); n != 1 {
		t.Errorf("a credential that no caller here may use was asked about %d times, want once, by PUT", n)
	}
	is := func(st string) func() bool {
		return func() bool {
			return w.metric(t, `sallyport_credential_status{credential="`+main+`",status="`+st+`"}`) == "1" && status(t, w.Daemon, main) == st
		}
	}
	eventually(t, "ok", patience, is("ok"))
	api.take(canary + "-new")
	eventually(t, "error", patience, is("error"))
	before := len(api.asked(canary + "-main"))
	time.Sleep(5 * time.Second)
	if n := len(api.asked(canary + "-main")); n != before {
		t.Errorf("a refused token was sent %d times more in five turns", n-before)
	}
	w.Put(t, main, "bearer", map[string]string{"token": canary + "-new"})
	eventually(t, "ok again", patience, is("ok"))
	eventually(t, "the new one is checked on", patience, func() bool { return len(api.asked(canary+"-new")) > 3 })
	if code, body := w.Call(t, http.MethodDelete, "/api/v1/credentials/"+main+"?force=true", nil); code != http.StatusNoContent {
		t.Fatalf("DELETE: %d %s", code, body)
	}
	time.Sleep(1500 * time.Millisecond)
	after := len(api.asked(canary + "-new"))
	time.Sleep(2 * time.Second)
	if _, body := w.Call(t, http.MethodGet, "/api/v1/report", nil); len(api.asked(canary+"-new")) != after || strings.Contains(body, main) {
		t.Errorf("what was removed is checked on, or left a report: %s", body)
	}
}
