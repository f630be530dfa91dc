package proxy

import (
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// aim says where the request goes if that is not where the runner sent it: to
// the base URL on the gateway, and to the credential's own url from the base.
func (t *target) aim(q ask) error {
	own := t.entry != nil && t.entry.url != nil
	if q.gateway == nil && (!own || t.entry.owns(q.authority)) {
		return nil
	}
	base, err := t.base()
	if err != nil && !own {
		return err
	}
	path := ""
	if err == nil {
		t.rebase, path = base, base.EscapedPath()
	}
	if own {
		t.rebase = t.entry.url
	}
	if t.rest = behind(path, q.path); dotSegments(t.rest) {
		return fault.New(fault.InvalidRequest, "the path contains a dot segment, and goes behind another base", nil)
	}
	return nil
}

// base is the base URL, filled from the credential's fields where it has some.
func (t *target) base() (*url.URL, error) {
	if t.entry != nil && t.entry.base != nil {
		return t.entry.base, nil
	}
	switch raw := t.provider.BaseURL; {
	case raw == "":
		return nil, fault.New(fault.NotFound, "the provider has no base URL to send gateway requests to", nil)
	case len(provider.TemplateFields(raw)) > 0:
		return nil, fault.New(fault.FieldMissing, "the base URL needs fields that the credential does not have", nil)
	default:
		return url.Parse(raw)
	}
}

// behind gives the rest of path behind the base's own path.
func behind(base, path string) string {
	base = strings.TrimSuffix(base, "/")
	if rest, ok := strings.CutPrefix(path, base); ok && (rest == "" || rest[0] == '/') {
		return rest
	}
	return path
}

func unescaped(p string) string {
	if u, err := url.PathUnescape(p); err == nil {
		return u
	}
	return p
}

func portOf(scheme string) int {
	if scheme == "http" {
		return 80
	}
	return 443
}

// ParseUpstream reads a credential's url: absolute, http or https, with a host
// and nothing before or behind its path.
func ParseUpstream(raw string) (*url.URL, provider.Authority, error) {
	bad := func(why string) error {
		return fault.New(fault.InvalidRequest, "field url "+why+"; use https://host[:port][/path]", nil)
	}
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, provider.Authority{}, bad("is not an absolute http or https URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, provider.Authority{}, bad("has a user, query or fragment")
	}
	a, err := provider.ParseAuthority(u.Host, portOf(u.Scheme))
	if err != nil {
		return nil, provider.Authority{}, bad("has no valid host")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, a, nil
}
