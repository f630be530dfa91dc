package checker_test

import (
	"fmt"
	"strings"
	"testing"
)

// An answer with many long fields makes no long report, and its short ones are told.
func TestHeadersOfAStepAreBounded(t *testing.T) {
	fields := []string{"WWW-Authenticate", `Bearer error="invalid_token"`, "Retry-After", "5"}
	for i := range 60 {
		fields = append(fields, fmt.Sprintf("A-%d", i), strings.Repeat("x", 1<<10))
	}
	r := newChecker(answer(401, "application/json", "{}", fields...)).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", "key-1"))
	h, n := r.Steps[0].ResponseHeaders, 0
	for name, value := range h {
		n += len(name) + len(value)
	}
	if n > 4<<10 || n < 3<<10 {
		t.Errorf("%d bytes of header fields are told, want 3 to 4 KiB", n)
	}
	for _, name := range []string{"Www-Authenticate", "Retry-After", "Content-Type"} {
		if h[name] == "" {
			t.Errorf("%s is not told", name)
		}
	}
}
