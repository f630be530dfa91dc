package configs

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

var templateField = regexp.MustCompile(`\{[a-z0-9_]+\}`)

// filled puts a label in the place of every {field}, so that the rest can be
// judged. Other braces are an error.
func filled(s string) (string, error) {
	s = templateField.ReplaceAllString(s, "x")
	if strings.ContainsAny(s, "{}") {
		return "", errors.New("has a brace that is no {field}; a field's name is of a-z, 0-9 and _")
	}
	return s, nil
}

// checkURL judges an absolute http or https URL that may have {field}s. It
// quotes nothing: the URL may hold a password.
func checkURL(s string, cleartext bool) (*url.URL, error) {
	plain, err := filled(s)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(plain)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return nil, errors.New("is not an absolute URL; use https://HOST/PATH")
	case u.User != nil:
		return nil, errors.New("holds user information; credentials belong in the store")
	case u.Fragment != "":
		return nil, errors.New("has a fragment, which is never sent")
	case u.Scheme == "http" && !cleartext:
		return nil, errors.New("is http; use https, or set allow_cleartext = true to send credentials in the clear")
	}
	if _, err := provider.ParseAuthority(u.Host, 443); err != nil {
		return nil, err
	}
	return u, nil
}

// onLoopback reports whether a URL names this machine, where cleartext stays.
func onLoopback(s string) bool {
	u, err := url.Parse(s)
	return err == nil && provider.Loopback(u.Hostname())
}

// url judges a URL that others build on: no query.
func (r *report) url(key, s string, cleartext bool) {
	u, err := checkURL(s, cleartext)
	if err == nil && u.RawQuery != "" {
		err = errors.New("has a query; leave it out")
	}
	if err != nil {
		r.add(key, "%s%v", quoted(s), err)
	}
}
