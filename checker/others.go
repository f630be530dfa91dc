package checker

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// holding reports whether the name of an answer's header field says that it may
// hold a secret of the provider's.
func holding(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"cookie", "auth-token", "access-token", "api-key", "apikey", "secret", "session", "csrf"}, func(s string) bool {
		return strings.Contains(name, s)
	})
}

// members of JSON that may hold a secret of the provider's, or one that it gives.
var members = regexp.MustCompile(`(?i)("[a-z_-]*(?:token|secret|passw(?:or)?d|api_?key|session)[a-z_-]*"\s*:\s*")[^"]*"`)

// within cuts text to so many bytes, between two characters.
func within(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// printable gives a line in which a space stands for what a terminal would obey.
func printable(s string) string { return strings.Map(visible, s) }

// readable is printable for a text of several lines.
func readable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' {
			return c
		}
		return visible(c)
	}, s)
}

func visible(c rune) rune {
	if !unicode.IsPrint(c) {
		return ' '
	}
	return c
}
