package credential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/secret"
)

// Encode gives the record as one JSON object of strings: provider, type,
// description and the fields, and what others keep there as it was read. JSON
// cannot carry a string that is not UTF-8: the error names its field.
func Encode(c *Credential) ([]byte, error) {
	for _, k := range c.Names() {
		if !utf8.ValidString(k) || !utf8.ValidString(c.Fields[k].Reveal()) {
			return nil, fmt.Errorf("record %s: field %q is not UTF-8 text", c.Ref, k)
		}
	}
	b, err := json.Marshal(c.Data())
	if err != nil { // only what others keep there can be no JSON; the error might quote it
		return nil, fmt.Errorf("record %s: a field of others is not JSON", c.Ref)
	}
	return b, nil
}

// Data gives the record as a map that encodes to the stored JSON object. Its
// values are revealed: it belongs to a store, on its way to the disk or Vault.
func (c *Credential) Data() map[string]any {
	m := make(map[string]any, len(c.Fields)+len(c.Rest)+3)
	for k, raw := range c.Rest {
		m[k] = raw
	}
	for k, v := range c.Fields {
		if raw, ok := c.Rest[k]; ok && scalar(raw) == v.Reveal() {
			continue
		}
		m[k] = v.Reveal()
	}
	m["provider"] = c.Ref.Provider
	if c.Type != "" {
		m["type"] = c.Type
	}
	if c.Description != "" {
		m["description"] = c.Description
	}
	return m
}

// Decode reads a stored JSON object. Values that are no strings are accepted: a
// scalar is a field too, and is kept as it was read. A trailing newline of a
// value is trimmed; trimmed names those fields, sorted. Errors quote no value.
func Decode(ref Ref, version int, data []byte) (c *Credential, trimmed []string, err error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil || m == nil {
		return nil, nil, fmt.Errorf("record %s is not a JSON object", ref)
	}
	c = &Credential{Ref: ref, Version: version, Fields: map[string]secret.Value{}, Rest: map[string]json.RawMessage{}}
	for k, raw := range m {
		var s string
		if json.Unmarshal(raw, &s) != nil || bytes.Equal(raw, []byte("null")) {
			c.Rest[k] = raw
			s = scalar(raw)
		}
		if t := strings.TrimRight(s, "\r\n"); t != s {
			s, trimmed = t, append(trimmed, k)
		}
		c.setRead(k, s, raw)
	}
	slices.Sort(trimmed)
	return c, trimmed, nil
}

func (c *Credential) setRead(k, s string, raw json.RawMessage) {
	switch k {
	case "type":
		c.Type = s
	case "description":
		c.Description = s
	case "provider": // the path says it
	default:
		if s == "" { // no field, but perhaps of use to others
			c.Rest[k] = raw
			return
		}
		c.Fields[k] = secret.New(s)
		return
	}
	delete(c.Rest, k)
}

// scalar gives a JSON number or boolean as its text; "" for null, arrays and objects.
func scalar(raw json.RawMessage) string {
	s := string(bytes.TrimSpace(raw))
	if s == "" || s == "null" || s[0] == '{' || s[0] == '[' || s[0] == '"' {
		return ""
	}
	return s
}
