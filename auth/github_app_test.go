package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// gitHub is the part of GitHub's API that gives installation tokens. There is no
// real one to be had; it verifies the App's token as GitHub's documentation says.
type gitHub struct {
	*httptest.Server
	installations map[string]int // status by installation_id; none: 404
	minted        atomic.Int64
}

func startGitHub(t *testing.T, prefix string) *gitHub {
	g := &gitHub{installations: map[string]int{"42": 201, "43": 403, "44": 429}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+prefix+"/app/installations/{id}/access_tokens", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if why := g.refuses(r); why != "" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"message":%q,"documentation_url":"https://docs.github.com/rest"}`, why)
			return
		}
		switch status := g.installations[r.PathValue("id")]; status {
		case http.StatusCreated:
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"token":"ghs_%d","expires_at":%q,"permissions":{"contents":"read"},"repository_selection":"selected"}`,
				g.minted.Add(1), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		case http.StatusForbidden:
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"message":"This installation has been suspended"}`))
		case http.StatusTooManyRequests:
			w.Header().Set("Retry-After", "17")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"message":"You have exceeded a secondary rate limit"}`))
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"message":"Not Found"}`))
		}
	})
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

// refuses tells what GitHub has against the App's token.
func (g *gitHub) refuses(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if !ok || err != nil || r.Header.Get("User-Agent") == "" || r.Header.Get("Accept") == "" {
		return "A JSON web token could not be decoded"
	}
	payload, err := s.Verify(testKeys()["RSA"].Public())
	var claims struct {
		Issuer   string `json:"iss"`
		IssuedAt int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}
	now := time.Now().Unix()
	switch {
	case err != nil, json.Unmarshal(payload, &claims) != nil:
		return "A JSON web token could not be decoded"
	case claims.Issuer != "7":
		return "Integration not found"
	case claims.IssuedAt > now-55 || claims.Expires <= now || claims.Expires > now+600 || claims.Expires-claims.IssuedAt > 600:
		return "'Expiration time' claim ('exp') is too far in the future"
	}
	return ""
}

func gitHubProvider(base string) *provider.Provider {
	return &provider.Provider{Name: "github", BaseURL: base, Headers: []provider.Header{{Name: "Accept", Value: "application/vnd.github+json"}}}
}

func TestGitHubApp(t *testing.T) {
	g := startGitHub(t, "")
	p := gitHubProvider(g.URL)
	for _, tc := range []struct {
		name string
		more []string
		want fault.Code
		says string
	}{
		{"an installation", nil, "", ""},
		{"the key as PKCS #1, in one line", []string{"private_key", strings.ReplaceAll(pkcs1(), "\n", `\n`)}, "", ""},
		{"another App", []string{"app_id", "8"}, fault.InvalidClient, "check app_id"},
		{"another installation", []string{"installation_id", "1"}, fault.InvalidGrant, "check installation_id"},
		{"a suspended one", []string{"installation_id", "43"}, fault.InvalidGrant, "suspended"},
		{"too many requests", []string{"installation_id", "44"}, fault.TokenEndpointUnreachable, "too many requests"},
		{"no number", []string{"installation_id", "42/../43"}, fault.FieldMissing, "installation_id is not a number"},
		{"a base URL in the clear", []string{"url", "http://ghes.example/api/v3"}, fault.CleartextRefused, "field url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := record("github_app", append([]string{"app_id", "7", "installation_id", "42", "private_key", pkcs8("RSA")}, tc.more...)...)
			i, err := Mint(t.Context(), Material{Credential: c, Provider: p, Client: plainClient(t)})
			if tc.want != "" {
				f := fault.From(err)
				if f.Code != tc.want || !strings.Contains(f.Detail, tc.says) || strings.Contains(err.Error(), "BEGIN") {
					t.Fatalf("got %v, want %s with %q", err, tc.want, tc.says)
				}
				if f.Code == fault.TokenEndpointUnreachable && f.RetryAfter != 17*time.Second {
					t.Errorf("it waits %v, want what GitHub asked for", f.RetryAfter)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(i.Expiry); left < 59*time.Minute || left > time.Hour {
				t.Errorf("the token lives %v, want an hour", left)
			}
			if got := sent(t, i); !strings.HasPrefix(got, "Bearer ghs_") {
				t.Errorf("it sends %q", got)
			}
		})
	}
}

// An Enterprise Server is where the record's url is: tokens are asked for there, and used there.
func TestGitHubEnterpriseServer(t *testing.T) {
	g := startGitHub(t, "/api/v3")
	c := record("github_app", "app_id", "7", "installation_id", "42", "private_key", pkcs8("RSA"), "url", g.URL+"/api/v3/")
	i, err := Mint(t.Context(), Material{Credential: c, Provider: gitHubProvider("https://api.github.com"), Client: plainClient(t)})
	if err != nil {
		t.Fatal(err)
	}
	if i.Upstream == nil || i.Upstream.String() != g.URL+"/api/v3" || g.minted.Load() != 1 {
		t.Errorf("the upstream is %v after %d tokens", i.Upstream, g.minted.Load())
	}
}

// The keeper holds an installation's token, and gets another when it will not do.
func TestGitHubAppIsKept(t *testing.T) {
	g, store := startGitHub(t, ""), &credtest.Store{}
	c := store.Add("acme/production/github/main", "github_app", "app_id", "7", "installation_id", "42", "private_key", pkcs8("RSA"))
	k := NewKeeper(KeeperOptions{Store: store})
	d := Demand{Provider: gitHubProvider(g.URL), Client: plainClient(t), Record: c}
	first, err := k.Obtain(t.Context(), d)
	if err != nil || !first.Minted {
		t.Fatal(err)
	}
	d.Record = first.Record
	if again, err := k.Obtain(t.Context(), d); err != nil || again.Minted || g.minted.Load() != 1 {
		t.Errorf("a valid token is not used: %v, %d minted", err, g.minted.Load())
	}
	d.Have = secret.New("ghs_1")
	other, err := k.Obtain(t.Context(), d)
	if err != nil || sent(t, other.Injector) != "Bearer ghs_2" {
		t.Errorf("a refused token is not replaced: %v", err)
	}
	kept, err := store.Get(t.Context(), c.Ref)
	if err != nil || kept.Field("access_token").Reveal() != "ghs_2" || kept.Field("scope").Reveal() != "" {
		t.Errorf("kept %v, %v", kept.Names(), err)
	}
}

// What no JSON is, and half an answer, is no token.
func TestGitHubAppAnswers(t *testing.T) {
	c := record("github_app", "app_id", "7", "installation_id", "42", "private_key", pkcs8("RSA"))
	for body, want := range map[string]fault.Code{
		`{"token":"ghs_1","expires_at":"soon"}`:    "",
		`{"token":"","expires_at":""}`:             fault.TokenEndpointUnreachable,
		`{"token":"a b\r\nX: y"}`:                  fault.TokenEndpointUnreachable,
		`<html>`:                                   fault.TokenEndpointUnreachable,
		`{"token":["x"]}`:                          fault.TokenEndpointUnreachable,
		strings.Repeat(" ", maxAnswer) + `{"a":1}`: fault.TokenEndpointUnreachable,
	} {
		i, err := mint(&tokenEndpoint{answer: says(201, "application/json", body)}, gitHubProvider("https://api.example"), c)
		if want == "" {
			if err != nil || time.Until(i.Expiry) > defaultLife {
				t.Errorf("%.40s: %v", body, err)
			}
			continue
		}
		if !errors.Is(err, want) {
			t.Errorf("%.40s: %v, want %s", body, err, want)
		}
	}
}
