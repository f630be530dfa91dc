package proxy

import (
	"slices"

	"github.com/sallyport/sallyport/internal/credential"
)

// Identify finds the caller of an Authorization field, Basic caller:token or
// Bearer token. It always asks for a token, whatever the listeners do. ok is
// false for any value that is not one caller's.
func (s *Server) Identify(authorization []string) (c Caller, ok bool) {
	found, err := s.st.Load().credentials(authorization)
	if err != nil {
		return Caller{}, false
	}
	return *found, true
}

// Caller finds a caller by its name.
func (s *Server) Caller(name string) (c Caller, ok bool) {
	found := s.st.Load().callers[name]
	if found == nil {
		return Caller{}, false
	}
	return *found, true
}

// MayUse reports whether the credential is among those that the caller's
// workspace, environment and policy leave to it.
func (c *Caller) MayUse(ref credential.Ref) bool { return c.scope().has(ref) && c.mayUse(ref) }

// Folders gives whose credentials the callers use, each workspace and
// environment once.
func (s *Server) Folders() []credential.Ref {
	var all []credential.Ref
	for _, c := range s.st.Load().Callers {
		all = append(all, credential.Ref{Workspace: c.Workspace, Environment: c.Environment})
	}
	slices.SortFunc(all, credential.Ref.Compare)
	return slices.Compact(all)
}

// Wanted reports whether any caller may use the credential.
func (s *Server) Wanted(ref credential.Ref) bool {
	return slices.ContainsFunc(s.st.Load().Callers, func(c Caller) bool { return c.MayUse(ref) })
}
