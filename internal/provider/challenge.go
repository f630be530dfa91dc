package provider

import "strings"

// Challenge is one challenge of WWW-Authenticate (RFC 9110 section 11.6.1).
type Challenge struct {
	Scheme string            // as sent
	Params map[string]string // names in lower case, the first of a name wins; nil: none
}

// ParseChallenges reads the values of WWW-Authenticate. What is malformed ends
// the value it stands in; what was read before counts.
func ParseChallenges(values []string) []Challenge {
	var all []Challenge
	for _, v := range values {
		all = append(all, parseChallenges(v)...)
	}
	return all
}

// parseChallenges: a list of SCHEME [token68 | NAME=VALUE, ...]. A token
// followed by = is a parameter of the last scheme, any other token a new scheme.
func parseChallenges(s string) []Challenge {
	var all []Challenge
	for {
		s = strings.TrimLeft(s, " \t,")
		var name, value string
		var ok bool
		if name, s = token(s); name == "" {
			return all
		}
		rest, isParam := strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
		if !isParam || len(all) == 0 {
			all = append(all, Challenge{Scheme: name})
			s = skipToken68(s)
			continue
		}
		if value, s, ok = paramValue(strings.TrimLeft(rest, " \t")); !ok {
			return all
		}
		all[len(all)-1].set(strings.ToLower(name), value)
	}
}

func (c *Challenge) set(name, value string) {
	if c.Params == nil {
		c.Params = map[string]string{}
	}
	if _, ok := c.Params[name]; !ok {
		c.Params[name] = value
	}
}

// paramValue reads a token or a quoted string and gives what follows.
func paramValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = token(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// skipToken68 drops the one token68 that may stand in place of parameters.
func skipToken68(s string) string {
	rest := strings.TrimLeft(s, " \t")
	n := len(rest)
	for rest != "" && (isTokenChar(rest[0]) || rest[0] == '/') {
		rest = rest[1:]
	}
	if len(rest) == n {
		return s
	}
	rest = strings.TrimLeft(strings.TrimLeft(rest, "="), " \t")
	if rest != "" && rest[0] != ',' {
		return s
	}
	return rest
}

// token reads the longest token (RFC 9110 section 5.6.2) at the start of s.
func token(s string) (tok, rest string) {
	i := 0
	for i < len(s) && isTokenChar(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isTokenChar(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
