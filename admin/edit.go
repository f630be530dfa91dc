package admin

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// edit is the body of PUT and PATCH.
type edit struct {
	typ, description optional
	fields           map[string]secret.Value // to be set
	gone             []string                // to be removed
	trimmed          []string                // fields without a newline that they had at their end
	spaced           []string                // fields without white space that they had at their ends
}

// maxDescription bounds a description, in bytes.
const maxDescription = 1024

func readEdit(w http.ResponseWriter, r *http.Request) (edit, error) {
	var e edit
	var fields map[string]json.RawMessage
	err := decode(w, r, map[string]any{"type": &e.typ, "description": &e.description, "fields": &fields})
	if err != nil {
		return e, err
	}
	if len(e.description.value) > maxDescription || strings.ContainsFunc(e.description.value, unicode.IsControl) {
		return e, invalid("description: is longer than 1024 bytes or holds a control character")
	}
	return e, e.read(fields)
}

// read takes the fields as a store would: strings, a trailing newline trimmed.
func (e *edit) read(fields map[string]json.RawMessage) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		raw := string(fields[name])
		switch {
		case slices.Contains([]string{"provider", "type", "description"}, name):
			return invalid("fields." + name + ": is not a field; type and description stand beside fields")
		case raw == "null":
			e.gone = append(e.gone, name)
			delete(fields, name)
		case !strings.HasPrefix(raw, `"`):
			return invalid("fields." + shown(name) + ": is not a string")
		case checker.OneWord(name):
			fields[name] = e.alone(name, fields[name])
		}
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return invalid("fields: are not JSON")
	}
	if len(fields) == 0 {
		return nil
	}
	c, trimmed, err := credential.Decode(credential.Ref{}, 0, data)
	if err != nil {
		return invalid("fields: are not a JSON object")
	}
	e.fields, e.trimmed = c.Fields, trimmed
	for name := range fields {
		if c.Field(name).Empty() { // the empty string
			e.gone = append(e.gone, name)
		}
	}
	return nil
}

// alone gives a key without the spaces and tabs around it, which are no part of it.
func (e *edit) alone(name string, raw json.RawMessage) json.RawMessage {
	var key string
	if json.Unmarshal(raw, &key) != nil {
		return raw
	}
	word := strings.Trim(key, " \t\r\n")
	if word == strings.TrimRight(key, "\r\n") {
		return raw
	}
	e.spaced = append(e.spaced, name)
	raw, _ = json.Marshal(word) // a string
	return raw
}

// into puts the fields into c. known are those that its type and provider have,
// ours those that may be removed.
func (e *edit) into(c *credential.Credential, known, ours []string) error {
	for _, name := range slices.Sorted(maps.Keys(e.fields)) {
		if !slices.Contains(known, name) {
			return invalid("fields." + shown(name) + ": is not a field of type " + c.Type + "; it has " + strings.Join(slices.Compact(slices.Sorted(slices.Values(known))), ", "))
		}
		c.Set(name, e.fields[name])
	}
	for _, name := range e.gone {
		if !slices.Contains(ours, name) {
			return invalid("fields." + shown(name) + ": is not ours to remove")
		}
		c.Unset(name)
	}
	return nil
}

// providerFields are the fields that a provider's templates ask for.
func providerFields(p *provider.Provider) []string {
	templates := slices.Concat(p.Hosts, []string{
		p.BaseURL, p.OAuth2.AuthorizationURL, p.OAuth2.TokenURL, p.OAuth2.RefreshURL, p.OAuth2.RevocationURL,
		p.OAuth2.IntrospectionURL, p.OAuth2.DeviceAuthorizationURL, p.Login.Path, p.Login.Body, p.Verify.Path, p.Verify.Body,
	})
	templates = slices.AppendSeq(templates, maps.Values(p.OAuth2.Params))
	templates = slices.Concat(templates, slices.Collect(maps.Values(p.OAuth2.ClientCredentialsParams)))
	for _, place := range p.Places {
		templates = append(templates, place.Value, place.Username, place.Password)
	}
	return provider.TemplateFields(strings.Join(templates, " "))
}

// tokenFields are those of a type that holds a token it was given.
func tokenFields(typ string) []string {
	if strings.HasPrefix(typ, "oauth2_") {
		return credential.TokenFields
	}
	return nil
}
