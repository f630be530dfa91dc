package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// variable is one environment variable.
type variable struct{ name, value string }

// shells that env writes for.
var shells = map[string]func([]variable) string{"sh": shLines, "fish": fishLines, "json": jsonObject}

// shLines gives export commands of a POSIX shell.
func shLines(vars []variable) string {
	var b strings.Builder
	for _, v := range vars {
		fmt.Fprintf(&b, "export %s=%s\n", v.name, shQuote(v.value))
	}
	return b.String()
}

// shQuote quotes for a POSIX shell, where nothing is special inside single
// quotes but the quote.
func shQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fishLines gives set commands of fish.
func fishLines(vars []variable) string {
	var b strings.Builder
	for _, v := range vars {
		fmt.Fprintf(&b, "set -gx %s %s\n", v.name, fishQuote(v.value))
	}
	return b.String()
}

// fishQuote quotes for fish, where \' and \\ are escapes inside single quotes.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// jsonObject gives one object of strings, in the order of vars.
func jsonObject(vars []variable) string {
	var b strings.Builder
	for i, v := range vars {
		name, value := jsonString(v.name), jsonString(v.value)
		fmt.Fprintf(&b, "%s\n  %s: %s", map[bool]string{true: "{", false: ","}[i == 0], name, value)
	}
	return b.String() + "\n}\n"
}

func jsonString(s string) string {
	b, _ := json.Marshal(s) // a string cannot fail
	return string(b)
}

// javaQuote quotes one option for JAVA_TOOL_OPTIONS, which the JVM splits at
// white space outside of single or double quotes; there is no escape.
func javaQuote(s string) string {
	if !strings.ContainsAny(s, " \t\n'\"") {
		return s
	}
	var b strings.Builder
	for i, part := range strings.Split(s, `"`) {
		if i > 0 {
			b.WriteString(`'"'`)
		}
		if part != "" {
			b.WriteString(`"` + part + `"`)
		}
	}
	return b.String()
}
