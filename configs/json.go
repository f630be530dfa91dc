package configs

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/BurntSushi/toml"
)

// WriteJSON writes what WriteTOML writes, as one JSON object.
func (c *Config) WriteJSON(w io.Writer) error {
	var b bytes.Buffer
	if err := c.WriteTOML(&b); err != nil {
		return err
	}
	var object map[string]any
	if _, err := toml.NewDecoder(&b).Decode(&object); err != nil {
		return err
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(object)
}
