package credential_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/secret"
)

func TestAppNames(t *testing.T) {
	for name, want := range map[credential.AppName]string{
		{"", "github"}:           "github",
		{"acme", "github"}:       "acme/github",
		{"acme", ""}:             "bad",
		{"", ""}:                 "bad",
		{"..", "github"}:         "bad",
		{"acme", "../../secret"}: "bad",
		{"Acme", "github"}:       "bad",
	} {
		got := name.String()
		if name.Validate() != nil {
			got = "bad"
		}
		if got != want {
			t.Errorf("%+v is %s, want %s", name, got, want)
		}
	}
}

// What others keep beside an app stays, and nothing of an app is printed.
func TestAppRecord(t *testing.T) {
	const stored = `{"client_id":"web\n","client_secret":"hush","owner":"team-a","port":8080,"type":"web","note":"","sallyport_state":"{\"attempt\":\"x\"}"}`
	a, err := credential.DecodeApp(credential.AppName{Workspace: "acme", Provider: "crm"}, 3, []byte(stored))
	if err != nil {
		t.Fatal(err)
	}
	if a.ClientID != "web" || a.ClientSecret.Reveal() != "hush" || a.Version != 3 || a.Name().String() != "acme/crm" {
		t.Errorf("read %s with client %s, version %d", a.Name(), a.ClientID, a.Version)
	}
	asJSON, _ := json.Marshal(a)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", a, *a, a, a), string(asJSON), a.LogValue().String()} {
		if strings.Contains(text, "hush") || strings.Contains(text, "team-a") || !strings.Contains(text, "acme/crm") {
			t.Errorf("an app is printed as %s", text)
		}
	}
	a.ClientSecret = secret.Value{}
	b, err := credential.EncodeApp(a, "")
	if want := `{"client_id":"web","note":"","owner":"team-a","port":8080,"provider":"crm","type":"web"}`; err != nil || string(b) != want {
		t.Errorf("written as %s, %v, want %s", b, err, want)
	}
	a.ClientID = "\xff"
	if _, err := credential.EncodeApp(a, ""); err == nil || strings.Contains(err.Error(), "\xff") {
		t.Errorf("an id that is no text: %v", err)
	}
	if _, err := credential.DecodeApp(a.Name(), 1, []byte(`["hush"]`)); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("an array: %v", err)
	}
}
