package checker

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
)

// meetPause is the first pause while the store cannot say what became of the
// records that restored reports are about, doubled up to maxAwayPause.
const meetPause = time.Second

// restored gives the credentials whose records were not seen since the start.
func (h *History) restored() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.unmet))
}

// meet takes note of the version of a record. A restored report of another goes.
func (h *History) meet(ref string, version int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.unmet[ref] {
		return
	}
	delete(h.unmet, ref)
	if h.last.m[ref].stale(version) {
		h.last.drop(ref)
		h.changed(false)
	}
	if c, ok := h.cools[ref]; ok && c.Version != version {
		delete(h.cools, ref)
		h.changed(false)
	}
}

// lose forgets a credential that is gone, unless somebody has made it anew.
func (h *History) lose(ref string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unmet[ref] {
		h.forget(ref)
	}
}

// refs gives the credentials that reports are kept of.
func (h *History) refs() map[credential.Ref]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[credential.Ref]bool{}
	for _, name := range slices.Concat(h.last.order, h.failures.order) {
		if ref, err := credential.ParseRef(name); err == nil {
			all[ref] = true
		}
	}
	return all
}

// stale reports whether a restored report, which may be nil, says nothing about that
// version of its record. Records whose tokens are renewed change by themselves: there
// a good report stays.
func (r *Report) stale(version int) bool {
	if r == nil || !r.restored || r.version == version {
		return false
	}
	kind, _ := auth.Lookup(r.Type)
	return kind.Grant == "" || r.Status != OK
}

// Over is the store, of whose records restored reports learn whenever somebody reads
// one: that of a record which has changed or is gone goes.
func (h *History) Over(s credential.Store) credential.Store { return metStore{s, h} }

type metStore struct {
	credential.Store
	history *History
}

// Get implements credential.Store.
func (s metStore) Get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	c, err := s.Store.Get(ctx, ref)
	switch {
	case err == nil:
		s.history.meet(ref.String(), c.Version)
	case gone(err):
		s.history.lose(ref.String())
	}
	return c, err
}

// meetRestored looks at the record of each restored report, until it has seen all of
// them or ctx ends. Where nothing is checked in the background nobody reads records
// for this but those that their folder does not hold any more.
func (r *Rounds) meetRestored(ctx context.Context) {
	var refs []credential.Ref
	folders := map[credential.Ref][]credential.Ref{}
	for _, name := range r.o.History.restored() {
		ref, err := credential.ParseRef(name)
		if err != nil || r.o.Issued(ref) {
			continue
		}
		refs = append(refs, ref)
		folder := ref
		folder.Name = ""
		folders[folder] = append(folders[folder], ref)
	}
	if r.o.Interval() > 0 {
		patiently(ctx, refs, func(ref credential.Ref) bool { return r.meetOne(ctx, ref) })
		return
	}
	sorted := slices.SortedFunc(maps.Keys(folders), credential.Ref.Compare)
	patiently(ctx, sorted, func(folder credential.Ref) bool { return r.meetFolder(ctx, folder, folders[folder]) })
}

// patiently does each, and what cannot be done yet again after the others, until ctx
// ends.
func patiently(ctx context.Context, refs []credential.Ref, do func(credential.Ref) bool) {
	pause := meetPause
	for len(refs) > 0 {
		ref := refs[0]
		if refs = refs[1:]; do(ref) {
			pause = meetPause
			continue
		}
		if refs = append(refs, ref); !rest(ctx, jittered(pause)) {
			return
		}
		pause = min(2*pause, maxAwayPause)
	}
}

// meetFolder meets those of refs that their folder does not hold, and reports whether
// the store has told.
func (r *Rounds) meetFolder(ctx context.Context, folder credential.Ref, refs []credential.Ref) bool {
	found, err := inTime(ctx, r.o.Store.List, folder)
	if err != nil {
		return !absent(err) && ctx.Err() == nil
	}
	for _, ref := range refs {
		if !slices.Contains(found, ref) && !r.meetOne(ctx, ref) {
			return false
		}
	}
	return true
}

// meetOne reports whether the store has told of a record, be it that it cannot.
func (r *Rounds) meetOne(ctx context.Context, ref credential.Ref) bool {
	c, err := r.read(ctx, ref)
	switch {
	case err == nil:
		r.o.History.meet(ref.String(), c.Version)
	case gone(err):
		r.o.History.lose(ref.String())
		r.o.Gone(ref)
	case absent(err), ctx.Err() != nil:
		return false
	}
	return true
}

// rest waits; it is false once ctx has ended.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
