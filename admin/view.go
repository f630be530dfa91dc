package admin

import (
	"context"
	"slices"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// view is a credential as the API shows it: no value of a secret field.
type view struct {
	Workspace     string         `json:"workspace"`
	Environment   string         `json:"environment"`
	Provider      string         `json:"provider"`
	Name          string         `json:"name"`
	Type          string         `json:"type"`
	Description   string         `json:"description"`
	Fields        []string       `json:"fields"` // names
	Status        string         `json:"status"`
	ExpiresAt     *time.Time     `json:"expires_at"`
	LastUsedAt    *time.Time     `json:"last_used_at"`
	LastRefreshAt *time.Time     `json:"last_refresh_at"`
	NextRefreshAt *time.Time     `json:"next_refresh_at"`
	LastError     *checker.Fault `json:"last_error"`
	UsedBy        []string       `json:"used_by"`
	Version       int            `json:"version"`
}

// view of a record, with what the daemon and the last report say of it.
func (s *Server) view(c *credential.Credential) view {
	st := s.o.Daemon.Status(c)
	rep := s.o.History.Last(c.Ref.String())
	v := view{
		Workspace: c.Ref.Workspace, Environment: c.Ref.Environment, Provider: c.Ref.Provider, Name: c.Ref.Name,
		Type: c.Type, Description: c.Description,
		Fields:     slices.DeleteFunc(c.Names(), func(n string) bool { return n == credential.StateField }),
		Status:     string(checker.Standing(st.LastError, st.LastGood, rep)),
		ExpiresAt:  expiry(c, st, rep),
		LastUsedAt: when(st.LastUsed), LastRefreshAt: when(st.LastRefresh), NextRefreshAt: when(st.NextRefresh),
		LastError: checker.NewFault(st.LastError),
		UsedBy:    append([]string{}, s.o.Daemon.UsedBy(c.Ref)...),
		Version:   c.Version,
	}
	if v.Fields == nil {
		v.Fields = []string{}
	}
	if v.LastError == nil && rep != nil && !rep.Overtaken(st.LastGood) {
		v.LastError = rep.Fault
	}
	if p := s.o.Table().Get(c.Ref.Provider); v.Type == "" && p != nil {
		v.Type = p.Type
	}
	return v
}

// unreadable is the view of a record that the store holds and cannot give.
func (s *Server) unreadable(ref credential.Ref, err error) view {
	v := s.view(&credential.Credential{Ref: ref})
	v.Status, v.LastError = string(checker.Error), checker.NewFault(fault.From(err))
	return v
}

// expiry of the token that is held, in the daemon's memory or in the record, or
// that the last check found.
func expiry(c *credential.Credential, st Status, rep *checker.Report) *time.Time {
	if !st.ExpiresAt.IsZero() {
		return when(st.ExpiresAt)
	}
	if t, err := time.Parse(time.RFC3339, c.Text("expires_at")); err == nil {
		return when(t)
	}
	if rep != nil {
		return rep.ExpiresAt
	}
	return nil
}

// when is a time as JSON has it; nil: there is none, or it cannot be told.
func when(t time.Time) *time.Time {
	if t = credential.Ending(t); t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

// views gives the views of the records of refs. One that is gone meanwhile is
// left out, unless the configuration names it; one that cannot be read is shown as
// an error, unless the store is away.
func (s *Server) views(ctx context.Context, refs []credential.Ref) ([]view, error) {
	all := make([]*view, len(refs))
	err := each(ctx, len(refs), func(ctx context.Context, i int) error {
		c, err := s.o.Store.Get(ctx, refs[i])
		switch {
		case err == nil:
			v := s.view(c)
			all[i] = &v
		case away(ctx, err):
			return err
		case fault.From(err).Code != fault.CredentialNotFound || s.referred(refs[i]):
			v := s.unreadable(refs[i], err)
			all[i] = &v
		}
		return nil
	})
	views := make([]view, 0, len(refs))
	for _, v := range all {
		if v != nil {
			views = append(views, *v)
		}
	}
	return views, err
}

// referred reports whether the configuration says where the credential lies.
func (s *Server) referred(ref credential.Ref) bool {
	return s.o.Referred != nil && s.o.Referred(ref)
}

// away reports whether err says that the store itself does not serve.
func away(ctx context.Context, err error) bool {
	switch fault.From(err).Code {
	case fault.VaultUnreachable, fault.VaultSealed, fault.Timeout:
		return true
	}
	return ctx.Err() != nil
}
