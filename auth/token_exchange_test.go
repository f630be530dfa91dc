package auth

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

const someJWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJwIn0.c2ln"

func TestExchangeRequest(t *testing.T) {
	for _, tc := range []struct {
		name   string
		params map[string]string
		c      *credential.Credential
		typ    string
	}{
		{"an opaque token", nil, record("oauth2_token_exchange", "subject_token", "opaque.with.dots"), typeAccessToken},
		{"a JWT", nil, record("oauth2_token_exchange", "subject_token", someJWT), typeJWT},
		{"the provider says the type", map[string]string{"subject_token_type": "urn:x"}, record("oauth2_token_exchange", "subject_token", someJWT), "urn:x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &tokenEndpoint{answer: says(200, "application/json", `{"access_token":"at","issued_token_type":"urn:y","token_type":"N_A","expires_in":60}`)}
			p := &provider.Provider{Name: "crm", OAuth2: provider.OAuth2{TokenURL: tokenURL, Params: tc.params, Scopes: []string{"a", "b"}}}
			tc.c.Set("audience", secret.New("urn:api"))
			i, err := mint(e, p, tc.c)
			if err != nil {
				t.Fatal(err)
			}
			form := e.forms[0]
			if form.Get("grant_type") != grantExchange || form.Get("subject_token_type") != tc.typ || form.Get("audience") != "urn:api" || form.Get("scope") != "a b" {
				t.Errorf("form %v", form)
			}
			if got := sent(t, i); got != "Bearer at" {
				t.Errorf("it sends %q", got)
			}
		})
	}
}

// The file is read for each request: whoever writes it renews the token in it.
func TestSubjectTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	e, p := &tokenEndpoint{}, oauthProvider()
	c := record("oauth2_token_exchange", "subject_token_file", path)
	if err := Validate(p, c); err != nil {
		t.Fatalf("Validate reads the file: %v", err)
	}
	for _, token := range []string{"first", someJWT} {
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := mint(e, p, c); err != nil {
			t.Fatal(err)
		}
		if got := e.forms[len(e.forms)-1].Get("subject_token"); got != token {
			t.Errorf("it sends %q of the file, want %q", got, token)
		}
	}
	if e.forms[0].Get("subject_token_type") != typeAccessToken || e.forms[1].Get("subject_token_type") != typeJWT {
		t.Errorf("types %v", e.forms)
	}
}

// What a record names is sent only if it is a token, and to a place that the
// record names only if it is one that is meant to be shown to others.
func TestSubjectTokenFileRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(write("jwt", someJWT, 0o600), link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, says string }{
		{"none", filepath.Join(dir, "none"), "cannot be read"},
		{"a folder", dir, "not a file"},
		{"a pipe", fifo, "not a file"},
		{"a device", "/dev/zero", "not a file"},
		{"empty", write("empty", " \n", 0o600), "an empty file"},
		{"several lines", write("passwd", "root:c4n4ry\nx:y", 0o600), "more than a token"},
		{"words", write("words", "c4n4ry c4n4ry", 0o600), "more than a token"},
		{"far too long", write("long", strings.Repeat("c4n4ry", 10000), 0o600), "more than a token"},
		{"writable by everybody", write("open", someJWT, 0o666), "cannot be read"},
		{"no JWT, to the record's own token_url", write("admin.token", "c4n4ry", 0o600), "without a JSON Web Token"},
		{"a JWT, to the record's own token_url", link, ""},
	} {
		e := &tokenEndpoint{}
		_, err := mint(e, oauthProvider(), record("oauth2_token_exchange", "subject_token_file", tc.path, "token_url", "https://other.example/token"))
		if tc.says == "" {
			if err != nil || e.posts() != 1 {
				t.Errorf("%s: %v after %d requests", tc.name, err, e.posts())
			}
			continue
		}
		f := fault.From(err)
		if f.Code != fault.FieldMissing || !strings.Contains(f.Detail, tc.says) || strings.Contains(err.Error(), "c4n4ry") || e.posts() != 0 {
			t.Errorf("%s: %v after %d requests, want %q", tc.name, err, e.posts(), tc.says)
		}
	}
}

func TestExchangeThatCannotBe(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fields []string
		says   string
	}{
		{"neither", nil, "field subject_token is missing"},
		{"both", []string{"subject_token", "s3cr3t", "subject_token_file", "/run/token"}, "are both set"},
		{"a relative path", []string{"subject_token_file", "token"}, "not an absolute path"},
		{"a line break", []string{"subject_token", "s3cr3t\n1"}, "field subject_token has a control character"},
	} {
		e, c := &tokenEndpoint{}, record("oauth2_token_exchange", tc.fields...)
		_, err := mint(e, oauthProvider(), c)
		bad := Validate(oauthProvider(), c)
		if !errors.Is(err, fault.FieldMissing) || !errors.Is(bad, fault.InvalidRequest) || !strings.Contains(bad.Error(), tc.says) || strings.Contains(bad.Error(), "s3cr3t") {
			t.Errorf("%s: %v and %v, want %q", tc.name, err, bad, tc.says)
		}
	}
}

// OA-02: no grant's request follows a redirect.
func TestGrantsFollowNoRedirect(t *testing.T) {
	p := &provider.Provider{Name: "crm", BaseURL: "https://api.example", OAuth2: provider.OAuth2{TokenURL: tokenURL}, Login: provider.Login{Path: "/login", Body: "u={username}", Token: "access_token"}}
	for typ, fields := range map[string][]string{
		"oauth2_jwt_bearer":     {"private_key", pkcs8("RSA"), "issuer", "i", "subject", "s"},
		"oauth2_token_exchange": {"subject_token", "st"},
		"github_app":            {"app_id", "1", "installation_id", "2", "private_key", pkcs8("RSA")},
		"two_step":              {"username", "u"},
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			e := &tokenEndpoint{answer: says(status, "text/html", ""), header: http.Header{"Location": {"https://evil.example/"}}}
			_, err := mint(e, p, record(typ, fields...))
			if !errors.Is(err, fault.TokenEndpointUnreachable) || !strings.Contains(err.Error(), "redirect") || e.posts() != 1 {
				t.Errorf("OA-02: %s, %d: %v after %d requests", typ, status, err, e.posts())
			}
		}
	}
}
