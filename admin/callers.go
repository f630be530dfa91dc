package admin

import (
	"errors"
	"net/http"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

func (s *Server) listCallers(w http.ResponseWriter, r *http.Request) error {
	callers := s.o.Daemon.Callers()
	for i, c := range callers {
		if c.Needs == nil {
			callers[i].Needs = map[string]Needs{}
		}
	}
	p, err := page(r, callers, func(c CallerInfo) string { return c.Name })
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, p)
}

func (s *Server) addCaller(w http.ResponseWriter, r *http.Request) error {
	name := ""
	workspace, environment := credential.DefaultWorkspace, credential.DefaultEnvironment
	err := decode(w, r, map[string]any{"name": &name, "workspace": &workspace, "environment": &environment})
	if err != nil {
		return err
	}
	for _, p := range []struct{ what, s string }{{"name", name}, {"workspace", workspace}, {"environment", environment}} {
		if !credential.ValidPart(p.s) {
			return invalid(p.what + ": is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit, without ..")
		}
	}
	token, err := s.o.Daemon.AddCaller(name, workspace, environment)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, struct {
		Name  string `json:"name"`
		Token string `json:"token"`
	}{name, token.Reveal()}) //nolint:forbidigo // made a moment ago, and told this once
}

func (s *Server) removeCaller(w http.ResponseWriter, r *http.Request) error {
	if err := bodyless(w, r); err != nil {
		return err
	}
	name := r.PathValue("name")
	if !credential.ValidPart(name) {
		return fault.New(fault.NotFound, "there is no caller of that name", nil)
	}
	if err := s.o.Daemon.RemoveCaller(name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) decision(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	method, target := q.Get("method"), q.Get("url")
	if method == "" {
		method = http.MethodGet
	}
	if target == "" {
		return invalid("url: is missing; the query is caller=&credential=&method=&url=")
	}
	d, err := s.o.Daemon.Decide(r.Context(), q.Get("caller"), q.Get("credential"), method, target)
	if err != nil {
		return err
	}
	d.Why = some(d.Why)
	return writeJSON(w, http.StatusOK, d)
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) error {
	if err := bodyless(w, r); err != nil {
		return err
	}
	err := s.o.Daemon.Reload(r.Context())
	var faulty FaultsError
	if errors.As(err, &faulty) {
		f := fault.New(fault.InvalidRequest, "the configuration is faulty; the old one goes on", err)
		return detailed{Fault: f, further: faulty.Faults()}
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}
