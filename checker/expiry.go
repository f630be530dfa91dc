package checker

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// defaultWarning is how long before its end a check warns where nothing is said.
const defaultWarning = 14 * 24 * time.Hour

// judgeExpiry judges when somebody must renew a credential that the provider takes.
func judgeExpiry(end, now time.Time, ahead time.Duration) verdict {
	left := end.Sub(now)
	when := end.UTC().Format(time.DateOnly)
	switch {
	case left <= 0:
		return warning(fault.ExpiresSoon, "by its own date it ended on "+when+", though the provider takes it")
	case left <= ahead:
		return warning(fault.ExpiresSoon, fmt.Sprintf("it ends in %s, on %s", days(left), when))
	}
	return ok(fmt.Sprintf("it ends in %s, on %s", days(left), when))
}

// days is a duration for people, rounded down.
func days(d time.Duration) string {
	switch n := int(d / (24 * time.Hour)); {
	case n == 1:
		return "1 day"
	case n > 1:
		return fmt.Sprintf("%d days", n)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d/time.Hour))
	}
	return fmt.Sprintf("%d minutes", max(1, int(d/time.Minute)))
}
