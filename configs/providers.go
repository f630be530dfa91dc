package configs

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

// documentedTypes are the credential types; which are built is not known here.
var documentedTypes = []string{
	"bearer", "api_key", "api_key_secret", "api_key_url", "basic", "basic_url", "basic_api_key",
	"oauth2_authorization_code", "oauth2_client_credentials", "oauth2_password", "oauth2_refresh_token",
	"oauth2_jwt_bearer", "oauth2_token_exchange", "oauth1", "aws_sigv4", "hmac", "github_app", "two_step", "mtls", "database",
}

func documented(name string) (known, built bool) {
	known = slices.Contains(documentedTypes, name)
	return known, known
}

// urlTypes have a field url, which is a host of their own.
var urlTypes = []string{"api_key_url", "basic_url", "basic_api_key"}

// providers merges the catalogue and [[provider]], and compiles the entries.
// f.Providers become the merged ones.
func (r *report) providers(f *form, tree map[string]any, types func(string) (known, built bool)) []*provider.Provider {
	builtin, err := catalogue()
	if err != nil {
		r.list = append(r.list, Fault{Detail: "built-in catalogue: " + err.Error()})
		return nil
	}
	j := &judge{report: r, types: types}
	var out []*provider.Provider
	elements, _ := tree["provider"].([]map[string]any)
	named := map[string]bool{}
	for i := range f.Providers {
		if i >= len(elements) { // an array of something else, which is told already
			break
		}
		path, name := index("provider", i), f.Providers[i].Name
		r.part(join(path, "name"), name)
		if named[name] {
			r.add(join(path, "name"), "%q is the name of two [[provider]] entries", name)
			continue
		}
		named[name] = true
		j.defaultType(join(path, "type"), f.Providers[i].Type)
		base, isBuiltin := builtin[name]
		if isBuiltin {
			f.Providers[i] = r.entry(path, merge(base, elements[i]))
		}
		p := j.compile(path, f.Providers[i])
		p.Builtin, p.Configured = isBuiltin, true
		out = append(out, p)
	}
	for _, name := range slices.Sorted(maps.Keys(builtin)) {
		if named[name] {
			continue
		}
		path := join("provider", name)
		p := j.compile(path, r.entry(path, builtin[name]))
		p.Builtin = true
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *provider.Provider) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// entry decodes the tree of one provider, whose own parts have been judged.
func (r *report) entry(path string, tree map[string]any) providerForm {
	var f providerForm
	f.setDefaults()
	d := &decoder{report: r, built: true}
	d.table(path, tree, reflect.ValueOf(&f).Elem(), false)
	return f
}

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
	for i, t := range append([]string{f.Type}, f.Types...) {
		key := join(path, "type")
		if i > 0 {
			key = index(join(path, "types"), i-1)
		}
		if known, _ := j.types(t); !known {
			j.add(key, "%q is not a credential type%s", t, hint(t, documentedTypes))
		}
	}
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
	if v := f.Verify.Path; v != "" && !strings.HasPrefix(v, "/") {
		j.add(join(path, "verify.path"), "%q does not begin with /; it is relative to base_url", v)
	}
	j.limits(join(path, "limits"), f.Limits)
	for i, s := range f.Signals {
		j.signal(index(join(path, "signal"), i), s)
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
	if len(f.Hosts) == 0 && !hasURL {
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

var fieldName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// reserved are header fields that a proxy sets, or that credentials have a
// place of their own for.
var reserved = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade", "Cookie", "Set-Cookie",
}

func checkHeader(name string) string {
	same := func(r string) bool { return strings.EqualFold(r, name) }
	lower := strings.ToLower(name)
	switch {
	case !fieldName.MatchString(name):
		return "is not the name of a header"
	case slices.ContainsFunc(reserved, same), strings.HasPrefix(lower, "proxy-"), strings.HasPrefix(lower, "sallyport-"):
		return "is a header that cannot be set this way"
	}
	return ""
}

// checkConstant says what is wrong with a constant header, or nothing.
func checkConstant(name, value string) string {
	if strings.EqualFold(name, "Authorization") {
		return "is where a credential goes; put it in the store and use [[provider.place]]"
	}
	if hasControl(value) {
		return "has a value with a control character"
	}
	return checkHeader(name)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func (j *judge) place(key string, p placeForm) {
	values := []struct{ key, s string }{{"value", p.Value}}
	switch p.In {
	case "":
		j.add(join(key, "in"), "is empty; use header, query, cookie, body or basic")
		return
	case "basic":
		values = []struct{ key, s string }{{"username", p.Username}, {"password", p.Password}}
		if p.Name != "" || p.Value != "" {
			j.add(key, `in = "basic" takes username and password, not name and value`)
		}
	default:
		if p.Username != "" || p.Password != "" {
			j.add(key, `username and password are for in = "basic"; use name and value`)
		}
		j.placeName(join(key, "name"), p)
	}
	fields := 0
	for _, v := range values {
		plain, err := filled(v.s)
		switch {
		case err != nil:
			j.add(join(key, v.key), "%q %v", v.s, err)
		case hasControl(plain):
			j.add(join(key, v.key), "has a control character")
		}
		fields += len(provider.TemplateFields(v.s))
	}
	if fields == 0 {
		j.add(key, `holds no {field}; write for example value = "{api_key}"`)
	}
}

func (j *judge) placeName(key string, p placeForm) {
	what := ""
	switch {
	case p.Name == "":
		what = "is empty"
	case p.In == "header":
		what = checkHeader(p.Name)
	case p.In == "cookie" && !fieldName.MatchString(p.Name):
		what = "is not the name of a cookie"
	case hasControl(p.Name):
		what = "has a control character"
	}
	if what != "" {
		j.add(key, "%q %s", p.Name, what)
	}
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
		if _, err := checkURL(u.s, f.AllowCleartext); err != nil {
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
