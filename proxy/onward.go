package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// direct sets the copy's URL.
func (x *exchange) direct(out *http.Request) error {
	u := *out.URL
	out.URL, out.Host = &u, ""
	if x.rebase != nil {
		u.Scheme, u.Host = x.rebase.Scheme, x.rebase.Host
		return x.onward(&u, strings.TrimSuffix(x.rebase.EscapedPath(), "/")+x.rest)
	}
	u.Scheme, u.Host = x.scheme(), x.authority.Host
	port := x.authority.Port
	if u.Scheme == "https" && !x.secure && port == 80 {
		port = 443
	}
	if port != portOf(u.Scheme) {
		u.Host = provider.Authority{Host: x.authority.Host, Port: port}.String()
	} else if strings.Contains(u.Host, ":") {
		u.Host = "[" + u.Host + "]"
	}
	return x.cleartext(&u)
}

func (x *exchange) onward(u *url.URL, escaped string) error {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return fault.New(fault.InvalidRequest, "the path is not validly percent-encoded", nil)
	}
	u.Path, u.RawPath = path, escaped
	return x.cleartext(u)
}

// scheme that the request goes out with: http only where the runner said http
// and the provider's own URL of that host is http too.
func (x *exchange) scheme() string {
	if x.secure {
		return "https"
	}
	if x.provider == nil {
		return "http"
	}
	base := x.provider.BaseURL
	if x.entry != nil && x.entry.url != nil {
		base = x.entry.url.String()
	}
	if strings.HasPrefix(base, "http://") || (base == "" && x.provider.AllowCleartext) {
		return "http"
	}
	return "https"
}

func (x *exchange) cleartext(u *url.URL) error {
	if u.Scheme == "http" && x.entry != nil && !x.provider.AllowCleartext {
		return fault.New(fault.CleartextRefused, "the provider's URL is http and it does not set allow_cleartext", nil)
	}
	return nil
}
