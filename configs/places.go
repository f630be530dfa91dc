package configs

import (
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

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
	case "header", "query", "cookie", "body":
		if p.Username != "" || p.Password != "" {
			j.add(key, `username and password are for in = "basic"; use name and value`)
		}
		j.placeName(join(key, "name"), p)
	case "basic":
		values = []struct{ key, s string }{{"username", p.Username}, {"password", p.Password}}
		if p.Name != "" || p.Value != "" {
			j.add(key, `in = "basic" takes username and password, not name and value`)
		}
	case "":
		j.add(join(key, "in"), "is empty; use header, query, cookie, body or basic")
		return
	default: // told by the decoder
		return
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
