package credential

import (
	"slices"
	"strings"
	"testing"
)

func TestEqual(t *testing.T) {
	base := named("a", everything)
	for _, c := range []struct {
		name, old, new string
		want           bool
	}{
		{"the layout of JSON", `{"team":["a",{"b":null}],"html":"<&>"}`, `{ "html":"\u003c\u0026>", "team":["a",{"b":null}]}`, true},
		{"the layout of our state", `{\"b\":[1.0],\"a\":\"<\"}`, `{\"a\":\"\\u003c\",\"b\":[1.0]}`, true},
		{"our state", `[1.0]`, `[2]`, false},
		{"a secret", canary, canary + "x", false},
		{"a description", "ours", "theirs", false},
		{"a type", `"basic"`, `"bearer"`, false},
		{"a number as text", "3600", `"3600"`, false},
		{"another number", "3600", "3601", false},
		{"a number as Vault gives it back", "12345678901234567890", "12345678901234567000", true},
		{"a fraction as Vault gives it back", "1.50", "1.5", true},
		{"a number beyond a double", "1e400", "1e401", false},
		{"one of others", `["a"`, `["c"`, false},
		{"null", `"nothing":null`, `"nothing":""`, false},
	} {
		data := strings.Replace(everything, c.old, c.new, 1)
		if data == everything {
			t.Fatalf("%s: %s is not there", c.name, c.old)
		}
		other := named("a", data)
		other.Version = base.Version + 1
		if got := base.Equal(other); got != c.want || other.Equal(base) != c.want {
			t.Errorf("%s: Equal = %v, want %v", c.name, got, c.want)
		}
	}
	if base.Equal(named("b", everything)) {
		t.Error("records of two references are equal")
	}
	if !named("a", `{"sallyport_state":"{}"}`).Equal(named("a", `{}`)) {
		t.Error("an empty state counts")
	}
	if named("a", `{"sallyport_state":"text"}`).Equal(named("a", `{}`)) {
		t.Error("a state of others does not count")
	}
}

func TestInexact(t *testing.T) {
	for number, want := range map[string]struct{ rounded, tooLarge bool }{
		"0": {}, "-0.0": {}, "0e9": {}, "3600": {}, "-1.50": {}, "0.1": {}, "1e3": {}, "1.5E+300": {}, "100000000000000000000000": {}, "1e-7": {},
		"9007199254740992": {}, "9007199254740993": {rounded: true}, "12345678901234567890": {rounded: true},
		"0.1000000000000000000001": {rounded: true}, "1e-400": {rounded: true}, "-1e-99999999999999999999": {rounded: true},
		"1e400": {tooLarge: true}, "-1e99999999999999999999": {tooLarge: true},
		`"12345678901234567890"`: {}, "true": {}, "null": {}, "[]": {},
	} {
		for _, form := range []string{"#", "[1,#]", `{"x":[{"y":#}]}`} {
			c := named("a", `{"fine":1,"n":`+strings.Replace(form, "#", number, 1)+`}`)
			rounded, tooLarge := c.Inexact()
			if slices.Contains(rounded, "n") != want.rounded || slices.Contains(tooLarge, "n") != want.tooLarge || len(rounded)+len(tooLarge) > 1 {
				t.Errorf("%s in %s: rounded %v, too large %v", number, form, rounded, tooLarge)
			}
		}
	}
}
