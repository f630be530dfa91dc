package configs

import (
	"math"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/near"
	"github.com/sallyport/sallyport/internal/provider"
)

// field is one key of a form's struct, as its tags say.
type field struct {
	name     string
	index    int
	oneof    []string
	unbuilt  []string
	noun     string
	later    bool
	positive bool
	isPath   bool
	webhook  bool
	min, max int
}

// keysOf gives a struct's keys in their order.
func keysOf(t reflect.Type) []field {
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		f := field{name: tag.Get("toml"), index: i, noun: "known", later: tag.Get("later") != "", positive: tag.Get("positive") != "", isPath: tag.Get("form") == "path", webhook: tag.Get("form") == "webhook"}
		if noun := tag.Get("noun"); noun != "" {
			f.noun = noun
		}
		if choices, ok := tag.Lookup("oneof"); ok {
			f.oneof = strings.Split(choices, " ")
		}
		f.unbuilt = strings.Fields(tag.Get("unbuilt"))
		f.min, f.max = number(tag.Get("min"), 0), number(tag.Get("max"), math.MaxInt32)
		fields = append(fields, f)
	}
	return fields
}

func number(s string, otherwise int) int {
	if s == "" { // most keys: an error of Atoi would cost more than all the rest
		return otherwise
	}
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return otherwise
}

// choices that can be made today.
func (f field) choices() []string {
	var out []string
	for _, s := range f.oneof {
		if !slices.Contains(f.unbuilt, s) {
			out = append(out, s)
		}
	}
	return out
}

var leafStructs = []reflect.Type{reflect.TypeFor[url.URL](), reflect.TypeFor[netip.Prefix](), reflect.TypeFor[provider.Rate](), reflect.TypeFor[time.Time]()}

// isTable reports whether a type is written as a table of its own.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !slices.Contains(leafStructs, t)
}

// nearest gives the name that s was probably meant to be, or nothing.
func nearest(s string, names []string) string {
	best, limit := "", min(2, len(s)/3)
	for _, name := range names {
		if strings.EqualFold(s, name) {
			return name
		}
		if n := distance(s, name, limit); n <= limit {
			best, limit = name, n-1
		}
	}
	return best
}

// distance is the Levenshtein distance, or limit+1 if it is more than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > 64 {
		return limit + 1
	}
	return near.Distance(a, b)
}
