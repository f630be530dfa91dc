package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Rejection is a provider's last word on a credential: it was refused, and there
// was no newer one to try, or that was refused too.
type Rejection struct {
	Fault *fault.Fault // credentials_rejected, or reauthorization_required
	Since time.Time    // when the first of such answers came, with none between that was good
	Last  time.Time    // when the last one came, or ten seconds before

	counts time.Time // from when on it is told of
}

// rejectionStep is how exactly Rejection.Last is kept: usually nothing is written.
const rejectionStep = 10 * time.Second

// Rejection gives the provider's last word on a credential; ok is false where the
// last was good, where there was none, and since the record was changed here. What
// says nothing on the credential, as a missing scope or a limit, is no word on it.
// Where good answers come between, it has to stand for a while first (unrest).
func (s *Server) Rejection(ref credential.Ref) (r Rejection, ok bool) {
	s.used.mu.RLock()
	u := s.used.refs[ref]
	s.used.mu.RUnlock()
	if u == nil {
		return Rejection{}, false
	}
	last := u.rejection.Load()
	if last == nil || time.Now().Before(last.counts) {
		return Rejection{}, false
	}
	return *last, true
}

// LastGood gives when the last request with a credential began that its provider
// has answered well, to the millisecond; zero: none since the start.
func (s *Server) LastGood(ref credential.Ref) time.Time {
	s.used.mu.RLock()
	u := s.used.refs[ref]
	s.used.mu.RUnlock()
	if u == nil || u.good.Load() == 0 {
		return time.Time{}
	}
	return time.UnixMilli(u.good.Load()).UTC()
}

// unreject drops the provider's last word on a credential that was changed.
func (u *usage) unreject(ref credential.Ref) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if of := u.refs[ref]; of != nil {
		of.rejection.Store(nil)
		of.unrest.Store(nil)
	}
}

// judged keeps an answer as the provider's last word on the credential, if it is
// one.
func (x *exchange) judged(resp *http.Response, m provider.Meaning) {
	if x.entry == nil || x.injector == nil {
		return
	}
	used := x.entry.used
	last := used.rejection.Load()
	switch {
	case m.Rejects() && (last == nil || time.Since(last.Last) > rejectionStep):
		used.rejection.CompareAndSwap(last, x.rejected(resp, m, last))
	case m == provider.OK && resp.StatusCode < http.StatusBadRequest:
		used.went(x.start)
	}
}

// went takes note of a request that went well. What is known already is not written
// again: many requests share it.
func (u *useOf) went(began time.Time) {
	if ms := began.UnixMilli(); ms > u.good.Load() {
		u.good.Store(ms)
	}
	if u.rejection.Load() == nil {
		return
	}
	if r := u.rejection.Swap(nil); r != nil {
		u.unrest.Store(u.unrest.Load().after(r, time.Now()))
	}
}

// rejected is the provider's no; before is the one that stands, nil: none does.
func (x *exchange) rejected(resp *http.Response, m provider.Meaning, before *Rejection) *Rejection {
	f := fault.New(m.Code(), "the provider answered "+strconv.Itoa(resp.StatusCode)+" to a request", nil)
	r := &Rejection{Fault: f.On(x.entry.label, x.providerName()), Last: time.Now()}
	r.Since, r.counts = r.Last, r.Last.Add(x.entry.used.unrest.Load().hold(r.Last))
	if before != nil {
		r.Since, r.counts = before.Since, before.counts
	}
	return r
}

// How long a rejection must stand after a good answer took an earlier one back.
const (
	firstHold = 30 * time.Second // doubled each time that one is told of
	lastHold  = 30 * time.Minute
	restAfter = time.Hour // the next one is told of at once again
)

// unrest is that of a credential which is refused and taken in turns, as by an API
// that answers 401 to what it forbids. nil: it was not refused.
type unrest struct {
	told int       // rejections that were told of
	last time.Time // when a good answer took one back
}

// hold is how long a rejection that comes now must stand before it is told of.
func (u *unrest) hold(now time.Time) time.Duration {
	if u == nil || now.Sub(u.last) > restAfter {
		return 0
	}
	return min(firstHold<<min(max(u.told-1, 0), 10), lastHold)
}

// after gives the unrest once a good answer takes r back.
func (u *unrest) after(r *Rejection, now time.Time) *unrest {
	next := &unrest{last: now}
	if u != nil && now.Sub(u.last) <= restAfter {
		next.told = u.told
	}
	if !now.Before(r.counts) {
		next.told++
	}
	return next
}
