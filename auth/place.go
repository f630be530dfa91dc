package auth

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// getField gives the value of a field, the zero Value if there is none.
type getField func(name string) secret.Value

// wireFields are the fields of the kinds that their own places send. A place
// that mentions only some of these belongs to the kinds that have them.
var wireFields = []string{"token", "api_key", "api_secret", "username", "password", "access_token", "token_type"}

// places gives where the fields of a record of kind k go: the places of the
// provider that concern it, and those of the kind whose fields none of them takes.
// It fails for a field that only the provider can place and does not. Where a
// token goes nothing else does: a password that was changed for it, say.
func (k Kind) places(p *provider.Provider, get getField) ([]provider.Place, error) {
	var out []provider.Place
	taken := map[string]bool{}
	for _, pl := range p.Places {
		names := fieldsOf(pl)
		if !k.concerns(names, get) {
			continue
		}
		out = append(out, pl)
		for _, f := range names {
			taken[f] = true
		}
	}
	for _, pl := range k.Places {
		names := fieldsOf(pl)
		if !slices.ContainsFunc(names, func(f string) bool { return taken[f] }) {
			out = append(out, pl)
		}
		for _, f := range names {
			taken[f] = true
		}
	}
	for _, f := range k.Required {
		if k.Grant == "" && !k.signs && slices.Contains(wireFields, f) && !taken[f] { // others are changed for a token, or signed with
			return nil, unfit("provider %s has no place for %s", p.Name, f)
		}
	}
	if i := slices.IndexFunc(out, hasToken); k.Grant != "" && i >= 0 {
		token := part(out[i])
		out = slices.DeleteFunc(out, func(pl provider.Place) bool { return part(pl) == token && !hasToken(pl) })
	}
	return out, nil
}

func hasToken(p provider.Place) bool { return slices.Contains(fieldsOf(p), "access_token") }

// concerns reports whether a place with these fields is for records of kind k: it
// mentions a field of k, or the record has all it mentions, or it mentions
// nothing that another kind sends. What k signs with goes into no place.
func (k Kind) concerns(names []string, get getField) bool {
	if k.signs && slices.ContainsFunc(names, func(f string) bool { return slices.Contains(k.Required, f) }) {
		return false
	}
	own := slices.ContainsFunc(names, k.has)
	lacks := slices.ContainsFunc(names, func(f string) bool { return get(f).Empty() })
	foreign := slices.ContainsFunc(names, func(f string) bool { return slices.Contains(wireFields, f) })
	return own || !lacks || !foreign
}

func (k Kind) has(f string) bool {
	return slices.Contains(k.Required, f) || slices.Contains(k.Optional, f) ||
		k.Grant != "" && (f == "access_token" || f == "token_type")
}

func fieldsOf(p provider.Place) []string {
	return slices.Concat(provider.TemplateFields(p.Value), provider.TemplateFields(p.Username), provider.TemplateFields(p.Password))
}

var templateField = regexp.MustCompile(`\{([a-z0-9_]+)\}`)

// fill gives the template with the record's values in it. What a value holds is
// never read as a template. It fails, naming the field, if one is missing or if
// fit tells what is wrong with its value.
func fill(t string, get getField, fit func(string) string) (string, error) {
	return fillWith(t, get, func(_, v string) (string, string) { return v, fit(v) })
}

// fillWith is fill where put gives what stands for a value after what is written
// so far, or tells what keeps it out.
func fillWith(t string, get getField, put func(written, v string) (text, wrong string)) (string, error) {
	var b strings.Builder
	end := 0
	for _, m := range templateField.FindAllStringSubmatchIndex(t, -1) {
		b.WriteString(t[end:m[0]])
		name := t[m[2]:m[3]]
		v := get(name).Reveal()
		if v == "" {
			return "", unfit("field %s is missing", name)
		}
		text, wrong := put(b.String(), v)
		if wrong != "" {
			return "", unfit("field %s %s", name, wrong)
		}
		b.WriteString(text)
		end = m[1]
	}
	b.WriteString(t[end:])
	return b.String(), nil
}

// maxHeader bounds a header value: more than servers accept, less than a mistake.
const maxHeader = 32 << 10

// fitText tells what keeps a value out of any place.
func fitText(v string) string {
	if !utf8.ValidString(v) {
		return "is not valid UTF-8"
	}
	if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "has a control character"
	}
	return ""
}

// fitHeader tells what keeps a value out of a header field (RFC 9110 section
// 5.5, without obs-text: nobody agrees on what it means).
func fitHeader(v string) string {
	if wrong := fitText(v); wrong != "" {
		return wrong
	}
	switch {
	case strings.ContainsFunc(v, func(r rune) bool { return r > '~' }):
		return "has a character that is not ASCII and cannot go into a header field"
	case strings.TrimSpace(v) != v:
		return "begins or ends with a space"
	case len(v) > maxHeader:
		return "is longer than 32 KiB"
	}
	return ""
}

// fitCookie tells what keeps a value out of a cookie (RFC 6265 section 4.1.1).
func fitCookie(v string) string {
	if wrong := fitHeader(v); wrong != "" {
		return wrong
	}
	if strings.ContainsAny(v, " \",;\\") {
		return "has a character that cannot go into a cookie: space, quote, comma, semicolon or backslash"
	}
	return ""
}

// fitUser tells what keeps a value out of a Basic user name (RFC 7617 section 2).
func fitUser(v string) string {
	if wrong := fitText(v); wrong != "" {
		return wrong
	}
	if strings.Contains(v, ":") {
		return "has a colon, which a Basic user name cannot hold"
	}
	return ""
}
