package admin

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Tokens is what a Daemon does with the tokens of credentials. Both go on when
// ctx ends.
type Tokens interface {
	// Refresh gets a new token in place of the one that the credential holds,
	// whatever its age. A type without a token is invalid_request.
	Refresh(ctx context.Context, ref credential.Ref) error
	// Revoke ends the credential's tokens at the provider; the record stays as it
	// is. Where there is no way to revoke them it is invalid_request.
	Revoke(ctx context.Context, ref credential.Ref) error
}

// refreshCredential answers with the credential as it is with its new token.
func (s *Server) refreshCredential(w http.ResponseWriter, r *http.Request) error {
	if err := bodyless(w, r); err != nil {
		return err
	}
	ref, _, err := s.stored(r)
	if err != nil {
		return err
	}
	if s.o.Table().Get(ref.Provider) == nil {
		return invalid("provider: " + ref.Provider + " is not known here")
	}
	if err := s.o.Daemon.Refresh(r.Context(), ref); err != nil {
		return err
	}
	return s.getCredential(w, r)
}

// revoke ends the tokens of a credential that is about to be removed. With force
// a failure is told and keeps nothing from being removed.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request, ref credential.Ref, force bool) error {
	err := s.o.Daemon.Revoke(r.Context(), ref)
	if err == nil || !force {
		return err
	}
	f := fault.From(err)
	w.Header().Set("Proxy-Status", f.ProxyStatus())
	s.o.Log.LogAttrs(r.Context(), slog.LevelWarn, "a credential is removed, and its tokens are not revoked",
		slog.String("credential", ref.String()), slog.Any("error", err))
	return nil
}
