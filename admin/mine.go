package admin

import (
	"context"
	"net/http"
	"slices"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// maxMine is how many items one answer to a caller holds at most: the status of
// each is read from the store, and callers are many.
const maxMine = 1000

// Rights are what a caller may use.
type Rights struct {
	Workspace, Environment string
	MayUse                 func(credential.Ref) bool // of that workspace and environment
	Needs                  map[string]provider.Needs // by provider, in place of its own; nil: none is named
}

// Identity knows callers by what they authenticate with.
type Identity interface {
	// Identify finds the caller of an Authorization field, Basic caller:token or
	// Bearer token; ok is false for any that is not one caller's.
	Identify(authorization []string) (rights Rights, ok bool)
	// Rights finds the caller of that name; ok is false where there is none.
	Rights(caller string) (rights Rights, ok bool)
}

// owned is a credential as its caller sees it.
type owned struct {
	Workspace   string `json:"workspace"`
	Environment string `json:"environment"`
	Provider    string `json:"provider"`
	Name        string `json:"name"`
	Status      string `json:"status"`
}

// mine answers a caller: names and status of the credentials that it may use.
func (s *Server) mine(w http.ResponseWriter, r *http.Request) error {
	who, ok := s.o.Daemon.Identify(r.Header.Values("Authorization"))
	if !ok {
		return fault.New(fault.Unauthorized, "send a caller's name and token as Authorization: Basic, or its token as Bearer", nil)
	}
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	refs, err := s.find(ctx, credential.Ref{Workspace: who.Workspace, Environment: who.Environment})
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(ref credential.Ref) bool {
		return s.o.Table().Get(ref.Provider) == nil || !who.MayUse(ref)
	})
	p, err := pageOf(r, refs, credential.Ref.String, min(limit, maxMine))
	if err != nil {
		return err
	}
	items, err := s.owned(ctx, p.Items)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list[owned]{items, p.Next})
}

// owned gives the items of refs, but for those that are gone meanwhile.
func (s *Server) owned(ctx context.Context, refs []credential.Ref) ([]owned, error) {
	all := make([]owned, len(refs))
	err := each(ctx, len(refs), func(ctx context.Context, i int) error {
		ref := refs[i]
		item := owned{ref.Workspace, ref.Environment, ref.Provider, ref.Name, string(checker.Error)}
		c, err := s.o.Store.Get(ctx, ref)
		switch {
		case err == nil:
			st := s.o.Daemon.Status(c)
			item.Status = string(checker.Standing(st.LastError, st.LastGood, s.o.History.Last(ref.String())))
		case away(ctx, err):
			return err
		case fault.From(err).Code == fault.CredentialNotFound && !s.referred(ref):
			return nil
		}
		all[i] = item
		return nil
	})
	return slices.DeleteFunc(all, func(o owned) bool { return o == owned{} }), err
}
