package provider

import (
	"strconv"
	"time"
)

// Rate is so many calls in a window.
type Rate struct {
	Count  int
	Window time.Duration
}

// windows from the longest to the shortest.
var windows = []struct {
	unit string
	d    time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}

// String gives the rate as a configuration writes it: 300/min, 100/10s.
func (r Rate) String() string {
	s := strconv.Itoa(r.Count) + "/"
	for _, w := range windows {
		if r.Window == w.d {
			return s + w.unit
		}
		if r.Window%w.d == 0 {
			return s + strconv.Itoa(int(r.Window/w.d)) + w.unit
		}
	}
	return s + r.Window.String()
}
