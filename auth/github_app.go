package auth

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/internal/fault"
)

// GitHub takes a token of its App for ten minutes at most, and asks for an iat
// that is a minute old.
const (
	appSkew = time.Minute
	appLife = 10 * time.Minute
)

// callGitHubApp asks for an installation's token: the App proves itself by a JSON
// Web Token. With GitHub Enterprise Server the API is at https://HOST/api/v3.
func callGitHubApp(k Kind, m Material) (tokenCall, error) {
	base, err := k.apiURL(m)
	if err != nil {
		return nil, err
	}
	app, installation := m.Credential.Field("app_id").Reveal(), m.Credential.Field("installation_id").Reveal()
	if strings.Trim(installation, "0123456789") != "" {
		return nil, unfit("field installation_id is not a number")
	}
	if wrong := fitHeader(app); wrong != "" {
		return nil, unfit("field app_id %s", wrong)
	}
	key, err := keyOf(m)
	if err != nil {
		return nil, err
	}
	if key.alg != jose.RS256 {
		return nil, unfit("field private_key is not an RSA key, as a GitHub App's is")
	}
	token, err := key.token(map[string]any{"iss": app}, m.now().Add(-appSkew), appLife)
	if err != nil {
		return nil, err
	}
	return apiCall{
		method: http.MethodPost, url: base + "/app/installations/" + installation + "/access_tokens",
		authorization: "Bearer " + token, read: readInstallation,
	}, nil
}

// readInstallation reads {"token", "expires_at", "permissions", "repository_selection"}.
func readInstallation(r reply) answer {
	var body struct {
		Token     string `json:"token"`
		ExpiresAt string `json:"expires_at"`
		Message   string `json:"message"`

		Permissions map[string]string `json:"permissions"`
	}
	_ = json.Unmarshal(r.Body, &body) // what is no JSON has no token
	switch r.Status {
	case http.StatusUnauthorized:
		return answer{refusal: fault.InvalidClient, told: "does not accept the App's key: check app_id, private_key and the clock of this machine"}
	case http.StatusForbidden:
		if strings.Contains(body.Message, "rate limit") {
			return answer{refusal: fault.TokenEndpointUnreachable, told: "has had too many requests of this App"}
		}
		return answer{refusal: fault.InvalidGrant, told: "refuses the installation: it may be suspended"}
	case http.StatusNotFound:
		return answer{refusal: fault.InvalidGrant, told: "knows no such installation of this App: check installation_id and app_id"}
	case http.StatusUnprocessableEntity:
		return answer{refusal: fault.InvalidGrant, told: "refuses what the installation is asked for"}
	}
	return answer{AccessToken: body.Token, ExpiresAt: body.ExpiresAt, Scope: levels(body.Permissions)}
}

// levels writes permissions as NAME:LEVEL, in their order.
func levels(permissions map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(permissions)) {
		all = append(all, name+":"+permissions[name])
	}
	return strings.Join(all, " ")
}
