// Package secret holds the one type that carries a secret through the program.
package secret

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
)

// Redacted is what every way of printing a Value gives.
const Redacted = "[redacted]"

// Value is a secret string. Every way of printing, encoding or logging it gives
// Redacted; only Reveal gives the string. The zero Value is the empty secret.
//
// The string stands behind a pointer because fmt prints unexported strings of a
// struct that it reaches by reflection, but not what a nested pointer points to.
type Value struct{ p *string }

// New makes a Value of s. The empty string makes the zero Value.
func New(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{&s}
}

// Reveal gives the secret itself. It belongs where the bytes go on the wire.
func (v Value) Reveal() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

// Empty reports whether there is no secret.
func (v Value) Empty() bool { return v.p == nil }

// Len is the length of the secret in bytes.
func (v Value) Len() int { return len(v.Reveal()) }

// Equal compares in time that depends on the lengths only.
func (v Value) Equal(o Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(o.Reveal())) == 1
}

// String implements fmt.Stringer.
func (v Value) String() string { return Redacted }

// GoString implements fmt.GoStringer.
func (v Value) GoString() string { return Redacted }

// Format implements fmt.Formatter for every verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// MarshalText implements encoding.TextMarshaler.
func (v Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(Redacted) }

// LogValue implements slog.LogValuer.
func (v Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// UnmarshalText implements encoding.TextUnmarshaler: what is read is a secret
// from that moment on.
func (v *Value) UnmarshalText(b []byte) error {
	*v = New(string(b))
	return nil
}

// UnmarshalJSON reads a JSON string.
func (v *Value) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a secret must be a JSON string")
	}
	*v = New(s)
	return nil
}

// HasPrefix reports whether the secret begins so: kinds of keys are told by their
// prefix.
func (v Value) HasPrefix(prefix string) bool { return strings.HasPrefix(v.Reveal(), prefix) }

// Matches reports whether the pattern fits the secret.
func (v Value) Matches(pattern *regexp.Regexp) bool { return pattern.MatchString(v.Reveal()) }
