package configs

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"
)

// decoder fills a form from a parsed TOML tree. Keys match letter by letter, and
// whatever does not fit is a fault of its key; the rest is filled all the same.
type decoder struct {
	report *report
	built  bool // whether keys whose part is not built yet are taken
}

// table fills the struct out from in.
func (d *decoder) table(path string, in map[string]any, out reflect.Value, later bool) {
	fields := keysOf(out.Type())
	for _, key := range slices.Sorted(maps.Keys(in)) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		if i < 0 {
			d.unknown(path, key, fields)
			continue
		}
		f := fields[i]
		f.later = f.later || later
		d.value(join(path, key), in[key], out.Field(f.index), f)
	}
}

func (d *decoder) unknown(path, key string, fields []field) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	hint := ""
	if near := nearest(key, names); near != "" {
		hint = "; did you mean " + near + "?"
	}
	d.report.add(join(path, key), "is not a known key%s", hint)
}

// value fills one field, and holds it to its tags.
func (d *decoder) value(path string, in any, out reflect.Value, f field) {
	switch {
	case out.Kind() == reflect.Struct && isTable(out.Type()):
		if m, ok := d.asTable(path, in); ok {
			d.table(path, m, out, f.later)
		}
		return
	case out.Kind() == reflect.Slice && isTable(out.Type().Elem()):
		d.tables(path, in, out, f)
		return
	}
	was := reflect.New(out.Type()).Elem()
	was.Set(out)
	if !d.leaf(path, in, out, f) || !d.chosen(path, out, f) {
		return
	}
	if f.isPath {
		out.SetString(d.report.resolve(path, out.String()))
	}
	if f.later && !d.built && !sameValue(was, out) {
		d.report.add(path, "is not built yet; leave it out")
	}
}

func (d *decoder) asTable(path string, in any) (map[string]any, bool) {
	m, ok := in.(map[string]any)
	if !ok {
		d.report.add(path, "is %s; a table was expected", kindOf(in))
	}
	return m, ok
}

// tables fills a slice of structs from [[path]] or an array of inline tables.
func (d *decoder) tables(path string, in any, out reflect.Value, f field) {
	if f.later && !d.built {
		d.report.add(path, "is not built yet; leave it out")
		return
	}
	switch in.(type) {
	case []map[string]any, []any:
	default:
		d.report.add(path, "is %s; an array of tables was expected, [[%s]]", kindOf(in), d.report.display(path))
	}
	for i, m := range tablesOf(in) {
		if m == nil {
			d.report.add(index(path, i), "is no table; a table was expected")
		}
		v := reflect.New(out.Type().Elem())
		if e, ok := v.Interface().(interface{ setDefaults() }); ok {
			e.setDefaults()
		}
		d.table(index(path, i), m, v.Elem(), f.later)
		out.Set(reflect.Append(out, v.Elem()))
	}
}

// tablesOf gives the tables of an array, [[...]] or inline. An element that is
// something else is nil, so that the indices stay.
func tablesOf(in any) []map[string]any {
	if ms, ok := in.([]map[string]any); ok {
		return ms
	}
	list, _ := in.([]any)
	ms := make([]map[string]any, len(list))
	for i, e := range list {
		ms[i], _ = e.(map[string]any)
	}
	return ms
}

// chosen holds a string to its choices.
func (d *decoder) chosen(path string, out reflect.Value, f field) bool {
	if len(f.oneof) == 0 {
		return true
	}
	switch s := out.String(); {
	case slices.Contains(f.unbuilt, s) && !d.built:
		d.report.add(path, "%q is not built yet; use %s", s, listWords(f.choices()))
	case !slices.Contains(f.oneof, s):
		d.report.add(path, "%q is not %s; use %s", s, f.noun, listWords(f.choices()))
	default:
		return true
	}
	return false
}

// sameValue compares before and after; no list is the same as an empty one.
func sameValue(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Slice, reflect.Map:
		if a.Len() == 0 && b.Len() == 0 {
			return true
		}
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// kindOf names what TOML has parsed.
func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number"
	case bool:
		return "true or false"
	case map[string]any:
		return "a table"
	case []any:
		return "an array"
	case []map[string]any:
		return "an array of tables"
	case time.Time:
		return "a date or time"
	}
	return fmt.Sprintf("a %T", v)
}
