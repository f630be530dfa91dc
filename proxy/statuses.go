package proxy

import (
	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
)

// Statuses gives the status of every credential that is held for use.
func (s *Server) Statuses() map[credential.Ref]auth.SourceStatus {
	all := map[credential.Ref]auth.SourceStatus{}
	for ref, src := range s.sources.current() {
		all[ref] = src.Status()
	}
	return all
}

// Renewed tells that a credential has a token that was got beside its source.
func (s *Server) Renewed(ref credential.Ref, got auth.Obtained) {
	if src := s.sources.find(ref); src != nil {
		src.Take(got)
	}
	s.Changed(ref)
}

// current gives the sources under the current configuration.
func (s *sources) current() map[credential.Ref]*auth.Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[credential.Ref]*auth.Source, len(s.held))
	for key, src := range s.held {
		if p := s.st.Providers.Get(key.ref.Provider); p != nil && p.Fingerprint == key.fingerprint {
			all[key.ref] = src
		}
	}
	return all
}
