package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// decode reads the JSON object of a request into the members that there are. A
// member that is not among them is an error. Errors name members, never values.
func decode(w http.ResponseWriter, r *http.Request, into map[string]any) error {
	if err := isJSON(r); err != nil {
		return err
	}
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	return members(data, "", into)
}

// readBody reads a body of bounded size in bounded time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(bodyTimeout)) // a writer in memory has none
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = c.SetReadDeadline(time.Time{}) // what follows may take longer
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, invalid("body: is larger than 1 MiB")
	}
	if err != nil {
		return nil, invalid("body: broke off, or took longer than 30 s")
	}
	return data, nil
}

// members decodes the object's members; prefix is the path of the object itself.
func members(data []byte, prefix string, into map[string]any) error {
	var m map[string]json.RawMessage
	if !utf8.Valid(data) || json.Unmarshal(data, &m) != nil || m == nil {
		return invalid(strings.TrimSuffix("body."+prefix, ".") + ": is not a JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		to, ok := into[name]
		if !ok {
			return invalid(fmt.Sprintf("%s%s: is not a member of this request; it has %s", prefix, shown(name), strings.Join(slices.Sorted(maps.Keys(into)), ", ")))
		}
		if json.Unmarshal(m[name], to) != nil {
			return invalid(prefix + name + ": has the wrong JSON type")
		}
	}
	return nil
}

// shown keeps the names that a client invents short and printable.
func shown(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, name)
	if len(name) > 64 {
		return "a name of more than 64 characters"
	}
	return name
}

// isJSON refuses bodies that a web page can send without asking first.
func isJSON(r *http.Request) error {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || t != "application/json" && !strings.HasSuffix(t, "+json") {
		return invalid("Content-Type: is not application/json")
	}
	return nil
}

// bodyless refuses a body where none is expected, but for an empty JSON object.
func bodyless(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Content-Type") == "" && (r.ContentLength == 0 || r.Body == nil) {
		return nil
	}
	if err := isJSON(r); err != nil {
		return err
	}
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	return members(data, "", map[string]any{})
}

// optional is a member that may be absent or null.
type optional struct {
	set   bool
	value string // empty for null
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *optional) UnmarshalJSON(b []byte) error {
	o.set, o.value = true, ""
	if string(b) == "null" {
		return nil
	}
	return json.Unmarshal(b, &o.value)
}
