package checker

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of a History: so many last reports and so many last failures of
// credentials, and so many reports before those, of each sort. Steps are kept of
// the newest only: of maxEarlier reports, and of as many failures.
const (
	maxReports = 4096
	maxEarlier = 512
)

// History keeps reports in memory: the last one of each credential, its last
// failure, which stays when good reports follow it, and some before these, where
// failures are kept longer, too. Restore has it keep some of this in a file. All methods may be
// called at once from many goroutines.
type History struct {
	mu                sync.Mutex
	last, failures    shelf
	earlier, failedSo []*Report // newest last
	floors            floors
	used              func() map[string]Use
	cools             map[string]cooling // by full reference
	unmet             map[string]bool    // what was restored of these may be of records that are gone or changed
	kept              kept
}

// NewHistory makes an empty History. Its metrics credential_status and
// credential_expiry_timestamp_seconds are registered with r; nil: nothing is
// measured.
func NewHistory(r prometheus.Registerer) *History {
	h := &History{last: newShelf(maxReports), failures: newShelf(maxReports), floors: floors{}, cools: map[string]cooling{}, kept: newKept()}
	if r != nil {
		_ = r.Register(statuses{h}) // a second History of one process is not measured
	}
	return h
}

// Watch has the metrics tell what the use of credentials has shown, besides
// their checks. used gives it by full reference, in a map of its own.
func (h *History) Watch(used func() map[string]Use) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.used = used
}

func (h *History) uses() map[string]Use {
	h.mu.Lock()
	used := h.used
	h.mu.Unlock()
	if used == nil {
		return nil
	}
	return used()
}

// Put keeps r as the last report of its credential. It is not kept if a check that
// began later has told by now, or if the credential was forgotten or replaced since
// r's check began.
func (h *History) Put(r *Report) (kept bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if last := h.last.m[r.Credential]; last != nil && older(r, last.CheckedAt, now) || older(r, h.floors[r.Credential], now) {
		return false
	}
	h.put(r)
	return true
}

// Replace keeps r as the last report of a credential that was just written as that
// version: what checks that are under way find out is of an earlier one.
func (h *History) Replace(r *Report, version int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	copied := *r
	copied.version = version
	h.floors.set(r.Credential, time.Now())
	h.put(&copied)
}

func (h *History) put(r *Report) {
	last := h.last.m[r.Credential]
	h.changed(last == nil || last.Status != r.Status || r.Status == Error)
	delete(h.unmet, r.Credential)
	h.last.put(r)
	h.push(&h.earlier, r)
	if r.Status != OK {
		h.failures.put(r)
		h.push(&h.failedSo, r)
	}
}

// push appends r; the oldest goes where there are too many.
func (h *History) push(list *[]*Report, r *Report) {
	*list = append(*list, r)
	if len(*list) <= maxEarlier {
		return
	}
	oldest := (*list)[0]
	*list = slices.Delete(*list, 0, 1)
	if !slices.Contains(h.earlier, oldest) && !slices.Contains(h.failedSo, oldest) {
		h.shorten(oldest)
	}
}

// shorten drops the steps of a last report, which are the most of it.
func (h *History) shorten(r *Report) {
	short := *r
	short.Steps = []Step{}
	for _, s := range []shelf{h.last, h.failures} {
		if s.m[r.Credential] == r {
			s.m[r.Credential] = &short
		}
	}
}

// Of gives the kept reports of the credential with that full reference, the
// newest first.
func (h *History) Of(ref string) []*Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*Report
	for _, r := range slices.Concat(h.earlier, h.failedSo, []*Report{h.last.m[ref], h.failures.m[ref]}) {
		if r != nil && r.Credential == ref && !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b *Report) int { return b.CheckedAt.Compare(a.CheckedAt) })
	return all
}

// Last gives the last report of the credential with that full reference; nil:
// none is kept.
func (h *History) Last(ref string) *Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last.m[ref]
}

// LastFailure gives the last report of the credential that was not ok; nil:
// none is kept.
func (h *History) LastFailure(ref string) *Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failures.m[ref]
}

// All gives the last report of every credential, sorted by reference.
func (h *History) All() []*Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.last.m), func(a, b *Report) int {
		return strings.Compare(a.Credential, b.Credential)
	})
}

// lasts gives the last report of every credential whose record was seen since the
// start, by full reference.
func (h *History) lasts() map[string]*Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := maps.Clone(h.last.m)
	maps.DeleteFunc(all, func(ref string, _ *Report) bool { return h.unmet[ref] })
	return all
}

// Forget drops what is kept of a credential, and what checks of it that are under
// way find out.
func (h *History) Forget(ref string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floors.set(ref, time.Now())
	h.forget(ref)
}

func (h *History) forget(ref string) {
	h.changed(true)
	delete(h.cools, ref)
	delete(h.unmet, ref)
	h.last.drop(ref)
	h.failures.drop(ref)
	of := func(r *Report) bool { return r.Credential == ref }
	h.earlier, h.failedSo = slices.DeleteFunc(h.earlier, of), slices.DeleteFunc(h.failedSo, of)
}

// shelf holds one report a credential. When it is full the oldest good report
// goes, or the oldest of all.
type shelf struct {
	max   int
	m     map[string]*Report
	order []string // oldest first
}

func newShelf(size int) shelf { return shelf{max: size, m: map[string]*Report{}} }

func (s *shelf) put(r *Report) {
	s.drop(r.Credential)
	if len(s.order) >= s.max {
		s.drop(s.victim())
	}
	s.m[r.Credential] = r
	s.order = append(s.order, r.Credential)
}

func (s *shelf) victim() string {
	for _, ref := range s.order {
		if s.m[ref].Status == OK {
			return ref
		}
	}
	return s.order[0]
}

func (s *shelf) drop(ref string) {
	if _, ok := s.m[ref]; !ok {
		return
	}
	delete(s.m, ref)
	i := slices.Index(s.order, ref)
	s.order = slices.Delete(s.order, i, i+1)
}
