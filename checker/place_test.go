package checker_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// A key in the wrong place, or without its prefix: the report says where the
// provider looks, as far as it tells.
func TestMisplacedKeys(t *testing.T) {
	for _, c := range []struct {
		name, body, challenge string
		place                 provider.Place
		code                  fault.Code
		says                  string
	}{
		{"another header", `{"message":"Missing API key: send it in the header X-Api-Key"}`, "", provider.Place{}, fault.CredentialMisplaced, "X-Api-Key"},
		{"a query parameter, not a header", `{"message":"No API key found in request"}`, "", provider.Place{In: provider.InHeader, Name: "X-Key", Value: "{api_key}"}, fault.CredentialMisplaced, ""},
		{"another prefix", `{"message":"unauthorized"}`, `Token realm="api"`, provider.Place{}, fault.CredentialsRejected, "Token"},
		{"a query parameter by its name", `{"error":"api_key query parameter is required"}`, "", provider.Place{}, fault.CredentialMisplaced, "the query parameter api_key"},
		{"a header by its name", `{"error":"Please pass your api key in the X-API-Token header"}`, "", provider.Place{}, fault.CredentialMisplaced, "the header X-API-Token"},
		{"a prefix by its name", `{"error":"Authorization header must start with 'Token '"}`, "", provider.Place{}, fault.CredentialMisplaced, "Token in Authorization"},
		{"another scheme alone", `{}`, `Basic realm="api"`, provider.Place{}, fault.CredentialsRejected, "Basic"},
		{"another place beside its own", `{"error":"Send it as X-Api-Key header or as Bearer token"}`, "", provider.Place{}, fault.CredentialsRejected, ""},
		{"in its place and wrong", `{"message":"invalid key"}`, "", provider.Place{}, fault.CredentialsRejected, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if c.challenge != "" {
					w.Header().Set("WWW-Authenticate", c.challenge)
				}
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte(c.body))
			}))
			defer s.Close()
			p := api(s.URL)
			if c.place.In != "" {
				p.Places = []provider.Place{c.place}
			}
			r := newChecker(s.Client().Transport).Check(t.Context(), p, record("api_key", "api_key", canary))
			if r.Status != checker.Error || codeOf(r) != c.code || !strings.Contains(r.Checks[0].Detail, c.says) || !strings.Contains(r.Fault.Detail, c.says) {
				t.Errorf("%s, fault %+v, detail %q; want %s that says %q", r.Status, r.Fault, r.Checks[0].Detail, c.code, c.says)
			}
		})
	}
}
