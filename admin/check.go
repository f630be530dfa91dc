package admin

import (
	"net/http"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// caller reads the query's caller; asked is false where it names none.
func (s *Server) caller(r *http.Request) (who Rights, asked bool, err error) {
	name := r.URL.Query().Get("caller")
	if name == "" {
		return Rights{}, false, nil
	}
	who, ok := s.o.Daemon.Rights(name)
	if !ok {
		return who, true, invalid("caller: there is none of that name")
	}
	return who, true, nil
}

// checkCredential checks a stored credential, for the query's caller by what that
// one needs. Such a report is an answer and no more: the last report is the one by
// what the provider's entry asks for.
func (s *Server) checkCredential(w http.ResponseWriter, r *http.Request) error {
	if err := bodyless(w, r); err != nil {
		return err
	}
	who, asked, err := s.caller(r)
	if err != nil {
		return err
	}
	ref, c, err := s.stored(r)
	if err != nil {
		return err
	}
	p := s.o.Table().Get(ref.Provider)
	if p == nil {
		return invalid("provider: " + ref.Provider + " is not known here")
	}
	needs := p.Needs
	if asked {
		if needs, err = who.needing(p, ref); err != nil {
			return err
		}
	}
	rep := s.o.Checker.CheckFor(r.Context(), p, c, needs)
	if err := r.Context().Err(); err != nil { // nobody waits, and the check was cut short
		return fault.New(fault.Timeout, "", err)
	}
	if _, _, err := s.stored(r); fault.From(err).Code == fault.CredentialNotFound && err != nil { // removed meanwhile
		return err
	}
	if !asked {
		s.o.History.Put(rep)
	}
	return writeJSON(w, http.StatusOK, rep)
}

// needing gives what the caller needs of the provider: what its entry says, unless
// the caller says otherwise.
func (who Rights) needing(p *provider.Provider, ref credential.Ref) (provider.Needs, error) {
	if !who.MayUse(ref) {
		return provider.Needs{}, invalid("caller: its workspace, environment and policy leave this credential to others")
	}
	if needs, ok := who.Needs[p.Name]; ok {
		return needs, nil
	}
	return p.Needs, nil
}
