package auth

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/sallyport/sallyport/internal/provider"
)

// OA-05, LK-01, LK-02: servers that send back all they were sent get none of it
// into a fault, a log line or a metric.
func TestNoGrantShowsASecret(t *testing.T) {
	statuses := map[string]int{"200": 200, "201": 201, "302": 302, "400": 400, "401": 401, "403": 403, "404": 404, "422": 422, "500": 500}
	for name, status := range statuses {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Location", "/?"+url.QueryEscape(string(body)))
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"error":%q,"message":%q,"token":{"x":%q}}`, canary, body, r.RequestURI)
		}))
		t.Cleanup(server.Close)
		for kind, tc := range map[string]struct {
			login  provider.Login
			fields []string
		}{
			"two_step JSON":         {provider.Login{Path: "/login", Body: `{"p":"{password}"}`, Token: "token"}, []string{"two_step", "password", canary}},
			"two_step form":         {provider.Login{Path: "/login", Body: `p={password}`, Token: "token"}, []string{"two_step", "password", canary}},
			"two_step query":        {provider.Login{Path: "/{password}?p={password}", Token: "token"}, []string{"two_step", "password", canary}},
			"oauth2_token_exchange": {provider.Login{}, []string{"oauth2_token_exchange", "subject_token", canary}},
			"a broken key":          {provider.Login{}, []string{"oauth2_jwt_bearer", "private_key", canary, "issuer", "i", "subject", "s"}},
			"a broken PEM":          {provider.Login{}, []string{"github_app", "app_id", "1", "installation_id", "2", "private_key", "-----BEGIN PRIVATE KEY-----\n" + canary + "\n-----END PRIVATE KEY-----"}},
			"a broken JSON Web Key": {provider.Login{}, []string{"oauth2_jwt_bearer", "private_key", `{"kty":"EC","d":"` + canary + `"}`, "issuer", "i", "subject", "s"}},
			"another secret":        {provider.Login{}, []string{"github_app", "app_id", "1", "installation_id", "2", "private_key", pkcs8("RSA"), "other", canary}},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				p := &provider.Provider{Name: "crm", BaseURL: server.URL, OAuth2: provider.OAuth2{TokenURL: server.URL}, Login: tc.login}
				scanSource(t, p, plainClient(t), tc.fields[0], tc.fields[1:]...)
			})
		}
	}
}
