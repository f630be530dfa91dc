package credential

import (
	"testing"
	"time"
)

// Every end that is told can be written in JSON, in whichever zone; one that cannot is none.
func TestEnding(t *testing.T) {
	for text, ends := range map[string]bool{
		"2026-01-02T03:04:05Z":      true,
		"1969-12-31T23:59:59Z":      true,
		"0001-01-02T00:00:00Z":      true,
		"9999-12-30T00:00:00Z":      true,
		"9999-12-30T00:00:01Z":      false,
		"9999-12-31T23:59:59-01:00": false,
		"0000-01-01T00:00:00+01:00": false,
		"0001-01-01T00:00:00Z":      false,
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		got := Ending(at)
		if got.IsZero() == ends || ends && !got.Equal(at) {
			t.Errorf("%s: %v", text, got)
		}
		for _, hours := range []int{-23, 23} {
			if _, err := got.In(time.FixedZone("", hours*3600)).MarshalJSON(); ends && err != nil {
				t.Errorf("%s, %d hours off: %v", text, hours, err)
			}
		}
	}
	for _, at := range []time.Time{time.Unix(1<<40-1, 0), time.Unix(1<<62, 0)} {
		if got := Ending(at); !got.IsZero() {
			t.Errorf("%v: %v", at.Unix(), got)
		}
	}
}
