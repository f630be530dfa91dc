package checker_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// An end that no calendar has is none, whoever tells it: every report can be written.
func TestEndsThatCannotBeTold(t *testing.T) {
	const far, late = "1099511627775", "9999-12-31T23:59:59-01:00"
	jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":`+far+`}`)) + ".c2ln"
	user := map[string]http.HandlerFunc{"GET /user": says(200, `{"login":"ann","id":1}`)}
	granted := func(more ...string) *credential.Credential {
		return record("oauth2_authorization_code", append([]string{"client_id", "web", "client_secret", "s", "sallyport_state", `{"connect":{"flow":"code"}}`}, more...)...)
	}
	for name, tc := range map[string]struct {
		provider   string
		cred       *credential.Credential
		introspect string
		answers    map[string]http.HandlerFunc
	}{
		"a key that is a JWT":             {cred: record("bearer", "token", jwt)},
		"an access token that is a JWT":   {cred: granted("access_token", jwt)},
		"expires_at of the record":        {cred: granted("access_token", "a", "expires_at", late)},
		"expires_at of the record, Unix":  {cred: granted("access_token", "a", "expires_at", far)},
		"created_at and expires_in":       {cred: granted("access_token", "a", "created_at", "9999-12-01T00:00:00Z", "expires_in", "315360000")},
		"an introspection":                {cred: granted("access_token", "a"), introspect: `{"active":true,"exp":` + far + `}`},
		"an introspection, RFC 3339":      {cred: granted("access_token", "a"), introspect: `{"active":true,"exp":"` + late + `"}`},
		"tokeninfo of Google":             {provider: "google-contacts", cred: granted("access_token", "a"), answers: map[string]http.HandlerFunc{"POST /tokeninfo": says(200, `{"scope":"email","exp":"`+far+`"}`)}},
		"GitHub's header":                 {provider: "github", cred: record("bearer", "token", "ghp_a"), answers: map[string]http.HandlerFunc{"GET /user": says(200, `{"login":"ann","id":1}`, "GitHub-Authentication-Token-Expiration", "9999-12-31 23:59:59 -0100")}},
		"a refresh token's, in its state": {cred: record("oauth2_authorization_code", "client_id", "web", "client_secret", "s", "access_token", "a", "refresh_token", "r", "sallyport_state", `{"grant":{"v":1,"ends":"`+late+`"}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			answers := map[string]http.HandlerFunc{"GET /user": user["GET /user"], "POST /introspect": says(200, tc.introspect)}
			for at, h := range tc.answers {
				answers[at] = h
			}
			base, _ := acted(t, answers)
			p := api(base)
			if p.OAuth2 = (provider.OAuth2{TokenURL: base + "/token"}); tc.introspect != "" {
				p.OAuth2.IntrospectionURL = base + "/introspect"
			}
			if tc.provider != "" {
				p.Name = tc.provider
			}
			r := newChecker(transport(t)).Check(t.Context(), p, tc.cred)
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatalf("%v: %+v", err, r.ExpiresAt)
			}
			if line(r, checker.Authorization).Status != checker.OK || r.ExpiresAt != nil {
				t.Errorf("%s; want ok, without an end", b)
			}
		})
	}
}
