package configs

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// login judges the call of a two_step type.
func (j *judge) login(key string, f *providerForm) {
	l := provider.Login(f.Login)
	if l.Path == "" {
		if f.Type == "two_step" || slices.Contains(f.Types, "two_step") {
			j.add(join(key, "path"), "is empty; a credential of type two_step needs the path of its login")
		}
		return
	}
	j.loginPath(join(key, "path"), l.Path)
	if l.Body != "" && l.Method == http.MethodGet {
		j.add(join(key, "body"), "is set, but a GET has no body; use POST, or a query in path")
	} else if what := checkBody(l.Body, l.JSON()); what != "" {
		j.add(join(key, "body"), "%s", what)
	}
	for _, field := range l.Fields() {
		if slices.Contains(credential.TokenFields, field) {
			j.add(key, "sends {%s}, which is what a login gives", field)
		}
	}
	if _, err := provider.ParseJSONPath(l.Token); err != nil {
		j.add(join(key, "token"), "%q %v", l.Token, err)
	}
	if l.ExpiresIn == "" {
		return
	}
	_, notDuration := parseDuration(l.ExpiresIn)
	if _, err := provider.ParseJSONPath(l.ExpiresIn); err != nil && notDuration != nil {
		j.add(join(key, "expires_in"), `%q %v; or a duration like "1h"`, l.ExpiresIn, err)
	}
}

func (j *judge) loginPath(key, path string) {
	plain, err := filled(path)
	if err == nil {
		_, err = url.Parse(plain)
	}
	switch {
	case !strings.HasPrefix(path, "/"):
		j.add(key, "%q does not begin with /; it is relative to base_url", path)
	case err != nil:
		j.add(key, "%q %v", path, err)
	case strings.ContainsAny(path, "# \\") || hasControl(path):
		j.add(key, "%q is not a path with an optional query", path)
	}
}

// checkBody says what is wrong with the body of a login or a verify request, or nothing.
func checkBody(body string, isJSON bool) string {
	switch {
	case body == "":
		return ""
	case isJSON:
		if !json.Valid([]byte(templateField.ReplaceAllString(body, "0"))) {
			return "begins like JSON and is none, or has a {field} where no value can stand"
		}
		return ""
	}
	plain, err := filled(body)
	if err != nil {
		return err.Error()
	}
	if _, err := url.ParseQuery(plain); err != nil || !strings.Contains(plain, "=") || strings.ContainsAny(plain, "<> \n") {
		return `is neither JSON nor a form; use for example '{"user":"{username}"}' or "user={username}"`
	}
	return ""
}

// ownClaims say who made an assertion and when, which is not the provider's to tell.
var ownClaims = []string{"iss", "iat", "exp", "jti"}

// claims judges the params that belong into an assertion.
func (j *judge) claims(key string, params map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		claim, ok := strings.CutPrefix(name, "client_assertion.")
		if !ok {
			claim, ok = strings.CutPrefix(name, "assertion.")
		}
		if ok && (claim == "" || slices.Contains(ownClaims, claim)) {
			j.add(join(key, name), "is no claim that a provider sets")
		}
		if _, err := filled(params[name]); ok && err != nil {
			j.add(join(key, name), "%v", err)
		}
	}
}

// client are the parameters by which a client says who it is: client_auth tells how.
var client = []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"}

// grantParams judges the further parameters of one grant.
func (j *judge) grantParams(key string, params map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		switch _, err := filled(params[name]); {
		case name == "" || hasControl(name):
			j.add(join(key, name), "is not the name of a parameter")
		case slices.Contains(client, name):
			j.add(join(key, name), "says who the client is, which client_auth and the record do")
		case err != nil:
			j.add(join(key, name), "%v", err)
		}
	}
}
