package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// begins starts a connect through the API and gives its id and the address of the consent page.
func (w *consentWorld) begins(t *testing.T, body any) (id, address string) {
	t.Helper()
	status, text := w.Call(t, http.MethodPost, "/api/v1/credentials/default/production/crm/main/connect", body)
	var begun struct {
		ID      string `json:"id"`
		Address string `json:"authorization_url"`
	}
	if status != http.StatusAccepted || json.Unmarshal([]byte(text), &begun) != nil || begun.ID == "" {
		t.Fatalf("POST connect: %d %s", status, text)
	}
	return begun.ID, begun.Address
}

// outcome waits until a connect has ended.
func (w *consentWorld) outcome(t *testing.T, id string) (state, text string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		_, text = w.Call(t, http.MethodGet, "/api/v1/connects/"+id, nil)
		var got struct{ State string }
		if json.Unmarshal([]byte(text), &got) == nil && got.State != "pending" {
			return got.State, text
		}
	}
	t.Fatalf("the connect does not end: %s", text)
	return "", ""
}

// signIn does what a person does on the login page.
func signIn(b *testserver.Browser, password string) {
	b.Type(`input[name="account"]`, "alice")
	b.Type(`input[name="password"]`, password)
	b.Click("#sign-in")
}

// A real browser goes through the provider's login and consent pages and comes back to the daemon, whose page it shows.
func TestConnectInBrowser(t *testing.T) {
	t.Parallel()
	w := newConsentWorld(t, testserver.OIDCOptions{Pages: true}, true)
	w.app(t)
	b := testserver.StartChromium(t)

	id, address := w.begins(t, nil)
	b.Open(address)
	signIn(b, "wrong")
	b.Wait("#wrong")
	signIn(b, "correct horse")
	b.Wait("#allow")
	if got := b.Eval(`document.querySelector("#client").textContent`); got != "app" {
		t.Errorf("the consent page asks for the client %q", got)
	}
	b.Click("#allow")
	b.Wait("h1")
	shows(t, b, "Connected: default/production/crm/main")
	if state, text := w.outcome(t, id); state != "done" {
		t.Errorf("the connect is %s", text)
	}
	w.works(t)
	if at := b.Eval("document.scripts.length + document.styleSheets.length + document.images.length"); at != "0" {
		t.Errorf("the page has %s scripts, style sheets and images", at)
	}
	requests := b.Requests()
	if last := requests[len(requests)-1]; !strings.HasPrefix(last, "http://"+w.Admin+"/oauth/callback?") {
		t.Errorf("the page asked for more: %s", last)
	}

	b.Do("Page.reload", nil) // the same redirect again
	b.Wait("h1")
	shows(t, b, "Not connected")
	w.works(t)
}

// shows waits until the page says something.
func shows(t *testing.T, b *testserver.Browser, words string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if strings.Contains(b.Text(), words) {
			return
		}
	}
	t.Errorf("the page at %s does not say %q:\n%s", b.Eval("location.href"), words, b.Text())
}

// A person who says no in the browser ends the connect, and the page says what to do.
func TestDenyInBrowser(t *testing.T) {
	t.Parallel()
	w := newConsentWorld(t, testserver.OIDCOptions{Pages: true}, true)
	w.app(t)
	b := testserver.StartChromium(t)
	id, address := w.begins(t, nil)
	b.Open(address)
	signIn(b, "correct horse")
	b.Click("#deny")
	b.Wait("h1")
	shows(t, b, "Not connected")
	shows(t, b, "Start again and accept")
	state, text := w.outcome(t, id)
	if state != "failed" || !strings.Contains(text, `"code":"access_denied"`) {
		t.Errorf("the connect is %s", text)
	}
	if names := steps(t, text); !slices.Contains(names, "redirect") || slices.Contains(names, "token") {
		t.Errorf("the steps are %q", names)
	}
}

func steps(t *testing.T, connect string) []string {
	t.Helper()
	var got struct{ Steps []struct{ Name string } }
	if err := json.Unmarshal([]byte(connect), &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range got.Steps {
		names = append(names, s.Name)
	}
	return names
}

// A page of another site in the same browser can neither use a redirect up nor read what the daemon answers.
func TestOtherSiteInBrowser(t *testing.T) {
	t.Parallel()
	w := newConsentWorld(t, testserver.OIDCOptions{}, true)
	w.app(t)
	id, address := w.begins(t, nil)
	redirect := testserver.NewPerson(t, nil).Consent(address)
	b := testserver.StartChromium(t)
	b.Open(w.as.Issuer + "/.well-known/openid-configuration") // a page of another origin
	b.Wait("body")
	for _, how := range []string{
		`fetch(URL, {mode: "no-cors"}).catch(() => {})`,
		`new Image().src = URL`,
		`(() => { const f = document.createElement("iframe"); f.src = URL; document.body.append(f); })()`,
	} {
		b.Eval(strings.ReplaceAll(how, "URL", `"`+redirect+`"`))
	}
	time.Sleep(time.Second)
	if _, text := w.Call(t, http.MethodGet, "/api/v1/connects/"+id, nil); !strings.Contains(text, `"state":"pending"`) {
		t.Errorf("another site has used the redirect up: %s", text)
	}
	b.Open(redirect)
	shows(t, b, "Connected")
}
