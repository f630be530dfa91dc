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
func (h *History) lose(ref string) (lost bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if lost = h.unmet[ref]; lost {
		h.forget(ref)
	}
	return lost
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

// meetRestored looks at the record of each restored report, until it has seen all of
// them or ctx ends.
func (r *Rounds) meetRestored(ctx context.Context) {
	pause := meetPause
	for _, name := range r.o.History.restored() {
		for !r.meetOne(ctx, name) {
			if !rest(ctx, jittered(pause)) {
				return
			}
			pause = min(2*pause, maxAwayPause)
		}
	}
}

// meetOne reports whether the store has told of a record, be it that it cannot.
func (r *Rounds) meetOne(ctx context.Context, name string) bool {
	ref, err := credential.ParseRef(name)
	if err != nil {
		return true
	}
	c, err := r.read(ctx, ref)
	switch {
	case err == nil:
		r.o.History.meet(name, c.Version)
	case gone(err):
		if r.o.History.lose(name) {
			r.o.Gone(ref)
		}
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
