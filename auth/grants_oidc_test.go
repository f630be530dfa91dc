package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// publicKeys is what an authorization server knows of testKeys.
func publicKeys() string {
	var set jose.JSONWebKeySet
	for _, name := range []string{"RSA", "P-256", "Ed25519"} {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: testKeys()[name].Public(), KeyID: name})
	}
	return asJSON(set)
}

// The real server verifies signature, algorithm, audience, times and the id of
// each assertion; it refuses to see one twice.
func TestRealAssertions(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Minute, ClientKeys: publicKeys()})
	opaque := subjectToken(t, server)
	workload := func(key string) string {
		k, wrong := readKey(secret.New(pkcs8(key)))
		if wrong != "" {
			t.Fatal(wrong)
		}
		k.id = key
		token, err := k.token(map[string]any{"iss": "robot@example.test", "sub": "pod-1", "aud": "workload"}, time.Now().Add(-assertionSkew), assertionLife)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bearer := func(more ...string) *credential.Credential {
		return record("oauth2_jwt_bearer", append([]string{"issuer", "robot@example.test", "client_id", "open", "key_id", "RSA", "private_key", pkcs8("RSA")}, more...)...)
	}
	exchange := func(more ...string) *credential.Credential {
		return record("oauth2_token_exchange", append([]string{"client_id", "open"}, more...)...)
	}
	signed := func(more ...string) *credential.Credential {
		return record("oauth2_client_credentials", append([]string{"client_id", "signed", "key_id", "P-256", "private_key", sec1("P-256")}, more...)...)
	}
	for _, tc := range []struct {
		name, auth string
		c          *credential.Credential
		want       fault.Code
	}{
		{"private_key_jwt, ES256", "private_key_jwt", signed(), ""},
		{"private_key_jwt, RS256", "private_key_jwt", signed("private_key", pkcs1(), "key_id", "RSA"), ""},
		{"private_key_jwt, EdDSA", "private_key_jwt", signed("private_key", pkcs8("Ed25519"), "key_id", "Ed25519"), ""},
		{"private_key_jwt, another's key", "private_key_jwt", signed("private_key", sec1("other")), fault.InvalidClient},
		{"private_key_jwt, another client", "private_key_jwt", signed("client_id", "m2m"), fault.InvalidClient},
		{"JWT bearer, RS256", "none", bearer("subject", "alice"), ""},
		{"JWT bearer, ES256", "none", bearer("subject", "alice", "key_id", "P-256", "private_key", pkcs8("P-256")), ""},
		{"JWT bearer, EdDSA", "none", bearer("subject", "alice", "key_id", "Ed25519", "private_key", pkcs8("Ed25519")), ""},
		{"JWT bearer, of another", "none", bearer("subject", "mallory"), fault.InvalidGrant},
		{"JWT bearer, for another audience", "none", bearer("subject", "alice", "audience", "https://other.example"), fault.InvalidGrant},
		{"JWT bearer, another's key", "none", bearer("subject", "alice", "key_id", "P-256", "private_key", pkcs8("other")), fault.InvalidGrant},
		{"JWT bearer of a client with a key", "private_key_jwt", bearer("subject", "alice", "client_id", "signed"), ""},
		{"exchange of an access token", "none", exchange("subject_token", opaque, "audience", "urn:api"), ""},
		{"exchange of a JWT", "none", exchange("subject_token", workload("RSA")), ""},
		{"exchange of a file", "none", exchange("subject_token_file", file("token", workload("P-256")+"\n")), ""},
		{"exchange of an opaque file", "none", exchange("subject_token_file", file("token", opaque)), ""},
		{"exchange, a client with a key", "private_key_jwt", exchange("subject_token", workload("P-256"), "client_id", "signed", "key_id", "RSA", "private_key", pkcs8("RSA")), ""},
		{"exchange of a token that is not valid", "none", exchange("subject_token", "nobodys"), fault.InvalidGrant},
		{"exchange for an unknown audience", "none", exchange("subject_token", opaque, "audience", "urn:other"), fault.InvalidScope},
		{"exchange of a file that is gone", "none", exchange("subject_token_file", "/does/not/exist"), fault.FieldMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := oidcProvider(server, tc.auth)
			if err := Validate(p, tc.c); err != nil {
				t.Fatal(err)
			}
			i, err := Mint(t.Context(), Material{Credential: tc.c, Provider: p, Client: plainClient(t)})
			if tc.want != "" {
				if !errors.Is(err, tc.want) {
					t.Fatalf("got %v, want %s", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v; the server: %s", err, server.Log())
			}
			if got := introspect(t, server, i); !strings.Contains(got, `"active":true`) || !strings.Contains(got, `"scope":"api:read"`) {
				t.Errorf("the server does not know the token: %s", got)
			}
		})
	}
}

// subjectToken is one that the server gave to somebody.
func subjectToken(t *testing.T, server *testserver.OIDC) string {
	t.Helper()
	i, err := Mint(t.Context(), Material{
		Credential: record("oauth2_client_credentials", "client_id", "m2m", "client_secret", "s3cr3t-m2m"), Provider: oidcProvider(server, ""), Client: plainClient(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(sent(t, i), "Bearer ")
}

// A token that is none of OAuth's, N_A, is sent as Bearer (RFC 8693 section 2.2.1).
func TestRealExchangeForAnotherType(t *testing.T) {
	server := testserver.StartOIDC(t, testserver.OIDCOptions{ClientTTL: time.Minute, ClientKeys: publicKeys()})
	p := oidcProvider(server, "none")
	p.OAuth2.Params = map[string]string{"requested_token_type": typeJWT, "subject_token_type": typeAccessToken}
	c := record("oauth2_token_exchange", "client_id", "open", "subject_token", subjectToken(t, server))
	i, err := Mint(t.Context(), Material{Credential: c, Provider: p, Client: plainClient(t)})
	if err != nil {
		t.Fatal(err)
	}
	if got := sent(t, i); !strings.HasPrefix(got, "Bearer ") {
		t.Errorf("it sends %.10s", got)
	}
	if stats := server.Grants(t, plainClient(t)); stats[grantExchange+":ok"] != 1 {
		t.Errorf("grants %v", stats)
	}
}
