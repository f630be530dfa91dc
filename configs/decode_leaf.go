package configs

import (
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
