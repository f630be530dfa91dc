package provider

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Fields names the {field}s of a record that a login sends.
func (l Login) Fields() []string { return TemplateFields(l.Path + " " + l.Body) }

// JSON reports whether the login's body is JSON; else it is a form.
func (l Login) JSON() bool { return jsonBody(l.Body) }

// Fields names the {field}s of a record that the verify request sends.
func (v Verify) Fields() []string { return TemplateFields(v.Path + " " + v.Body) }

// JSON reports whether the verify request's body is JSON; else it is a form.
func (v Verify) JSON() bool { return jsonBody(v.Body) }

// ClientCredentialsFields names the {field}s of a record that its token request sends.
func (o OAuth2) ClientCredentialsFields() []string {
	values := slices.Collect(maps.Values(o.ClientCredentialsParams))
	slices.Sort(values)
	return TemplateFields(strings.Join(values, " "))
}

func jsonBody(s string) bool {
	s = strings.TrimSpace(s)
	return strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[")
}

// JSONPath leads to a value inside of a JSON document, step by step: the name of
// a member, or the index of an element.
type JSONPath []string

// maxSteps of a path.
const maxSteps = 16

// ParseJSONPath reads names with dots between, and indexes as [0] or like a name:
// data.tokens[0].value. The error says what is wrong and what would be right.
func ParseJSONPath(s string) (JSONPath, error) {
	var path JSONPath
	for _, part := range strings.Split(s, ".") {
		name, indexes, _ := strings.Cut(part, "[")
		if name == "" && (len(path) > 0 || indexes == "") || strings.ContainsAny(name, "]{} \t\r\n") {
			return nil, errJSONPath
		}
		if name != "" {
			path = append(path, name)
		}
		if len(name) == len(part) {
			continue
		}
		for _, i := range strings.Split(indexes, "[") {
			digits, ok := strings.CutSuffix(i, "]")
			if _, err := strconv.ParseUint(digits, 10, 16); err != nil || !ok {
				return nil, errJSONPath
			}
			path = append(path, digits)
		}
	}
	if len(path) > maxSteps {
		return nil, errJSONPath
	}
	return path, nil
}

var errJSONPath = errors.New("is not a path into JSON; use for example access_token, data.token or tokens[0].value")

// Find gives the value in doc, as encoding/json decodes it into any; false: the
// path, or an empty one, leads nowhere.
func (p JSONPath) Find(doc any) (any, bool) {
	for _, step := range p {
		switch v := doc.(type) {
		case map[string]any:
			inner, ok := v[step]
			if !ok {
				return nil, false
			}
			doc = inner
		case []any:
			i, err := strconv.ParseUint(step, 10, 16)
			if err != nil || int(i) >= len(v) {
				return nil, false
			}
			doc = v[i]
		default:
			return nil, false
		}
	}
	return doc, len(p) > 0
}
