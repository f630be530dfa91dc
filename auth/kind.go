// Package auth makes an injector, which puts a credential on a request, from a
// stored record, and keeps it fresh.
//
// Obtaining is slow, may fail and is shared: Mint and Source. Applying is fast
// and pure: Injector. A kind is one way of authenticating to an upstream; the
// registry below is the one list of them.
package auth

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// Kind is one way of authenticating to an upstream: one credential type.
// Documentation, validation and prompts read the same table.
type Kind struct {
	Name, Doc          string
	Required, Optional []string         // fields of the record
	Places             []provider.Place // where the fields go unless the provider says otherwise
	Grant              string           // grant_type of a kind whose token is asked for, or its name where the request is none of OAuth's; empty: nobody is asked
	Verify             provider.Verify  // in place of the provider's own, which does not let it in; no Path: the provider's will do

	// Mint makes an injector. A kind with a Grant calls the token endpoint; the
	// others do no I/O. Errors are *fault.Fault and quote no value.
	Mint func(context.Context, Material) (*Injector, error)

	plan      func(Material) error                    // what Mint would fail with before any I/O; nil: Mint itself does no I/O
	ask       func(Kind, Material) (tokenCall, error) // for a token, without a refresh token, and without I/O; nil: there is no such way
	refreshes bool                                    // a refresh token in the record is used
	signs     bool                                    // its required fields are signed with, and go nowhere
	asksScope bool                                    // the record's scope is not what was given: it is what is asked for, or there is none
}

// Material is what an injector is made of.
type Material struct {
	Credential *credential.Credential
	Provider   *provider.Provider
	Client     *http.Client     // for token endpoints; guarded, without redirects. Kinds without a Grant need none
	Now        func() time.Time // nil: time.Now
	Renew      bool             // ask the token endpoint even where the record holds a token that is still valid
}

func (m Material) now() time.Time {
	if m.Now == nil {
		return time.Now()
	}
	return m.Now()
}

// Verifies reports whether minting proves that the credential works, because a
// token endpoint has accepted it.
func (k Kind) Verifies() bool { return k.Grant != "" }

// Fields are the required and the optional ones.
func (k Kind) Fields() []string { return slices.Concat(k.Required, k.Optional) }

// Needs are the fields that a record needs at a provider: the required ones,
// those that its login or its token request sends, and of a client that has no secret its key.
func (k Kind) Needs(p *provider.Provider) []string {
	needs := slices.Clone(k.Required)
	if k.Name == twoStep {
		needs = append(needs, p.Login.Fields()...)
	}
	if k.Name == ClientCredentialsType {
		needs = append(needs, p.OAuth2.ClientCredentialsFields()...)
	}
	if k.Name == DatabaseType {
		needs = slices.DeleteFunc(needs, func(f string) bool { return f == "port" }) // the driver has one
	}
	secret := slices.Index(needs, "client_secret")
	switch {
	case secret < 0:
	case p.OAuth2.ClientAuth == "private_key_jwt":
		needs[secret] = "private_key"
	case p.OAuth2.ClientAuth == "none":
		needs = slices.Delete(needs, secret, secret+1)
	}
	return needs
}

// Kinds gives every credential type, in the order of the documentation.
func Kinds() []Kind { return slices.Clone(kinds) }

// Lookup finds a credential type by its name.
func Lookup(name string) (Kind, bool) {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, false
	}
	return kinds[i], true
}

// Default places.
var (
	bearerToken = []provider.Place{{In: provider.InHeader, Name: "Authorization", Value: "Bearer {token}"}}
	bearerKey   = []provider.Place{{In: provider.InHeader, Name: "Authorization", Value: "Bearer {api_key}"}}
	basicUser   = []provider.Place{{In: provider.InBasic, Username: "{username}", Password: "{password}"}}
	basicKey    = []provider.Place{{In: provider.InBasic, Username: "{api_key}", Password: "{api_secret}"}}
	accessToken = []provider.Place{{In: provider.InHeader, Name: "Authorization", Value: "{token_type} {access_token}"}}
)

// kinds is the registry. Nobody writes it.
var kinds = []Kind{
	static(Kind{
		Name: "bearer", Doc: "a token that does not change, as Authorization: Bearer (RFC 6750)",
		Required: []string{"token"}, Places: bearerToken,
	}),
	static(Kind{
		Name: "api_key", Doc: "an API key, where the provider wants it",
		Required: []string{"api_key"}, Places: bearerKey,
	}),
	static(Kind{
		Name: "api_key_secret", Doc: "an API key with its secret, as user name and password",
		Required: []string{"api_key", "api_secret"}, Places: basicKey,
	}),
	static(Kind{
		Name: "api_key_url", Doc: "an API key of an instance with an address of its own",
		Required: []string{"api_key", "url"}, Places: bearerKey,
	}),
	static(Kind{
		Name: "basic", Doc: "a user name and a password (RFC 7617)",
		Required: []string{"username", "password"}, Places: basicUser,
	}),
	static(Kind{
		Name: "basic_url", Doc: "a user name and a password for an instance with an address of its own",
		Required: []string{"username", "password", "url"}, Places: basicUser,
	}),
	static(Kind{
		Name: "basic_api_key", Doc: "a user name and a password, and an API key where the provider wants it",
		Required: []string{"username", "password", "api_key"}, Optional: []string{"url"}, Places: basicUser,
	}),
	tokens(Kind{
		Name: "oauth2_authorization_code", Doc: "a grant that a person gave on a consent page or with a device code (RFC 6749 section 4.1, RFC 8628)",
		Required: []string{"client_id", "client_secret", "refresh_token"},
		Optional: []string{"access_token", "token_type", "expires_in", "expires_at", "created_at", "scope", "private_key", "key_id"},
		Places:   accessToken, Grant: "authorization_code", refreshes: true,
	}),
	tokens(Kind{
		Name: ClientCredentialsType, Doc: "the OAuth client's own account (RFC 6749 section 4.4)",
		Required: []string{"client_id", "client_secret"}, Optional: []string{"token_url", "scope", "audience", "private_key", "key_id"},
		Places: accessToken, Grant: "client_credentials", ask: askClientCredentials, asksScope: true,
	}),
	tokens(Kind{
		Name: "oauth2_password", Doc: "a user name and a password that are changed for a token (RFC 6749 section 4.3)",
		Required: []string{"username", "password"},
		Optional: []string{"client_id", "client_secret", "token_url", "refresh_url", "scope", "private_key", "key_id"},
		Places:   accessToken, Grant: "password", ask: askPassword, refreshes: true, asksScope: true,
	}),
	tokens(Kind{
		Name: "oauth2_refresh_token", Doc: "a refresh token that was obtained elsewhere (RFC 6749 section 6)",
		Required: []string{"refresh_token"}, Optional: []string{"client_id", "client_secret", "token_url", "private_key", "key_id"},
		Places: accessToken, Grant: "refresh_token", refreshes: true,
	}),
	tokens(Kind{
		Name: "oauth2_jwt_bearer", Doc: "an assertion that is signed with a private key, RSA, EC or Ed25519 (RFC 7523): Google service accounts, Salesforce",
		Required: []string{"private_key", "issuer", "subject"},
		Optional: []string{"audience", "key_id", "scope", "token_url", "client_id", "client_secret"},
		Places:   accessToken, Grant: grantJWTBearer, ask: askJWTBearer, asksScope: true,
	}),
	tokens(Kind{
		Name: "oauth2_token_exchange", Doc: "a token that is exchanged for another (RFC 8693); subject_token or subject_token_file",
		Optional: []string{"subject_token", "subject_token_file", "token_url", "audience", "scope", "client_id", "client_secret", "private_key", "key_id"},
		Places:   accessToken, Grant: grantExchange, ask: askExchange, asksScope: true,
	}),
	signs(Kind{
		Name: "oauth1", Doc: "a signature over each request, by HMAC-SHA1 (RFC 5849)",
		Required: []string{"consumer_key", "consumer_secret", "token", "token_secret"},
	}, prepareOAuth1),
	signs(Kind{
		Name: "aws_sigv4", Doc: "an AWS Signature Version 4 over each request; region and service are read from the host where the record has none",
		Required: []string{"access_key_id", "secret_access_key"}, Optional: []string{"session_token", "region", "service"},
	}, prepareSigV4),
	signs(Kind{
		Name: "hmac", Doc: "a signature with a shared key, in the scheme that the provider names: hmac = azure-storage, google-maps, hawk, sinch or worldline",
		Required: []string{"key"}, Optional: []string{"key_id"},
	}, prepareHMAC),
	tokens(Kind{
		Name: "github_app", Doc: "an installation of a GitHub App, by installation tokens; url is that of a GitHub Enterprise Server's API",
		Required: []string{"app_id", "installation_id", "private_key"}, Optional: []string{"url"},
		Places: accessToken, Grant: "github_app", ask: callGitHubApp, asksScope: true,
		Verify: provider.Verify{Method: http.MethodGet, Path: "/installation/repositories?per_page=1"}, // GET /user is for users
	}),
	tokens(Kind{
		Name: twoStep, Doc: "a login call whose answer holds the token; its fields are those that the provider's login names",
		Optional: []string{"url"}, Places: accessToken, Grant: twoStep, ask: callLogin,
	}),
	certified(Kind{
		Name: "mtls", Doc: "a client certificate, shown in the TLS handshake; PEM, with its chain",
		Required: []string{"certificate", "private_key"},
	}),
	databases(Kind{
		Name: DatabaseType, Doc: "the login of a PostgreSQL, MySQL or MariaDB server (driver postgres, mysql, mariadb), which is checked and goes on no HTTP request; port is the driver's own where it is not said, sslmode is one of libpq's",
		Required: []string{"driver", "host", "port", "database", "username", "password"}, Optional: []string{"sslmode"},
	}),
}
