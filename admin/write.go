package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// written is the answer to PUT and PATCH.
type written struct {
	Credential view            `json:"credential"`
	Report     *checker.Report `json:"report"`
	Trimmed    []string        `json:"trimmed,omitempty"` // fields whose trailing newline was dropped
}

func (s *Server) putCredential(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, true)
}

func (s *Server) patchCredential(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, false)
}

// write makes the new record, verifies it and, if that tells nothing against it,
// stores it. replace: what the request leaves out goes.
func (s *Server) write(w http.ResponseWriter, r *http.Request, replace bool) error {
	force, err := flag(r, "force")
	if err != nil {
		return err
	}
	ref, old, err := s.before(r, replace)
	if err != nil {
		return err
	}
	p := s.o.Table().Get(ref.Provider)
	if p == nil {
		return invalid("provider: " + ref.Provider + " is not known here")
	}
	e, err := readEdit(w, r)
	if err != nil {
		return err
	}
	c, err := s.apply(p, ref, old, e, replace)
	if err != nil {
		return err
	}
	if err := s.fits(r.Context(), p, c); err != nil {
		return err
	}
	rep, err := s.verify(r.Context(), p, c, force)
	if err != nil {
		return err
	}
	if err := s.store(r.Context(), c, rep); err != nil {
		return err
	}
	status := http.StatusOK
	if old == nil {
		status = http.StatusCreated
	}
	w.Header().Set("ETag", etag(c.Version))
	return writeJSON(w, status, written{s.view(c), rep.Trimmed(e.spaced), e.trimmed})
}

// before reads the record that is to be written over; nil: there is none, which
// only create allows.
func (s *Server) before(r *http.Request, create bool) (credential.Ref, *credential.Credential, error) {
	ref, old, err := s.stored(r)
	if create && errors.Is(err, fault.CredentialNotFound) {
		old, err = nil, nil
	}
	if err == nil {
		err = match(r, old)
	}
	return ref, old, err
}

// apply gives the record that e makes of old, which may be nil.
func (s *Server) apply(p *provider.Provider, ref credential.Ref, old *credential.Credential, e edit, replace bool) (*credential.Credential, error) {
	c := &credential.Credential{Ref: ref}
	if old != nil {
		c = old.Clone()
	}
	oldType := c.Type
	if e.typ.value != "" {
		c.Type = e.typ.value
	}
	if c.Type == "" || replace && e.typ.value == "" {
		c.Type = p.Type
	}
	known, ok := s.o.Checker.Fields(c.Type)
	if !ok {
		return nil, invalid("type: " + shown(c.Type) + " is not a credential type")
	}
	known = slices.Concat(known, providerFields(p), tokenFields(c.Type))
	before, _ := s.o.Checker.Fields(oldType)
	ours := slices.Concat(known, before, credential.TokenFields, []string{credential.StateField})
	if replace {
		for _, name := range ours {
			c.Unset(name)
		}
	}
	if replace || e.description.set {
		c.Description = e.description.value
	}
	was := c.Clone()
	if err := e.into(c, known, ours); err != nil {
		return nil, err
	}
	e.settle(was, c, c.Type != oldType)
	return c, nil
}

// verify tries the record. An error is a refusal, unless the request insists.
func (s *Server) verify(ctx context.Context, p *provider.Provider, c *credential.Credential, force bool) (*checker.Report, error) {
	rep := s.o.Checker.Check(checker.AtOnce(ctx), p, c)
	if err := ctx.Err(); err != nil { // nobody waits, and the check was cut short
		return nil, fault.New(fault.Timeout, "", err)
	}
	if rep.Status == checker.Error && !force {
		f := fault.New(fault.CheckFailed, "nothing was stored; ?force=true stores it all the same", nil)
		return nil, detailed{Fault: f.On(c.Ref.String(), c.Ref.Provider), report: rep}
	}
	return rep, nil
}

// store writes the record and tells who must know.
func (s *Server) store(ctx context.Context, c *credential.Credential, rep *checker.Report) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.o.Store.Put(ctx, c); err != nil {
		return err
	}
	s.o.Daemon.Changed(c.Ref)
	s.o.History.Replace(rep, c.Version)
	return nil
}
