package checker

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// Names of the checks, in the order of a report.
const (
	Authorization = "authorization" // the provider takes the credential
	Scopes        = "scopes"        // it was granted the scopes that are needed
	Permissions   = "permissions"   // its account has the permissions that are needed
	Projects      = "projects"      // it reaches something to work on: repositories, sites, pages
	Expiry        = "expiry"        // nobody has to renew it soon
)

var lineNames = []string{Authorization, Scopes, Permissions, Projects, Expiry}

// verdict is what one check came to.
type verdict struct {
	status  Status // ok, warning, error or unverifiable
	detail  string
	missing []string
	count   *int         // nil: nothing is counted
	fault   *fault.Fault // nil: nothing is wrong, or no code fits
	unknown bool         // the provider was throttling or out of reach
}

func ok(detail string) verdict           { return verdict{status: OK, detail: detail} }
func unverifiable(detail string) verdict { return verdict{status: Unverifiable, detail: detail} }

// warning is of something that keeps nobody from using the credential.
func warning(code fault.Code, detail string) verdict {
	return verdict{status: Warning, detail: detail, fault: fault.New(code, detail, nil)}
}

// lacking is the warning that names what is missing.
func lacking(code fault.Code, missing []string, detail string) verdict {
	v := warning(code, detail)
	v.missing = missing
	return v
}

// ofKey says of permissions that are missing that the key was made without them.
func (v verdict) ofKey() verdict {
	if v.fault != nil && v.fault.Code == fault.InsufficientPermission {
		v.fault = v.fault.Of(fault.KeyPermission)
	}
	return v
}

// counted adds how many of them there are.
func (v verdict) counted(n int) verdict {
	v.count = &n
	return v
}

// maxDetail bounds a detail, which may have a provider's words in it, in bytes.
const maxDetail = 1000

// clipped is text of that length at most. Nothing is cut before our secrets are
// out of it: a half of one would stay.
func clipped(text string) string {
	if len(text) <= maxDetail {
		return text
	}
	return strings.ToValidUTF8(text[:maxDetail], "") + " ..."
}

// saying adds what the provider says of it; nothing to a text that is empty.
func (v verdict) saying(text string) verdict {
	text = strings.TrimSpace(printable(text))
	if text == "" {
		return v
	}
	v.detail += ": " + text
	if v.fault == nil {
		return v
	}
	f := *v.fault
	if f.Detail != "" {
		text = f.Detail + ": " + text
	}
	f.Detail = text
	v.fault = &f
	return v
}

// weight orders the verdicts of one report.
func (v verdict) weight() int {
	switch {
	case v.status == Error:
		return 3
	case v.unknown:
		return 2
	case v.status == OK:
		return 0
	}
	return 1
}

// line is the verdict as a report shows it.
func (v verdict) line(name string) Line {
	return Line{Name: name, Status: v.status, Detail: v.detail, Missing: append([]string{}, v.missing...), Count: v.count}
}

// worst gives the verdict that decides: of the heaviest the first that knows why.
func worst(all map[string]verdict) verdict {
	var w verdict
	for _, name := range lineNames {
		v, ok := all[name]
		if ok && (w.status == "" || v.weight() > w.weight() || v.weight() == w.weight() && w.fault == nil && v.fault != nil) {
			w = v
		}
	}
	return w
}

// named joins names for people.
func named(names []string) string { return strings.Join(names, ", ") }

// maxFew bounds how many names are told of those that are there.
const maxFew = 20

// few names the first of many.
func few(names []string) string {
	if len(names) <= maxFew {
		return named(names)
	}
	return named(names[:maxFew]) + " and " + strconv.Itoa(len(names)-maxFew) + " more"
}

// several counts things for people.
func several(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}

// sortedUnique gives names once each, in order.
func sortedUnique(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}
