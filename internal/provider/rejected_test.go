package provider

import (
	"strings"
	"testing"
)

// A 403 of an API that refuses bad keys so: what it says of the key beyond doubt
// rejects it. All else may be a permission, or not.
func TestRejectedOn403(t *testing.T) {
	for body, want := range map[string]Meaning{
		`{"message":"Invalid API key"}`:                                        Invalid,
		`{"error":"invalid_token"}`:                                            Invalid,
		`{"error":"invalid_token","error_description":"it does not say more"}`: Invalid,
		`{"message":"Token expired"}`:                                          Invalid,
		`{"error":"invalid credentials"}`:                                      Invalid,
		`{"error":{"code":"invalid_api_key","message":"API key not valid. Please pass a valid one."}}`: Invalid,
		`{"error":"InvalidApiKey"}`:                                               Invalid,
		`{"code":"TOKEN_EXPIRED"}`:                                                Invalid,
		`{"message":"The access token you provided has been revoked"}`:            Invalid,
		`{"message":"Unknown API key"}`:                                           Invalid,
		`{"message":"Missing or invalid API key"}`:                                Invalid,
		`{"message":"Invalid or expired token."}`:                                 Invalid,
		`{"error":"Your authentication token is no longer valid"}`:                Invalid,
		`{"__type":"ExpiredTokenException","message":"x"}`:                        Invalid,
		`{"message":"The security token included in the request is invalid."}`:    Invalid,
		`{"detail":"Bad credentials"}`:                                            Invalid,
		`{"detail":"API key does not exist"}`:                                     Invalid,
		`{"padding":"` + strings.Repeat("x", 3000) + `","error":"invalid_token"}`: Invalid,

		`{"message":"Forbidden"}`:     Forbidden,
		`{}`:                          Forbidden,
		`{"message":"Access denied"}`: Forbidden,
		`{"message":"Invalid API key or insufficient permissions"}`:                  Forbidden,
		`{"message":"This API key is not valid for this endpoint"}`:                  Forbidden,
		`{"message":"invalid token scope"}`:                                          Forbidden,
		`{"message":"Your token's role is unknown"}`:                                 Forbidden,
		`{"message":"CSRF token is invalid"}`:                                        Forbidden,
		`{"message":"Invalid CSRF token"}`:                                           Forbidden,
		`{"message":"The page token has expired"}`:                                   Forbidden,
		`{"message":"invalid sort key"}`:                                             Forbidden,
		`{"message":"Invalid key: limit"}`:                                           Forbidden,
		`{"message":"invalid parameter","hint":"your token may read"}`:               Forbidden,
		`{"message":"user not found"}`:                                               Forbidden,
		`{"message":"Your subscription has expired"}`:                                Forbidden,
		`{"padding":"` + strings.Repeat("x", maxRejected) + `","e":"invalid_token"}`: Forbidden,
		`{"message":"insufficient_scope: the token is invalid for this"}`:            Scope,
	} {
		if got := new(Provider).Meaning(answer(403, "Content-Type", "application/json"), []byte(body)); got != want {
			t.Errorf("%.90s: Meaning = %q; want %q", body, got, want)
		}
	}
	for name, resp := range map[string]Meaning{"text/html": OK, "text/plain": OK, "application/problem+json": Invalid} {
		if got := new(Provider).Meaning(answer(403, "Content-Type", name), []byte(`{"title":"Invalid API key"}`)); got != resp {
			t.Errorf("%s: Meaning = %q; want %q", name, got, resp)
		}
	}
}

func BenchmarkForbidden(b *testing.B) {
	resp := answer(403, "Content-Type", "application/json")
	for name, body := range map[string]string{
		"short": `{"message":"Forbidden"}`, "long": `{"message":"` + strings.Repeat("no such thing, ", PeekSize/15) + `"}`,
		"rejected": `{"message":"Invalid API key"}`, "hostile": strings.Repeat("api key token has been invalid ", PeekSize/31),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				new(Provider).Meaning(resp, []byte(body))
			}
		})
	}
}
