package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// refOf reads the reference of the path.
func refOf(r *http.Request) (credential.Ref, error) {
	ref := credential.Ref{
		Workspace: r.PathValue("workspace"), Environment: r.PathValue("environment"),
		Provider: r.PathValue("provider"), Name: r.PathValue("name"),
	}
	if ref.Validate() != nil {
		return ref, invalid("path: is not WORKSPACE/ENVIRONMENT/PROVIDER/NAME, each 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit, without ..")
	}
	return ref, nil
}

// folderOf reads the filters workspace, environment and provider of the query.
func folderOf(r *http.Request) (credential.Ref, error) {
	q := r.URL.Query()
	f := credential.Ref{Workspace: q.Get("workspace"), Environment: q.Get("environment"), Provider: q.Get("provider")}
	for name, part := range map[string]string{"workspace": f.Workspace, "environment": f.Environment, "provider": f.Provider} {
		if part != "" && !credential.ValidPart(part) {
			return f, invalid(name + ": is not a name")
		}
	}
	return f, nil
}

// find lists the references that match filter, whichever of its parts are set.
func (s *Server) find(ctx context.Context, filter credential.Ref) ([]credential.Ref, error) {
	folder := filter
	if folder.Workspace == "" {
		folder.Environment = ""
	}
	if folder.Environment == "" {
		folder.Provider = ""
	}
	refs, err := s.o.Store.List(ctx, folder)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(refs), func(r credential.Ref) bool { return !r.In(filter) }), nil
}

// listed gives the references that the request's filters match.
func (s *Server) listed(ctx context.Context, r *http.Request) ([]credential.Ref, error) {
	folder, err := folderOf(r)
	if err != nil {
		return nil, err
	}
	return s.find(ctx, folder)
}

// usable leaves those of refs that the query's caller may use; without a caller, all.
func (s *Server) usable(r *http.Request, refs []credential.Ref) ([]credential.Ref, error) {
	who, asked, err := s.caller(r)
	if err != nil || !asked {
		return refs, err
	}
	return slices.DeleteFunc(refs, func(ref credential.Ref) bool { return !who.MayUse(ref) }), nil
}

func (s *Server) listCredentials(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	refs, err := s.listed(ctx, r)
	if err != nil {
		return err
	}
	if refs, err = s.usable(r, refs); err != nil {
		return err
	}
	p, err := page(r, refs, credential.Ref.String)
	if err != nil {
		return err
	}
	return s.sendViews(w, r, p.Items, p.Next)
}

func (s *Server) getCredential(w http.ResponseWriter, r *http.Request) error {
	_, c, err := s.stored(r)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(c.Version))
	return writeJSON(w, http.StatusOK, s.view(c))
}

// stored reads the record that the path names.
func (s *Server) stored(r *http.Request) (credential.Ref, *credential.Credential, error) {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	ref, err := refOf(r)
	if err != nil {
		return ref, nil, err
	}
	c, err := s.o.Store.Get(ctx, ref)
	return ref, c, err
}

func (s *Server) deleteCredential(w http.ResponseWriter, r *http.Request) error {
	if err := bodyless(w, r); err != nil {
		return err
	}
	force, err := flag(r, "force")
	if err != nil {
		return err
	}
	revoke, err := flag(r, "revoke")
	if err != nil {
		return err
	}
	ref, c, err := s.stored(r)
	switch {
	case err == nil:
		err = match(r, c)
	case ref.Validate() == nil && (fault.From(err).Code == fault.Internal || s.referred(ref)): // it cannot be read, but it can go, or not
		err = nil
	}
	if err != nil {
		return err
	}
	return s.remove(w, r, ref, force, revoke)
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request, ref credential.Ref, force, revoke bool) error {
	if by := s.o.Daemon.UsedBy(ref); len(by) > 0 && !force {
		return detailed{Fault: fault.New(fault.InUse, "used by "+strings.Join(by, ", "), nil).On(ref.String(), ref.Provider), usedBy: by}
	}
	if revoke {
		if err := s.revoke(w, r, ref, force); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	if err := s.o.Store.Delete(ctx, ref); err != nil {
		return err
	}
	s.o.Daemon.Changed(ref)
	s.o.History.Forget(ref.String())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func etag(version int) string { return `"` + strconv.Itoa(version) + `"` }

// match holds If-Match and If-None-Match against the stored record; nil: there
// is none. A bare version is taken for the tag of it. If-Match compares strongly,
// so that no weak tag matches, and If-None-Match weakly (RFC 9110 section 13.1).
func match(r *http.Request, c *credential.Credential) error {
	have := ""
	if c != nil {
		have = strconv.Itoa(c.Version)
	}
	if want := tags(r.Header.Values("If-Match"), ""); len(want) > 0 && (have == "" || !slices.Contains(want, have) && !slices.Contains(want, "*")) {
		return fault.New(fault.StoreConflict, "If-Match: the record is not of that version", nil)
	}
	if not := tags(r.Header.Values("If-None-Match"), "W/"); have != "" && (slices.Contains(not, have) || slices.Contains(not, "*")) {
		return fault.New(fault.StoreConflict, "If-None-Match: the record exists", nil)
	}
	return nil
}

// tags gives the tags of a list, without their quotes and the prefix.
func tags(values []string, prefix string) []string {
	var all []string
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			all = append(all, strings.Trim(strings.TrimPrefix(strings.TrimSpace(t), prefix), `"`))
		}
	}
	return all
}

// atOnce is how many records of a list are read at the same time.
const atOnce = 8

// each calls f for 0 to n-1, some at once, until one fails.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range n {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f(ctx, i)
		})
	}
	return g.Wait()
}
