// Package credential is the stored record of one account at one provider, its
// reference, and the interface of the stores that keep it.
package credential

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

// What a short reference leaves out.
const (
	DefaultWorkspace   = "default"
	DefaultEnvironment = "production"
	DefaultName        = "default"
)

// Ref names one credential. A Ref with trailing parts empty names a folder.
type Ref struct{ Workspace, Environment, Provider, Name string }

var part = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ValidPart reports whether s may be a part of a reference or a caller's name.
func ValidPart(s string) bool { return part.MatchString(s) && !strings.Contains(s, "..") }

// ParseRef reads WORKSPACE/ENVIRONMENT/PROVIDER/NAME or one of its short forms:
// PROVIDER, PROVIDER/NAME, ENVIRONMENT/PROVIDER/NAME.
func ParseRef(s string) (Ref, error) {
	return ParseRefIn(s, DefaultWorkspace, DefaultEnvironment)
}

// ParseRefIn is ParseRef where a short form leaves out another workspace and
// environment.
func ParseRefIn(s, workspace, environment string) (Ref, error) {
	r := Ref{workspace, environment, "", DefaultName}
	switch p := strings.Split(s, "/"); len(p) {
	case 1:
		r.Provider = p[0]
	case 2:
		r.Provider, r.Name = p[0], p[1]
	case 3:
		r.Environment, r.Provider, r.Name = p[0], p[1], p[2]
	case 4:
		r.Workspace, r.Environment, r.Provider, r.Name = p[0], p[1], p[2], p[3]
	default:
		return Ref{}, fmt.Errorf("reference %q: want WORKSPACE/ENVIRONMENT/PROVIDER/NAME, or PROVIDER, PROVIDER/NAME, ENVIRONMENT/PROVIDER/NAME", s)
	}
	return r, r.Validate()
}

// Validate tells the first part that is not a name.
func (r Ref) Validate() error {
	for _, p := range []struct{ what, s string }{
		{"workspace", r.Workspace}, {"environment", r.Environment}, {"provider", r.Provider}, {"name", r.Name},
	} {
		if !ValidPart(p.s) {
			return fmt.Errorf("reference %q: %s %q is not a name; use 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit, without ..", r, p.what, p.s)
		}
	}
	return nil
}

// String is the full form, WORKSPACE/ENVIRONMENT/PROVIDER/NAME.
func (r Ref) String() string {
	return r.Workspace + "/" + r.Environment + "/" + r.Provider + "/" + r.Name
}

// Compare orders references part by part.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(
		strings.Compare(r.Workspace, o.Workspace), strings.Compare(r.Environment, o.Environment),
		strings.Compare(r.Provider, o.Provider), strings.Compare(r.Name, o.Name),
	)
}

// In reports whether r lies in folder: every leading part that folder sets is equal.
func (r Ref) In(folder Ref) bool {
	return (folder.Workspace == "" || folder.Workspace == r.Workspace) &&
		(folder.Environment == "" || folder.Environment == r.Environment) &&
		(folder.Provider == "" || folder.Provider == r.Provider)
}

// Below gives the part of r under folder: its workspace, environment, provider or name.
func (r Ref) Below(folder Ref) string {
	switch {
	case folder.Workspace == "":
		return r.Workspace
	case folder.Environment == "":
		return r.Environment
	case folder.Provider == "":
		return r.Provider
	}
	return r.Name
}
