package auth

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// Claims are what an access token says of itself where it is a JSON Web Token (RFC
// 9068). Nobody has verified them, and the token may be meant for others to read.
type Claims struct {
	Audience []string
	Scopes   []string  // scp, else scope: what a person's consent gave; nil: not said
	Roles    []string  // what an administrator gave to the app itself; nil: not said
	Ends     time.Time // zero: not said
}

// Claims reads those of the token that the injector carries; ok is false where it
// is no JSON Web Token.
func (i *Injector) Claims() (c Claims, ok bool) {
	m, ok := jwtClaims(i.Carries().Reveal())
	if !ok {
		return Claims{}, false
	}
	return Claims{Audience: namesOf(m["aud"]), Scopes: namesOf(first(m, "scp", "scope")), Roles: namesOf(m["roles"]), Ends: TimeOf(m["exp"])}, true
}

// jwtClaims reads the payload of a JSON Web Token. Nothing is verified.
func jwtClaims(token string) (map[string]any, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var m map[string]any
	if err != nil || json.Unmarshal(payload, &m) != nil {
		return nil, false
	}
	return m, m != nil
}
