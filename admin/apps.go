package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// appView is an OAuth client as the API shows it: never its secret.
type appView struct {
	Provider  string `json:"provider"`
	Workspace string `json:"workspace"` // empty: shared
	Shared    bool   `json:"shared"`
	ClientID  string `json:"client_id"`
	Public    bool   `json:"public"` // it has no secret
	Version   int    `json:"version"`
}

func viewOf(a *credential.App) appView {
	return appView{a.Provider, a.Workspace, a.Workspace == "", a.ClientID, a.ClientSecret.Empty(), a.Version}
}

// appName reads whose app it is.
func (s *Server) appName(r *http.Request) (credential.AppName, error) {
	n := credential.AppName{Workspace: r.URL.Query().Get("workspace"), Provider: r.PathValue("provider")}
	if n.Validate() != nil {
		return n, invalid("workspace or provider: is not a name")
	}
	return n, nil
}

// app reads an app; nil: there is none.
func (s *Server) app(r *http.Request) (credential.AppName, *credential.App, error) {
	n, err := s.appName(r)
	if err != nil {
		return n, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	a, err := s.o.Apps.App(ctx, n.Workspace, n.Provider)
	if errors.Is(err, fault.NotFound) {
		return n, nil, nil
	}
	return n, a, err
}

func (s *Server) listApps(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	names, err := s.o.Apps.ListApps(ctx)
	if err != nil {
		return err
	}
	if workspace := r.URL.Query().Get("workspace"); workspace != "" {
		names = slices.DeleteFunc(names, func(n credential.AppName) bool { return n.Workspace != workspace })
	}
	p, err := page(r, names, credential.AppName.String)
	if err != nil {
		return err
	}
	views := make([]appView, 0, len(p.Items))
	for _, n := range p.Items {
		a, err := s.o.Apps.App(ctx, n.Workspace, n.Provider)
		switch {
		case err == nil:
			views = append(views, viewOf(a))
		case away(ctx, err) && !errors.Is(err, fault.VaultDenied):
			return err
		case !errors.Is(err, fault.NotFound): // it cannot be read, but it is there
			views = append(views, appView{Provider: n.Provider, Workspace: n.Workspace, Shared: n.Workspace == ""})
		}
	}
	return writeJSON(w, http.StatusOK, list[appView]{views, p.Next})
}

func (s *Server) getApp(w http.ResponseWriter, r *http.Request) error {
	n, a, err := s.app(r)
	if err != nil {
		return err
	}
	if a == nil {
		return noApp(n)
	}
	w.Header().Set("ETag", etag(a.Version))
	return writeJSON(w, http.StatusOK, viewOf(a))
}

func noApp(n credential.AppName) error {
	if n.Workspace == "" {
		return fault.New(fault.NotFound, "provider "+n.Provider+" has no shared app", nil)
	}
	return fault.New(fault.NotFound, "workspace "+n.Workspace+" has no app of provider "+n.Provider, nil)
}

func (s *Server) putApp(w http.ResponseWriter, r *http.Request) error {
	n, a, err := s.app(r)
	if err != nil {
		return err
	}
	if s.o.Table().Get(n.Provider) == nil {
		return invalid("provider: " + n.Provider + " is not known here")
	}
	status := http.StatusOK
	if a == nil {
		status, a = http.StatusCreated, &credential.App{Workspace: n.Workspace, Provider: n.Provider}
	}
	if err := matchVersion(r, a.Version); err != nil {
		return err
	}
	if err := readApp(w, r, a); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	if err := s.o.Apps.PutApp(ctx, a); err != nil {
		return err
	}
	w.Header().Set("ETag", etag(a.Version))
	return writeJSON(w, status, viewOf(a))
}

// readApp replaces the client by the body's. One without a secret is public.
func readApp(w http.ResponseWriter, r *http.Request, a *credential.App) error {
	var id, key optional
	if err := decode(w, r, map[string]any{"client_id": &id, "client_secret": &key}); err != nil {
		return err
	}
	for name, o := range map[string]*optional{"client_id": &id, "client_secret": &key} {
		o.value = strings.TrimRight(o.value, "\r\n")
		if len(o.value) > 4096 || strings.TrimSpace(o.value) != o.value || strings.ContainsFunc(o.value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return invalid(name + ": is longer than 4096 bytes, or holds a control character or a space around it")
		}
	}
	if id.value == "" {
		return invalid("client_id: is missing")
	}
	a.ClientID, a.ClientSecret = id.value, secret.New(key.value)
	return nil
}

// matchVersion is match for what is no credential; version 0: there is none.
func matchVersion(r *http.Request, version int) error {
	if version == 0 {
		return match(r, nil)
	}
	return match(r, &credential.Credential{Version: version})
}

func (s *Server) deleteApp(w http.ResponseWriter, r *http.Request) error {
	if err := bodyless(w, r); err != nil {
		return err
	}
	n, a, err := s.app(r)
	if err == nil && a == nil {
		return noApp(n)
	}
	if err != nil && fault.From(err).Code != fault.Internal { // one that cannot be read can go
		return err
	}
	if a != nil {
		if err := matchVersion(r, a.Version); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	if err := s.o.Apps.DeleteApp(ctx, n.Workspace, n.Provider); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
