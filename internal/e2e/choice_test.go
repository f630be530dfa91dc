package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

const oneFlow = open + `
[[caller]]
name = "orders"
workspace = "shop"
environment = "staging"
`

// token of the credential of that reference.
func tokenOf(ref string) string { return canary + "-" + strings.ReplaceAll(ref, "/", "-") }

// Several credentials of a provider: a name picks one, else the one named
// default; another environment of the caller picks among others, with nothing of
// the flow changed; and what a caller has used is not removed by accident.
func TestChoiceAndEnvironments(t *testing.T) {
	w := prepareWorld(t)
	w.Daemon = testserver.Prepare(t, "")
	w.Write(t, w.frame(w.callers(t, oneFlow)))
	w.Serve(t)
	for _, ref := range []string{"shop/staging/api/eu", "shop/staging/api/us", "shop/production/api/default", "shop/production/api/spare"} {
		w.Put(t, ref, "bearer", map[string]string{"token": tokenOf(ref)})
	}
	w.api.Take()
	ask := func(name string) *answer {
		lines := ""
		if name != "" {
			lines = "Sallyport-Credential: " + name + "\r\n"
		}
		p, err := w.secure(t, w.connectAs(t, "orders", w.api.Addr), "localhost")
		if err != nil {
			t.Fatal(err)
		}
		return p.send(t, get("/orders", w.api.Addr, lines))
	}
	sent := func(what, name, ref string) {
		t.Helper()
		ask(name).status(t, what, http.StatusOK)
		if got := w.api.One(t).Header.Get("Authorization"); got != "Bearer "+tokenOf(ref) {
			t.Errorf("%s: the upstream got another credential than %s", what, ref)
		}
	}

	a := ask("")
	a.is(t, "two, and none is the default", fault.AmbiguousCredential)
	if !strings.Contains(a.Body, "eu") || !strings.Contains(a.Body, "us") || strings.Contains(a.Body, "spare") {
		t.Errorf("the choices are not named: %s", a.Body)
	}
	sent("by name", "us", "shop/staging/api/us")
	ask("spare").is(t, "of another environment", fault.CredentialNotFound)

	w.Write(t, w.frame(strings.Replace(w.callers(t, oneFlow), `"staging"`, `"production"`, 1)))
	if status, body := w.Call(t, http.MethodPost, "/api/v1/reload", map[string]any{}); status != http.StatusOK {
		t.Fatalf("reload: %d %s", status, body)
	}
	sent("the default of the other environment", "", "shop/production/api/default")
	sent("by name in the other environment", "spare", "shop/production/api/spare")
	ask("us").is(t, "of the environment before", fault.CredentialNotFound)

	if n := credentialsOf(t, w, "api", "shop"); n != 4 {
		t.Errorf("the provider shows %d credentials of the workspace; want 4", n)
	}
	if n := credentialsOf(t, w, "api", "elsewhere"); n != 0 {
		t.Errorf("the provider shows %d credentials of another workspace; want 0", n)
	}
	status, body := w.Call(t, http.MethodDelete, "/api/v1/credentials/shop/production/api/spare", nil)
	var refused struct {
		Code   fault.Code `json:"code"`
		UsedBy []string   `json:"used_by"`
	}
	if err := json.Unmarshal([]byte(body), &refused); err != nil || status != http.StatusConflict || refused.Code != fault.InUse || !slices.Equal(refused.UsedBy, []string{"orders"}) {
		t.Errorf("DELETE of what a caller has used: %d %s; want in_use, used by orders", status, body)
	}
	if status, body := w.Call(t, http.MethodDelete, "/api/v1/credentials/shop/staging/api/eu", nil); status != http.StatusNoContent {
		t.Errorf("DELETE of what nobody has used: %d %s", status, body)
	}
	if status, body := w.Call(t, http.MethodDelete, "/api/v1/credentials/shop/production/api/spare?force=true", nil); status != http.StatusNoContent {
		t.Errorf("DELETE with force: %d %s", status, body)
	}
	if n := credentialsOf(t, w, "api", "shop"); n != 2 {
		t.Errorf("the provider shows %d credentials; want 2", n)
	}
}

// credentialsOf gives how many credentials a provider shows for a workspace.
func credentialsOf(t *testing.T, w *world, provider, workspace string) int {
	t.Helper()
	_, body := w.Call(t, http.MethodGet, "/api/v1/providers?workspace="+workspace, nil)
	var page struct {
		Items []struct {
			Name        string `json:"name"`
			Credentials int    `json:"credentials"`
		} `json:"items"`
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	for _, p := range page.Items {
		if p.Name == provider {
			return p.Credentials
		}
	}
	return -1
}
