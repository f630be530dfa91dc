package configs

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

// judge holds the entries of providers to the rules.
type judge struct {
	*report
	types func(string) (known, built bool)
}

// defaultType of an entry of the configuration must be one that works.
func (j *judge) defaultType(key, name string) {
	if known, built := j.types(name); known && !built {
		j.add(key, "%q is not built yet; use another default type and list it in types", name)
	}
}

func (j *judge) entry(path string, f *providerForm) {
	j.credentialTypes(path, f)
	j.hmac(join(path, "hmac"), f)
	j.protocol(join(path, "protocol"), f)
	j.hosts(path, f)
	for i, p := range f.Paths {
		if what := checkPrefix(p); what != "" {
			j.add(index(join(path, "paths"), i), "%q %s", p, what)
		}
	}
	if f.BaseURL != "" {
		j.url(join(path, "base_url"), f.BaseURL, f.AllowCleartext)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Headers)) {
		if what := checkConstant(name, f.Headers[name]); what != "" {
			j.add(join(join(path, "headers"), name), "%s", what)
		}
	}
	for i, p := range f.Places {
		j.place(index(join(path, "place"), i), p)
	}
	j.oauth2(join(path, "oauth2"), f)
	j.login(join(path, "login"), f)
	j.verify(join(path, "verify"), provider.Verify(f.Verify))
	if f.Refresh.Idle > 0 && f.Refresh.Idle < minIdle {
		j.add(join(join(path, "refresh"), "idle"), "is too short to keep a grant alive; use at least 10m, or 0s if none lapses")
	}
	for name, list := range map[string][]string{"scopes": f.Needs.Scopes, "permissions": f.Needs.Permissions, "oauth_scopes": f.Needs.OAuthScopes} {
		j.rights(join(join(path, "needs"), name), list)
	}
	j.limits(join(path, "limits"), f.Limits)
	for i, s := range f.Signals {
		j.signal(index(join(path, "signal"), i), s)
	}
}

func (j *judge) credentialTypes(path string, f *providerForm) {
	for i, t := range append([]string{f.Type}, f.Types...) {
		key := join(path, "type")
		if i > 0 {
			key = index(join(path, "types"), i-1)
		}
		if known, _ := j.types(t); !known {
			j.add(key, "%q is not a credential type%s", t, hint(t, documentedTypes))
		}
	}
}

// hmac must name a scheme where a type signs by one.
func (j *judge) hmac(key string, f *providerForm) {
	schemes := strings.Join(provider.HMACSchemes, ", ")
	switch {
	case f.HMAC != "" && !slices.Contains(provider.HMACSchemes, f.HMAC):
		j.add(key, "%q is not a signing scheme%s; there are %s", f.HMAC, hint(f.HMAC, provider.HMACSchemes), schemes)
	case f.HMAC == "" && (f.Type == "hmac" || slices.Contains(f.Types, "hmac")):
		j.add(key, "is empty; type hmac signs in one of %s", schemes)
	}
}

// protocol: a login of another than HTTP says itself where its server is, and
// goes on no request.
func (j *judge) protocol(key string, f *providerForm) {
	switch {
	case provider.Protocol(f.Protocol) != provider.FTP:
	case f.Type != "basic_url" || len(f.Types) > 0:
		j.add(key, `is "ftp", whose logins are of type basic_url; set type = "basic_url" and types = []`)
	case len(f.Hosts) > 0 || f.BaseURL != "" || len(f.Places) > 0 || f.Verify.Path != "":
		j.add(key, `is "ftp", to which no request goes; leave out hosts, base_url, place and verify`)
	}
}

// minIdle is the shortest time after which grants may lapse that the sweeps
// over idle ones can beat.
const minIdle = 10 * time.Minute

func (j *judge) verify(key string, v provider.Verify) {
	_, err := filled(v.Path)
	switch {
	case v.Path == "":
	case !strings.HasPrefix(v.Path, "/"):
		j.add(join(key, "path"), "%q does not begin with /; it is relative to base_url", v.Path)
	case err != nil:
		j.add(join(key, "path"), "%q %v", v.Path, err)
	}
	switch what := checkBody(v.Body, v.JSON()); {
	case v.Body != "" && v.Path == "":
		j.add(join(key, "body"), "is set without a path")
	case v.Body != "" && v.Method != http.MethodPost:
		j.add(join(key, "body"), `is set, but a %s has no body; use method = "POST"`, v.Method)
	case what != "":
		j.add(join(key, "body"), "%s", what)
	}
}

func hint(s string, names []string) string {
	if near := nearest(s, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

func (j *judge) hosts(path string, f *providerForm) {
	hasURL := slices.Contains(urlTypes, f.Type) || slices.ContainsFunc(f.Types, func(t string) bool { return slices.Contains(urlTypes, t) })
	if len(f.Hosts) == 0 && !hasURL && !onlyDatabases(f) {
		j.add(join(path, "hosts"), "is empty; without a host, and without a credential type that has a url, no request reaches this provider")
	}
	for i, h := range f.Hosts {
		key := index(join(path, "hosts"), i)
		plain, err := filled(h)
		if err == nil {
			_, err = provider.ParsePattern(plain)
		}
		switch {
		case err != nil:
			j.add(key, "%q is not a host, host:port or *.host: %v", h, err)
		case strings.HasSuffix(strings.TrimRight(h, "."), "}"):
			j.add(key, "%q ends with a {field}; a record could then own every host", h)
		}
	}
}

// onlyDatabases reports whether no request is for this provider, whose
// credentials are logins of databases.
func onlyDatabases(f *providerForm) bool {
	return f.Type == "database" && !slices.ContainsFunc(f.Types, func(t string) bool { return t != "database" })
}

// checkPrefix says what is wrong with a path prefix, or nothing.
func checkPrefix(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "does not begin with /"
	case strings.ContainsAny(p, "*?#{}%\\ "):
		return "is not a plain path; it is a prefix of whole segments, without patterns, query or escapes"
	case strings.Contains(p, "//") || strings.Contains(p+"/", "/./") || strings.Contains(p+"/", "/../"):
		return "has an empty segment or one of dots"
	}
	return ""
}

func (j *judge) oauth2(key string, f *providerForm) {
	o := f.OAuth2
	for _, u := range []struct{ key, s string }{
		{"authorization_url", o.AuthorizationURL}, {"token_url", o.TokenURL}, {"refresh_url", o.RefreshURL},
		{"revocation_url", o.RevocationURL}, {"introspection_url", o.IntrospectionURL}, {"device_authorization_url", o.DeviceAuthorizationURL},
	} {
		if u.s == "" {
			continue
		}
		if _, err := checkURL(u.s, f.AllowCleartext || onLoopback(u.s)); err != nil {
			j.add(join(key, u.key), "%s%v", quoted(u.s), err)
		}
	}
	for i, s := range o.Scopes {
		if s == "" || strings.ContainsAny(s, "\"\\") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			j.add(index(join(key, "scopes"), i), "%q is not a scope; one entry is one scope, without spaces", s)
		}
	}
	if o.ScopeSeparator == "" || len(o.ScopeSeparator) > 3 || hasControl(o.ScopeSeparator) {
		j.add(join(key, "scope_separator"), `%q is no separator; use " " or ","`, o.ScopeSeparator)
	}
	j.claims(join(key, "params"), o.Params)
	j.grantParams(join(key, "client_credentials_params"), o.ClientCredentialsParams)
}

func (j *judge) signal(key string, s signalForm) {
	if s.Status != 0 && (s.Status < 200 || s.Status > 599) {
		j.add(join(key, "status"), "%d is not the status of an answer; use 200 to 599, or leave it out for any", s.Status)
	}
	if s.Status == 0 && s.Body == "" && len(s.Header) == 0 {
		j.add(key, "matches every answer; set status, body or header")
	}
	if s.Means == "" {
		j.add(join(key, "means"), "is empty; use expired, invalid, scope, permission, rate_limited or policy")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Header)) {
		if !fieldName.MatchString(name) {
			j.add(join(join(key, "header"), name), "is not the name of a header")
		}
	}
}
