package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/testserver"
)

// plainClient is a client of a test: it reads no proxy variables.
func plainClient(t testing.TB) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func oidcProvider(s *testserver.OIDC, clientAuth string) *provider.Provider {
	return &provider.Provider{
		Name: "crm", AllowCleartext: true,
		OAuth2: provider.OAuth2{TokenURL: s.TokenURL, ClientAuth: clientAuth, Scopes: []string{"api:read"}},
	}
}

// introspect asks the real server, as a resource server does, whether it made the token.
func introspect(t *testing.T, s *testserver.OIDC, i *Injector) string {
	t.Helper()
	req := request(t, "https://api.example/")
	if err := i.Inject(req); err != nil {
		t.Fatal(err)
	}
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok {
		t.Fatal("Authorization is not Bearer")
	}
	ask, err := http.NewRequest(http.MethodPost, s.Issuer+"/token/introspection", strings.NewReader("token="+token))
	if err != nil {
		t.Fatal(err)
	}
	ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	ask.SetBasicAuth("rs", "s3cr3t-rs")
	resp, err := plainClient(t).Do(ask)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b := make([]byte, 4096)
	n, _ := resp.Body.Read(b)
	return string(b[:n])
}

func TestRealTokenEndpoint(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Minute})
	for _, tc := range []struct {
		name, auth string
		c          *credential.Credential
		want       fault.Code
	}{
		{"basic", "", record("oauth2_client_credentials", "client_id", "m2m", "client_secret", "s3cr3t-m2m", "scope", "api:read api:write"), ""},
		{"body", "body", record("oauth2_client_credentials", "client_id", "m2m-post", "client_secret", "s3cr3t:/+%"), ""},
		{"special characters are form-urlencoded before Basic", "basic", record("oauth2_client_credentials", "client_id", "odd:id", "client_secret", "p@ss/w+rd %"), ""},
		{"wrong secret", "", record("oauth2_client_credentials", "client_id", "m2m", "client_secret", "wrong"), fault.InvalidClient},
		{"no secret where the server wants one", "none", record("oauth2_client_credentials", "client_id", "m2m", "client_secret", "s3cr3t-m2m"), fault.InvalidClient},
		{"a scope that the client has not", "body", record("oauth2_client_credentials", "client_id", "m2m-post", "client_secret", "s3cr3t:/+%", "scope", "api:write"), fault.InvalidScope},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i, err := Mint(context.Background(), Material{Credential: tc.c, Provider: oidcProvider(server, tc.auth), Client: plainClient(t)})
			if tc.want != "" {
				if !errors.Is(err, tc.want) || strings.Contains(err.Error(), tc.c.Field("client_secret").Reveal()) {
					t.Fatalf("got %v, want %s", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(i.Expiry); left < 50*time.Second || left > time.Minute {
				t.Errorf("the token lives %v, want the minute that the server says", left)
			}
			if got := introspect(t, server, i); !strings.Contains(got, `"active":true`) {
				t.Errorf("the server does not know the token: %s", got)
			}
		})
	}
}

// A token of two seconds is renewed again and again, and is valid each time.
func TestRealTokenIsRenewed(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: 2 * time.Second})
	store := &credtest.Store{}
	c := store.Add("acme/production/crm/main", "oauth2_client_credentials", "client_id", "m2m", "client_secret", "s3cr3t-m2m")
	s := NewSource(SourceOptions{Ref: c.Ref, Provider: oidcProvider(server, ""), Store: store, Client: plainClient(t)})
	seen, began := map[*Injector]bool{}, time.Now()
	for ; len(seen) < 4; time.Sleep(50 * time.Millisecond) {
		i, err := s.Injector(context.Background())
		if err != nil || time.Since(began) > time.Minute {
			t.Fatalf("after %v and %d tokens: %v", time.Since(began), len(seen), err)
		}
		if !seen[i] && !strings.Contains(introspect(t, server, i), `"active":true`) && time.Since(i.Minted) < time.Second { // it lives whole seconds
			t.Error("the server does not know the token")
		}
		seen[i] = true
	}
	// A token that a busy machine had no time to use was granted too.
	n, most := server.Grants(t, plainClient(t))["client_credentials:ok"], int(time.Since(began)/(1500*time.Millisecond))+2
	if n < len(seen) || n > most {
		t.Errorf("%d grants for %d tokens in %v, want at most %d", n, len(seen), time.Since(began), most)
	}
}

// An upstream that refuses a token which is still valid by its expires_in gets a new one.
func TestRealTokenIsRejected(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Hour})
	store := &credtest.Store{}
	c := store.Add("acme/production/crm/main", "oauth2_client_credentials", "client_id", "m2m", "client_secret", "s3cr3t-m2m")
	s := NewSource(SourceOptions{Ref: c.Ref, Provider: oidcProvider(server, ""), Store: store, Client: plainClient(t)})
	first, err := s.Injector(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s.Reject(first)
	second, err := s.Injector(context.Background())
	if err != nil || second == first {
		t.Fatalf("a rejected token was not renewed: %v", err)
	}
	if got := introspect(t, server, second); !strings.Contains(got, `"active":true`) {
		t.Errorf("the server does not know the new token: %s", got)
	}
}
