package configs

import (
	_ "embed"
	"fmt"
	"io"
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

//go:embed reference.toml
var reference []byte

// Reference is a configuration with every key, its default and what it is for.
func Reference() []byte { return reference }

// WriteTOML writes the configuration as it counts: the defaults, the file and
// the environment together, and of the providers those that the file names,
// merged with the catalogue. Passwords of URLs are left out, and all of a webhook's
// but its scheme and host.
func (c *Config) WriteTOML(w io.Writer) error {
	out := &writer{out: w}
	out.table("", reflect.ValueOf(*c.form))
	return out.err
}

// writer writes a form as TOML. The first error stays.
type writer struct {
	out     io.Writer
	secrets bool // passwords of URLs, and webhooks, too
	err     error
}

func (w *writer) print(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format, args...)
	}
}

// table writes a struct's own keys, then the tables in it, as TOML asks for.
func (w *writer) table(path string, v reflect.Value) {
	fields := keysOf(v.Type())
	for _, f := range fields {
		switch e := v.Field(f.index); {
		case isTable(e.Type()) || isArray(e.Type()):
		case f.webhook && !w.secrets:
			w.pair(f.name, reflect.ValueOf(hostOnly(e.String())))
		default:
			w.pair(f.name, e)
		}
	}
	for _, f := range fields {
		switch e, key := v.Field(f.index), join(path, f.name); {
		case isTable(e.Type()):
			w.print("\n[%s]\n", key)
			w.table(key, e)
		case isArray(e.Type()):
			for i := range e.Len() {
				w.print("\n[[%s]]\n", key)
				w.table(key, e.Index(i))
			}
		}
	}
}

func isArray(t reflect.Type) bool { return t.Kind() == reflect.Slice && isTable(t.Elem()) }

// pair writes KEY = VALUE, but nothing for what is not set.
func (w *writer) pair(key string, v reflect.Value) {
	if s := w.value(v); s != "" {
		w.print("%s = %s\n", key, s)
	}
}

func (w *writer) value(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		if x < 0 {
			return ""
		}
		return quote(formatDuration(x))
	case int64:
		return quote(formatSize(x))
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case *url.URL:
		return quote(w.url(x))
	case netip.Prefix:
		return quote(x.String())
	case provider.Rate:
		return quote(x.String())
	case string:
		return quote(x)
	case map[string]string:
		return inline(x)
	case map[string]needs:
		return w.needs(x)
	}
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = w.value(v.Index(i))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (w *writer) needs(m map[string]needs) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s = {scopes = %s, permissions = %s}", keyOf(name),
			w.value(reflect.ValueOf(m[name].Scopes)), w.value(reflect.ValueOf(m[name].Permissions))))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func inline(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, keyOf(k)+" = "+quote(m[k]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func keyOf(k string) string {
	if !bare(k) {
		return quote(k)
	}
	return k
}

func (w *writer) url(u *url.URL) string {
	switch {
	case u == nil:
		return ""
	case w.secrets || u.User == nil:
		return u.String()
	}
	return u.Redacted()
}

// hostOnly hides the path and the query of a URL.
func hostOnly(s string) string {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return ""
	case err != nil:
		return redacted
	case strings.Trim(u.Path, "/") == "" && u.RawQuery == "":
		return s
	}
	return u.Scheme + "://" + u.Host + "/" + redacted
}

const redacted = "[redacted]"

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
