package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/sallyport/sallyport/internal/provider"
)

// located finds where the API is.
func (i *importer) located() error {
	base, err := i.base()
	if err != nil {
		return err
	}
	if scheme, rest, ok := strings.Cut(base, "://"); ok {
		base = strings.ToLower(scheme) + "://" + rest
	}
	u, err := checkURL(base, true)
	switch {
	case err != nil:
		return fmt.Errorf("the API's URL %w; give --url https://HOST/PATH", err)
	case u.Scheme == "http":
		return fmt.Errorf("%s is http, and a credential must not travel in the clear; give --url https://HOST/PATH, or write an entry with allow_cleartext = true by hand", line(base))
	case u.RawQuery != "":
		return errors.New("the API's URL has a query; give --url https://HOST/PATH")
	}
	authority, _, _ := strings.Cut(strings.TrimPrefix(base, "https://"), "/")
	i.form.BaseURL = strings.TrimRight(base, "/")
	i.form.Hosts = []string{strings.TrimSuffix(strings.ToLower(authority), ":443")}
	i.private(u)
	return nil
}

// private notes an address that the dial guard refuses.
func (i *importer) private(u *url.URL) {
	host := strings.ToLower(strings.TrimRight(u.Hostname(), "."))
	addr, err := netip.ParseAddr(host)
	inner := !strings.Contains(host, ".")
	for _, suffix := range []string{".local", ".internal", ".lan", ".home.arpa", ".localhost", ".test"} {
		inner = inner || strings.HasSuffix(host, suffix)
	}
	if err == nil {
		inner = !addr.IsGlobalUnicast() || addr.IsPrivate()
	}
	if inner {
		i.say("hosts", "%s looks like a host of your own network: requests go there only if allow_networks covers its address", host)
	}
}

// base is where the API is, with the {field}s of its host.
func (i *importer) base() (string, error) {
	relative := ""
	var found []string
	for _, s := range i.doc.Servers {
		if s == nil {
			continue
		}
		if !strings.Contains(s.URL, "://") {
			relative = s.URL
			continue
		}
		found = append(found, s.URL)
	}
	switch {
	case i.o.URL != "":
		return onPath(i.o.URL, relative), nil
	case len(found) == 0 && relative != "":
		return "", fmt.Errorf("the description names no host, only %q; give --url https://HOST%s", line(relative), line(relative))
	case len(found) == 0:
		return "", errors.New("the description names no server; give --url https://HOST/PATH")
	}
	return i.chosen()
}

// onPath puts the path of the description behind a URL that has none.
func onPath(base, relative string) string {
	u, err := url.Parse(base)
	if err != nil || strings.Trim(u.Path, "/") != "" || !strings.HasPrefix(relative, "/") || strings.HasPrefix(relative, "//") {
		return base
	}
	return strings.TrimRight(base, "/") + relative
}

// chosen is the first server with https, else the first.
func (i *importer) chosen() (string, error) {
	var absolute, others []string
	var first *openapi3.Server
	for _, s := range i.doc.Servers {
		if s == nil || !strings.Contains(s.URL, "://") {
			continue
		}
		absolute = append(absolute, s.URL)
		if first == nil && strings.HasPrefix(schemeOf(s), "https://") {
			first = s
		}
	}
	if first == nil {
		return "", fmt.Errorf("%s is not https, and a credential must not travel in the clear; give --url https://HOST/PATH", line(absolute[0]))
	}
	for _, u := range absolute {
		if u != first.URL && strings.TrimPrefix(u, "http") != strings.TrimPrefix(first.URL, "https") && len(others) < 8 {
			others = append(others, u)
		}
	}
	if len(others) > 0 {
		i.say("base_url", "the description has other servers, which are not owned: %s; choose one with --url, or add its host if the same credentials are for it", strings.Join(others, ", "))
	}
	return i.expand(first)
}

var serverVariable = regexp.MustCompile(`\{([^{}]*)\}`)

// schemeOf gives a server's URL with the variables of its scheme filled, by
// https where they allow it.
func schemeOf(s *openapi3.Server) string {
	scheme, rest, _ := strings.Cut(s.URL, "://")
	scheme = serverVariable.ReplaceAllStringFunc(scheme, func(m string) string {
		v := s.Variables[m[1:len(m)-1]]
		if v == nil {
			return m
		}
		for _, choice := range v.Enum {
			if choice == "https" {
				return choice
			}
		}
		return v.Default
	})
	return strings.ToLower(scheme) + "://" + rest
}

// expand fills a server's variables: what stands in the host becomes a {field}
// of credentials, what stands elsewhere its default.
func (i *importer) expand(s *openapi3.Server) (string, error) {
	scheme, rest, _ := strings.Cut(schemeOf(s), "://")
	cut := strings.IndexAny(rest, "/?#")
	if cut < 0 {
		cut = len(rest)
	}
	authority, path := rest[:cut], rest[cut:]
	host, port := authority, ""
	if at := strings.LastIndexByte(authority, ':'); at >= 0 && !strings.HasSuffix(authority, "]") {
		host, port = authority[:at], authority[at:]
	}
	var err error
	if strings.HasSuffix(strings.TrimRight(host, "."), "}") {
		host, err = i.ownHost(s, host)
	} else {
		host, err = i.labels(s, host)
	}
	if err != nil {
		return "", err
	}
	tail, err := byDefault(s, port+path)
	return scheme + "://" + host + tail, err
}

// labels makes {field}s of the variables inside a host.
func (i *importer) labels(s *openapi3.Server, host string) (string, error) {
	var bad error
	host = serverVariable.ReplaceAllStringFunc(host, func(m string) string {
		name := m[1 : len(m)-1]
		v := s.Variables[name]
		if v != nil && (len(v.Enum) == 1 || strings.ContainsAny(v.Default, ".:")) {
			return v.Default
		}
		field := i.field(name)
		i.hostFields = append(i.hostFields, field)
		if field == "" {
			bad = fmt.Errorf("the server's variable %q has no name for a field; give --url https://HOST/PATH", line(name))
		}
		i.say("base_url", "each credential says in its field %s what stands for {%s} in the host%s", field, name, choices(v))
		return "{" + field + "}"
	})
	return host, bad
}

// choices tells what a variable of a server may be.
func choices(v *openapi3.ServerVariable) string {
	switch {
	case v == nil:
		return ""
	case len(v.Enum) > 0:
		return fmt.Sprintf(" (%s; by default %s)", strings.Join(v.Enum[:min(len(v.Enum), 20)], ", "), v.Default)
	case v.Default != "":
		return fmt.Sprintf(" (by default %s)", v.Default)
	}
	return ""
}

// ownHost is a host that is a variable at its end: an API that everybody runs
// for himself, so the credential's url says where.
func (i *importer) ownHost(s *openapi3.Server, host string) (string, error) {
	filled, err := byDefault(s, host)
	if a, errHost := provider.ParseAuthority(filled, 443); err != nil || errHost != nil || !strings.Contains(a.Host, ".") {
		return "", fmt.Errorf("the host of this API, %s, is different for everybody; give --url https://HOST/PATH", line(host))
	}
	i.everybody = true
	i.say("base_url", "the host of this API is different for everybody, and %s is the description's default; give --url for yours", filled)
	return filled, nil
}

// byDefault fills variables by their defaults.
func byDefault(s *openapi3.Server, text string) (string, error) {
	var bad error
	text = serverVariable.ReplaceAllStringFunc(text, func(m string) string {
		v := s.Variables[m[1:len(m)-1]]
		if v == nil || v.Default == "" {
			bad = fmt.Errorf("the server's variable %s has no default; give --url https://HOST/PATH", line(m))
			return ""
		}
		return v.Default
	})
	return text, bad
}

// field makes the name of a record's field, other than those of the types and
// of the host: no secret goes into a name that is looked up.
func (i *importer) field(name string) string {
	name = strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name), "_")
	name = name[:min(len(name), 48)]
	for name != "" && (slices.Contains(i.hostFields, name) || i.o.Taken != nil && i.o.Taken(name)) {
		name = "its_" + name
	}
	return name
}
