package credential

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Equal reports whether two records of one reference hold the same: type,
// description, fields, and what others keep there. Versions and ends of leases
// do not count. Nor does what a store may change: how the JSON of others and of
// our own state is laid out, and what of a number a double cannot hold.
func (c *Credential) Equal(o *Credential) bool {
	return c.Ref == o.Ref && reflect.DeepEqual(c.content(), o.content())
}

// Inexact names the members that hold numbers which a double cannot, sorted. KV
// version 2 of Vault keeps numbers as doubles: it rounds the first, and of the
// others, which are too large, it gives the whole record never back.
func (c *Credential) Inexact() (rounded, tooLarge []string) {
	for _, k := range slices.Sorted(maps.Keys(c.Rest)) {
		switch {
		case numbers(tree(c.Rest[k]), func(n json.Number) bool { _, err := n.Float64(); return err != nil }):
			tooLarge = append(tooLarge, k)
		case numbers(tree(c.Rest[k]), inexact):
			rounded = append(rounded, k)
		}
	}
	return rounded, tooLarge
}

// content gives the record's members, their JSON decoded.
func (c *Credential) content() map[string]any {
	m := c.Data()
	for k, v := range m {
		if raw, ok := v.(json.RawMessage); ok {
			m[k] = doubles(tree(raw))
		}
	}
	if s, ok := m[StateField].(string); ok {
		state := tree([]byte(s))
		m[StateField] = state
		if object, ok := state.(map[string]any); ok && len(object) == 0 {
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

// doubles replaces the numbers in a tree, but for those that are too large.
func doubles(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = doubles(v[k])
		}
	case []any:
		for i := range v {
			v[i] = doubles(v[i])
		}
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
	}
	return v
}

// numbers reports whether a number in the tree is of that kind.
func numbers(v any, kind func(json.Number) bool) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if numbers(e, kind) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return numbers(e, kind) })
	case json.Number:
		return kind(v)
	}
	return false
}

// inexact reports whether a double stands for another number than n.
func inexact(n json.Number) bool {
	f, err := n.Float64()
	return err != nil || decimal(n.String()) != decimal(strconv.FormatFloat(f, 'g', -1, 64))
}

// number is a decimal one: its digits without zeros around them, and the power
// of ten of the last.
type number struct {
	digits string // with the sign; of 0: ""
	exp    int
}

func decimal(s string) number {
	mantissa, e, _ := strings.Cut(strings.ToLower(s), "e")
	exp, _ := strconv.Atoi(e) // "" is 0; one beyond an int is beyond a double too
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	all := strings.TrimLeft(whole+fraction, "0")
	digits := strings.TrimRight(all, "0")
	if digits == "" {
		return number{}
	}
	if exp += len(all) - len(digits) - len(fraction); negative {
		digits = "-" + digits
	}
	return number{digits, exp}
}
