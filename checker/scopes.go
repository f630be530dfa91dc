package checker

import (
	"slices"

	"github.com/sallyport/sallyport/internal/fault"
)

// implied gives the scopes that are contained in one, itself not among them; nil: none.
type implied func(scope string) []string

// missing gives those of want that granted does not contain.
func missing(want, granted []string, contains implied) []string {
	have := map[string]bool{}
	for _, s := range granted {
		have[s] = true
		if contains == nil {
			continue
		}
		for _, part := range contains(s) {
			have[part] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(want), func(s string) bool { return have[s] })
}

// compareScopes judges what was granted by what is needed.
func compareScopes(want, granted []string, contains implied) verdict {
	lacks := missing(want, granted, contains)
	has := "granted: " + few(sortedUnique(granted))
	if len(granted) == 0 {
		has = "none is granted"
	}
	switch {
	case len(lacks) > 0:
		return lacking(fault.InsufficientScope, lacks, "missing: "+named(lacks)+"; "+has)
	case len(want) == 0:
		return ok(has + "; none is asked for")
	}
	return ok(has)
}

// comparePermissions judges what an account may do by what is needed. unsure are
// those that could not be tried.
func comparePermissions(want, has, unsure []string) verdict {
	lacks := missing(want, slices.Concat(has, unsure), nil)
	unsure = slices.DeleteFunc(slices.Clone(unsure), func(s string) bool { return !slices.Contains(want, s) })
	switch {
	case len(lacks) > 0:
		return lacking(fault.InsufficientPermission, lacks, "missing: "+named(lacks))
	case len(unsure) > 0:
		return unverifiable("the provider does not show: " + named(unsure))
	case len(want) == 0:
		return ok("none is asked for")
	}
	return ok("has: " + named(want))
}
