package proxy

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
)

// usage knows which caller used which credential when, and the memory that kept
// request bodies take.
type usage struct {
	replay atomic.Int64 // bytes

	mu   sync.RWMutex
	refs map[credential.Ref]*useOf
}

// useOf is the use of one credential, written on the request path without a lock.
type useOf struct {
	callers   atomic.Pointer[[]*useBy]
	rejection atomic.Pointer[Rejection] // nil: the provider has not refused it since it took it
	unrest    atomic.Pointer[unrest]    // nil: no good answer has taken a rejection back
	good      atomic.Int64              // when the last request began that went well, in Unix milliseconds; 0: none did
}

type useBy struct {
	caller string
	last   atomic.Int64 // Unix seconds
}

// Use is one caller's last use of a credential.
type Use struct {
	Caller string    `json:"caller"`
	Last   time.Time `json:"last"`
}

func (u *usage) of(ref credential.Ref) *useOf {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.refs == nil {
		u.refs = map[credential.Ref]*useOf{}
	}
	if u.refs[ref] == nil {
		u.refs[ref] = &useOf{}
	}
	return u.refs[ref]
}

// drop drops the uses of credentials that are gone.
func (u *usage) drop(gone func(credential.Ref) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.refs, func(ref credential.Ref, _ *useOf) bool { return gone(ref) })
}

func (u *useOf) touch(caller string, now time.Time) { u.by(caller).last.Store(now.Unix()) }

func (u *useOf) by(caller string) *useBy {
	for {
		old := u.callers.Load()
		var list []*useBy
		if old != nil {
			list = *old
		}
		if i := slices.IndexFunc(list, func(b *useBy) bool { return b.caller == caller }); i >= 0 {
			return list[i]
		}
		next := append(slices.Clip(list), &useBy{caller: caller})
		if u.callers.CompareAndSwap(old, &next) {
			return next[len(next)-1]
		}
	}
}

func (u *useOf) list() []Use {
	var out []Use
	if list := u.callers.Load(); list != nil {
		for _, b := range *list {
			if t := b.last.Load(); t > 0 {
				out = append(out, Use{b.caller, time.Unix(t, 0).UTC()})
			}
		}
	}
	return out
}

// Uses gives who used a credential, and when last.
func (s *Server) Uses(ref credential.Ref) []Use {
	s.used.mu.RLock()
	defer s.used.mu.RUnlock()
	if u := s.used.refs[ref]; u != nil {
		return u.list()
	}
	return nil
}

// AllUses gives every use, by credential reference, to be kept over a restart.
func (s *Server) AllUses() map[string][]Use {
	all := map[string][]Use{}
	s.used.mu.RLock()
	defer s.used.mu.RUnlock()
	for ref, u := range s.used.refs {
		if list := u.list(); len(list) > 0 {
			all[ref.String()] = list
		}
	}
	return all
}

// RestoreUses takes what AllUses gave before a restart. References that are none
// are left out.
func (s *Server) RestoreUses(all map[string][]Use) {
	for label, list := range all {
		ref, err := credential.ParseRef(label)
		if err != nil {
			continue
		}
		for _, u := range list {
			s.used.of(ref).touch(u.Caller, u.Last)
		}
	}
}

// Forget drops what is held of a credential that was deleted.
func (s *Server) Forget(ref credential.Ref) {
	s.used.mu.Lock()
	delete(s.used.refs, ref)
	s.used.mu.Unlock()
	s.sources.forget(ref)
	s.Changed(ref)
}
