package auth

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

func (i *Injector) addQuery(p provider.Place, get getField) error {
	v, err := fill(p.Value, get, fitText)
	if err != nil {
		return err
	}
	name, pair := p.Name, url.QueryEscape(p.Name)+"="+url.QueryEscape(v)
	i.set = append(i.set, func(req *http.Request) error {
		u := *req.URL
		u.RawQuery = appendPair(dropKey(u.RawQuery, name), pair)
		req.URL = &u
		return nil
	})
	i.redact.query(name, v)
	for _, f := range provider.TemplateFields(p.Value) {
		if !credential.Public(f) {
			i.redact.value(get(f).Reveal())
		}
	}
	return nil
}

func appendPair(raw, pair string) string {
	if raw == "" {
		return pair
	}
	return raw + "&" + pair
}

// dropKey removes every parameter that a server could read as name: however its
// key is encoded, in any case, behind & or ;. The bytes and the order of the
// others stay.
func dropKey(raw, name string) string {
	if raw == "" {
		return ""
	}
	var kept []string
	for amp := range strings.SplitSeq(raw, "&") {
		if rest, ok := dropFrom(amp, name); ok {
			kept = append(kept, rest)
		}
	}
	return strings.Join(kept, "&")
}

// dropFrom does it for what stands between two ampersands; ok is false if nothing is left.
func dropFrom(s, name string) (rest string, ok bool) {
	if !strings.Contains(s, ";") {
		return s, !isKey(s, name)
	}
	var kept []string
	for part := range strings.SplitSeq(s, ";") {
		if !isKey(part, name) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ";"), len(kept) > 0
}

func isKey(pair, name string) bool {
	key, _, _ := strings.Cut(pair, "=")
	if strings.EqualFold(key, name) {
		return true
	}
	if !strings.ContainsAny(key, "%+") {
		return false
	}
	key, err := url.QueryUnescape(key)
	return err == nil && strings.EqualFold(key, name)
}

// redaction takes secrets out of a URL that an upstream sends back.
type redaction struct {
	names  []string       // query parameters that hold one
	values []secret.Value // the secrets, as they may be written
}

// minBlind is the shortest secret that is looked for anywhere: a shorter one
// would be found in words that are none.
const minBlind = 4

func (r *redaction) query(name, value string) {
	r.names = append(r.names, name)
	r.value(value)
}

func (r *redaction) value(v string) {
	if len(v) < minBlind {
		return
	}
	once := url.QueryEscape(v)
	for _, form := range []string{url.QueryEscape(once), once, url.PathEscape(v), v} {
		r.values = append(r.values, secret.New(form))
	}
}

func (r redaction) apply(s string) string {
	if len(r.names) == 0 {
		return s
	}
	before, query, found := strings.Cut(s, "?")
	if found {
		query, fragment, hash := strings.Cut(query, "#")
		for _, n := range r.names {
			query = dropKey(query, n)
		}
		s = before
		if query != "" {
			s += "?" + query
		}
		if hash {
			s += "#" + fragment
		}
	}
	for _, v := range r.values {
		s = strings.ReplaceAll(s, v.Reveal(), "redacted")
	}
	return s
}
