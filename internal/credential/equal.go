package credential

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// Equal reports whether two records of one reference hold the same: type,
// description, fields, and what others keep there. Versions and ends of leases
// do not count, nor does how the JSON of Rest and of our own state is laid out,
// which a store may change.
func (c *Credential) Equal(o *Credential) bool {
	return c.Ref == o.Ref && reflect.DeepEqual(c.content(), o.content())
}

// content gives the record's members, their JSON decoded.
func (c *Credential) content() map[string]any {
	m := c.Data()
	for k, v := range m {
		if raw, ok := v.(json.RawMessage); ok {
			m[k] = tree(raw)
		}
	}
	s, ok := m[StateField].(string)
	if !ok {
		return m
	}
	switch state := tree([]byte(s)).(type) {
	case map[string]any:
		if m[StateField] = state; len(state) == 0 {
			delete(m, StateField)
		}
	}
	return m
}

// tree decodes JSON, numbers as they are written; what is none stays as it is.
func tree(raw []byte) any {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return string(raw)
	}
	return v
}
