package auth

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/sallyport/sallyport/internal/provider"
)

func (i *Injector) addCookie(p provider.Place, get getField) error {
	if !httpguts.ValidHeaderFieldName(p.Name) { // a cookie's name is a token too (RFC 6265 section 4.1.1)
		return unfit("place: %q is not a name for a cookie", p.Name)
	}
	v, err := fill(p.Value, get, fitCookie)
	if err != nil {
		return err
	}
	if wrong := fitCookie(v); wrong != "" {
		return unfit("place: the value of cookie %s %s", p.Name, wrong)
	}
	name, pair := p.Name, p.Name+"="+v
	i.cookies = true
	i.set = append(i.set, func(req *http.Request) error {
		req.Header["Cookie"] = []string{strings.Join(append(otherCookies(req.Header, name), pair), "; ")}
		return nil
	})
	return nil
}

// otherCookies takes the Cookie fields out of h, in any spelling, and gives the
// cookies that are not called name, as they were written.
func otherCookies(h http.Header, name string) []string {
	var kept []string
	for field, lines := range h {
		if !sameField(field, "Cookie") {
			continue
		}
		for _, line := range lines {
			for c := range strings.SplitSeq(line, ";") {
				c = strings.Trim(c, " \t")
				n, _, _ := strings.Cut(c, "=")
				if c != "" && !strings.EqualFold(strings.Trim(n, " \t"), name) {
					kept = append(kept, c)
				}
			}
		}
		delete(h, field)
	}
	return kept
}
