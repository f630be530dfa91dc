package configs

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
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

// leaf fills what is no table, by the type of out.
func (d *decoder) leaf(path string, in any, out reflect.Value, f field) bool {
	switch p := out.Addr().Interface().(type) {
	case *string:
		return scalar(d, path, in, p, "a string")
	case *bool:
		return scalar(d, path, in, p, "true or false")
	case *float64:
		return d.float(path, in, p)
	case *int:
		return d.int(path, in, p, f)
	case *int64:
		return text(d, path, in, p, parseSize, `a size like "1MiB"`)
	case *time.Duration:
		return d.duration(path, in, p, f)
	case **url.URL:
		return text(d, path, in, p, parseProxy, "a string")
	case *[]string:
		return list(d, path, in, p, func(path string, in any, e *string) bool { return scalar(d, path, in, e, "a string") })
	case *[]int:
		return list(d, path, in, p, func(path string, in any, e *int) bool { return d.int(path, in, e, f) })
	case *[]netip.Prefix:
		return list(d, path, in, p, func(path string, in any, e *netip.Prefix) bool {
			return text(d, path, in, e, parsePrefix, "a network in quotes")
		})
	case *[]provider.Rate:
		return list(d, path, in, p, func(path string, in any, e *provider.Rate) bool {
			return text(d, path, in, e, parseRate, `a rate like "10/s"`)
		})
	case *map[string]string:
		return d.strings(path, in, p)
	case *map[string]needs:
		return d.needs(path, in, p)
	}
	d.report.add(path, "has a type that the loader does not know")
	return false
}

// scalar takes a value that TOML has a type for.
func scalar[T any](d *decoder, path string, in any, out *T, want string) bool {
	v, ok := in.(T)
	if !ok {
		d.report.add(path, "is %s; %s was expected", kindOf(in), want)
		return false
	}
	*out = v
	return true
}

// text takes a value that is written as a string.
func text[T any](d *decoder, path string, in any, out *T, parse func(string) (T, error), want string) bool {
	var s string
	if !scalar(d, path, in, &s, want) {
		return false
	}
	v, err := parse(s)
	if err != nil {
		d.report.add(path, "%s%v", quoted(s), err)
		return false
	}
	*out = v
	return true
}

// quoted repeats a wrong value, unless it may hold a password.
func quoted(s string) string {
	if strings.Contains(s, "@") || len(s) > 80 {
		return "the value "
	}
	return strconv.Quote(s) + " "
}

func list[T any](d *decoder, path string, in any, out *[]T, element func(path string, in any, e *T) bool) bool {
	var elements []any
	if !scalar(d, path, in, &elements, "an array, [...],") {
		return false
	}
	good, vs := true, make([]T, len(elements))
	for i, e := range elements {
		good = element(index(path, i), e, &vs[i]) && good
	}
	if good {
		*out = vs
	}
	return good
}

func (d *decoder) strings(path string, in any, out *map[string]string) bool {
	var m map[string]any
	if !scalar(d, path, in, &m, "a table") {
		return false
	}
	good, vs := true, make(map[string]string, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		var s string
		good = scalar(d, join(path, k), m[k], &s, "a string") && good
		vs[k] = s
	}
	*out = vs
	return good
}

func (d *decoder) needs(path string, in any, out *map[string]needs) bool {
	m, ok := d.asTable(path, in)
	*out = make(map[string]needs, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		var n needs
		if of, isTable := d.asTable(join(path, name), m[name]); isTable {
			d.table(join(path, name), of, reflect.ValueOf(&n).Elem(), false)
		}
		(*out)[name] = n
	}
	return ok
}

func (d *decoder) int(path string, in any, out *int, f field) bool {
	var n int64
	switch {
	case !scalar(d, path, in, &n, "a whole number"):
	case n < int64(f.min) || n > int64(f.max):
		d.report.add(path, "%d is out of range; use %d to %d", n, f.min, f.max)
	default:
		*out = int(n)
		return true
	}
	return false
}

func (d *decoder) float(path string, in any, out *float64) bool {
	if n, ok := in.(int64); ok {
		in = float64(n)
	}
	return scalar(d, path, in, out, "a number")
}

func (d *decoder) duration(path string, in any, out *time.Duration, f field) bool {
	var v time.Duration
	if !text(d, path, in, &v, parseDuration, `a duration like "30s"`) {
		return false
	}
	if f.positive && v == 0 {
		d.report.add(path, "must be longer than zero")
		return false
	}
	*out = v
	return true
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
