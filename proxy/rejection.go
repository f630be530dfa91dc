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
	Fault *fault.Fault // credentials_rejected
	Since time.Time    // when the first of such answers came, with none between that was good
	Last  time.Time    // when the last one came, or ten seconds before
}

// rejectionStep is how exactly Rejection.Last is kept: usually nothing is written.
const rejectionStep = 10 * time.Second

// Rejection gives the provider's last word on a credential; ok is false where the
// last was good, where there was none, and since the record was changed here. What
// says nothing on the credential, as a missing scope or a limit, is no word on it.
func (s *Server) Rejection(ref credential.Ref) (r Rejection, ok bool) {
	s.used.mu.RLock()
	u := s.used.refs[ref]
	s.used.mu.RUnlock()
	if u == nil {
		return Rejection{}, false
	}
	last := u.rejection.Load()
	if last == nil {
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
		used.rejection.CompareAndSwap(last, x.rejected(resp, last))
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
	if u.rejection.Load() != nil {
		u.rejection.Store(nil)
	}
}

// rejected is the provider's no; before is the one that stands, nil: none does.
func (x *exchange) rejected(resp *http.Response, before *Rejection) *Rejection {
	f := fault.New(fault.CredentialsRejected, "the provider answered "+strconv.Itoa(resp.StatusCode)+" to a request", nil)
	r := &Rejection{Fault: f.On(x.entry.label, x.providerName()), Last: time.Now()}
	if r.Since = r.Last; before != nil {
		r.Since = before.Since
	}
	return r
}
