package credential

import "time"

// Ends that can be told lie between these: JSON has none whose year is below 0 or
// above 9999 (RFC 3339), in whichever zone it is written.
var (
	firstEnd = time.Date(1, time.January, 2, 0, 0, 0, 0, time.UTC)
	lastEnd  = time.Date(9999, time.December, 30, 0, 0, 0, 0, time.UTC)
)

// Ending is t as the end of something; zero, it does not end or is not known, where
// t cannot be told.
func Ending(t time.Time) time.Time {
	if t.Before(firstEnd) || t.After(lastEnd) {
		return time.Time{}
	}
	return t
}
