package checker_test

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

const (
	sheetsScope   = "https://www.googleapis.com/auth/spreadsheets"
	contactsScope = "https://www.googleapis.com/auth/contacts"
)

// googleError is an error in the newer dialect.
func googleError(code int, status, message, reason, more string) http.HandlerFunc {
	return says(code, fmt.Sprintf(`{"error":{"code":%d,"message":%q,"status":%q,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%q,"domain":"googleapis.com"%s}]}}`, code, message, status, reason, more))
}

// googleOld is one in the older dialect.
func googleOld(code int, reason, message string) http.HandlerFunc {
	return says(code, fmt.Sprintf(`{"error":{"errors":[{"domain":"global","reason":%q,"message":%q}],"code":%d,"message":%q}}`, reason, message, code, message))
}

func TestGoogle(t *testing.T) {
	info := func(scope string) http.HandlerFunc {
		return says(200, fmt.Sprintf(`{"azp":"1-x.apps.googleusercontent.com","aud":"1-x.apps.googleusercontent.com","sub":"10","scope":%q,"exp":"%d","expires_in":"3599","email":"ann@example.com","email_verified":"true","access_type":"offline"}`, scope, time.Now().Add(time.Hour).Unix()))
	}
	good, invalid := says(200, `{"resourceName":"people/1"}`), says(400, `{"error":"invalid_token","error_description":"Invalid Value"}`)
	scope := wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, login: "ann@example.com", code: fault.InsufficientScope}
	limited := wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.UpstreamRateLimited}
	for _, tc := range []struct {
		name         string
		verify, info http.HandlerFunc
		needs        []string
		want         wanted
	}{
		{"all that is needed", good, info(contactsScope + " openid https://www.googleapis.com/auth/userinfo.email"), []string{contactsScope, "email", contactsScope + ".readonly"}, wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "ann@example.com"}},
		{"a scope is missing", good, info(contactsScope + ".readonly"), []string{contactsScope}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: contactsScope, login: "ann@example.com", code: fault.InsufficientScope}},
		{"tokeninfo does not know a token that works", good, invalid, nil, wanted{overall: checker.Warning, authorization: checker.Warning}},
		{"tokeninfo is throttled", good, says(429, `{}`), []string{contactsScope}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, code: fault.UpstreamRateLimited}},
		{"tokeninfo answers HTML", good, says(200, `<html>`, "Content-Type", "text/html"), []string{contactsScope}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Unverifiable, code: fault.UpstreamInvalid}},
		{"401 UNAUTHENTICATED", googleError(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "ACCESS_TOKEN_EXPIRED", ""), invalid, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable, detail: "invalid authentication credentials"}},
		{"401 authError", googleOld(401, "authError", "Invalid Credentials"), invalid, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable, detail: "Invalid Credentials"}},
		{"403 ACCESS_TOKEN_SCOPE_INSUFFICIENT", googleError(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", ""), info(sheetsScope), nil, scope.saying("granted: " + sheetsScope)},
		{"403 insufficientPermissions", googleOld(403, "insufficientPermissions", "Insufficient Permission"), info(sheetsScope), nil, scope},
		{"403 that names what is needed too", googleOld(403, "insufficientPermissions", "Insufficient Permission"), info(sheetsScope), []string{contactsScope}, wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: contactsScope, login: "ann@example.com", code: fault.InsufficientScope}},
		{"403 SERVICE_DISABLED", googleError(403, "PERMISSION_DENIED", "People API has not been used in project 123 before or it is disabled.", "SERVICE_DISABLED", `,"metadata":{"activationUrl":"https://console.developers.google.com/apis/api/people.googleapis.com/overview?project=123"}`), info(contactsScope), nil, wanted{overall: checker.Warning, authorization: checker.Warning, scopes: checker.OK, login: "ann@example.com", code: fault.APIDisabled, detail: "enable it at https://console.developers.google.com/apis/api/people.googleapis.com/overview?project=123"}},
		{"403, an API that is off, in words", says(403, `{"error":{"code":403,"message":"People API has not been used in project 123 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/people.googleapis.com/overview?project=123 then retry.","status":"PERMISSION_DENIED"}}`), info(contactsScope), nil, wanted{overall: checker.Warning, authorization: checker.Warning, scopes: checker.OK, login: "ann@example.com", code: fault.APIDisabled, detail: "https://console.developers.google.com/"}},
		{"403, a scope in words", says(403, `{"error":{"code":403,"message":"Request had insufficient authentication scopes.","status":"PERMISSION_DENIED"}}`), info(sheetsScope), nil, scope.saying("granted: " + sheetsScope)},
		{"200 with nothing in it", says(200, ``), nil, nil, wanted{overall: checker.Warning, authorization: checker.Unverifiable, detail: "with nothing in it"}},
		{"403 accessNotConfigured", googleOld(403, "accessNotConfigured", "Access Not Configured. Enable it by visiting https://console.developers.google.com/apis/api/people.googleapis.com/overview?project=123 then retry."), info(contactsScope), nil, wanted{overall: checker.Warning, authorization: checker.Warning, scopes: checker.OK, login: "ann@example.com", code: fault.APIDisabled, detail: "https://console.developers.google.com/"}},
		{"403 rateLimitExceeded", googleOld(403, "rateLimitExceeded", "Rate Limit Exceeded"), info(contactsScope), nil, limited},
		{"403 userRateLimitExceeded", googleOld(403, "userRateLimitExceeded", "User-rate limit exceeded.  Retry after 2026-01-01T00:00:00.000Z"), info(contactsScope), nil, limited.saying("Retry after 2026")},
		{"403 quotaExceeded", googleOld(403, "quotaExceeded", "Quota Exceeded"), info(contactsScope), nil, wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.QuotaExceeded}},
		{"403 dailyLimitExceeded", googleOld(403, "dailyLimitExceeded", "Daily Limit Exceeded"), info(contactsScope), nil, wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.QuotaExceeded}},
		{"429 RESOURCE_EXHAUSTED", googleError(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric", "RATE_LIMIT_EXCEEDED", ""), info(contactsScope), nil, limited},
		{"403 PERMISSION_DENIED", says(403, `{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED"}}`), info(contactsScope), nil, wanted{overall: checker.Warning, authorization: checker.Warning, scopes: checker.OK, login: "ann@example.com", code: fault.ResourceNotShared}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, played := acted(t, map[string]http.HandlerFunc{"GET /v1/people/me": tc.verify, "POST /tokeninfo": tc.info})
			p := google(base)
			p.Needs.Scopes = tc.needs
			r := newChecker(transport(t)).Check(t.Context(), p, web("ya29.c4n4ry", "1//r3fresh"))
			tc.want.check(t, r, "c4n4ry", "r3fresh", "s3cr3t")
			if tc.want.code == fault.APIDisabled && r.Fault.Actor != fault.Operator {
				t.Errorf("%s is to act: %q; want whoever has the client's project", r.Fault.Actor, r.Fault.Remedy)
			}
			for i, req := range played.seen {
				if req.URL.Path == "/tokeninfo" && (req.URL.RawQuery != "" || played.bodies[i] != "" || req.Header.Get("Authorization") != "Bearer ya29.c4n4ry") {
					t.Errorf("tokeninfo was asked with %s %q", req.URL, played.bodies[i])
				}
			}
		})
	}
}

func google(base string) *provider.Provider {
	p := api(base + "/v1")
	p.Name, p.Verify.Path = "google-contacts", "/people/me"
	p.OAuth2 = provider.OAuth2{TokenURL: base + "/token", ClientAuth: "body"}
	return p
}

// Where there is no verify request, tokeninfo is the proof; also of the tokens of
// service accounts, for which the token endpoint names no scopes.
func TestGoogleWithoutVerifyRequest(t *testing.T) {
	for _, tc := range []struct {
		name string
		info http.HandlerFunc
		want wanted
	}{
		{"active", says(200, `{"scope":"`+sheetsScope+`","exp":4102444800,"email":"ann@example.com"}`), wanted{overall: checker.OK, authorization: checker.OK, scopes: checker.OK, login: "ann@example.com"}},
		{"revoked", says(400, `{"error":"invalid_token","error_description":"Invalid Value"}`), wanted{overall: checker.Warning, authorization: checker.Unverifiable}},
		{"throttled", says(429, `{}`), wanted{overall: checker.Unknown, authorization: checker.Unverifiable, code: fault.UpstreamRateLimited}},
		{"another 400", says(400, `{"error":"invalid_request"}`), wanted{overall: checker.Warning, authorization: checker.Unverifiable, code: fault.UpstreamInvalid}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, _ := acted(t, map[string]http.HandlerFunc{"POST /tokeninfo": tc.info})
			p := google(base)
			p.Name, p.Verify = "google-sheets", provider.Verify{}
			r := newChecker(transport(t)).Check(t.Context(), p, web("ya29.c4n4ry", "1//r3fresh"))
			tc.want.check(t, r, "c4n4ry", "r3fresh", "s3cr3t")
		})
	}
}

func TestGoogleServiceAccount(t *testing.T) {
	base, played := acted(t, map[string]http.HandlerFunc{
		"POST /token":     says(200, `{"access_token":"ya29.c4n4ry","expires_in":3599,"token_type":"Bearer"}`),
		"POST /tokeninfo": says(200, `{"scope":"`+sheetsScope+`","exp":"4102444800","email":"robot@project.iam.gserviceaccount.com"}`),
	})
	p := google(base)
	p.Name, p.Verify, p.Needs.Scopes = "google-sheets", provider.Verify{}, []string{sheetsScope, contactsScope}
	cred := record("oauth2_jwt_bearer", "private_key", privateKey(t, rsaKey(t)), "issuer", "robot@project.iam.gserviceaccount.com", "subject", "robot@project.iam.gserviceaccount.com", "scope", sheetsScope)
	r := newChecker(transport(t)).Check(t.Context(), p, cred)
	wanted{overall: checker.Warning, authorization: checker.OK, scopes: checker.Warning, missing: contactsScope, login: "robot@project.iam.gserviceaccount.com", code: fault.InsufficientScope}.check(t, r, "c4n4ry")
	if len(played.seen) != 2 {
		t.Errorf("%d requests, want two", len(played.seen))
	}
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
